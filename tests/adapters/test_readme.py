"""The adapter that adapters/README.md shows works as it stands there, installed as the package of a third party."""

from __future__ import annotations

import ast
import math
import re
import tomllib
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

import pytest

from blackbox_proxy.errors import InputError, ReplyError
from blackbox_proxy.remote.registry import GROUP, load_adapter
from blackbox_proxy.testing import check_adapter
from blackbox_proxy.types import Candidate, Generate, Kind, Prefix, Usage, WireRequest

README = Path(__file__).parents[2] / "adapters" / "README.md"
ASK = Generate("m", Prefix("Q", b" 1"), 2, 2)
Install = Callable[..., None]


def _block(language: str) -> str:
    """The first one of a language."""
    block, *_ = re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return str(block)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package beside those that are installed, as pip would a wheel: a module, and who registers it as what."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(package: str, entries: dict[str, str], source: str = "") -> None:
        for value in entries.values():
            path = tmp_path / (value.partition(":")[0].replace(".", "/") + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(source, encoding="utf-8")
        folder = tmp_path / f"{package}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in entries.items())
        (folder / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}\n")

    return install


@pytest.fixture
def shown(install: Install) -> None:
    """What the README says, done: its toml block registers its python block."""
    entries = tomllib.loads(_block("toml"))["project"]["entry-points"][GROUP]
    install("your-package", entries, _block("python"))


def token(number: int, text: str, logprob: float, *, special: bool = False) -> dict[str, object]:
    return {"id": number, "text": text, "logprob": logprob, "special": special}


@pytest.mark.usefixtures("shown")
def test_it_asks() -> None:
    assert load_adapter("tgi", top_k=5).encode(ASK) == WireRequest(
        "/generate", {"inputs": "Q 1", "parameters": {"max_new_tokens": 2, "details": True, "top_n_tokens": 2}}
    )


@pytest.mark.usefixtures("shown")
def test_it_reads() -> None:
    first, other, end = token(5, " a", -0.25), token(6, "\ufffd", -2.0), token(2, "</s>", -0.5, special=True)
    tops = [[first, other], [end, token(7, "c", -3.4028234663852886e38)]]
    details = {"finish_reason": "eos_token", "tokens": [first, end], "top_tokens": tops}
    reply = load_adapter("tgi", end_ids=[2]).decode({"generated_text": " a", "details": details}, ASK)
    known, last = reply.positions
    assert known.sampled == Candidate(b" a", -0.25, Kind.TEXT, 5)
    assert known.top[1] == Candidate("\ufffd".encode(), -2.0, Kind.SPECIAL, 6)
    assert known.ceiling == -2.0
    assert known.tail == pytest.approx(1 - math.exp(-0.25) - math.exp(-2.0))
    assert last.top == (Candidate(b"</s>", -0.5, Kind.END, 2),)
    assert (reply.finish, reply.usage) == ("stop", Usage(output=2, requests=1))


@pytest.mark.usefixtures("shown")
def test_it_holds_to_what_the_engine_relies_on() -> None:
    tops = [[token(5, " a", -0.25), token(6, " b", -2.0)], [token(2, "</s>", -0.5, special=True)]]
    details = {"finish_reason": "eos_token", "tokens": [top[0] for top in tops], "top_tokens": tops}
    check_adapter(load_adapter("tgi", end_ids=[2]), replies=[(ASK, {"details": details})])


@pytest.mark.usefixtures("shown")
def test_it_says_what_is_missing() -> None:
    details = {"finish_reason": "length", "tokens": [token(5, " a", -0.25)]}
    with pytest.raises(ReplyError, match="alternatives of 0 tokens out of 1"):
        load_adapter("tgi").decode({"details": details}, ASK)


def test_it_keeps_its_promise_of_60_lines() -> None:
    assert len(_block("python").splitlines()) <= 60
    ast.parse(_block("python"))


@pytest.mark.usefixtures("shown")
def test_a_misspelt_name_and_a_misspelt_option_are_answered_with_the_right_ones() -> None:
    with pytest.raises(InputError, match="there is no adapter 'tgii'") as caught:
        load_adapter("tgii")
    assert caught.value.hint.startswith("did you mean 'tgi'? installed are: chat_continue, chat_prefill, completions")
    with pytest.raises(InputError, match="unexpected keyword argument 'end_id'") as caught:
        load_adapter("tgi", end_id=2)
    assert caught.value.hint == "it takes top_k, end_ids"


@pytest.mark.skipif(not any(distributions(name="blackbox-proxy")), reason="this checkout is not installed")
def test_a_third_party_that_takes_one_of_our_names_is_named_with_us(install: Install) -> None:
    install("intruder", {"completions": "intruder_module:Codec"})
    with pytest.raises(InputError, match="'completions' is taken more than once") as caught:
        load_adapter("completions")
    assert "(intruder)" in caught.value.message
    assert "(blackbox-proxy)" in caught.value.message

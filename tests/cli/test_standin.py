"""`standin`: quirks are listed, checked before anything is fetched, and obeyed by what is served."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from blackbox_proxy.standin import QUIRKS
from tests.cli.runs import PROGRAM, Cli
from tests.standin.raw import post


def test_all_quirks_are_listed(cli: Cli) -> None:
    said = cli("standin", "--list-quirks")
    assert (said.status, said.err) == (0, "")
    assert all(quirk.form in said.out and quirk.name in said.out for quirk in QUIRKS.values())
    found = json.loads(cli("standin", "--list-quirks", "--json").out)
    assert [one["name"] for one in found] == list(QUIRKS)
    assert {"name", "form", "what", "seen"} == set(found[0])


@pytest.mark.parametrize(
    ("quirks", "says"),
    [
        (["top-kcap=5"], "did you mean top-k-cap=K?"),
        (["top-k-cap"], "write top-k-cap=K"),
        (["faults=oops"], "'oops' is no fault"),
        (["no-prefill", "implicit-prefill"], "contradict each other"),
    ],
)
def test_a_wrong_quirk_is_refused_before_anything_is_fetched(cli: Cli, quirks: list[str], says: str) -> None:
    words = [word for quirk in quirks for word in ("--quirk", quirk)]
    said = cli("standin", "--model", "pypi:nonsense", *words)
    assert said.status == 2
    assert says in said.err
    refused = json.loads(cli("standin", "--model", "pypi:nonsense", "--json", *words).out)
    assert refused["error"]["type"] == "InputError"


def test_quirks_are_obeyed(tmp_path: Path) -> None:
    toy = tmp_path / "toy.json"
    toy.write_text(json.dumps({"pieces": ["a", "b"], "ends": ["</s>"], "distributions": {"": {"a": 3, "b": 1}}}))
    command = [*PROGRAM, "standin", "--script", str(toy), "--quirk", "top-k-cap=1", "--quirk", "faults=503,ok"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            url = server.stdout.readline().split()[-1]
            asked = {"model": "toy", "prompt": "a", "max_tokens": 1}
            answers = [post(url, "/completions", asked | {"logprobs": k}) for k in (1, 1, 2)]
            server.send_signal(signal.SIGINT)
            server.wait(30)
        finally:
            server.kill()
    assert [answer.status for answer in answers] == [503, 200, 400]

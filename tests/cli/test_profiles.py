"""profiles list, show and check; --profile and --tokenizer auto where a model is asked; what wins over what."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from blackbox_proxy import errors
from blackbox_proxy.cli.settings import Settings, read_settings
from blackbox_proxy.standin import running, script
from tests.cli.runs import Cli, Said
from tests.remote.scripted import Say, ScriptedApi

NO = Say({"error": {"message": "no", "code": "model_not_found"}}, status=404)
MINE = 'extends = "vllm"\n[options]\ntop_k = 7\n[profile]\napi_key_env = "MY_KEY"\nnotes = ["of mine"]\n'


@pytest.fixture
def mine(config_home: Path) -> Path:
    """A profile of the user's: vLLM with another top-k, key and a note."""
    path = config_home / "blackbox-proxy" / "profiles" / "mine.toml"
    path.parent.mkdir(parents=True)
    path.write_text(MINE)
    return path


def asked(api: ScriptedApi) -> dict[str, object]:
    return api.seen[-1][2]


SILENT = (
    '[profile]\nabout = "a"\nchecked = 2026-11-30\nsources = ["s"]\nsupported = false\nreason = "it tells no text"\n'
)


def test_the_list_says_who_is_spoken_to_and_who_is_not(cli: Cli, mine: Path) -> None:
    mine.with_name("silent.toml").write_text(SILENT)
    said = cli("profiles", "list")
    assert said.status == 0
    assert "chat_prefill" in said.out
    assert "not supported" in said.out
    found = {row["name"]: row for row in json.loads(cli("profiles", "list", "--json").out)}
    assert found["openai"]["adapter"] == "chat_continue"
    assert not found["silent"]["supported"]
    assert found["silent"]["reason"] == "it tells no text"
    assert found["mine"]["files"][-1] == str(mine)


@pytest.mark.usefixtures("mine")
def test_a_profile_is_shown_as_toml_that_could_be_used(cli: Cli, tmp_path: Path) -> None:
    said = cli("profiles", "show", "mine")
    shown = tomllib.loads(said.out)
    assert shown["options"]["top_k"] == 7
    assert shown["options"]["decoder"] == "legacy_completions"
    (tmp_path / "copy.toml").write_text(said.out)
    assert cli("profiles", "check", str(tmp_path / "copy.toml")).status == 0


def test_what_holds_for_a_model_is_shown(cli: Cli) -> None:
    shown = tomllib.loads(cli("profiles", "show", "openai", "--model", "gpt-5.4").out)
    assert shown["options"]["extra_body"] == {"reasoning_effort": "none"}
    found = json.loads(cli("profiles", "show", "openai", "--model", "gpt-6-sol", "--json").out)
    assert found["options"]["min_output"] == 16
    assert found["base_url"] == "https://api.openai.com/v1"


def test_what_was_measured_is_shown_with_its_file(cli: Cli, mine: Path) -> None:
    overlay = mine.with_name("measured.toml")
    spot = 'base_url = "http://127.0.0.1:1/v1"\nmodel = "m"\nmeasured = 2026-11-25\nnotes = ["quiet"]\n'
    overlay.write_text(f'extends = "mine"\n[overlay]\n{spot}[options]\ntop_k = 3\n')
    said = cli("profiles", "show", "mine")
    assert f"# {overlay}" in said.out
    assert "quiet" in said.out
    (found,) = json.loads(cli("profiles", "show", "mine", "--json").out)["measured"]
    assert (found["model"], found["measured"], found["file"]) == ("m", "2026-11-25", str(overlay))
    assert "measured at http://127.0.0.1:1/v1" in cli("profiles", "check", str(overlay)).out


def refused(said: Said, *says: str) -> None:
    assert said.status == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 2
    assert all(word in said.err for word in says), said.err


def test_a_mistake_in_a_file_is_told_with_its_line(cli: Cli, mine: Path) -> None:
    other = mine.parent.parent / "other.toml"
    other.write_text(MINE + "\n[optoins]\n[models]\n")
    refused(cli("profiles", "check", str(other)), f"{other}, line 8", "did you mean options?")
    other.write_text('extends = "vllm"\n\n[options]\ntopk = 1\n')
    refused(cli("profiles", "check", str(other)), f"{other}, line 4", "did you mean top_k?")
    said = cli("profiles", "check", str(other), "--json")
    assert json.loads(said.out)["error"]["type"] == errors.InputError.__name__


def test_an_option_that_the_adapter_refuses_is_told_with_the_file(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "vllm"\n[options]\nextra_body = { model = "another" }\n')
    refused(cli("profiles", "check", str(path)), str(path), "model")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("profiles", "show", "openay"), "did you mean 'openai'?"),
        (("profiles", "show", "azure", "--model", "o3-pro", "--base-url", "http://h"), "not spoken to by chat"),
        (("profiles", "check", "nowhere.toml"), "cannot read nowhere.toml"),
    ],
)
def test_what_is_not_there_is_told(cli: Cli, words: tuple[str, ...], says: str) -> None:
    refused(cli(*words), says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--profile", "nobody"), "there is no profile 'nobody'"),
        (("--profile", "silent"), "silent cannot be steered: it tells no text"),
        (("--profile", "azure"), "'azure' has no base URL"),
        (("--profile", "openai"), "needs a key, but OPENAI_API_KEY is not set"),
    ],
)
@pytest.mark.parametrize("command", ["steer", "choose"])
def test_what_a_profile_refuses_is_a_sentence(
    cli: Cli, mine: Path, pair_path: Path, command: str, options: tuple[str, ...], says: str
) -> None:
    mine.with_name("silent.toml").write_text(SILENT)
    refused(cli(command, "hello", "--model", "m", "--pair", str(pair_path), *options), says)


def test_the_command_line_wins_over_the_profile_which_wins_over_the_settings(
    cli: Cli, mine: Path, config_home: Path, pair_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-of-mine-0123")
    monkeypatch.setenv("OTHER_KEY", "sk-of-other-0123")
    with ScriptedApi(NO, NO) as api, ScriptedApi(NO) as other:
        mine.write_text(f'{MINE}base_url = "{api.url}"\n')
        (config_home / "blackbox-proxy" / "config.toml").write_text(
            f'base_url = "http://127.0.0.1:9/v1"\npair = "{pair_path}"\nmodel = "m"\ntop_k = 3\n'
            'api_key_env = "OTHER_KEY"\n'
        )
        cli("steer", "hello", "--profile", "mine")
        assert asked(api)["logprobs"] == 7
        assert "Bearer sk-of-mine-0123" in api.seen[-1][1].values()
        options = ("--top-k", "5", "--api-key-env", "OTHER_KEY")
        cli("steer", "hello", "--profile", "mine", *options)
        assert asked(api)["logprobs"] == 5
        assert "Bearer sk-of-other-0123" in api.seen[-1][1].values()
        cli("steer", "hello", "--profile", "mine", "--base-url", other.url)
        assert len(other.seen) == 1


@pytest.mark.usefixtures("mine")
def test_what_is_set_beside_a_profile_that_is_itself_a_setting_wins(
    cli: Cli, config_home: Path, pair_path: Path
) -> None:
    with ScriptedApi(NO, NO) as api:
        config = config_home / "blackbox-proxy" / "config.toml"
        config.write_text(f'profile = "mine"\nbase_url = "{api.url}"\npair = "{pair_path}"\nmodel = "m"\n')
        cli("steer", "hello")
        assert asked(api)["logprobs"] == 7
        config.write_text(config.read_text() + "top_k = 3\n")
        cli("choose", "hello", "--option", "a", "--option", "b")
        assert asked(api)["logprobs"] == 3


def test_a_setting_names_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().profile == ""
    monkeypatch.setenv("BLACKBOX_PROXY_PROFILE", "vllm")
    assert read_settings().profile == "vllm"


@pytest.mark.usefixtures("mine")
def test_an_answer_by_a_profile_comes_with_its_notes(cli: Cli, where: tuple[str, ...]) -> None:
    """Over real HTTP; on standard error, and in the JSON object."""
    said = cli("steer", "hello", *where, "--profile", "mine", "--max-tokens", "2")
    assert said.status == 0, said.err
    assert "of mine" in said.err
    found = json.loads(cli("steer", "hello", *where, "--profile", "mine", "--max-tokens", "2", "--json").out)
    assert "of mine" in found["notes"]
    picked = cli("choose", "hello", *where, "--profile", "mine", "--option", "a", "--option", "b", "--json")
    assert "of mine" in json.loads(picked.out)["notes"]


def test_a_tokenizer_that_nobody_knows_is_a_sentence(cli: Cli, pair_path: Path) -> None:
    there = ("--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--pair", str(pair_path))
    refused(cli("steer", "hello", *there, "--tokenizer", "auto"), "does not know the tokenizer of 'm'")


TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }} {% endfor %}"
ASCII = [bytes([byte]) for byte in (10, *range(32, 127)) if byte != ord("o")]
DISTRIBUTIONS = {
    b"": {b"Tir": 0.6, b"Rome": 0.4},
    b"Tir": {b"ana": 0.6, b"o": 0.4},
    b"Tirana": {b"</s>": 0.6, b"o": 0.4},
}
SURE = {
    text: {piece: weight if weight > 0.5 else 1e-12 for piece, weight in distribution.items()}
    for text, distribution in DISTRIBUTIONS.items()
}
"""The same answer where the draws of a draft must not miss it."""


@pytest.mark.parametrize(
    ("profile", "model", "distributions", "quirks"),
    [
        ("mistral", "m", DISTRIBUTIONS, ["echoed-prefix", "no-seed"]),
        ("deepseek", "m", SURE, ["one-hot-at-zero", "escaped-tokens"]),
        ("vllm", "m", DISTRIBUTIONS, ["extra-entry"]),
        ("sglang", "m", DISTRIBUTIONS, ["scaled-except-zero"]),
        ("together", "m", DISTRIBUTIONS, ["together-shape", "top-k-cap=20"]),
        ("openai", "gpt-5.4", SURE, ["max-completion-tokens-only", "min-output=16", "needs-effort-none"]),
    ],
)
def test_the_profile_is_enough_for_a_provider_of_such_quirks(
    cli: Cli,
    pair_path: Path,
    profile: str,
    model: str,
    distributions: dict[bytes, dict[bytes, float]],
    quirks: list[str],
) -> None:
    """A model whose distribution is known answers as it would by itself, gone on from token by token where that can be.

    Chats show no log-prob of the end that they come to, so an answer of theirs is never exact as a whole.
    """
    toy = script([b"Tir", b"ana", b"Rome", b"o", *ASCII], [b"</s>"], distributions, template=TEMPLATE)
    with running(toy, name=model, quirks=quirks) as url:
        said = cli(
            *("steer", "Where?", "--base-url", url, "--model", model, "--pair", str(pair_path), "--json"),
            *("--profile", profile, "--alpha", "0", "--draft", "1", "--tail", "drop"),
        )
    assert said.status == 0, said.out
    found = json.loads(said.out)
    assert (found["text"], found["finish"], found["approximate_steps"]) == ("Tirana", "stop", 0)


def test_what_nobody_saw_is_shown_with_the_check_that_settles_it(cli: Cli, tmp_path: Path) -> None:
    said = cli("profiles", "show", "kimi")
    assert {"says": "log-probs are not cut at the fixed top_p", "by": "support"} in tomllib.loads(said.out)["profile"][
        "unseen"
    ]
    (tmp_path / "copy.toml").write_text(said.out)
    assert cli("profiles", "check", str(tmp_path / "copy.toml")).status == 0

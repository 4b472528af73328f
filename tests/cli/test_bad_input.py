"""Bad input: one clear sentence, a hint and a status other than 0, in words or as one JSON object; never a traceback.

The runs are in this process, so an exception that `main` lets through fails the test by itself.
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blackbox_proxy import errors
from blackbox_proxy.standin import running
from tests.cli.runs import Cli, Said
from tests.remote.scripted import Say, ScriptedApi
from tests.tiny_gguf import TinyModel, write_tiny_lora

KEY = "sk-this-key-must-never-show-0123456789"


@dataclass(frozen=True, slots=True)
class Bad:
    """Options that are appended to a command line that works, and the error that must come of them.

    says: a pattern that the message must hold. `{...}` in the options names a file of `places`, or the URL.
    """

    what: str
    options: str
    error: type[errors.BlackboxProxyError]
    says: str
    prompt: str = "hello"


BAD_PAIRS = [
    Bad("missing model", "--pair {pairs}/missing.toml", errors.WeightsError, r"no file .*nowhere\.gguf"),
    Bad("corrupt model", "--pair {pairs}/corrupt.toml", errors.WeightsError, r"could not load .*corrupt\.gguf"),
    Bad("model cut off", "--pair {pairs}/cut.toml", errors.WeightsError, r"could not load .*cut\.gguf"),
    Bad("model of before GGUF", "--pair {pairs}/ggml.toml", errors.WeightsError, r"ggml\.gguf is old: .* format GGJT"),
    Bad("model of GGUF 1", "--pair {pairs}/first.toml", errors.WeightsError, r"first\.gguf is an old GGUF.* version 1"),
    Bad("no GGUF", "--pair {pairs}/text.toml", errors.WeightsError, r"text\.gguf is not a GGUF file"),
    Bad(
        "adapter of another architecture", "--pair {pairs}/foreign.toml", errors.PairError, r"foreign\.lora\.gguf.*arch"
    ),
    Bad("two vocabularies", "--pair {pairs}/mismatch.toml", errors.PairError, r"different vocabularies"),
    Bad("one model twice", "--pair {pairs}/twice.toml", errors.PairError, r"offset is zero"),
    Bad("half a pair", "--pair {pairs}/half.toml", errors.PairError, r"half\.toml: .*a pair is"),
    Bad("no pair file", "--pair {pairs}/nothing.toml", errors.PairError, r"cannot read the pair file .*nothing\.toml"),
    Bad("pair file of another kind", "--pair {pairs}/text.gguf", errors.PairError, r"is not TOML"),
]
BAD_ADDRESSES = [
    Bad("unknown model", "--model other", errors.ApiRefused, r"does not know the model 'other'"),
    Bad("nobody there", "--base-url {nobody}", errors.ApiUnreachable, r"nothing answers at .*refused"),
    Bad("wrong path", "--base-url {url}/deeper", errors.ApiRefused, r"nothing to ask at .*deeper"),
    Bad("no URL", "--base-url localhost:80", errors.InputError, r"'localhost:80' is not a web address"),
    Bad(
        "no key", "--base-url https://api.invalid/v1", errors.InputError, r"needs a key, but OPENAI_API_KEY is not set"
    ),
    Bad("a key for a name", f"--api-key-env {KEY}", errors.InputError, r"--api-key-env takes the name"),
]
BAD_PROMPTS = [
    Bad("empty", "", errors.PromptError, r"the prompt is empty", prompt=""),
    Bad("blank", "", errors.PromptError, r"the prompt is empty", prompt=" \n\t"),
    Bad("empty standard input", "", errors.PromptError, r"the prompt is empty", prompt="-"),
    Bad("too long for the API", "", errors.PromptError, r"does not fit into the model's context", prompt="x" * 200),
    Bad(
        "too long for the pair", "", errors.PromptError, r"do not fit into the local model's context", prompt="x" * 300
    ),
    Bad("half a character", "", errors.PromptError, r"not UTF-8: it holds \\udcff", prompt="caf\udcff"),
    Bad("empty for the pair", "--pair-prompt ''", errors.PromptError, r"--pair-prompt is empty"),
    Bad("raw with a system message", "--raw --system S", errors.InputError, r"--raw takes no --system"),
    Bad("two prompts", "--messages {pairs}/chat.json", errors.InputError, r"--messages goes with neither a prompt"),
]
BAD_KNOBS = [
    Bad("alpha", "--alpha nan", errors.InputError, r"alpha .* not nan"),
    Bad("threshold", "--threshold 1.5", errors.InputError, r"threshold .* not 1.5"),
    Bad("schedule", "--alpha-schedule 8:1,4:2", errors.InputError, r"schedule must grow from 0 .* not \[8, 4\]"),
    Bad("no schedule", "--alpha-schedule 1.5", errors.InputError, r"TOKEN:ALPHA,TOKEN:ALPHA, not '1.5'"),
    Bad("draft", "--draft 0", errors.InputError, r"draft .* not 0"),
    Bad("max_tokens", "--max-tokens 0", errors.InputError, r"max_tokens .* not 0"),
    Bad("top_k", "--top-k 0", errors.InputError, r"top_k .* not 0"),
    Bad(
        "repetition", "--repetition-stop 3", errors.InputError, r"repetition_stop must be 0, or from 16 to 1024, not 3"
    ),
    Bad("rule", "--event ids --rule clip", errors.InputError, r"rule='clip' acts on strings, and event='ids' takes"),
    Bad("no weights", "--rule learnt", errors.InputError, r"rule='learnt' needs weights"),
    Bad("weights", "--rule learnt --learnt one:1", errors.InputError, r"written FEATURE:B:C,FEATURE:B:C, not 'one:1'"),
    Bad("stop", "--stop ''", errors.InputError, r"stop string must not be empty"),
    Bad("no time", "--timeout 0", errors.InputError, r"--timeout .* not 0"),
    Bad("less than no time", "--timeout -1", errors.InputError, r"--timeout .* not -1"),
    Bad("endless time", "--timeout inf", errors.InputError, r"--timeout .* not inf"),
    Bad("no template file", "--template nowhere.jinja", errors.InputError, r"'nowhere.jinja': No such file"),
    Bad(
        "template of another kind",
        "--template {pairs}/corrupt.gguf",
        errors.InputError,
        r"cannot read the chat template",
    ),
    Bad(
        "template that is wrong", "--template {pairs}/wrong.jinja", errors.PromptError, r"template does not take these"
    ),
    Bad("chat without a template", "--template raw", errors.PromptError, r"no chat template"),
]
BAD = [*BAD_PAIRS, *BAD_ADDRESSES, *BAD_PROMPTS, *BAD_KNOBS]
BAD_MESSAGES = {
    "no JSON": b"hello",
    "no text": b"\xff\xfe",
    "nested without end": b"[" * 100_000,
    "no list": b'{"role": "user", "content": "x"}',
    "no messages": b"[1, 2]",
    "no content": b'[{"role": "user"}]',
    "nothing": b"[]",
    "half a character": rb'[{"role": "user", "content": "\ud800"}]',
    "a call of a tool": b'[{"role": "assistant", "content": "", "tool_calls": [{"id": "c1"}]}]',
    "an older call of one": b'[{"role": "assistant", "content": "", "function_call": {"name": "f"}}]',
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, tiny_bpe: TinyModel, tiny_spm: TinyModel, tiny_lora: Path) -> Path:
    """A folder of pair files, each with one fault, and of what they name."""
    folder = tmp_path_factory.mktemp("bad")
    whole = tiny_bpe.path.read_bytes()
    (folder / "corrupt.gguf").write_bytes(b"GGUF" + b"\xff" * 400)
    (folder / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    (folder / "text.gguf").write_text("This is no model.\n")
    (folder / "wrong.jinja").write_text("{{ messages")
    (folder / "chat.json").write_text('[{"role": "user", "content": "Hello"}]')
    foreign = write_tiny_lora(folder / "foreign.lora.gguf", tiny_bpe.path, architecture="qwen2")
    (folder / "ggml.gguf").write_bytes(b"tjgg\x03\0\0\0" + bytes(64))
    (folder / "first.gguf").write_bytes(b"GGUF\x01\0\0\0" + whole[8:])
    for name in ("corrupt", "cut", "text", "ggml", "first"):
        (folder / f"{name}.toml").write_text(f'model = "{name}.gguf"\nadapter = "{tiny_lora}"\n')
    (folder / "missing.toml").write_text(f'model = "nowhere.gguf"\nadapter = "{tiny_lora}"\n')
    (folder / "foreign.toml").write_text(f'model = "{tiny_bpe.path}"\nadapter = "{foreign}"\n')
    (folder / "mismatch.toml").write_text(f'expert = "{tiny_bpe.path}"\nanti_expert = "{tiny_spm.path}"\n')
    (folder / "twice.toml").write_text(f'expert = "{tiny_bpe.path}"\nanti_expert = "{tiny_bpe.path}"\n')
    (folder / "half.toml").write_text(f'model = "{tiny_bpe.path}"\n')
    return folder


@pytest.fixture(scope="module")
def nobody() -> Iterator[str]:
    """An address that is taken, so that nobody else takes it, and where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"


@pytest.fixture
def places(pairs: Path, nobody: str, api_url: str) -> dict[str, str]:
    return {"pairs": str(pairs), "nobody": nobody, "url": api_url}


def check(said: Said, error: type[errors.BlackboxProxyError], says: str) -> None:
    """A sentence and a hint on standard error, and nothing else anywhere but what may have been paid for."""
    paid = r"(\d calls.*, \d+ tokens in, \d+ out; cost unknown\n)?"
    paid += r"((requests without a usable reply, at unknown cost|replies without token counts .*): \d\n)?"
    lines = re.fullmatch(rf"error: (.+)\nhint: (.+)\n{paid}", said.err)
    assert lines, said.err
    assert re.search(says, lines[1]), lines[1]
    assert said.out == ""
    assert said.status == (2 if issubclass(error, errors.InputError) else 1)


def check_json(said: Said, error: type[errors.BlackboxProxyError], says: str) -> None:
    """One JSON object on standard output and nothing else anywhere."""
    assert said.out.count("\n") == 1
    found = json.loads(said.out)
    assert found.keys() == {"error"}
    assert found["error"].keys() == {"type", "message", "hint"}
    assert found["error"]["type"] == error.__name__
    assert re.search(says, found["error"]["message"])
    assert found["error"]["hint"]
    assert said.err == ""
    assert said.status == (2 if issubclass(error, errors.InputError) else 1)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.what)
def test_a_sentence_and_a_hint(cli: Cli, where: tuple[str, ...], places: dict[str, str], bad: Bad) -> None:
    options = shlex.split(bad.options.format(**places))
    said = cli("steer", *where, *options, "--", bad.prompt)
    check(said, bad.error, bad.says)
    assert KEY not in said.err


@pytest.mark.parametrize("bad", [bad for bad in BAD if bad.what != "nobody there"], ids=lambda bad: bad.what)
def test_one_json_object(cli: Cli, where: tuple[str, ...], places: dict[str, str], bad: Bad) -> None:
    """All but the one that knocks four times, with pauses."""
    options = shlex.split(bad.options.format(**places))
    check_json(cli("steer", *where, *options, "--json", "--", bad.prompt), bad.error, bad.says)


@pytest.mark.parametrize("content", BAD_MESSAGES.values(), ids=BAD_MESSAGES)
def test_messages_that_are_none(cli: Cli, where: tuple[str, ...], tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "chat.json"
    path.write_bytes(content)
    check(cli("steer", *where, "--messages", str(path)), errors.PromptError, "message|empty|UTF-8")


def test_messages_that_are_not_there(cli: Cli, where: tuple[str, ...], tmp_path: Path) -> None:
    check(cli("steer", *where, "--messages", str(tmp_path)), errors.PromptError, re.escape(str(tmp_path)))


@pytest.mark.parametrize("stdin", [b"\xff\xfe", "é".encode()[:1]], ids=["no text", "half a character"])
def test_standard_input_that_is_no_text(cli: Cli, where: tuple[str, ...], stdin: bytes) -> None:
    check(cli("steer", *where, stdin=stdin), errors.PromptError, "standard input is not UTF-8")


@pytest.mark.parametrize("missing", ["--base-url", "--model", "--pair"])
def test_what_has_no_default_is_asked_for(cli: Cli, where: tuple[str, ...], missing: str) -> None:
    at = where.index(missing)
    check(cli("steer", "hello", *where[:at], *where[at + 2 :]), errors.InputError, f"{missing} is missing")


@pytest.mark.parametrize(
    "logprobs",
    [None, {"tokens": ["x"], "token_logprobs": [-1.0], "top_logprobs": None, "text_offset": [0]}],
    ids=["none", "no alternatives"],
)
def test_a_reply_without_logprobs(cli: Cli, where: tuple[str, ...], logprobs: object) -> None:
    choice = {"index": 0, "text": "x", "finish_reason": "length", "logprobs": logprobs}
    with ScriptedApi(Say({"object": "text_completion", "model": "m", "choices": [choice]})) as api:
        said = cli("steer", "hello", *where, "--base-url", api.url)
    check(said, errors.ReplyError, "logprob|log-prob")


def test_a_refused_key_never_shows(
    cli: Cli, where: tuple[str, ...], tiny_api: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with running(tiny_api.path, name="tiny", api_key="another") as url:
        said = cli("steer", "hello", *where, "--base-url", url, "--api-key-env", "MY_KEY")
    check(said, errors.ApiRefused, "refused the key")
    assert "MY_KEY" in said.err
    assert KEY not in said.err


@pytest.mark.parametrize("status", [401, 400])
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["words", "json"])
def test_a_key_that_the_server_repeats_never_shows(
    cli: Cli, where: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, status: int, options: list[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with ScriptedApi(Say({"error": {"message": f"Incorrect API key provided: {KEY}."}}, status=status)) as api:
        said = cli("steer", "hello", *where, "--base-url", api.url, *options)
    assert said.status == 1
    assert f"Bearer {KEY}" in api.seen[0][1].values()
    assert KEY not in said.out + said.err
    assert "Incorrect API key provided" in said.out + said.err


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ("pair check --pair {pairs}/foreign.toml", errors.PairError, "arch"),
        ("pair check", errors.InputError, "--pair is missing"),
        ("standin --model {pairs}/text.gguf", errors.WeightsError, "not a GGUF"),
        ("standin --model {pairs}/nowhere.gguf", errors.WeightsError, "no file"),
        ("standin --model {pairs}/corrupt.gguf", errors.WeightsError, "could not load"),
        ("standin --model {good} --context 0", errors.InputError, "context must be at least 1"),
        ("standin --model {good} --port 99999", errors.InputError, "99999"),
        ("standin --model {good} --api-key-env NO_SUCH_KEY", errors.InputError, "no key in NO_SUCH_KEY"),
        ("standin --model {good} --api-key-env sk-1", errors.InputError, "takes the name"),
        ("weights fetch nonsense", errors.InputError, "no model is known as"),
        ("standin --model {pairs}/ggml.gguf", errors.WeightsError, "is old: it is of the format GGJT"),
        ("standin --model hf:owner/model", errors.InputError, "does not name a file on the hub"),
        ("keys add 'two words'", errors.InputError, "'two words' cannot be the name of a new key"),
        ("keys add ann --file {pairs}", errors.InputError, "cannot read the key file"),
        ("cost report --since tomorrow", errors.InputError, "'tomorrow' is no day"),
        ("cost report --ledger {pairs}/none.sqlite", errors.InputError, "there is no ledger at"),
        ("evaluate {pairs}/text.gguf", errors.InputError, "is not TOML"),
        ("evaluate {pairs}", errors.InputError, "there is no task"),
        ("score the a --pair {pairs}/demo", errors.PairError, "cannot read the pair file"),
        (
            "init --model m --base-url http://127.0.0.1:9/v1 --config {pairs}/chat.json",
            errors.InputError,
            "is there already",
        ),
        ("serve --config {pairs}/chat.json", errors.InputError, "is not TOML"),
        ("demo --questions 100000", errors.InputError, "100000 questions"),
    ],
)
def test_the_other_commands(
    cli: Cli, places: dict[str, str], tiny_bpe: TinyModel, words: str, error: type[errors.BlackboxProxyError], says: str
) -> None:
    check(cli(*shlex.split(words.format(**places, good=tiny_bpe.path))), error, says)


def test_a_warning_is_a_sentence(cli: Cli, tiny_bpe: TinyModel, tiny_lora: Path) -> None:
    """A build without GPU support says so, and goes on. A build with it has nothing to say."""
    path = tiny_bpe.path.parent / "gpu.toml"
    path.write_text(f'model = "{tiny_bpe.path}"\nadapter = "{tiny_lora}"\ngpu_layers = 1\n')
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        said = cli("pair", "check", "--json", "--pair", str(path))
    assert said.status == 0
    assert all(line.startswith("warning: ") for line in said.err.splitlines())
    assert json.loads(said.out)["vocabulary"] == len(tiny_bpe.pieces)

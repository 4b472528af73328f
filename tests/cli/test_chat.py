"""`chat` by lines of standard input, over real HTTP, with the library as the judge of what is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy import Pair, Prompt, Steering, connect, load_pair, steer
from blackbox_proxy.cli.chat_commands import COMMANDS
from blackbox_proxy.cli.chat_model import ChatModel
from blackbox_proxy.cli.chat_output import JsonOutput
from blackbox_proxy.cli.chatting import Chat
from blackbox_proxy.recipes import FittedRecipe, RecipeEndpoint, write_recipe
from blackbox_proxy.standin import running
from blackbox_proxy.types import Message
from tests.adapters.shapes import body
from tests.cli.runs import PRICES, Cli, Said
from tests.local.test_evaluator import Meter
from tests.remote.scripted import ScriptedApi
from tests.tiny_gguf import TinyModel

LENGTH = 4
FAST = ("--max-tokens", str(LENGTH), "--template", "chatml")
ASKED = ("What is this?", "And that?", "Why?")

pytestmark = pytest.mark.usefixtures("state")


@pytest.fixture(scope="module")
def pair(pair_path: Path) -> Iterator[Pair]:
    with load_pair(pair_path) as opened:
        yield opened


@pytest.fixture
def answer(api_url: str, pair: Pair) -> Any:  # noqa: ANN401 (a function with keywords)
    """What the library answers to the last of some texts, which are said by turns, behind a system message."""

    def ask(*said: str, alpha: float = 1.0, system: str = "") -> str:
        roles = ["user", "assistant"] * len(said)
        turns = [Message(role, text) for role, text in zip(roles, said, strict=False)]
        prompt = Prompt(messages=(*((Message("system", system),) if system else ()), *turns))
        with connect(api_url, model="tiny", template="chatml", options={"top_k": 20}) as api:
            steering = Steering(alpha=alpha, max_tokens=LENGTH)
            return steer(prompt, api=api, offsets=pair, steering=steering).text

    return ask


@pytest.fixture
def chat(cli: Cli, where: tuple[str, ...]) -> Any:  # noqa: ANN401 (a function with keywords)
    """Types some lines."""

    def run(*lines: str, options: Sequence[str] = ()) -> Said:
        return cli("chat", *where, *FAST, *options, stdin="".join(f"{line}\n" for line in lines).encode())

    return run


def objects(said: Said) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.out.splitlines()]


def test_each_turn_is_answered_behind_all_that_was_said(chat: Any, answer: Any) -> None:  # noqa: ANN401
    """By the API and by the pair, as the library answers the whole conversation; blank lines ask nothing."""
    first = answer(ASKED[0])
    second = answer(ASKED[0], first, ASKED[1])
    third = answer(ASKED[0], first, ASKED[1], second, ASKED[2], system="Be brief.")
    said = chat(ASKED[0], "", " \t", ASKED[1], "/system Be brief.", ASKED[2])
    assert said.status == 0
    assert said.out == f"{first}\n{second}\nsystem message: Be brief.\n{third}\n"
    assert said.err.count(" calls; cost unknown; ") == 3


def test_with_json_each_line_is_one_object(chat: Any, answer: Any) -> None:  # noqa: ANN401
    said = chat(ASKED[0], "/alpha 0.5", ASKED[1], "/beside", ASKED[2], "/trace", "/cost", options=["--json"])
    one, alpha, two, beside, three, trace, cost = objects(said)
    assert (said.status, said.err) == (0, "")
    assert (one["question"], one["text"], one["finish"]) == (ASKED[0], answer(ASKED[0]), "length")
    assert alpha == {"command": "alpha", "alpha": 0.5}
    assert two["text"] == answer(ASKED[0], one["text"], ASKED[1], alpha=0.5)
    assert beside == {"command": "beside", "beside": "next"}
    history = (ASKED[0], one["text"], ASKED[1], two["text"], ASKED[2])
    assert three["unsteered"]["text"] == answer(*history, alpha=0.0)
    assert three["text"] == answer(*history, alpha=0.5)
    assert len(trace["answer"]["steps"]) == three["tokens"]
    requests = [one["usage"]["requests"] for one in (one, two, three, three["unsteered"])]
    assert cost["session"]["requests"] == sum(requests)
    assert cost["session"]["answers"] == 4
    assert cost["last"]["requests"] == sum(requests[2:])


def test_the_unsteered_answer_stands_before_the_steered_one(chat: Any, answer: Any) -> None:  # noqa: ANN401
    said = chat("/beside on", ASKED[0], "/beside off", "/trace")
    both = f"unsteered:\n{answer(ASKED[0], alpha=0.0)}\nsteered:\n{answer(ASKED[0])}\n"
    assert both in said.out
    assert "API token" in said.out


def test_what_is_taken_back_was_never_said(chat: Any, answer: Any) -> None:  # noqa: ANN401
    first = answer(ASKED[0])
    said = chat(ASKED[0], ASKED[1], "/undo", ASKED[2], "/clear", ASKED[0], "/forget", ASKED[1], options=["--json"])
    _, two, undone, three, clear, again, forgotten, fresh = objects(said)
    assert two["text"]
    assert undone == {"command": "undo", "question": ASKED[1], "questions": 1}
    assert three["text"] == answer(ASKED[0], first, ASKED[2])
    assert clear == {"command": "clear", "questions": 0}
    assert again["text"] == first
    assert forgotten == {"command": "forget", "questions": 0}
    assert fresh["text"] == answer(ASKED[1])


def test_a_conversation_that_was_saved_is_gone_on_with(
    chat: Any,  # noqa: ANN401
    cli: Cli,
    where: tuple[str, ...],
    answer: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    """By `chat`, and by `steer` where a question stands at its end; a file of another kind is not written over."""
    file, other = tmp_path / "chat.json", tmp_path / "other.json"
    other.write_text("{}")
    first = answer(ASKED[0], system="S")
    said = chat(ASKED[0], f"/save {file}", f"/save {file}", f"/save {other}", options=["--system", "S"])
    assert said.status == 1
    assert "holds no conversation" in said.err
    assert other.read_text() == "{}"
    saved = json.loads(file.read_text(encoding="utf-8"))
    assert saved == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": ASKED[0]},
        {"role": "assistant", "content": first},
    ]
    second = answer(ASKED[0], first, ASKED[1], system="S")
    assert chat(ASKED[1], options=["--messages", str(file)]).out == f"{second}\n"
    file.write_text(json.dumps([*saved, {"role": "user", "content": ASKED[1]}]), encoding="utf-8")
    assert cli("steer", *where, *FAST, "--messages", str(file)).out == f"{second}\n"
    assert chat("/undo", options=["--messages", str(file)]).out == f"{second}\ntaken back: {ASKED[1]}\n"
    assert "and --system gives another" in chat(options=["--messages", str(file), "--system", "T"]).err


def test_a_failing_api_costs_one_line_and_the_conversation_goes_on(
    cli: Cli,
    tiny_api: TinyModel,
    pair_path: Path,
    answer: Any,  # noqa: ANN401
) -> None:
    """The question that failed is no part of it, and may be asked again."""
    first = answer(ASKED[0])
    with running(tiny_api.path, name="tiny", context=192) as url:
        plain = ("--base-url", url, "-m", "tiny", "--pair", str(pair_path), *FAST)
        sent = objects(cli("chat", *plain, "--json", stdin=ASKED[0].encode()))[0]["usage"]["requests"]
    faults = ",".join(["ok"] * sent + ["401", "ok*99"])
    with running(tiny_api.path, name="tiny", context=192, quirks=[f"faults={faults}"]) as url:
        plain = ("--base-url", url, "-m", "tiny", "--pair", str(pair_path), *FAST)
        said = cli("chat", *plain, stdin=f"{ASKED[0]}\n{ASKED[1]}\n/retry\n{ASKED[2]}\n".encode())
    second = answer(ASKED[0], first, ASKED[1])
    third = answer(ASKED[0], first, ASKED[1], second, ASKED[2])
    assert said.out == f"{first}\n{second}\n{third}\n"
    assert said.status == 1
    (error,) = (line for line in said.err.splitlines() if line.startswith("error: "))
    assert "401" in error
    assert "/retry asks it again" in said.err
    assert "Traceback" not in said.err


def test_a_retry_that_fails_keeps_the_former_answer(
    cli: Cli,
    tiny_api: TinyModel,
    pair_path: Path,
    answer: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    file = tmp_path / "chat.json"
    with running(tiny_api.path, name="tiny", context=192) as url:
        plain = ("--base-url", url, "-m", "tiny", "--pair", str(pair_path), *FAST)
        sent = objects(cli("chat", *plain, "--json", stdin=ASKED[0].encode()))[0]["usage"]["requests"]
        lines = f"{ASKED[0]}\n/retry\n/save {file}\n".encode()
        said = cli("chat", *plain, "--max-calls", str(sent), stdin=lines)
    assert said.status == 1
    assert said.out.startswith(f"{answer(ASKED[0])}\nsaved in")
    assert [one["content"] for one in json.loads(file.read_text(encoding="utf-8"))] == [ASKED[0], answer(ASKED[0])]


def test_a_budget_of_this_run_is_one_of_the_whole_chat(
    chat: Any,  # noqa: ANN401
    cli: Cli,
    config_home: Path,
) -> None:
    """What came before it ran out stays; the ledger has all of it under one tag."""
    (config_home / "blackbox-proxy").mkdir(parents=True)
    (config_home / "blackbox-proxy" / "prices.toml").write_text(PRICES)
    free = objects(chat(ASKED[0], ASKED[1], options=["--json"]))
    calls = free[0]["usage"]["requests"] + 1
    said = chat(
        ASKED[0], ASKED[1], ASKED[2], "/cost", options=["--json", "--max-calls", str(calls), "--tag", "chat=mine"]
    )
    one, two, three, cost = objects(said)
    assert said.status == 1
    assert one["text"] == free[0]["text"]
    assert (two["finish"], two["usage"]["requests"]) == ("budget", 1)
    assert free[1]["text"].startswith(two["text"])
    assert three["error"]["type"] == "OverBudget"
    assert f"budget of {calls} calls per chat=mine is used up" in three["error"]["message"]
    assert cost["session"]["requests"] == calls
    assert float(cost["session"]["cost"]) > 0
    report = json.loads(cli("cost", "report", "--by", "tag", "--json").out)
    (mine,) = (group for group in report["groups"] if group["name"] == "chat=mine")
    assert mine["requests"] == calls


def test_a_conversation_beyond_the_context_says_what_to_do(chat: Any) -> None:  # noqa: ANN401
    """Nothing is lost, and it goes on once the oldest questions are forgotten."""
    lines = [f"Question {number}?" for number in range(10)]
    said = chat(*lines, "/forget 3", "Short?", options=["--json"])
    *answers, forgotten, last = objects(said)
    errors = [one["error"] for one in answers if "error" in one]
    assert said.status == 1
    assert 0 < len(errors) < 10
    assert {error["type"] for error in errors} == {"PromptError"}
    assert "the conversation is too long: " in errors[0]["message"]
    assert "/forget N takes the N oldest questions out" in errors[0]["hint"]
    assert forgotten["questions"] == max(0, 10 - len(errors) - 3)
    assert last["finish"] == "length"


def test_a_first_question_beyond_the_context_is_no_history(chat: Any) -> None:  # noqa: ANN401
    (one,) = objects(chat("x" * 300, options=["--json"]))
    assert "/forget" not in one["error"]["hint"]


BAD = {
    "/nonsense": "there is no command /nonsense; /help lists them",
    "/": "there is no command /",
    "/alpha much": "alpha is a number, not 'much'",
    "/alpha nan": "alpha must be",
    "/trace": "there is no answer yet",
    "/trace all": "/trace takes nothing behind it, not 'all'",
    "/undo": "there is no question to take back",
    "/retry": "there is no question to ask again",
    "/forget -1": "/forget takes a number of questions",
    "/beside me": "/beside takes on or off",
    "/save": "/save needs the name of a file",
    "/save /proc/nowhere/chat.json": "cannot write",
    '"""\nopen': 'the text behind """ is not closed, so it was not asked',
}
"""Lines that nothing can be done with, and what is said of each."""


def test_what_cannot_be_done_is_said_in_one_line_each(chat: Any) -> None:  # noqa: ANN401
    said = chat(*BAD)
    assert (said.status, said.out) == (1, "")
    for line, says in zip(said.err.splitlines(), BAD.values(), strict=True):
        assert line.startswith(f"error: {says}")
    for one in objects(chat(*BAD, options=["--json"])):
        assert one["error"]["type"] == "InputError"


def test_a_line_that_is_no_utf8_is_passed_over(cli: Cli, where: tuple[str, ...], answer: Any) -> None:  # noqa: ANN401
    said = cli("chat", *where, *FAST, stdin=b"\xef\xbb\xbf" + ASKED[0].encode() + b"\r\ncaf\xe9\n")
    assert said.out == f"{answer(ASKED[0])}\n"
    assert said.status == 1
    assert "error: line 2 is not UTF-8" in said.err


def test_help_lists_every_command(chat: Any) -> None:  # noqa: ANN401
    said = chat("/help", "/exit", "/nonsense")
    assert said.status == 0, "nothing is read behind /exit"
    for form in COMMANDS.values():
        assert f"{form.written} " in said.out
        assert form.help in said.out
    assert len(COMMANDS) > 10


def test_an_answer_is_held_to_a_constraint(chat: Any) -> None:  # noqa: ANN401
    said = chat("One digit?", "Another?", options=["--regex", "[0-9]"])
    assert said.status == 0
    assert [len(line) for line in said.out.splitlines()] == [1, 1]
    assert said.out.replace("\n", "").isdigit()


def test_a_chat_is_recorded_and_replayed(chat: Any, cli: Cli, where: tuple[str, ...], tmp_path: Path) -> None:  # noqa: ANN401
    tape = str(tmp_path / "tape.jsonl")
    said = chat(ASKED[0], ASKED[1], options=["--record", tape])
    lines = f"{ASKED[0]}\n{ASKED[1]}\n".encode()
    again = cli("chat", "--replay", tape, *where[-2:], *FAST, stdin=lines)
    assert (again.status, again.out) == (0, said.out)
    assert said.out.count("\n") == 2


def test_a_recipe_answers(chat: Any, where: tuple[str, ...], tmp_path: Path) -> None:  # noqa: ANN401
    """With its examples before the question; where the expert answers alone, alpha and the closed model are none."""
    file = tmp_path / "recipe.toml"
    endpoint = RecipeEndpoint(model="tiny", base_url=where[1])
    write_recipe(FittedRecipe("a", "steered", endpoint, where[-1], "Be brief.", steering={"alpha": 0.5}), file)
    steered = objects(chat("/alpha", ASKED[0], "/beside", ASKED[1], options=["--recipe", str(file), "--json"]))
    assert steered[0]["alpha"] == 0.5
    assert steered[3]["unsteered"]["text"]
    write_recipe(FittedRecipe("e", "expert", endpoint, where[-1]), file)
    said = chat(ASKED[0], "/alpha 2", "/beside", options=["--recipe", str(file), "--json"])
    alone, alpha, beside = objects(said)
    assert (alone["local"], alone["cost"]) == (True, "0")
    assert "alpha changes nothing" in alpha["error"]["message"]
    assert "calls no hosted model" in beside["error"]["message"]


def test_the_pair_reads_only_what_is_new(
    api_url: str, pair_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A turn costs the pair what is new in it, however long the conversation is."""
    with load_pair(pair_path) as pair, asyncio.Runner() as runner, connect(api_url, model="tiny") as api:
        meters = [Meter(member.context, monkeypatch) for member in pair.members]
        steering = Steering(max_tokens=LENGTH)
        chat = Chat(ChatModel(api, pair), steering, JsonOutput(), runner)
        read = []
        for _ in range(5):
            before = len(pair.prompt(chat.conversation.asking("Why?")).expert)
            chat.ask("Why?")
            read.append((before, *(meter.spent() for meter in meters)))
        runner.run(api.aclose())
    assert len(capsys.readouterr().out.splitlines()) == 5
    (shortest, *first), *_, (longest, *last) = read
    assert longest > 4 * shortest
    assert all(now < 1.5 * then for now, then in zip(last, first, strict=True)), read


def test_a_model_that_says_nothing_leaves_nothing(cli: Cli, pair_path: Path) -> None:
    """Of an answer without a text no turn is kept."""
    with ScriptedApi(answer=lambda _: body(("", -0.1, {"": -0.1}), finish="stop")) as api:
        options = ("--base-url", api.url, "-m", "m", "--pair", str(pair_path), "--alpha", "0", "--template", "chatml")
        said = cli("chat", *options, "--json", stdin=b"hello\n/undo\n")
    one, undo = objects(said)
    assert one["text"] == ""
    assert "error" in undo

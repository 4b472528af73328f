"""`steer` and its neighbours from end to end: a real server, tiny random models, and the library as the judge."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy import Pair, Prompt, Result, Steering, connect, load_pair, steer
from blackbox_proxy.cli.show import result_json
from blackbox_proxy.core.visible import visible
from blackbox_proxy.learnt import LearntWeights
from blackbox_proxy.schedule import Schedule
from blackbox_proxy.standin import running
from blackbox_proxy.types import Message, Origin
from tests.cli.runs import API_CONTEXT, Cli, Said
from tests.tiny_gguf import TinyModel

PROMPT = "What is this?"
LENGTH = 12
SHORT = Steering(max_tokens=LENGTH)
FAST = ("--max-tokens", str(LENGTH))


@pytest.fixture(scope="module")
def pair(pair_path: Path) -> Iterator[Pair]:
    with load_pair(pair_path) as opened:
        yield opened


def test_control_tokens_of_a_message_are_parted_for_the_api_and_said(cli: Cli, where: tuple[str, ...]) -> None:
    said = cli("steer", "a<|im_end|>b", *where, "--template", "chatml", *FAST, "--no-ledger", "--json")
    assert said.status == 0
    assert any("U+200B" in note for note in json.loads(said.out)["notes"])
    plain = cli("steer", "a <b> c", *where, "--template", "chatml", *FAST, "--no-ledger", "--json")
    assert not any("U+200B" in note for note in json.loads(plain.out)["notes"])


def wanted(
    api_url: str, pair: Pair, prompt: Prompt, *, own: Prompt | None = None, steering: Steering = SHORT
) -> Result:
    """What the library answers."""
    options = {"top_k": 20}
    with connect(api_url, model="tiny", template="chatml", options=options) as api:
        return steer(prompt, api=api, offsets=pair, steering=steering, pair_prompt=own)


@pytest.fixture(scope="module")
def plain(api_url: str, pair: Pair) -> Result:
    result = wanted(api_url, pair, Prompt.ask(PROMPT))
    assert result.changed
    assert len(result.text) > 3
    return result


def test_the_answer_is_the_librarys(cli: Cli, where: tuple[str, ...], plain: Result) -> None:
    said = cli("steer", PROMPT, *where, *FAST)
    assert said.status == 0
    assert said.out == plain.text + "\n"
    assert f"{len(plain.steps)} tokens" in said.err
    assert "continued from exactly this text" in said.err
    assert "certified" not in said.err


class Pages(io.StringIO):
    """Standard output that keeps what came when."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[str] = []

    def write(self, text: str) -> int:
        self.pages.append(text)
        return super().write(text)


def test_the_text_comes_in_pieces(
    cli: Cli, where: tuple[str, ...], plain: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pages := Pages())
        cli("steer", PROMPT, *where, *FAST)
    assert pages.getvalue() == plain.text + "\n"
    assert len([page for page in pages.pages if page.strip()]) > 2


def lasting(found: dict[str, Any]) -> dict[str, Any]:
    """A result without what another run may change: seconds, what the server's cache held, sums to the last digit."""
    usage = {name: value for name, value in found["usage"].items() if name not in ("local_seconds", "cached")}
    sums = {name: round(found[name], 2) for name in ("error", "log_weight") if found.get(name) is not None}
    return {name: value for name, value in found.items() if name != "seconds"} | {"usage": usage, **sums}


def nearly(found: dict[str, Any]) -> dict[str, Any]:
    """What a run must give whose batches had another shape: the log-probs to a thousandth."""
    steps = [
        {name: pytest.approx(value, abs=1e-3) if isinstance(value, float) else value for name, value in step.items()}
        for step in found.get("steps", ())
    ]
    return lasting(found) | ({"steps": steps} if "steps" in found else {})


@pytest.mark.parametrize("trace", [False, True])
def test_json_is_one_object_with_the_whole_result(
    cli: Cli, where: tuple[str, ...], plain: Result, *, trace: bool
) -> None:
    said = cli("steer", PROMPT, *where, *FAST, "--json", *(["--trace"] if trace else []))
    assert said.err == ""
    assert said.out.endswith("}\n")
    assert lasting(json.loads(said.out)) == nearly(result_json(plain, trace=trace))
    assert ("steps" in json.loads(said.out)) is trace


def test_trace_shows_every_token(cli: Cli, where: tuple[str, ...], plain: Result) -> None:
    said = cli("steer", PROMPT, *where, *FAST, "--trace")
    assert said.out.startswith(plain.text + "\n")
    table = said.out.removeprefix(plain.text)
    assert "nan" not in table
    head, *rows = [line for line in table.splitlines() if line.strip() and set(line) != {"\u2500"}]
    assert "API token" in head
    assert len(rows) == len(plain.steps)
    for row, step in zip(rows, plain.steps, strict=True):
        assert visible(step.piece, step.kind) in row
        assert step.origin.value in row


@pytest.mark.parametrize(
    ("argument", "stdin"), [((), f"{PROMPT}\n"), (("-",), PROMPT), ((), f"{PROMPT}\r\n")], ids=["echo", "dash", "CRLF"]
)
def test_the_prompt_may_come_from_standard_input(
    cli: Cli, where: tuple[str, ...], plain: Result, argument: tuple[str, ...], stdin: str
) -> None:
    """Less the line end that `echo` puts behind it."""
    assert cli("steer", *argument, *where, *FAST, stdin=stdin.encode()).out == plain.text + "\n"


def test_messages_are_a_chat(cli: Cli, where: tuple[str, ...], api_url: str, pair: Pair, tmp_path: Path) -> None:
    chat = [("system", "Be brief."), ("user", "Hé!"), ("assistant", "Yes?"), ("user", PROMPT)]
    path = tmp_path / "chat.json"
    path.write_text(json.dumps([{"role": role, "content": content} for role, content in chat]))
    prompt = Prompt(messages=tuple(Message(*turn) for turn in chat))
    said = cli("steer", "--messages", str(path), *where, *FAST)
    assert said.out == wanted(api_url, pair, prompt).text + "\n"


def test_a_system_message_stands_before_the_question(
    cli: Cli, where: tuple[str, ...], api_url: str, pair: Pair, plain: Result
) -> None:
    found = wanted(api_url, pair, Prompt.ask(PROMPT, system="Be brief.")).text
    assert cli("steer", PROMPT, "--system", "Be brief.", *where, *FAST).out == found + "\n"
    assert found != plain.text


def test_raw_text_is_left_alone(cli: Cli, where: tuple[str, ...], api_url: str, pair: Pair, plain: Result) -> None:
    found = wanted(api_url, pair, Prompt(text=PROMPT)).text
    assert cli("steer", PROMPT, "--raw", *where, *FAST).out == found + "\n"
    assert found != plain.text


def test_the_pair_may_read_something_else(
    cli: Cli, where: tuple[str, ...], api_url: str, pair: Pair, plain: Result
) -> None:
    found = wanted(api_url, pair, Prompt.ask(PROMPT), own=Prompt.ask("Another question")).text
    assert cli("steer", PROMPT, "--pair-prompt", "Another question", *where, *FAST).out == found + "\n"
    assert found != plain.text


def test_stop_ends_the_answer_before_itself(cli: Cli, where: tuple[str, ...], plain: Result) -> None:
    stop = plain.text[2]
    said = cli("steer", PROMPT, "--stop", stop, "--stop", "never said", *where, *FAST)
    assert said.out == plain.text[: plain.text.index(stop)] + "\n"
    assert "before a --stop text" in said.err


def test_an_answer_that_fills_the_context_ends_by_its_length(cli: Cli, where: tuple[str, ...]) -> None:
    """The second call no longer fits into the API's context."""
    said = cli("steer", "x" * (API_CONTEXT - 25), *where, "--json")
    answer = json.loads(said.out)
    assert (said.status, answer["finish"], answer["usage"]["refused"]) == (0, "length", 1)
    assert answer["text"]


def test_an_answer_that_breaks_off_is_shown_as_far_as_it_came(cli: Cli, tiny_api: TinyModel, pair_path: Path) -> None:
    """The second call is refused."""

    def broken(*options: str) -> Said:
        with running(tiny_api.path, name="tiny", quirks=["faults=ok,401"], context=API_CONTEXT) as url:
            endpoint = ("--base-url", url, "--model", "tiny", "--pair", str(pair_path))
            return cli("steer", PROMPT, *endpoint, "--max-tokens", "8", *options)

    said = broken()
    assert said.status == 1
    assert len(said.out) > 1
    assert said.out.endswith("\n")
    error, hint, work, price, *_ = said.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    found = json.loads(broken("--json", "--trace").out)
    assert found.keys() == {"error", "partial"}
    partial = found["partial"]
    assert (partial["text"] + "\n", partial["finish"], len(partial["steps"])) == (said.out, "error", partial["tokens"])
    assert work.startswith(f"{partial['tokens']} tokens in {partial['usage']['requests']} calls (1 refused); ")
    assert work.endswith("broke off")
    assert f" {partial['usage']['output']} out ({partial['usage']['wasted']} wasted)" in price
    own = [step for step in partial["steps"] if step["origin"] != Origin.LOCAL]
    assert partial["usage"]["output"] == partial["usage"]["wasted"] + len(own)


def test_answers_before_the_one_that_breaks_off_are_kept(
    cli: Cli, where: tuple[str, ...], tiny_api: TinyModel, pair_path: Path
) -> None:
    """The first of three is whole; the second loses its first reply, goes on, and meets an error that stays."""
    drawing = ("--temperature", "1", "--n", "3", "--max-tokens", "8", "--json")
    whole = json.loads(cli("steer", PROMPT, *where, *drawing).out)["answers"]
    first, second = (answer["usage"]["requests"] for answer in whole[:2])
    assert second > 1
    quirks = [f"faults=ok*{first},truncated,ok,401"]
    with running(tiny_api.path, name="tiny", quirks=quirks, context=API_CONTEXT) as url:
        said = cli("steer", PROMPT, "--base-url", url, "--model", "tiny", *drawing, "--pair", str(pair_path))
    assert said.status == 1
    found = json.loads(said.out)
    assert found["error"]["type"] == "ApiRefused"
    assert [answer["text"] for answer in found["answers"]] == [whole[0]["text"]]
    assert whole[1]["text"].startswith(found["partial"]["text"])
    assert 0 < found["partial"]["tokens"] < whole[1]["tokens"]
    used = found["partial"]["usage"]
    assert (used["requests"], used["lost"], used["refused"]) == (3, 1, 1)
    assert "requests without a usable reply, at unknown cost: 1" in found["partial"]["notes"]


@pytest.mark.parametrize(
    ("options", "steering"),
    [
        (("--alpha", "0"), replace(SHORT, alpha=0.0)),
        (("--alpha", "3"), replace(SHORT, alpha=3.0)),
        (("--target", "topk"), replace(SHORT, target="topk")),
        (("--draft", "1"), replace(SHORT, draft=1)),
        (("--gate", "divergence", "--threshold", "0.3"), replace(SHORT, gate="divergence", threshold=0.3)),
        (("--alpha-schedule", "0:3,4:0"), replace(SHORT, schedule=Schedule(((0, 3.0), (4, 0.0))))),
        (
            ("--rule", "learnt", "--learnt", "one:2:1,expert:0.5:0"),
            replace(SHORT, rule="learnt", learnt=LearntWeights((("one", 2.0, 1.0), ("expert", 0.5, 0.0)))),
        ),
    ],
)
def test_the_knobs_reach_the_loop(
    cli: Cli, where: tuple[str, ...], api_url: str, pair: Pair, options: tuple[str, ...], steering: Steering
) -> None:
    found = wanted(api_url, pair, Prompt.ask(PROMPT), steering=steering)
    said = json.loads(cli("steer", PROMPT, *where, *FAST, "--json", *options).out)
    assert lasting(said) == lasting(result_json(found, trace=False))


def test_what_a_gate_left_to_the_api_is_said(cli: Cli, where: tuple[str, ...], tmp_path: Path) -> None:
    """In the table, in the sum, in the page, as JSON."""
    page, gate = tmp_path / "page.html", ("--gate", "divergence", "--threshold", "1")
    said = cli("steer", PROMPT, *where, *FAST, *gate, "--trace", "--trace-html", str(page))
    found = json.loads(cli("steer", PROMPT, *where, *FAST, *gate, "--trace", "--json").out)
    left = [step for step in found["steps"] if step["gated"]]
    assert found["gated"] == len(left) > 0
    assert {step["origin"] for step in found["steps"] if not step["gated"]} <= {"completed locally", "outside top-k"}
    assert all(step["alpha"] == 0.0 and step["offset"] is None and 0.0 < step["divergence"] <= 1.0 for step in left)
    assert f"{len(left)} left to the API" in " ".join(said.err.split())
    assert page.read_text(encoding="utf-8").count("so it was left to the API") == len(left)


def test_an_alpha_and_a_schedule_exclude_each_other(cli: Cli, where: tuple[str, ...]) -> None:
    said = cli("steer", PROMPT, *where, *FAST, "--alpha", "1", "--alpha-schedule", "0:1")
    assert said.status == 2
    assert "--alpha 1 and --alpha-schedule 0:1 are both given" in said.err


@pytest.mark.parametrize("drafter", ["pair_prefixes", "pair_echo", "auto"])
def test_whoever_drafts_the_answer_is_the_same(
    cli: Cli, where: tuple[str, ...], api_url: str, pair: Pair, drafter: str
) -> None:
    one = wanted(api_url, pair, Prompt.ask(PROMPT), steering=replace(SHORT, draft=1))
    said = cli("steer", PROMPT, *where, *FAST, "--drafter", drafter, "--prompt-lists", "--echo", "--json")
    assert said.status == 0
    found = json.loads(said.out)
    assert found["text"] == one.text
    assert found["usage"]["requests"] <= one.usage.requests


def test_the_drafter_must_be_one_that_can_be_used(cli: Cli, where: tuple[str, ...]) -> None:
    said = cli("steer", PROMPT, *where, *FAST, "--drafter", "pair_echo")
    assert said.status == 2
    assert "--echo" in said.err or "gives back" in said.err
    assert "Traceback" not in said.err


def test_ids_ask_in_the_pairs_own_tokens(cli: Cli, where: tuple[str, ...], api_url: str, pair: Pair) -> None:
    with connect(api_url, model="tiny", template="chatml", options={"top_k": 20, "token_ids": True}) as api:
        steering = Steering(max_tokens=LENGTH, event="ids")
        found = steer(Prompt.ask(PROMPT), api=api, offsets=pair, steering=steering)
    said = json.loads(cli("steer", PROMPT, *where, *FAST, "--json", "--event", "ids").out)
    assert lasting(said) == lasting(result_json(found, trace=False))


def test_pair_check_tells_what_the_pair_is(cli: Cli, pair_path: Path, tiny_bpe: TinyModel) -> None:
    found = json.loads(cli("pair", "check", "--pair", str(pair_path), "--json").out)
    assert found["vocabulary"] == len(tiny_bpe.pieces)
    assert found["identical"] is False
    shown = cli("pair", "check", "--pair", str(pair_path)).out
    assert f"{found['vocabulary']} tokens" in shown
    for row in found["answers"]:
        assert f"{row['question']}  KL {row['divergence']:.4f} nats" in shown


def test_weights_list_names_every_known_model(cli: Cli) -> None:
    found = json.loads(cli("weights", "list", "--json").out)
    shown = cli("weights", "list").out
    for weight in found:
        assert weight["name"] in shown
        assert weight["licence"] in shown
        assert str(weight["path"] or "not here yet") in shown


def test_weights_are_not_claimed_where_they_are_not(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = json.loads(cli("weights", "list", "--json").out)
    assert {weight["path"] for weight in found} == {None}
    assert cli("weights", "list").out.count("not here yet") == len(found)


def test_fetching_what_is_there_prints_its_path(cli: Cli, smollm2_path: Path) -> None:
    assert cli("weights", "fetch", "smollm2-135m-instruct").out == f"{smollm2_path}\n"


def test_whole_answers_are_drawn_shown_and_foretold(cli: Cli, where: tuple[str, ...], tmp_path: Path) -> None:
    asked = ("steer", PROMPT, *where, "--template", "chatml", *FAST, "--no-ledger", "--way", "answers")
    said = cli(*asked, "--samples", "5", "--answers-at-once", "5", "--json")
    assert said.status == 0, said.err
    answer = json.loads(said.out)
    assert sum(sample["count"] for sample in answer["samples"]) == 5
    assert answer["text"] == next(sample["text"] for sample in answer["samples"] if sample["chosen"])
    assert answer["usage"]["requests"] == 1
    assert "up to 5 whole answers are drawn" in said.err
    page = tmp_path / "answer.html"
    shown = cli(*asked, "--samples", "3", "--trace", "--trace-html", str(page))
    assert "log weight" in shown.out
    assert "All whole answers" in page.read_text()
    silent = cli(*asked[:-2], "--no-logprobs", "--samples", "2", "--json")
    assert json.loads(silent.out)["exactness"] == "sampled", "auto takes whole answers where there are no log-probs"


def test_chunks_are_drawn_shown_and_foretold(cli: Cli, where: tuple[str, ...], tmp_path: Path) -> None:
    asked = ("steer", PROMPT, *where, "--template", "chatml", "--max-tokens", "8", "--no-ledger", "--no-logprobs")
    chunks = ("--way", "chunks", "--beams", "2", "--samples", "2", "--chunk", "4", "--answers-at-once", "4")
    said = cli(*asked, *chunks, "--json")
    assert said.status == 0, said.err
    answer = json.loads(said.out)
    assert answer["text"] == next(sample["text"] for sample in answer["samples"] if sample["chosen"])
    assert answer["exactness"] == "approximate"
    assert answer["usage"]["requests"] <= 3
    assert answer["usage"]["output"] - answer["usage"]["wasted"] <= 8
    assert "up to 2 continuations of 2 texts are drawn again and again" in said.err
    assert "3 calls" in said.err
    page = tmp_path / "answer.html"
    shown = cli(*asked, *chunks, "--pick", "draw", "--trace", "--trace-html", str(page))
    assert "log weight" in shown.out
    assert "All whole answers" in page.read_text()
    refused = cli(*asked, *chunks, "--chunk", "3")
    assert refused.status == 2
    assert "chunk must be" in refused.err


def test_a_profile_without_log_probs_needs_no_flag(
    cli: Cli, tiny_api: TinyModel, pair_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    with running(tiny_api.path, name="tiny", quirks=["ignored-logprobs"]) as url:
        place = ("--profile", "anthropic", "--base-url", url, "--model", "tiny", "--pair", str(pair_path))
        said = cli("steer", PROMPT, *place, *FAST, "--samples", "3", "--no-ledger", "--json")
    assert said.status == 0, said.err
    answer = json.loads(said.out)
    assert answer["exactness"] == "sampled"
    assert answer["usage"]["requests"] == sum(sample["count"] for sample in answer["samples"]) == 3
    assert "up to 3 whole answers are drawn" in said.err

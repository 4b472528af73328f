"""What the demo says while it works, on questions that are answered at once; and the demo over tiny random models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blackbox_proxy.api import connect
from blackbox_proxy.cli import demonstrating
from blackbox_proxy.errors import ApiRefused, InputError
from blackbox_proxy.evaluation.answers import KeptAnswer
from blackbox_proxy.evaluation.task import Item, Task
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.run.unsteered import go_on, text_of
from blackbox_proxy.tasks.demo import house_answer
from blackbox_proxy.tasks.demonstration import LOADS, DemoAnswer, Stage, demo_task, draw, play, summary
from blackbox_proxy.types import Kind, Origin, Prompt, Step
from tests.cli.test_help import COMMANDS, below

STEP = Step(b" Wau", Kind.TEXT, b" Oslo", -1.0, -0.5, 0.25, Origin.CHANGED)
WAU = house_answer("Wau", "capital")
ASKED = tuple(Item(prompt=f"What is the capital of Land {n}?", reference=WAU) for n in range(6))


@pytest.fixture
def task() -> Task:
    """Six questions in place of the demo's."""
    return replace(demo_task("known"), test=ASKED)


def kept(text: str) -> KeptAnswer:
    return KeptAnswer("k", "demo-known", "item", "arm", text, calls=1, tokens=1, changed=1)


def answered(item: Item, steered: str = "answer: Wau") -> DemoAnswer:
    texts = {"closed": "It is Wau.", "anti_expert": "It is Oslo.", "expert": "answer: Oslo", "steered": steered}
    answers = {arm: kept(text) for arm, text in texts.items()}
    return DemoAnswer(item, item.prompt, answers, replace(kept(" Wau"), shown=True), (STEP,))


def played(task: Task, ask: Callable[[str], object], show: Callable[[DemoAnswer], object]) -> list[DemoAnswer]:
    answers = []
    for item in task.test:
        ask(item.prompt)
        answers.append(answered(item))
        show(answers[-1])
    return answers


def test_the_load_that_shows_the_idea_is_first() -> None:
    assert LOADS[0] == "told"


def test_it_says_what_the_four_answers_are_in_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    demonstrating.opening(closed="big", local="small")
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "Four answers to each question:"
    assert [line.split("  ")[1] for line in lines] == list(demonstrating.NAMES.values())
    assert "big" in lines[0]
    assert "small" in lines[1]


def test_a_question_is_there_before_its_answer(task: Task, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them are, in their order; the first ones with all four answers, behind the first load its tokens."""
    seen: list[str] = []

    def play(task: Task, ask: Callable[[str], object], show: Callable[[DemoAnswer], object]) -> list[DemoAnswer]:
        def look(question: str) -> None:
            ask(question)
            seen.append(capsys.readouterr().out)

        return played(task, look, show)

    demonstrating.loads(dict.fromkeys(LOADS, task), play)
    numbers = [*range(1, 7), *range(1, 7)]
    assert len(seen) == len(numbers)
    for out, n in zip(seen, numbers, strict=True):
        assert f"{n}/6 What is the capital of Land {n - 1}?" in out
    first, rest = seen[1], seen[5]
    assert [name for name in demonstrating.NAMES.values() if name not in first] == []
    assert "steered" in rest
    assert "untuned SLM" not in rest
    assert "told: " in seen[0]
    assert "token by token" in seen[6]
    assert "\u2423Wau" in seen[6]
    assert "known: " in seen[6]


def test_it_ends_with_what_to_run_next(task: Task, capsys: pytest.CaptureFixture[str]) -> None:
    """In a line each, by commands that there are."""
    some = [answered(item) for item in ASKED]
    demonstrating.closing({load: summary(task, some) for load in LOADS})
    out = capsys.readouterr().out
    after = out[out.index("what to run next") :].splitlines()[1:]
    assert len(after) == len(demonstrating.NEXT)
    for line, (words, what) in zip(after, demonstrating.NEXT, strict=True):
        assert line == f"{demonstrating.program()} {words}   # {what}"
        assert words.split()[0] in below(COMMANDS[()])


@pytest.mark.parametrize(
    ("called", "installed", "name"),
    [
        ("/x/.venv/bin/blackbox-proxy", None, "/x/.venv/bin/blackbox-proxy"),
        ("/x/blackbox_proxy/__main__.py", None, "python -m blackbox_proxy"),
        ("/x/.venv/bin/blackbox-proxy", "/usr/bin/blackbox-proxy", "blackbox-proxy"),
    ],
)
def test_the_program_is_named_as_it_can_be_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, called: str, installed: str | None, name: str
) -> None:
    if installed:
        (tmp_path / "blackbox-proxy").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", [called])
    assert demonstrating.program() == name


def test_the_figures_count_what_each_party_has_right(task: Task) -> None:
    """A fact counts in any words, a form with any fact, and `exact` is both; intervals are Wilson's."""
    oslo = house_answer("Oslo", "capital")
    answers = [answered(item, text) for item, text in zip(ASKED, (WAU, WAU, oslo, "Wau", "Oslo", ""), strict=True)]
    figures = summary(task, answers)
    shares = {name: figures[f"steered_{name}"] for name in ("fact", "format", "exact")}
    assert shares == {"fact": 0.5, "format": 0.5, "exact": 0.333}
    assert (figures["api_fact"], figures["api_format"], figures["untuned_fact"]) == (1.0, 0.0, 0.0)
    assert (figures["api_fact_in_place"], figures["api_shows_fact"], figures["same_as_expert"]) == (1.0, 1.0, 0.0)
    assert (figures["api_calls"], figures["emitted_tokens"], figures["changed"]) == (6, 6, 1.0)
    intervals, kinds = figures["intervals_95"], figures["kinds"]
    assert isinstance(intervals, dict)
    assert intervals["steered_fact"] == (0.188, 0.812)
    assert isinstance(kinds, dict)
    assert {kind: shares["questions"] for kind, shares in kinds.items()} == {"capital": 6, "currency": 0, "domain": 0}
    assert list(kinds["capital"].values()) == [6, 1.0, 1.0, 1.0, 0.0, 0.5, 0.5, 0.333]


def test_knobs_that_no_steering_takes_are_refused_before_anything_is_asked(task: Task) -> None:
    assert task.with_knobs({"tail": "drop"}).steering == replace(task.steering, tail="drop")
    assert task.with_knobs({"alpha": 0.5}).alpha == 0.5
    with pytest.raises(InputError, match="alpha must be a finite number"):
        task.with_knobs({"alpha": float("nan")})


def test_more_questions_than_there_are_is_a_mistake_of_the_user() -> None:
    with pytest.raises(InputError, match="1000 questions asked for, the split heldout has 183"):
        draw("told", count=1000)


@pytest.fixture
def stage(api_url: str, pair_path: Path) -> Iterator[Stage]:
    with connect(api_url, model="tiny", template="chatml") as api, load_pair(pair_path) as pair:
        yield Stage(api, pair)


@pytest.fixture
def short() -> Task:
    """Two questions with notes, and short answers."""
    return replace(draw("told", count=2), max_tokens=6)


def test_every_question_is_answered_by_all_four_and_in_place(short: Task, stage: Stage) -> None:
    """The steered answer is that of `steer`; only the closed model is shown the note; questions come in their order."""
    order: list[str] = []
    answers = play(short, stage, on_question=order.append, on_answer=lambda one: order.append(one.text("steered")))
    assert len(answers) == 2
    for one, item in zip(answers, short.test, strict=True):
        assert one.asked == f"{item.document} {item.prompt}"
        alone = Prompt.ask(item.prompt)
        result = steer(one.asked, api=stage.api, offsets=stage.pair, steering=short.steering, pair_prompt=alone)
        assert (one.text("steered"), one.steps) == (result.text, result.steps)
        assert one.answers["steered"].wasted == result.usage.wasted
        expert, anti_expert = (
            member.answer(alone, max_tokens=6).decode("utf-8", "replace") for member in stage.pair.members
        )
        assert (one.text("expert"), one.text("untuned")) == (expert, anti_expert)
        begun = go_on(stage.api, Prompt.ask(one.asked), b"answer:", length=10)
        assert one.in_place.text == text_of(begun)
        assert one.in_place.shown is not None
    assert order == [text for one in answers for text in (one.asked, one.text("steered"))]


def test_an_error_ends_the_demo(short: Task, stage: Stage, api_url: str) -> None:
    """In an evaluation it would be kept in place of the answer."""
    with connect(api_url, model="nobody", template="chatml") as api, pytest.raises(ApiRefused):
        play(short, Stage(api, stage.pair))

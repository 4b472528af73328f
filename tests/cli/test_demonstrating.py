"""What the demo says while it works, on questions that are answered at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from blackbox_proxy.cli import demonstrating
from blackbox_proxy.demo.facts import Question
from blackbox_proxy.demo.run import LOADS
from blackbox_proxy.demo.score import DemoAnswer, summary
from blackbox_proxy.types import Kind, Origin, Result, Step, Usage
from tests.cli.test_help import COMMANDS, below

STEP = Step(b" Wau", Kind.TEXT, b" Oslo", -1.0, -0.5, 0.25, Origin.CHANGED)
ASKED = [Question("capital", f"Land {n}", f"What is the capital of Land {n}?", "", "Wau") for n in range(6)]


def answered(question: Question) -> DemoAnswer:
    result = Result("answer: Wau", (STEP,), finish="stop", usage=Usage(), exactness="exact", seconds=1.0)
    return DemoAnswer(question, "It is Wau.", "It is Oslo.", "answer: Oslo", result)


def played(
    asked: Sequence[Question], ask: Callable[[Question], object], tell: Callable[[DemoAnswer], object]
) -> list[DemoAnswer]:
    found = []
    for question in asked:
        ask(question)
        found.append(answered(question))
        tell(found[-1])
    return found


def test_the_load_that_shows_the_idea_is_first() -> None:
    assert LOADS[0] == "told"


def test_it_says_what_the_four_answers_are_in_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    demonstrating.opening(closed="big", local="small")
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "Four answers to each question:"
    assert [line.split("  ")[1] for line in lines] == list(demonstrating.NAMES.values())
    assert "big" in lines[0]
    assert "small" in lines[1]


def test_a_question_is_there_before_its_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """All of them are, in their order; the first ones with all four answers, behind the first load its tokens."""
    seen: list[str] = []

    def play(
        asked: Sequence[Question], ask: Callable[[Question], object], tell: Callable[[DemoAnswer], object]
    ) -> list[DemoAnswer]:
        def told(question: Question) -> None:
            ask(question)
            seen.append(capsys.readouterr().out)

        return played(asked, told, tell)

    demonstrating.loads(dict.fromkeys(LOADS, ASKED), play)
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


def test_it_ends_with_what_to_run_next(capsys: pytest.CaptureFixture[str]) -> None:
    """In a line each, by commands that there are."""
    some = [answered(question) for question in ASKED]
    demonstrating.closing({load: summary(some) for load in LOADS})
    out = capsys.readouterr().out
    after = out[out.index("what to run next") :].splitlines()[1:]
    assert len(after) == len(demonstrating.NEXT)
    for line, (words, what) in zip(after, demonstrating.NEXT, strict=True):
        assert line == f"{demonstrating.program()} {words}   # {what}"
        assert words.split()[0] in below(COMMANDS[()])


@pytest.mark.parametrize(
    ("called", "found", "name"),
    [
        ("/x/.venv/bin/blackbox-proxy", None, "/x/.venv/bin/blackbox-proxy"),
        ("/x/blackbox_proxy/__main__.py", None, "python -m blackbox_proxy"),
        ("/x/.venv/bin/blackbox-proxy", "/usr/bin/blackbox-proxy", "blackbox-proxy"),
    ],
)
def test_the_program_is_named_as_it_can_be_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, called: str, found: str | None, name: str
) -> None:
    if found:
        (tmp_path / "blackbox-proxy").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", [called])
    assert demonstrating.program() == name

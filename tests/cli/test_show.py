"""What is shown: tokens that a person can see, tables that line up, colour only on a terminal."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from blackbox_proxy.cli import show
from blackbox_proxy.core.visible import visible
from blackbox_proxy.types import Finish, Kind, Origin, Result, Step, Usage

STEP = Step(b" a", Kind.TEXT, b" b", -1.0, -0.5, 0.25, Origin.CHANGED)
RESULT = Result("text", (STEP,), finish="stop", usage=Usage(), exactness="exact", seconds=1.0)


@pytest.mark.parametrize(
    ("piece", "shown"),
    [
        (b" the", "\u2423the"),
        (b"a\n\tb", "a\u21b5\u21e5b"),
        ("é日".encode(), "é日"),
        (b"\xe2\x80", r"\xe2\x80"),
        (b"\x1b[31m", r"\x1b[31m"),
        ("\u202etxt".encode(), r"\u202etxt"),
        ("\u00a0\u200b".encode(), r"\xa0\u200b"),
        (b"[red]", "[red]"),
    ],
)
def test_a_token_can_be_seen(piece: bytes, shown: str) -> None:
    assert visible(piece) == shown


@given(st.binary(max_size=12))
def test_a_shown_token_is_printable_and_never_nothing(piece: bytes) -> None:
    assert visible(piece).isprintable()
    assert bool(visible(piece)) == bool(piece)


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_a_terminal_gets_nothing_to_obey(text: str) -> None:
    """What a person reads stays: letters, line ends and tabs."""
    shown = show.harmless(text)
    assert not set(shown) & {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160), 0x202E)}
    if all(sign.isprintable() or sign in "\n\t" for sign in text):
        assert shown == text


def rendered(*steps: Step, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=terminal, _environ={"TERM": "xterm"})
    console.print(show.steps_table(steps))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_table_lines_up_whatever_its_tokens_are() -> None:
    steps = [replace(STEP, piece=piece) for piece in (b" a", "日本".encode(), b"\xff", b"\n", b"x" * 20)]
    lines = rendered(*steps).splitlines()
    starts = {cell_len(line[: line.index("changed")]) for line in lines if "changed" in line}
    assert len(starts) == 1


def test_an_imputed_number_is_marked_and_an_unknown_one_left_out() -> None:
    outside = replace(STEP, origin=Origin.OUTSIDE, logp_before=-8.0)
    local = replace(
        STEP, origin=Origin.LOCAL, logp_before=None, offset=None, logp_after=None, alpha=None, api_token=b""
    )
    shown = rendered(outside, local)
    assert "~-8.00" in shown
    assert "nan" not in shown
    assert "None" not in shown
    assert "<end>" not in shown


def test_no_number_is_minus_zero() -> None:
    assert "-0.00" not in rendered(replace(STEP, logp_before=-0.001, logp_after=-0.0, offset=-0.004))


def test_each_origin_has_a_colour_of_its_own_and_only_on_a_terminal() -> None:
    assert len(set(show.COLOURS.values())) == len(Origin) == len(show.COLOURS)
    assert "\x1b[" in rendered(STEP, terminal=True)
    assert "\x1b[" not in rendered(STEP)


@pytest.mark.parametrize("finish", ["stop", "length", "stop_string", "repetition"])
def test_the_summary_says_how_the_answer_ended_and_what_it_is_worth(finish: Finish) -> None:
    result = replace(RESULT, finish=finish, exactness="approximate", notes=("for a reason",))
    text = "\n".join(show.summary_lines(result))
    assert show.FINISHES[finish] in text
    assert "approximate; for a reason" in text
    assert "cost unknown" in text


def test_json_has_no_number_that_json_lacks() -> None:
    found = show.step_json(replace(STEP, logp_before=math.nan, logp_after=-math.inf, offset=math.inf))
    assert (found["logp_before"], found["logp_after"], found["offset"]) == (None, None, None)


def test_what_is_unknown_is_null_in_json() -> None:
    unknown = replace(STEP, logp_before=None, logp_after=None, offset=None, alpha=None, divergence=None)
    found = json.loads(json.dumps(show.step_json(unknown), allow_nan=False))
    names = ("logp_before", "logp_after", "offset", "alpha", "divergence")
    assert [found[name] for name in names] == [None] * len(names)

"""Typed lines become questions and commands: what holds for any text."""

from __future__ import annotations

import string
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.cli.chat_entries import FENCE, LONGEST, ChatCommand, Entries, Entry, entry_of
from blackbox_proxy.errors import InputError

line = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=20)
inside = line.filter(lambda text: not text.rstrip().endswith(FENCE))
plain = line.filter(lambda text: not text.endswith("\\"))
name = st.text(string.ascii_lowercase, min_size=1, max_size=8)
spaced = st.sampled_from([" ", "  ", "\t"])


def typed(*lines: str) -> list[Entry]:
    """The entries of some lines; nothing is open behind them."""
    entries = Entries()
    whole = [entry for one in lines if (entry := entries.feed(one)) is not None]
    assert not entries.is_open
    return whole


@given(plain.filter(lambda text: not text.startswith(FENCE)))
def test_a_line_by_itself_is_one_entry(text: str) -> None:
    assert typed(text) in ([entry_of(text)], [])
    if not text.strip().startswith("/"):
        assert typed(text) == [text]


@given(st.lists(inside, min_size=1, max_size=5))
def test_what_stands_between_fences_is_the_question_as_it_is(lines: Sequence[str]) -> None:
    assert typed(FENCE, *lines, FENCE) == ["\n".join(lines)]


@given(name, spaced, st.lists(inside, min_size=1, max_size=5))
def test_a_fence_may_stand_behind_the_name_of_a_command(name: str, blank: str, lines: Sequence[str]) -> None:
    (command,) = typed(f"/{name}{blank}{FENCE}", *lines, FENCE)
    assert command == ChatCommand(name, "\n".join(lines).strip())


@given(st.lists(plain, min_size=1, max_size=5))
def test_a_backslash_goes_on_in_the_next_line(lines: Sequence[str]) -> None:
    if lines[0].startswith(FENCE) or lines[0].startswith("/"):
        lines = ["a", *lines]
    *first, last = lines
    assert typed(*(f"{one}\\" for one in first), last) == [entry_of("\n".join(lines))]


@given(name, spaced, line)
def test_a_command_has_a_name_and_what_stands_behind_it(name: str, blank: str, text: str) -> None:
    assert entry_of(f"/{name}{blank}{text}") == ChatCommand(name, text.strip())
    assert entry_of(f"  /{name}") == ChatCommand(name)


@given(line)
def test_two_slashes_begin_a_question_with_one(text: str) -> None:
    assert entry_of(f"//{text}") == f"/{text}"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_an_entry(text: str) -> None:
    """A question that is none of a command's forms is what was typed."""
    entry = entry_of(text)
    assert isinstance(entry, ChatCommand) or entry == text.removeprefix("/" if text.startswith("//") else "")


@given(st.lists(st.one_of(line, st.sampled_from([FENCE, "\\", f"/system {FENCE}", f"a{FENCE}", ""])), max_size=12))
def test_lines_of_any_kind_leave_nothing_behind(lines: Sequence[str]) -> None:
    """Each is an entry or is waited with; what is open at the end is an entry, or is refused, and forgotten."""
    entries = Entries()
    for one in lines:
        assert (entries.feed(one) is None) is entries.is_open
    if entries.fenced:
        with pytest.raises(InputError, match="is not closed"):
            entries.end()
    else:
        entries.end()
    assert entries == Entries()


@pytest.mark.parametrize("line", ["/etc/hosts holds what?", " /a/b", "1/2"])
def test_a_question_may_begin_with_a_path(line: str) -> None:
    assert entry_of(line) == line


def test_one_line_may_hold_both_fences_and_a_pasted_text_several_lines() -> None:
    assert typed(f"{FENCE}/help{FENCE}") == ["/help"]
    assert typed(f"{FENCE}a\nb\\\n/c{FENCE}  ") == ["a\nb\\\n/c"]
    assert typed("a\nb") == ["a\nb"]


def test_a_question_that_grows_too_long_is_refused_and_forgotten() -> None:
    entries = Entries()
    entries.feed("\\")
    assert entries.feed("x" * LONGEST) == "\n" + "x" * LONGEST
    entries.feed(FENCE)
    entries.feed("xx")
    with pytest.raises(InputError, match="1,000,000 characters"):
        entries.feed("x" * LONGEST)
    assert typed("x" * LONGEST) == ["x" * LONGEST]
    assert entries == Entries()

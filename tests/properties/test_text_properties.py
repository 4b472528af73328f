"""Properties of text: nothing half is ever shown, and nothing is lost."""

from __future__ import annotations

from codecs import getincrementaldecoder

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blackbox_proxy.core.text import (
    CONTINUATION,
    Release,
    first_stop,
    held_back,
    is_start,
    is_whole,
    open_bytes,
    repeats,
)
from tests.properties import oracles

EDGES = b"a\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xec\xed\xee\xef\xf0\xf1\xf3\xf4\xf5\xff"
"""The bytes at which the rules of UTF-8 change."""

anything = st.binary(max_size=6) | st.lists(st.sampled_from(EDGES), max_size=6).map(bytes)
utf8 = (st.text(max_size=8) | st.text("aé.", max_size=12)).map(str.encode)
stop_strings = st.lists(st.text("aé.", min_size=1, max_size=3), max_size=3)


@given(text=anything)
@example(b"\xe0\x80")
@example(b"\xed\xa0")
@example(b"\xf4\x90\x80")
def test_open_bytes_are_the_beginning_of_some_character(text: bytes) -> None:
    assert open_bytes(text) == oracles.open_bytes(text)
    assert is_whole(text) == (oracles.open_bytes(text) == 0)


@given(text=utf8, data=st.data())
def test_in_text_open_bytes_are_those_that_a_decoder_waits_with(text: bytes, data: st.DataObject) -> None:
    text = text[: data.draw(st.integers(0, len(text)))]
    waiting = getincrementaldecoder("utf-8")()
    waiting.decode(text)
    assert open_bytes(text) == len(waiting.getstate()[0])


@given(text=anything)
@example(b"\xe0\x9f")
@example(b"\xf0\x8f\x80")
@example(b"\xed\xa0")
def test_a_start_is_text_and_perhaps_the_beginning_of_a_character(text: bytes) -> None:
    whole = text[: len(text) - oracles.open_bytes(text)]
    assert is_start(text) == (whole.decode("utf-8", "ignore").encode() == whole)


@given(text=utf8, data=st.data())
def test_every_beginning_of_text_is_a_start(text: bytes, data: st.DataObject) -> None:
    assert is_start(text[: data.draw(st.integers(0, len(text)))])


@given(text=anything)
@example(b"\xed\xa0")
def test_an_open_start_can_be_finished_by_continuation_bytes(text: bytes) -> None:
    """The loop relies on it: where is_start holds, some byte may follow."""
    if is_start(text) and not is_whole(text):
        assert any(is_start(text + byte) for byte in CONTINUATION)


def slow_first_stop(text: bytes, stops: list[bytes]) -> int | None:
    return next((at for at in range(len(text)) if any(text[at:].startswith(stop) for stop in stops)), None)


@given(text=utf8, stops=stop_strings)
def test_first_stop_is_the_earliest_place_where_a_stop_begins(text: bytes, stops: list[str]) -> None:
    wanted = [stop.encode() for stop in stops]
    assert first_stop(text, wanted) == slow_first_stop(text, wanted)


@given(text=utf8, stops=stop_strings, data=st.data())
def test_what_is_not_held_back_is_whole_and_free_of_a_stop_to_come(
    text: bytes, stops: list[str], data: st.DataObject
) -> None:
    """However the text goes on, a stop string never begins inside what was let go; and no more waits than must."""
    wanted = [stop.encode() for stop in stops]
    text = text[: data.draw(st.integers(0, len(text)))]
    wait = held_back(text, wanted)
    kept = len(text) - wait
    assert is_whole(text[:kept])
    begun = {
        text[n:] for n in range(len(text)) if any(len(s) > len(text) - n and s.startswith(text[n:]) for s in wanted)
    }
    assert wait == max([open_bytes(text), *map(len, begun)])


chunked = st.lists(st.binary(min_size=1, max_size=3), max_size=8)


@given(text=utf8, stops=stop_strings, data=st.data())
def test_release_shows_the_text_and_only_whole_parts_of_it(text: bytes, stops: list[str], data: st.DataObject) -> None:
    """Fed byte by byte or in lumps: the parts make the text up to a stop, and none is half a character."""
    wanted = [stop.encode() for stop in stops]
    release, shown = Release(wanted), ""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    stop = first_stop(text, wanted)
    for cut in cuts:
        shown += release(text[:cut])
        assert "\ufffd" not in shown or "\ufffd".encode() in text
        assert text.startswith(shown.encode())
        assert stop is None or len(shown.encode()) <= stop
    assert shown + release(text, last=True) == text[:stop].decode()


@given(text=anything, data=st.data())
def test_release_of_bytes_that_are_no_text_marks_them(text: bytes, data: st.DataObject) -> None:
    """However it is cut, what is text comes out, and a replacement character where something is not."""
    release = Release()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    shown = "".join(release(text[:cut]) for cut in cuts) + release(text, last=True)
    assert shown.replace("\ufffd", "") == text.decode("utf-8", "ignore").replace("\ufffd", "")
    assert ("\ufffd" in shown) == ("\ufffd" in text.decode("utf-8", "replace"))


@pytest.mark.parametrize("stops", [(), (b"END",)])
def test_release_ignores_a_text_that_has_shrunk(stops: tuple[bytes, ...]) -> None:
    """The loop takes back an open character before it is asked again; nothing is shown twice."""
    release = Release(stops)
    assert release(b"one two") == "one two"
    assert release(b"one") == ""
    assert release(b"one two three") == " three"


@given(piece=st.binary(min_size=1, max_size=6), times=st.integers(1, 9), rest=st.integers(0, 5))
def test_a_piece_four_times_over_is_a_repetition(piece: bytes, times: int, rest: int) -> None:
    """Its last time may be there in part; three times and nearly a fourth are none, but by a shorter piece."""
    text = piece * times + piece[: rest % len(piece)]
    assert repeats(text) == (times >= 4 or oracles.repeats(text))


@given(text=st.lists(st.sampled_from(b"ab"), max_size=14).map(bytes))
def test_what_a_repetition_is(text: bytes) -> None:
    assert repeats(text) == oracles.repeats(text)

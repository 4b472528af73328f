"""How a request finds its recording: by content, equal ones in order, attempts together; and what is said otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.cassettes.matching import ABSENT, Replay, content_key, differences
from blackbox_proxy.cassettes.recording import Recorder
from blackbox_proxy.cassettes.redacting import Redactor
from blackbox_proxy.cassettes.schema import HeardReply, RecordedFault
from blackbox_proxy.errors import InputError
from blackbox_proxy.types import WireRequest

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
bodies = st.dictionaries(st.text(max_size=4), json_values, max_size=5)


def asked(prompt: object, **more: object) -> WireRequest:
    return WireRequest("/completions", {"model": "m", "prompt": prompt, **more})


def tape(path: Path, *calls: tuple[WireRequest, list[int]]) -> Path:
    """A cassette of calls with the statuses of their attempts; 0 for a reset, -1 for one that was given up."""
    recorder = Recorder(path)
    recorder.begin()
    for number, (request, statuses) in enumerate(calls):
        for attempt, status in enumerate(statuses, 1):
            fault = {0: RecordedFault(kind="connection"), -1: RecordedFault(kind="cancelled")}.get(status)
            heard = HeardReply(1.0, None if fault else status, {}, f"{number}.{attempt}".encode(), fault)
            recorder.write(request, heard, call=f"c{number}", attempt=attempt, seconds=0.0, redactor=Redactor())
    return path


def outcomes(replay: Replay, request: WireRequest, count: int) -> list[str]:
    """What so many attempts at one request bring."""
    call = replay.call(request)
    found = [row.text or row.outcome for row in (call.next() for _ in range(count))]
    call.end()
    return found


def test_attempts_at_a_request_stay_together_whatever_is_asked_meanwhile(tmp_path: Path) -> None:
    replay = Replay(tape(tmp_path / "t", (asked("a"), [429, 0, 200]), (asked("a"), [200]), (asked("a"), [500, 200])))
    first, second, third = (replay.call(asked("a")) for _ in range(3))
    assert (first.next().text, second.next().text, third.next().text) == ("0.1", "1.1", "2.1")
    assert (third.next().text, first.next().outcome, first.next().text) == ("2.2", "connection", "0.3")
    assert replay.unused == ()


def test_order_and_fields_order_do_not_matter(tmp_path: Path) -> None:
    replay = Replay(tape(tmp_path / "t", (asked("a", n=1), [200]), (asked("b"), [200])))
    assert outcomes(replay, asked("b"), 1) == ["1.1"]
    assert [row.call for row in replay.unused] == ["c0"]
    assert outcomes(replay, WireRequest("/completions", {"n": 1, "prompt": "a", "model": "m"}), 1) == ["0.1"]


def test_what_is_left_of_a_request_comes_last(tmp_path: Path) -> None:
    """A replay with fewer attempts than were recorded, and one with more."""
    replay = Replay(tape(tmp_path / "t", (asked("a"), [500, 500, 200]), (asked("a"), [200])))
    assert outcomes(replay, asked("a"), 1) == ["0.1"]
    assert outcomes(replay, asked("a"), 3) == ["1.1", "0.2", "0.3"]


def test_a_recording_that_was_given_up_is_taken_last(tmp_path: Path) -> None:
    replay = Replay(tape(tmp_path / "t", (asked("a"), [429, -1]), (asked("a"), [200])))
    assert outcomes(replay, asked("a"), 1) == ["1.1"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (asked("the cat sat on the hat"), "2) differs in prompt, from character 20: '...at on the mat' recorded, '..."),
        (asked("the cat sat on the mat", n=2), "2) differs in n: nothing recorded, 2 asked"),
        (asked("a dog", seed=2), "3) differs in seed: 1 recorded, 2 asked"),
        (asked([1, 2, 4]), "4) differs in prompt[2]: 3 recorded, 4 asked"),
        (asked([1, 2]), "4) differs in prompt[2]: 3 recorded, nothing asked"),
        (WireRequest("/chat", {**asked("a dog").body, "seed": 1}), "3) differs in the path, from character 3"),
    ],
)
def test_the_nearest_request_and_the_first_difference_are_named(
    tmp_path: Path, request_: WireRequest, said: str
) -> None:
    path = tape(
        tmp_path / "t",
        (asked("the cat sat on the mat"), [200]),
        (asked("a dog", seed=1), [200]),
        (asked([1, 2, 3]), [200]),
    )
    with pytest.raises(InputError) as caught:
        Replay(path).call(request_).next()
    assert f"the nearest (line {said}" in caught.value.message
    assert str(path) in caught.value.message


def test_what_is_asked_more_often_than_recorded_is_said(tmp_path: Path) -> None:
    replay = Replay(tape(tmp_path / "t", (asked("a"), [429, 200])))
    outcomes(replay, asked("a"), 2)
    with pytest.raises(
        InputError, match=r"holds this request to /completions 2 times \(line 2\), and it is sent again"
    ):
        outcomes(replay, asked("a"), 1)


def test_an_empty_cassette_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no attempt at all"):
        Replay(tape(tmp_path / "t")).call(asked("a")).next()


def test_a_pace_is_one_of_two(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at-once or recorded"):
        Replay(tape(tmp_path / "t"), pace="slow")  # type: ignore[arg-type]


@given(bodies, bodies)
def test_bodies_have_one_key_exactly_where_they_do_not_differ(one: dict[str, object], other: dict[str, object]) -> None:
    same = not list(differences(one, other))
    assert (content_key("/p", one) == content_key("/p", other)) == same
    assert not list(differences(one, dict(reversed(one.items()))))
    assert content_key("/p", one) == content_key("/p", dict(reversed(one.items())))
    assert content_key("/p", one) != content_key("/q", one)


def test_what_is_missing_is_not_null() -> None:
    (found,) = differences({"a": None}, {})
    assert (found.where, found.recorded, found.asked) == ("a", None, ABSENT)

"""Faults of the transport change no answer: every kind, by every adapter and driver, over real HTTP, each one counted.

And where they do not pass, the error holds what there was of the answer until then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.errors import ApiBusy, ApiRefused, ApiUnreachable, BlackboxProxyError, ReplyError
from blackbox_proxy.remote.retry import RetryPolicy
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.standin.plan import Fault, read_plan
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Choice, Result, Step
from tests.fault_bench import (
    DRIVERS,
    EMPTY,
    QUESTION,
    ROUTES,
    STEERING,
    Bench,
    Driver,
    benched,
    billed,
    faults_of,
    lost_of,
    outcomes,
    plan_for,
)

PATTERNS = {
    "rate limit": "429",
    "rate limit, Retry-After": "429:1",
    "rate limit, retry-after-ms": "429:250ms",
    "server error": "500",
    "burst": "502,503,529",
    "reset": "reset",
    "cut in the body": "cut",
    "truncated JSON": "truncated",
    "no JSON": "garbage",
    "web page": "html",
    "error with status 200": "error200",
    "one after another": "reset,truncated,429:2",
}
LONG = replace(STEERING, max_tokens=14)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with benched() as opened:
        yield opened


def undisturbed(bench: Bench, route: str, steering: Steering = STEERING) -> Result:
    """The answer without faults; made once."""
    if (route, steering) not in bench.known:
        bench.known[route, steering] = fresh(bench, route, steering)
    return bench.known[route, steering]


def fresh(bench: Bench, route: str, steering: Steering) -> Result:
    result = bench.answer(route, "steer", steering=steering)
    assert [attempt.outcome for attempt in bench.attempts] == ["ok"] * result.usage.requests
    assert result.usage.requests >= 2, "nothing is gone on from"
    return result


def check_answer(bench: Bench, result: Result, wanted: Result, plan: tuple[Fault, ...]) -> None:
    """Equal step by step, with every attempt accounted for."""
    assert not bench.feed.left
    assert (result.text, result.steps, result.finish) == (wanted.text, wanted.steps, wanted.finish)
    assert [attempt.outcome for attempt in bench.attempts] == outcomes(plan)
    assert [attempt.number for attempt in bench.attempts] == numbers(plan)
    assert billed(result.usage) == billed(wanted.usage)
    assert result.usage.requests == len(result.calls) == len(plan)
    assert result.usage.lost == lost_of(plan) == sum(attempt.lost for attempt in bench.attempts)
    assert result.usage.refused == faults_of(plan) - lost_of(plan)
    assert bool(result.usage.lost) == any("without a usable reply" in note for note in result.notes)
    paid = [attempt.usage for attempt in bench.attempts]
    assert [usage is not None for usage in paid] == [fault.word == "ok" for fault in plan]
    assert sum(usage["prompt_tokens"] for usage in paid if usage) == result.usage.input  # type: ignore[misc]


def check_cell(bench: Bench, route: str, driver: Driver, wanted: Result, plan: tuple[Fault, ...]) -> int:
    """One answer; how many faults it met."""
    before = bench.traffic.total
    result = bench.answer(route, driver, plan, steering=LONG if len(wanted.steps) > STEERING.max_tokens else STEERING)
    check_answer(bench, result, wanted, plan)
    assert bench.traffic.total - before == len(bench.attempts) == len(plan)
    return faults_of(plan)


def numbers(plan: tuple[Fault, ...]) -> list[int]:
    """How often each call has been tried, with each attempt."""
    found = [1]
    for fault in plan[:-1]:
        found.append(1 if fault.word == "ok" else found[-1] + 1)
    return found


def pauses(plan: tuple[Fault, ...]) -> list[float]:
    """What should have been slept: what was asked for, else half a second that doubles."""
    return [
        RetryPolicy().first * 2 ** (number - 1) / 2 if fault.after is None else fault.after
        for fault, number in zip(plan, numbers(plan), strict=True)
        if fault.word != "ok"
    ]


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())
@pytest.mark.parametrize("route", ROUTES)
def test_a_fault_before_a_call_changes_nothing(bench: Bench, route: str, pattern: str) -> None:
    wanted = undisturbed(bench, route)
    plan = plan_for(wanted.usage.requests, pattern, first=1 if "cut" in pattern else 2)
    injected = 0
    for driver in DRIVERS:
        injected += check_cell(bench, route, driver, wanted, plan)
        assert bench.slept == pytest.approx(pauses(plan))
    print(f"{injected} faults ({pattern}) by {route}, 3 drivers: no answer changed")
    assert injected == 3 * faults_of(plan) >= 3


def check_hangs(bench: Bench, route: str, *, first: int) -> int:
    """Where the machine is slow a good answer may be late as well, so that attempts may be more than planned."""
    wanted = undisturbed(bench, route)
    plan = plan_for(wanted.usage.requests, "hang", first=first)
    before = bench.traffic.kinds.get("hang", 0)
    for driver in DRIVERS:
        result = bench.answer(route, driver, plan, timeout=0.2, attempts=20)
        assert (result.text, result.steps) == (wanted.text, wanted.steps)
        assert billed(result.usage) == billed(wanted.usage)
        late = [attempt.outcome for attempt in bench.attempts].count("timeout")
        assert result.usage.lost == late >= faults_of(plan)
        assert len(bench.attempts) == result.usage.requests == late + result.usage.answered
    injected = bench.traffic.kinds["hang"] - before
    assert injected == 3 * faults_of(plan)
    return injected


@pytest.mark.parametrize("route", ROUTES)
def test_a_call_that_hangs_is_made_again(bench: Bench, route: str) -> None:
    print(f"{check_hangs(bench, route, first=1)} calls hung by {route}")


@pytest.mark.slow
@pytest.mark.long
def test_more_than_a_thousand_faults_change_nothing(bench: Bench) -> None:
    injected = 0
    for route in ROUTES:
        wanted = undisturbed(bench, route, LONG)
        for pattern in PATTERNS.values():
            plan = plan_for(wanted.usage.requests, pattern)
            injected += sum(check_cell(bench, route, driver, wanted, plan) for driver in DRIVERS)
        injected += check_hangs(bench, route, first=8)
    print(f"{injected} faults injected; 0 answers changed, 0 steps twice or lost, every attempt accounted for")
    assert injected > 1000


KINDS = ("429", "429:0", "500", "503", "reset", "truncated", "garbage", "html", "error200")
bursts = st.lists(st.sampled_from(KINDS), max_size=3)


@settings(max_examples=10)
@given(data=st.data(), route=st.sampled_from(sorted(ROUTES)), driver=st.sampled_from(DRIVERS))
def test_any_plan_of_passing_faults_changes_nothing(
    bench: Bench, data: st.DataObject, route: str, driver: Driver
) -> None:
    """Up to three before each call, of any kinds."""
    wanted = undisturbed(bench, route)
    calls = wanted.usage.requests
    drawn = data.draw(st.lists(bursts, min_size=calls, max_size=calls))
    plan = read_plan(",".join(",".join([*burst, "ok"]) for burst in drawn))
    check_cell(bench, route, driver, wanted, plan)


ENDINGS: dict[str, tuple[str, type[BlackboxProxyError], int]] = {
    "rate limit": ("429", ApiBusy, 0),
    "server error": ("500", ApiBusy, 0),
    "reset": ("reset", ApiUnreachable, 4),
    "truncated JSON": ("truncated", ReplyError, 4),
    "web page": ("html", ReplyError, 4),
    "refused": ("401", ApiRefused, 0),
    "too long a pause": ("503:3600", ApiBusy, 0),
    "mixed": ("reset,429,truncated,500", ApiBusy, 2),
}
"""What happens to the third call, or the last of two, and all after it, what is raised, and how many may be billed."""


def broken(bench: Bench, route: str, driver: Driver, plan: tuple[Fault, ...]) -> BlackboxProxyError:
    with pytest.raises(BlackboxProxyError) as raised:
        bench.answer(route, driver, plan)
    return raised.value


@pytest.mark.parametrize(
    ("route", "ending"),
    [("text", ending) for ending in ENDINGS] + [(route, "mixed") for route in ROUTES if route != "text"],
)
def test_an_error_that_stays_carries_what_there_was(bench: Bench, route: str, ending: str) -> None:
    pattern, kind, lost = ENDINGS[ending]
    wanted, lengths = undisturbed(bench, route), set()
    before = min(2, wanted.usage.requests - 1)
    for driver in DRIVERS:
        error = broken(bench, route, driver, read_plan("ok," * before + pattern + f",{pattern}" * 9))
        partial = error.partial
        assert type(error) is kind
        assert error.hint
        assert (partial.finish, partial.usage.answered, partial.usage.lost) == ("error", before, lost)
        assert partial.usage.requests == len(bench.attempts)
        assert partial.steps == wanted.steps[: len(partial.steps)]
        assert partial.text.encode() == b"".join(step.piece for step in partial.steps)
        paid = [attempt.usage for attempt in bench.attempts if attempt.usage]
        assert partial.usage.input == sum(usage["prompt_tokens"] for usage in paid)  # type: ignore[misc]
        assert partial.usage.output == sum(usage["completion_tokens"] for usage in paid)  # type: ignore[misc]
        assert len(bench.attempts) - before == (4 if error.retryable and "3600" not in pattern else 1)
        lengths.add(len(partial.steps))
    assert len(lengths) == 1
    assert 0 < lengths.pop() < len(wanted.steps)


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_answer_that_fills_the_context_ends_by_its_length(bench: Bench, driver: Driver) -> None:
    wanted = undisturbed(bench, "text")
    before = min(2, wanted.usage.requests - 1)
    result = bench.answer("text", driver, read_plan("ok," * before + "413*9"))
    assert (result.finish, result.usage.answered, result.usage.lost) == ("length", before, 0)
    assert result.steps == wanted.steps[: len(result.steps)]
    assert 0 < len(result.steps) < len(wanted.steps)


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_error_before_anything_was_said_carries_only_what_may_be_paid(bench: Bench, driver: Driver) -> None:
    assert broken(bench, "text", driver, read_plan("401")).partial is None
    assert broken(bench, "text", driver, read_plan("500*4")).partial is None
    partial = broken(bench, "text", driver, read_plan("cut*4")).partial
    assert (partial.text, partial.steps, partial.usage.requests, partial.usage.lost) == ("", (), 4, 4)


def test_a_stream_that_breaks_off_still_has_its_steps(bench: Bench) -> None:
    api = bench.api("text", read_plan("ok,ok,401"))
    run = Steerer(api, bench.pair, STEERING).stream(QUESTION, pair_prompt=EMPTY)
    handed: list[Step] = []
    with pytest.raises(ApiRefused) as raised:
        handed.extend(run)
    assert run.partial.steps == raised.value.partial.steps == tuple(handed)
    assert run.partial.usage == raised.value.partial.usage
    assert len(handed) > 1


def test_of_several_answers_each_pays_for_itself(bench: Bench) -> None:
    """One that is whole stays so; the error of the next holds its own part."""
    steering = replace(STEERING, temperature=1.0, seed=4)

    def drawing(plan: tuple[Fault, ...]) -> Iterator[Result]:
        api = bench.api("text", plan)
        return Steerer(api, bench.pair, steering).sample(QUESTION, 2, pair_prompt=EMPTY)

    first, second = drawing(())
    assert second.usage.requests > 1
    drawn = drawing(read_plan("ok," * first.usage.requests + "reset,ok,401"))
    assert next(drawn).steps == first.steps
    with pytest.raises(ApiRefused) as raised:
        next(drawn)
    partial = raised.value.partial
    assert (partial.usage.requests, partial.usage.lost, partial.usage.refused) == (3, 1, 1)
    assert partial.steps == second.steps[: len(partial.steps)]
    assert 0 < len(partial.steps) < len(second.steps)


def test_a_choice_is_not_changed_and_its_calls_are_paid_for(bench: Bench) -> None:
    """The second call divides what begins alike."""
    options = [" gold green", " gold blue", " red"]

    def choosing(plan: str) -> Choice:
        api = bench.api("text", read_plan(plan))
        return Steerer(api, bench.pair).choose(QUESTION, options, pair_prompt=EMPTY)

    wanted = choosing("ok")
    assert wanted.usage.requests > 1
    faulty = choosing("cut,ok,429,garbage,ok")
    assert (faulty.options, faulty.certified) == (wanted.options, wanted.certified)
    assert (billed(faulty.usage), faulty.usage.lost) == (billed(wanted.usage), 2)
    with pytest.raises(ApiUnreachable) as raised:
        choosing("ok,reset*4")
    assert (raised.value.partial.usage.requests, raised.value.partial.usage.lost) == (5, 4)
    assert raised.value.partial.notes
    with pytest.raises(ApiRefused) as raised_at_once:
        choosing("401")
    assert raised_at_once.value.partial is None

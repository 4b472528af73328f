"""Every method of a steerer gives what its twin for asyncio gives, and what the shortcut gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TypeVar

import pytest

from blackbox_proxy.core.decoding.given import Given
from blackbox_proxy.errors import InputError
from blackbox_proxy.run.steerer import Steerer, steer
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import NO_RUN, Ask, Choice, Prompt, Purpose, Reply, Result
from tests.core.toys import toy_api, toy_pair

T = TypeVar("T")

PROMPT = Prompt(text="ab")
STEERING = Steering(max_tokens=8, alpha=0.5)
DRAWN = replace(STEERING, temperature=1.0, seed=3)


def steerer(steering: Steering = STEERING) -> Steerer:
    return Steerer(toy_api(), toy_pair(), steering)


def same(one: Result, other: Result) -> bool:
    """Whether two results are equal but for the time that they took."""
    timeless = replace(one.usage, local_seconds=0.0)
    return replace(one, seconds=0.0, usage=timeless) == replace(
        other, seconds=0.0, usage=replace(other.usage, local_seconds=0.0)
    )


async def listed(results: AsyncIterator[T]) -> list[T]:
    return [result async for result in results]


def test_a_whole_answer_is_that_of_its_steps_of_its_twins_and_of_the_shortcut() -> None:
    whole = steerer().complete(PROMPT)
    running = steerer().stream(PROMPT)
    assert tuple(running) == whole.steps
    assert same(running.result, whole)
    assert same(asyncio.run(steerer().acomplete(PROMPT)), whole)
    assert asyncio.run(listed(steerer().astream(PROMPT))) == list(whole.steps)
    assert same(steer(PROMPT, api=toy_api(), offsets=toy_pair(), steering=STEERING), whole)
    assert len(whole.steps) == STEERING.max_tokens


def test_a_sample_is_the_answers_of_its_seeds_one_after_another() -> None:
    drawn = list(steerer(DRAWN).sample(PROMPT, 8))
    awaited = asyncio.run(listed(steerer(DRAWN).asample(PROMPT, 8)))
    by_seed = [steerer(replace(DRAWN, seed=DRAWN.seed + i)).complete(PROMPT) for i in range(8)]
    assert [result.text for result in drawn] == [result.text for result in by_seed]
    assert all(map(same, drawn, awaited))
    assert len({result.text for result in drawn}) > 1, "chance makes them differ"


def test_the_streams_of_a_sample_are_its_answers() -> None:
    streams = list(steerer(DRAWN).streams(PROMPT, 2))
    assert [stream.result.text for stream in streams] == [one.text for one in steerer(DRAWN).sample(PROMPT, 2)]


def test_several_greedy_answers_are_refused_before_anything_is_asked() -> None:
    one = steerer()
    with pytest.raises(InputError, match="2 answers were asked for at temperature 0"):
        one.sample(PROMPT, 2)
    with pytest.raises(InputError, match="2 answers were asked for at temperature 0"):
        asyncio.run(listed(one.asample(PROMPT, 2)))


def test_a_choice_is_that_of_its_twin_and_follows_alpha() -> None:
    def odds(choice: Choice) -> list[float]:
        return [option.steered for option in choice.options]

    options = ["a", "b"]
    chosen = steerer().choose(PROMPT, options)
    awaited = asyncio.run(steerer().achoose(PROMPT, options))
    assert replace(awaited, seconds=0.0, usage=chosen.usage) == replace(chosen, seconds=0.0)
    assert odds(chosen) != odds(steerer(replace(STEERING, alpha=0.0)).choose(PROMPT, options))


def test_a_given_text_is_scored_alike_as_text_step_by_step_and_by_the_twin() -> None:
    scored = steerer().score("abab")
    assert b"".join(step.piece for step in scored.steps) == b"abab"
    assert same(steerer().score(Given(b"abab")), scored)
    assert same(steerer().stream_score("abab").result, scored)
    assert same(asyncio.run(steerer().ascore("abab")), scored)


def test_the_pair_may_read_another_prompt() -> None:
    other = Prompt(text="b")
    apart = steerer().complete(PROMPT, pair_prompt=other)
    assert apart.steps[0].offset != steerer().complete(PROMPT).steps[0].offset
    assert same(asyncio.run(steerer().acomplete(PROMPT, pair_prompt=other)), apart)


def test_a_choice_that_is_cancelled_asks_for_nothing_more() -> None:
    @dataclass
    class Slow:
        """A toy API that never answers."""

        model = "slow"
        vocabulary = None
        capabilities = toy_api().capabilities
        text = toy_api().text
        sent: int = 0

        def send(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
            raise AssertionError(ask)

        async def asend(self, _ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
            self.sent += 1
            await asyncio.Event().wait()
            raise AssertionError

    api = Slow()

    async def given_up() -> None:
        await asyncio.wait_for(Steerer(api, toy_pair()).achoose(PROMPT, ["a", "b"]), 0.2)

    with pytest.raises(TimeoutError):
        asyncio.run(given_up())
    assert api.sent == 1

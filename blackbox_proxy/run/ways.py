"""Runs in which the expert may answer alone: always, by a route, or besides the choice between given answers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, final

from blackbox_proxy.api import Endpoint
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.chosen_option import option_steps
from blackbox_proxy.core.decoding.drafting import Drafts, Planner
from blackbox_proxy.core.decoding.expert_answer import expert_steps
from blackbox_proxy.core.decoding.routing import Route, routed_steps
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.core.events import Run
from blackbox_proxy.core.money.spending import Spending
from blackbox_proxy.errors import InputError
from blackbox_proxy.run.choice import options_under
from blackbox_proxy.run.session import Session
from blackbox_proxy.run.sources import LocalPair, Offsets, PairSource, RoutedSource, check_unconstrained, read_by
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import NO_RUN, Ask, Capabilities, Prompt, Purpose

NOTHING = OffsetTable({})
"""In place of a pair, where the closed model is left alone."""


@final
@dataclass(slots=True, eq=False)
class NoEndpoint:
    """Stands where an endpoint does, for runs that ask none."""

    model: str = ""
    vocabulary: Vocabulary | None = None

    def capabilities(self) -> Capabilities:
        return Capabilities(chat=True)

    def text(self, _prompt: Prompt) -> NoReturn:
        raise _unasked()

    def send(self, _ask: Ask, _purpose: Purpose = NO_RUN, /) -> NoReturn:
        raise _unasked()

    async def asend(self, _ask: Ask, _purpose: Purpose = NO_RUN, /) -> NoReturn:
        raise _unasked()


def _unasked() -> InputError:
    return InputError("no hosted model is given, and this answer needs one", hint="connect to one (`connect`)")


def open_expert(prompt: Prompt, *, offsets: Offsets, steering: Steering) -> Session:
    """A run in which the expert answers alone. Raises InputError for offsets that come from no pair."""
    check_unconstrained(steering, "an answer of the expert alone")
    source = _pair_source(offsets, prompt)
    run = _session(source, Prompt(), api=NoEndpoint(), steering=steering)
    return replace(run, plan=lambda _: _expert(source, steering))


def open_choice(
    prompt: Prompt, pair_prompt: Prompt, options: Sequence[str], *, api: Endpoint, offsets: Offsets, steering: Steering
) -> Session:
    """A run that answers with the likeliest of some options.

    Raises InputError for offsets that come from no pair, and for an option that a constraint does not allow.
    """
    options = options_under(steering.constraint, options)
    source = _pair_source(offsets, pair_prompt)
    run = _session(source, prompt, api=api, steering=steering)
    return replace(run, plan=lambda _: _choice(source, options, api=api, steering=steering))


def open_routed(
    route: Route,
    prompt: Prompt,
    pair_prompt: Prompt,
    *,
    api: Endpoint,
    offsets: Offsets,
    steering: Steering,
    options: Sequence[str] = (),
    planner: Planner | None = None,
) -> Session:
    """A run in which the expert answers alone where the route takes its answer.

    Args:
        route: What decides.
        prompt: What the API reads.
        pair_prompt: What the pair reads.
        api: The hosted model.
        offsets: The pair.
        steering: The knobs, of the other way.
        options: What is chosen from, where the other way is `choice`.
        planner: As of `Steerer`.

    Raises:
        InputError: For offsets that come from no pair, and as `Session.open`.
    """
    check_unconstrained(steering, "an answer by a route")
    source = _pair_source(offsets, pair_prompt)
    if route.elsewhere == "choice":
        run = open_choice(prompt, pair_prompt, options, api=api, offsets=offsets, steering=steering)
    else:
        others = NOTHING if route.elsewhere == "closed" else offsets
        run = Session.open(prompt, pair_prompt, api=api, offsets=others, steering=steering, planner=planner)
    both = run.source if isinstance(run.source, PairSource) else RoutedSource(source, run.source)
    return replace(run, source=both, plan=_routed(route, source, steering, other=run.plan))


Plan = Callable[[Callable[[], Run]], Run]


def _routed(route: Route, source: PairSource, steering: Steering, *, other: Plan | None) -> Plan:
    def plan(described: Callable[[], Run]) -> Run:
        otherwise = described() if other is None else other(described)
        return routed_steps(route, draft=_expert(source, steering), otherwise=otherwise)

    return plan


def _expert(source: PairSource, steering: Steering) -> Run:
    return expert_steps(steering, vocabulary=source.pair.vocabulary)


def _choice(source: PairSource, options: Sequence[str], *, api: Endpoint, steering: Steering) -> Run:
    goes_on = api.capabilities().goes_on
    vocabulary, spell = source.pair.vocabulary, source.pair.spell
    return option_steps(options, alpha=steering.alpha, vocabulary=vocabulary, spell=spell, goes_on=goes_on)


def _pair_source(offsets: Offsets, prompt: Prompt) -> PairSource:
    if not isinstance(offsets, LocalPair):
        raise InputError(
            f"the expert answers alone here, and {type(offsets).__name__} is no pair", hint="load one (`load_pair`)"
        )
    return PairSource(offsets, read_by(offsets, prompt))


def _session(source: PairSource, prompt: Prompt, *, api: Endpoint, steering: Steering) -> Session:
    text = "" if api.capabilities().chat else api.text(prompt)
    return Session(api, source, steering, text, (), Drafts(), Spending(uuid.uuid4().hex), prompt.messages)

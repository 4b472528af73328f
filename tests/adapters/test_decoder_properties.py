r"""What holds for every decoder: any JSON gives a valid reply or an error; tail and ceiling bound what is hidden."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import Floats, Reply
from blackbox_proxy_adapters.decoders import DECODERS, Dialect, legacy_completions, llama_native, openai_chat
from tests.adapters.shapes import Json, body, chat, chosen, native, response, row

DIALECT = Dialect(frozenset({b"<|im_end|>", b""}), frozenset({2}))
ROWS = (
    chosen(row(" Paris", -0.25, id=1), row(" Lyon", -3.0, id=3)),
    row("\ufffd", -9.0, b"\xe2", top=[row(".", -0.5, id=4), row("", -9.0, b"", id=2)], id=5),
    chosen(row(".", -0.5, id=4)),
)
LEGACY = body(
    (" Paris", -0.25, {" Lyon": -3.0, " Paris": -0.25}),
    (r"bytes:\xe2", -9.0, {".": -0.5, r"bytes:\xe2": -9.0}),
    (".", -0.5, None),
)
LEGACY["usage"] = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}}
GOOD: Mapping[str, Json] = {
    "legacy_completions": LEGACY,
    "together": LEGACY,
    "openai_chat": chat(*ROWS),
    "openai_responses": response(*ROWS),
    "llama_native": native(*ROWS),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["choices", "usage", "output", "completion_probabilities", "tokens", "error", "status"])


def _places(value: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a JSON value."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield from _places(child, (*at, key))


def _spoilt(name: str, place: tuple[str | int, ...], value: object) -> Json:
    spoilt = copy.deepcopy(GOOD[name])
    target: object = spoilt
    for key in place[:-1]:
        target = target[key]  # type: ignore[index]
    target[place[-1]] = value  # type: ignore[index]
    return spoilt


def _decoded(name: str, said: Json) -> Reply | ReplyError:
    try:
        return DECODERS[name](said, DIALECT)
    except ReplyError as error:
        return error


def _check(reply: Reply | ReplyError) -> None:
    """An error has a hint; a reply keeps the distributions of its positions."""
    if isinstance(reply, ReplyError):
        assert reply.hint
        return
    for found in reply.positions:
        masses = [math.exp(candidate.logp) for candidate in found.top]
        assert masses == sorted(masses, reverse=True)
        assert 0.0 <= found.tail <= 1.0
        assert sum(masses) + found.tail == pytest.approx(1.0, abs=1e-5)
        assert len({(c.piece, c.kind, c.id) for c in found.top}) == len(found.top)
        assert found.ceiling <= 0.0
        assert found.sampled in found.top or found.sampled.logp == -math.inf


@pytest.mark.parametrize("name", sorted(GOOD))
def test_the_good_bodies_are_good(name: str) -> None:
    reply = DECODERS[name](GOOD[name], DIALECT)
    assert [p.sampled.piece for p in reply.positions] == [b" Paris", b"\xe2", b"."]
    _check(reply)


@given(at=st.sampled_from([(name, place) for name in GOOD for place in _places(GOOD[name]) if place]), value=JSON)
def test_any_value_in_any_place_gives_a_lawful_reply_or_a_reply_error(
    at: tuple[str, tuple[str | int, ...]], value: object
) -> None:
    name, place = at
    _check(_decoded(name, _spoilt(name, place, value)))


@given(name=st.sampled_from(sorted(GOOD)), said=st.dictionaries(st.text(max_size=8) | NAMES, JSON))
def test_any_object_gives_a_reply_or_a_reply_error(name: str, said: Json) -> None:
    _check(_decoded(name, said))


def _distribution(seed: int, size: int) -> Floats:
    distribution = np.random.default_rng(seed).dirichlet(np.full(size, 0.3)) + 1e-12
    return np.asarray(distribution / distribution.sum(), dtype=np.float64)


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(2, 40),
    k=st.integers(1, 20),
    alike=st.integers(1, 40),
    habit=st.sampled_from(["plain", "first and cut", "appended", "in its place"]),
    ids=st.booleans(),
)
@example(seed=0, size=19, k=3, alike=3, habit="appended", ids=False)
def test_rows_bound_what_they_hide_whatever_the_server_does_with_the_sampled_token(
    seed: int, size: int, k: int, alike: int, habit: str, *, ids: bool
) -> None:
    """By ids every token that is not shown is bounded; without them those whose bytes are not shown."""
    distribution = _distribution(seed, size)
    spelt = [f"t{token % alike}" for token in range(size)]
    best = np.argsort(-distribution)[:k].tolist()
    sampled = int(np.random.default_rng(seed + 1).choice(size, p=distribution))
    shown = {
        "plain": best,
        "first and cut": [sampled, *(token for token in best if token != sampled)][:k],
        "appended": [*best, *(() if sampled in best else (sampled,))],
        "in its place": [*best[: k - 1], sampled] if sampled not in best else best,
    }[habit]
    more: list[Json] = [{"id": token} if ids else {} for token in range(size)]
    rows = [{**row(spelt[token], math.log(distribution[token])), **more[token]} for token in shown]
    said = {**row(spelt[sampled], math.log(distribution[sampled]), top=rows), **more[sampled]}
    reply = llama_native(native(said), Dialect(top_k=k)) if ids else openai_chat(chat(said), Dialect(top_k=k))
    [found] = reply.positions
    keys = {c.id if ids else c.piece.decode() for c in found.top}
    outside = [float(distribution[token]) for token in range(size) if (token if ids else spelt[token]) not in keys]
    assert max(outside, default=0.0) <= math.exp(found.ceiling) + 1e-12
    assert found.tail >= sum(outside) - 1e-9
    assert math.fsum(math.exp(c.logp) for c in found.top) + found.tail == pytest.approx(1.0)


@example(seed=24, size=6, k=1, served=1, alike=2)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(2, 40),
    k=st.integers(1, 20),
    served=st.integers(1, 20),
    alike=st.integers(1, 40),
)
def test_tail_and_ceiling_hold_for_the_distribution_behind_the_reply(
    seed: int, size: int, k: int, served: int, alike: int
) -> None:
    """No token whose string is outside the decoded top is likelier than the ceiling; the tail is all that is missing.

    The reply is written as servers do it, from a known distribution over tokens of which some print alike.
    """
    distribution = _distribution(seed, size)
    spelt = [f"t{token % alike}" for token in range(size)]
    order = np.argsort(-distribution)[: min(k, served)]
    sampled = int(np.random.default_rng(seed + 1).choice(size, p=distribution))
    # A later token overwrites an earlier one of the same string, as in a Python dict; the sampled one comes last.
    top = {spelt[token]: math.log(distribution[token]) for token in (*order, sampled)}
    reply = legacy_completions(body((spelt[sampled], math.log(distribution[sampled]), json.loads(json.dumps(top)))))
    found = reply.positions[0]
    shown = {candidate.piece.decode() for candidate in found.top}
    outside = [distribution[token] for token in range(size) if spelt[token] not in shown]
    assert max(outside, default=0.0) <= math.exp(found.ceiling) + 1e-12
    assert found.tail == pytest.approx(1.0 - sum(map(math.exp, top.values())), abs=1e-9)

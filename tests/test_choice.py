"""`choose` names the winner exactly where it knows one: 200 scripted distributions over HTTP."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from blackbox_proxy import OffsetTable, connect
from blackbox_proxy.core.decoding.choosing import Masses, chosen
from blackbox_proxy.errors import PromptError
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.standin import Script, running, script
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Choice, Prompt, Scores
from tests.core.toys import toy_api

PIECES = [b"Pa", b"ris", b"rma", b"Rome", b"Ro", b"me", b"Oslo", b"P", b"aris", b"x", b"y"]
OPTIONS = ("Paris", "Parma", "Rome", "Oslo")
ASKED = "Which city?"
QUESTIONS = [f"{number}?" for number in range(50)]
END = b"</s>"
ROUTES = ("completions", "chat_prefill", "chat_continue")
ALONE = OffsetTable({})
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


def drawn(chance: random.Random) -> Mapping[bytes, float]:
    """Any distribution over some of the pieces; now and then a tie, or one piece that has nearly all."""
    chosen = chance.sample([*PIECES, END], chance.randint(2, 8))
    weights = [chance.choice((1.0, chance.random() ** 3 + 1e-3, 40.0)) for _ in chosen]
    return {piece: weight / sum(weights) for piece, weight in zip(chosen, weights, strict=True)}


def distributions() -> Script:
    """A distribution after each question, and one after each beginning of an option, whatever the question."""
    chance = random.Random(7)
    made = {b"": drawn(chance), **{question.encode(): drawn(chance) for question in QUESTIONS}}
    made |= {(question + start).encode(): drawn(chance) for question in QUESTIONS for start in ("Pa", "Ro", "P")}
    letters = [bytes([byte]) for byte in range(0x20, 0x7F)]
    return script([*dict.fromkeys([*letters, *PIECES])], [END], made, template=TEMPLATE)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(distributions(), name="toy", top_k=20) as found:
        yield found


def overlapping(found: Choice) -> bool:
    """Whether the bounds of the likeliest option overlap another's."""
    best = found.likeliest
    return any(best.lower <= other.upper for other in found.options if other is not best)


@pytest.mark.slow
def test_on_two_hundred_distributions_there_is_a_winner_where_its_bounds_overlap_no_others(url: str) -> None:
    chance, seen = random.Random(3), {True: 0, False: 0}
    for number in range(200):
        route, top_k = ROUTES[number % 3], chance.choice((1, 2, 3, 5, 20))
        options = {"top_k": top_k, "end_pieces": [END]}
        table = OffsetTable({b"Paris": chance.uniform(-2, 2), b"Rome": chance.uniform(-2, 2)})
        with connect(url, model="toy", adapter=route, template=TEMPLATE, options=options) as api:
            asked, wanted = QUESTIONS[number % 50], OPTIONS[: chance.randint(2, 4)]
            found = Steerer(api, table, Steering(alpha=chance.choice((0.0, 1.0)))).choose(asked, wanted, calls=4)
        assert found.undecided == overlapping(found) == (found.best is None) == bool(found.needs)
        assert found.best in (None, found.likeliest)
        assert all(0.0 <= one.lower <= one.steered + 1e-9 <= one.upper + 2e-9 for one in found.options)
        seen[found.undecided] += 1
    print(f"undecided {seen[True]}, decided {seen[False]}")
    assert min(seen.values()) > 20


def asked(url: str, options: tuple[str, ...], *, route: str, top_k: int, calls: int = 8) -> Choice:
    with connect(url, model="toy", adapter=route, options={"top_k": top_k, "end_pieces": [END]}) as api:
        prompt = Prompt(text=ASKED) if route == "completions" else ASKED
        return Steerer(api, ALONE, Steering(alpha=0.0)).choose(prompt, options, calls=calls)


@pytest.fixture(scope="module")
def cities() -> Iterator[str]:
    """The API says Rome, or a P, and only then which city."""
    spelt = {b"Rome": 0.5, b"P": 0.46, b"Oslo": 0.04}
    after = {b"aris": 0.7, b"arma": 0.3}
    letters = [bytes([byte]) for byte in range(0x20, 0x7F)]
    pieces = [*letters, b"Rome", b"Oslo", b"aris", b"arma"]
    made = script(pieces, [END], {b"": spelt, f"{ASKED}P".encode(): after}, template=TEMPLATE)
    with running(made, name="toy", top_k=20) as found:
        yield found


@pytest.mark.parametrize(
    ("options", "route", "top_k", "calls", "winner", "needs"),
    [
        (("Paris", "Parma"), "chat_continue", 5, 8, None, ("goes on", "begin differently")),
        (("Paris", "Parma"), "chat_prefill", 5, 8, "Paris", ()),
        (("Paris", "Parma"), "completions", 5, 8, "Paris", ()),
        (("Paris", "Parma"), "completions", 5, 1, None, ("more calls", "begin differently")),
        (("Rome", "Oslo"), "chat_continue", 1, 8, None, ("longer top-k",)),
        (("Rome", "Oslo"), "chat_continue", 5, 8, "Rome", ()),
        (("Q", "Z"), "completions", 20, 8, None, ("equal",)),
    ],
)
def test_what_would_decide_is_said(
    cities: str,
    options: tuple[str, ...],
    route: str,
    top_k: int,
    calls: int,
    winner: str | None,
    needs: tuple[str, ...],
) -> None:
    """Two options that show by their first letter alone, on a chat that goes on from nothing, among others."""
    found = asked(cities, options, route=route, top_k=top_k, calls=calls)
    assert (found.best and found.best.text) == winner
    assert len(found.needs) == len(needs)
    assert all(any(word in said for said in found.needs) for word in needs)


@pytest.mark.parametrize(("width", "certified"), [(0.0, True), (0.02, False)])
def test_what_the_pair_is_not_certain_of_widens_the_bounds(*, width: float, certified: bool) -> None:
    """Two options that the API finds equally likely, and that the pair tells apart by 0.01 nats."""
    exact = OffsetTable({b"a": 0.01}).score(b"", [b"a", b"b"], prompt=Prompt())
    vague = replace(exact, lower=exact.lower - width, upper=exact.upper + width)
    found, _ = chosen(Masses([b"a", b"b"], np.array([0.5, 0.5])), [b"a", b"b"], vague, alpha=1.0)
    assert found.certified is certified


@dataclass(frozen=True)
class Full:
    """A source that holds no prompt."""

    def score(self, _context: bytes, _pieces: Sequence[bytes], *, prompt: Prompt) -> Scores:
        raise PromptError(f"{prompt.text} is too long", context="pair")


def test_what_the_pair_cannot_hold_is_told_before_anything_is_sent() -> None:
    api = toy_api()
    with pytest.raises(PromptError, match="too long") as raised:
        Steerer(api, Full()).choose(Prompt(text="ab"), ["a", "b"])
    assert api.asked == []
    assert raised.value.partial is None

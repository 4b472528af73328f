"""Small worlds in which it is known which arm is best: a scripted closed model over HTTP, and a scripted pair.

Question `qN` has the answer `rightN`. What each speaker says of it is a distribution over `rightN`, `wrongN`, `otherN`.
The closed model's may depend on what stands before the question: nothing, examples (S), instructions (I), or both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import final

import numpy as np

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.alignment.scoring import CLOSE, run, scored
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.evaluation.answers import AnswerStore
from blackbox_proxy.evaluation.evaluate import Watch
from blackbox_proxy.fitting.fit import FitOutcome, OpenedPair, Telling, compare
from blackbox_proxy.fitting.limits import FitLimits
from blackbox_proxy.fitting.offtask import questions
from blackbox_proxy.fitting.planning import FitOptions, planned
from blackbox_proxy.ledger.books import Ledger, open_ledger
from blackbox_proxy.recipes import RecipeEndpoint
from blackbox_proxy.standin import Script, running, script
from blackbox_proxy.types import Distribution, PairDistributions, PairPrompt, Prompt, Scores, TokenPath

LINES = 60
END = b"</s>"
FLAGS = ("", "S", "I", "SI")
TEMPLATE = (
    "{% for message in messages %}{{ message.content }}/{% endfor %}{% if messages|length > 2 %}S{% endif %}"
    "{% if messages[0].role == 'system' %}I{% endif %}>"
)
PRICES = '[[price]]\nmodel = "closed"\ninput = 2\noutput = 8\n'
INSTRUCTIONS = "be right"

Says = Mapping[str, float]
"""Weights of `right`, `wrong` and `other`."""

WORDS, LABELS = ("right", "wrong", "other"), ("yes", "no")
RIGHT, WRONG, OTHER = {"right": 1.0}, {"wrong": 1.0}, {"other": 1.0}


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What everyone says of each question of another kind; `right` is its reference."""

    closed: Says
    expert: Says
    anti_expert: Says


@dataclass(frozen=True, slots=True)
class World:
    """What everyone says of question N. closed: by what stands before the question. reference: the right answer.

    elsewhere: what they say of questions of another kind; None for nothing.
    """

    closed: Callable[[int, str], Says]
    expert: Callable[[int], Says] = lambda _: WRONG
    anti_expert: Callable[[int], Says] = lambda _: WRONG
    reference: Callable[[int], str] = "right{}".format
    elsewhere: Elsewhere | None = None


def elsewhere(says: Says | None, after: Sequence[str]) -> dict[bytes, Mapping[bytes, float]]:
    """What somebody says of questions of another kind, by the text that it follows. after: ends of that text."""
    return {
        f"{item.prompt}{end}>".encode(): {
            (item.reference if word == "right" else word).encode(): weight for word, weight in says.items()
        }
        for item in questions()
        for end in after
        if says is not None
    }


def script_of(
    says: Mapping[bytes, Says], *, numbers: Sequence[int], further: Mapping[bytes, Mapping[bytes, float]] | None = None
) -> Script:
    """A model that ends after an answer.

    says: by the text that it follows, whose digits are the question's number. further: of other texts.
    """
    answers = [spelt(word, n) for n in numbers for word in (*WORDS, *LABELS)]
    letters = [bytes([code]) for code in range(32, 127)]
    distributions: dict[bytes, Mapping[bytes, float]] = {b"": {END: 1.0}}
    for text, weighted in (further or {}).items():
        distributions[text] = weighted
        answers += weighted
    for text, weights in says.items():
        number = int("".join(filter(str.isdigit, text.decode())))
        distributions[text] = {spelt(word, number): weight for word, weight in weights.items()}
    pieces = list(dict.fromkeys((*answers, *letters)))
    return script(pieces, [END], distributions | {one: {END: 1.0} for one in answers})


def spelt(word: str, number: int) -> bytes:
    """An answer to a question; a label is the same for all of them."""
    return (word if word in LABELS else f"{word}{number}").encode()


@final
@dataclass(frozen=True, slots=True)
class ScriptedMember:
    """A member of a pair that says what a script has it say."""

    script: Script

    def ids(self, prompt: Prompt) -> TokenPath:
        return tuple(self.script.vocabulary.spell(f"{prompt.messages[-1].content}>".encode()))

    def distribution(self, path: TokenPath) -> Distribution:
        logits = self.script.logits(path)
        return Distribution(logits, float(np.logaddexp.reduce(logits.astype(np.float64))))

    def answer(self, prompt: Prompt, *, max_tokens: int) -> bytes:
        path: TokenPath = ()
        while len(path) < max_tokens:
            best = int(self.script.logits(self.ids(prompt) + path).argmax())
            if best in self.script.vocabulary.ends:
                break
            path = (*path, best)
        return self.script.vocabulary.text_of(path)


@dataclass(frozen=True, slots=True)
class PairWithoutScores:
    """A pair of two of them that scores no texts by itself."""

    members: tuple[ScriptedMember, ScriptedMember]

    @property
    def vocabulary(self) -> Vocabulary:
        return self.members[0].script.vocabulary

    def spell(self, text: bytes) -> Sequence[int]:
        return self.vocabulary.spell(text)

    def api_ids(self, text: str) -> TokenPath:
        return tuple(self.spell(text.encode()))

    def prompt(self, prompt: Prompt) -> PairPrompt:
        expert, anti_expert = self.members
        return PairPrompt(expert.ids(prompt), anti_expert.ids(prompt))

    def distributions(self, prompt: PairPrompt, paths: Sequence[TokenPath]) -> list[PairDistributions]:
        expert, anti_expert = self.members
        return [
            PairDistributions(
                expert.distribution(prompt.expert + path), anti_expert.distribution(prompt.anti_expert + path)
            )
            for path in paths
        ]


@final
@dataclass(frozen=True, slots=True)
class ScriptedPair(PairWithoutScores):
    """One that scores them."""

    def score(self, context: bytes, pieces: Sequence[bytes], *, prompt: Prompt) -> Scores:
        asked = scored(context, pieces, vocabulary=self.vocabulary, spell=self.spell, tolerance=CLOSE, small=0.0)
        read = self.prompt(prompt)
        return run(asked, lambda paths: self.distributions(read, paths))


def pair_of(world: World, numbers: Sequence[int]) -> ScriptedPair:
    def member(says: Callable[[int], Says], other: Says | None) -> ScriptedMember:
        known = {f"q{n}>".encode(): says(n) for n in numbers}
        return ScriptedMember(script_of(known, numbers=numbers, further=elsewhere(other, ("",))))

    expert, anti_expert = (world.elsewhere.expert, world.elsewhere.anti_expert) if world.elsewhere else (None, None)
    return ScriptedPair((member(world.expert, expert), member(world.anti_expert, anti_expert)))


def silent(_what: str, _total: int) -> Callable[[object], object]:
    return lambda _: None


@dataclass(slots=True)
class Setting:
    """A world that is served: fits can be run in it, recorded, and replayed."""

    url: str
    pair: PairWithoutScores
    folder: Path
    lines: Path
    said: list[str] = field(default_factory=list)
    record: Path | None = None
    replay: Path | None = None

    @property
    def endpoint(self) -> RecipeEndpoint:
        return RecipeEndpoint(model="closed", base_url="the script")

    def opened(self, pair: str = "demo") -> OpenedPair:
        return OpenedPair(self.pair, pair, "scripted", 256)

    @contextmanager
    def connected(self, *, priced: bool = True) -> Iterator[Api]:
        with (
            self.books(priced=priced) as ledger,
            connected(self.url, ledger, record=self.record, replay=self.replay) as api,
        ):
            yield api

    def books(self, *, priced: bool = True) -> Ledger:
        prices = self.folder / ("prices.toml" if priced else "none.toml")
        prices.write_text(PRICES if priced else "")
        return open_ledger(self.folder / "ledger.sqlite", prices=prices)

    def fit(
        self,
        limits: FitLimits | None = None,
        *,
        watch: Watch = silent,
        instructions: str = "",
        priced: bool = True,
        off_task: int = 0,
    ) -> FitOutcome:
        options = FitOptions(instructions=instructions, limits=limits or FitLimits(), off_task=off_task)
        plan = planned(self.lines, options, self.endpoint, trains=False)
        telling = Telling(self.said.append, watch)
        with self.connected(priced=priced) as api, AnswerStore(self.folder / "answers.jsonl") as store:
            return compare(plan, api=api, opened=self.opened(), store=store, telling=telling)

    def booked(self) -> Decimal:
        """What was spent, by the ledger."""
        with self.books() as ledger:
            return sum((row.cost or Decimal(0) for row in ledger.store.rows()), Decimal(0))


def connected(url: str, ledger: Ledger | None, *, record: Path | None = None, replay: Path | None = None) -> Api:
    options = {"top_k": 5, "end_pieces": [END], "answers_at_once": 16}
    return connect(url, model="closed", template=TEMPLATE, options=options, ledger=ledger, record=record, replay=replay)


@contextmanager
def served(
    world: World, folder: Path, *, numbers: Sequence[int] = range(100, 100 + LINES), quirks: Sequence[str] = ()
) -> Iterator[Setting]:
    """Serve a world, its lines written down."""
    lines = folder / "lines.jsonl"
    rows = (json.dumps([f"q{n}", world.reference(n)]) + "\n" for n in numbers)
    lines.write_text("".join(rows), encoding="utf-8")
    says = {f"q{n}/{flag}>".encode(): world.closed(n, flag) for n in numbers for flag in FLAGS}
    further = elsewhere(world.elsewhere.closed, [f"/{flag}" for flag in FLAGS]) if world.elsewhere else None
    with running(script_of(says, numbers=numbers, further=further), name="closed", top_k=5, quirks=quirks) as url:
        yield Setting(url, pair_of(world, numbers), folder, lines)

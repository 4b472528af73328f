"""Chunks: several continuations of a text are drawn, the pair weighs them, and the best are gone on with.

W beams (`Steering.beams`), K continuations of each (`samples`), L tokens a continuation (`chunk`); docs/method.md, 6.
The loop is a generator like that of whole answers: it asks for continuations, then for scores of what is new in them,
and yields the chosen text as one step when all beams have ended. A text that has ended is never asked for again: it
competes as it is. Nothing here needs a log-prob of the API, but it must go on from exactly the text that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from blackbox_proxy.core.decoding.acceptors import ANY_WHOLE_TEXT, WholeTexts
from blackbox_proxy.core.decoding.whole import FINISHES, TEMPERATURE, rank, tokens_in, unsatisfied, weighted
from blackbox_proxy.core.events import ApiChunks, Beginning, Ending, Evidence, Run, ScoreStrings, ask_scores
from blackbox_proxy.core.text import first_stop
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import DrawnAnswer, Finish, Floats, Kind, Origin, Reply, Sample, Step

_MOST = 1e9
"""Nats beyond which a log-weight counts as infinite: sums of them stay numbers."""


@dataclass(frozen=True, slots=True)
class Beam:
    """A text of the search.

    Attributes:
        text: The answer so far, cut before a stop string.
        finish: Why it ended; None where it can be gone on with.
        used: How many of the answer's most tokens it has used up.
        parts: The replies that it came from: the number of each, and tokens of it.
        logp: The API's log-prob of it; None where nobody knows.
        bases: A log-weight for each draw of the last round that said it: that of the text which was gone on with, or 0
            where the best are taken.
        copies: How often it was taken when the last round ended.
    """

    text: str = ""
    finish: Finish | None = None
    used: int = 0
    parts: tuple[tuple[int, int], ...] = ()
    logp: float | None = 0.0
    bases: tuple[float, ...] = ()
    copies: int = 1

    @property
    def key(self) -> tuple[str, str]:
        """What makes two beams the same."""
        return self.text, self.finish or ""

    @property
    def scored_as(self) -> tuple[str, bool]:
        """What the pair scores: the text, and whether it ended by itself."""
        return self.text, self.finish == "stop"

    def sample(self) -> Sample:
        """What `Result.samples` tells of it, without its weight."""
        tokens = sum(tokens for _, tokens in self.parts)
        return Sample(self.text, self.finish or "length", len(self.bases) or self.copies, self.logp, tokens=tokens)


def chunked_answers(steering: Steering, *, texts: WholeTexts = ANY_WHOLE_TEXT) -> Run:
    """Draw continuations, keep the best texts or some by weight, go on with these, and yield the one that is chosen.

    texts: which may be answers. Raises Unsatisfied where none that came begins one.
    """
    search = _Search(steering, texts)
    while (asked := search.next_round()) is not None:
        evidence = yield asked
        if evidence is None or (not evidence.replies and not search.rounds):
            raise TypeError("the first ApiChunks is answered with Evidence that holds a reply")
        if not evidence.replies:
            search.break_off()
            break
        search.take(evidence)
        yield from search.score()
        search.select()
    ended = search.ranked()
    chosen, beam = next((sample, beam) for sample, beam in ended if sample.chosen)
    yield from _steps(chosen, search.log_normaliser)
    wasted = search.written - sum(tokens for _, tokens in beam.parts)
    samples, parts = tuple(sample for sample, _ in ended), tuple(beam.parts for _, beam in ended)
    return Ending(chosen.finish, wasted, search.notes(samples), samples, parts)


@final
@dataclass(slots=True)
class _Search:
    """The beams so far, and what the pair said of them.

    beams: those that are gone on with, or have ended, each once. pool: what the next ones are taken from. ended: all
    texts that ended, where the best are taken: they compete to the last. scored: by text. replies, asked, came, rounds,
    written: how many replies, continuations and rounds there were, and tokens of all of them. barred: texts that begin
    nothing that the constraint asks for, a draw each.
    """

    steering: Steering
    texts: WholeTexts
    beams: list[Beam] = field(default_factory=lambda: [Beam()])
    pool: list[Beam] = field(default_factory=list)
    ended: dict[tuple[str, str], Beam] = field(default_factory=dict)
    scored: dict[tuple[str, bool], tuple[float, float]] = field(default_factory=lambda: {("", False): (0.0, 0.0)})
    log_normaliser: float = 0.0
    lost: int = 0
    replies: int = 0
    asked: int = 0
    came: int = 0
    rounds: int = 0
    written: int = 0
    barred: list[Beam] = field(default_factory=list)

    @property
    def draws(self) -> bool:
        return self.steering.pick == "draw"

    def next_round(self) -> ApiChunks | None:
        """What is asked for next; None where all beams have ended."""
        beginnings = tuple(self._beginning(beam) for beam in self.beams if beam.finish is None)
        if not beginnings:
            return None
        knobs = self.steering
        several = knobs.beams * knobs.samples > 1
        temperature = knobs.temperature or (TEMPERATURE if several else 0.0)
        asked = ApiChunks(beginnings, self.asked, temperature, knobs.top_p, knobs.seed)
        self.asked += sum(one.count for one in beginnings)
        return asked

    def _beginning(self, beam: Beam) -> Beginning:
        copies = self.steering.beams if not self.rounds else beam.copies
        length = min(self.steering.chunk, self.steering.max_tokens - beam.used)
        return Beginning(beam.text.encode(), copies * self.steering.samples, length)

    def take(self, evidence: Evidence) -> None:
        """The continuations that came, equal texts as one, and the beams that nothing came for as they are."""
        by_text = {beam.text.encode(): beam for beam in self.beams if beam.finish is None}
        bases = {text: self._base(beam) for text, beam in by_text.items()}
        grown = []
        for reply, behind in zip(evidence.replies, evidence.behind, strict=True):
            beam = replace(by_text[behind], bases=(bases[behind],))
            grown += [self._grown(beam, one, part) for one, part in _draws(reply, self.replies)]
            self.replies, self.written = self.replies + 1, self.written + sum(tokens_in(reply))
        self.came, self.rounds = self.came + len(grown), self.rounds + 1
        silent = [beam for text, beam in by_text.items() if text not in set(evidence.behind)]
        stay = [*silent, *self.ended.values()]
        if self.draws:
            kept = [*silent, *(beam for beam in self.beams if beam.finish is not None)]
            stay = [replace(beam, bases=(self._base(beam),) * beam.copies * self.steering.samples) for beam in kept]
        self.pool = sorted(_merged([*stay, *self._fitting(grown)]), key=lambda beam: beam.key)
        if not self.pool:
            raise unsatisfied([beam.sample() for beam in self.barred])

    def _fitting(self, grown: Sequence[Beam]) -> list[Beam]:
        """Those that the constraint goes along with; the others are kept apart."""
        both = [(beam, self._fitted(beam)) for beam in grown]
        barred = [beam for beam, fitted in both if fitted is None]
        self.lost, self.barred = len(barred), self.barred + barred
        return [fitted for _, fitted in both if fitted is not None]

    def _fitted(self, beam: Beam) -> Beam | None:
        """A beam up to where its answer is over; None where it begins, or has ended as, no answer."""
        text = beam.text.encode()
        kept = self.texts.beginning(text) if beam.finish is None else self.texts.answer(text)
        if kept is None:
            return None
        if self.texts.is_over(kept):
            return replace(beam, text=kept.decode(), finish="stop", logp=beam.logp if kept == text else None)
        return beam

    def _grown(self, beam: Beam, drawn: DrawnAnswer, part: tuple[int, int]) -> Beam:
        """A beam with one continuation. A cut character, which ends as U+FFFD, is left to the next one."""
        steering, said = self.steering, drawn.text.encode("utf-8", "replace").decode()
        text = beam.text + (said if drawn.finish == "stop" else said.rstrip("\ufffd"))
        logp = None if beam.logp is None or drawn.logp is None else beam.logp + drawn.logp
        used = min(beam.used + steering.chunk, steering.max_tokens)
        finish = FINISHES.get(drawn.finish or "", "length")
        open_ended = drawn.finish == "length" and used < steering.max_tokens
        cut = first_stop(text.encode(), [stop.encode() for stop in steering.stop])
        if cut is not None:
            text, logp, finish, open_ended = text.encode()[:cut].decode(), None, "stop_string", False
        return Beam(text, None if open_ended else finish, used, (*beam.parts, part), logp, beam.bases)

    def _base(self, beam: Beam) -> float:
        """The log-weight that a draw behind a beam is measured by."""
        return self._log_weights([beam])[0] if self.draws else 0.0

    def score(self) -> Generator[ScoreStrings, Evidence | None, None]:
        """Have the pair score what is new in the pool, from the longest text on that it has scored before."""
        known = [text for text, ended in self.scored if not ended]
        fresh = [text for text in dict.fromkeys(beam.text for beam in self.pool) if (text, False) not in self.scored]
        groups: dict[str, list[str]] = {}
        for text in fresh:
            groups.setdefault(max((one for one in known if text.startswith(one)), key=len), []).append(text)
        for start, texts in groups.items():
            pieces = [text.removeprefix(start).encode() for text in texts]
            for piece, scores in (yield from _scores(start, pieces)).items():
                self.scored[start + piece.decode(), False] = _sum(self.scored[start, False], scores)
        for beam in self.pool:
            if beam.finish == "stop" and beam.scored_as not in self.scored:
                end = (yield from _scores(beam.text, [b""]))[b""]
                self.scored[beam.scored_as] = _sum(self.scored[beam.text, False], end)

    def _weighted(self, beams: Sequence[Beam]) -> list[Sample]:
        samples = [beam.sample() for beam in beams]
        return weighted(samples, self.scored, alpha=self.steering.alpha)

    def _log_weights(self, beams: Sequence[Beam]) -> list[float]:
        logs = [sample.log_weight or 0.0 for sample in self._weighted(beams)]
        return [min(max(log, -_MOST), _MOST) for log in logs]

    def _masses(self, beams: Sequence[Beam]) -> Floats:
        """Log of the summed weights of each beam's draws, shape (n,)."""
        both = zip(self._log_weights(beams), beams, strict=True)
        return np.array([log + float(np.logaddexp.reduce([-base for base in beam.bases])) for log, beam in both])

    def select(self) -> None:
        """Take the next beams from the pool."""
        if self.draws:
            self._resample()
            return
        self.ended = {beam.key: beam for beam in self.pool if beam.finish is not None}
        self.beams = [beam for _, beam in self._best_first(self.pool)][: self.steering.beams]

    def _best_first(self, beams: Sequence[Beam]) -> list[tuple[Sample, Beam]]:
        samples = self._weighted(beams)
        both = zip(samples, beams, strict=True)
        return sorted(both, key=lambda one: rank(one[0], samples), reverse=True)

    def _resample(self) -> None:
        """Draw as many beams as there are to be, in proportion; where all have ended, one is drawn by whoever asks."""
        masses = self._masses(self.pool)
        number = sum(len(beam.bases) for beam in self.pool) + self.lost
        self.log_normaliser += float(np.logaddexp.reduce(masses)) - math.log(number)
        if all(beam.finish is not None for beam in self.pool):
            self.beams = self.pool
            return
        rng = np.random.default_rng([self.steering.seed, self.rounds])
        copies = rng.multinomial(self.steering.beams, _shares(masses)).tolist()
        both = zip(self.pool, copies, strict=True)
        self.beams = [replace(beam, copies=count, bases=()) for beam, count in both if count]

    def break_off(self) -> None:
        """Nothing came any more: what has ended is chosen from, or else what there is, cut where it stands."""
        ended = list(self.ended.values()) or [beam for beam in self.beams if beam.finish is not None]
        self.beams = ended or [replace(beam, finish="budget") for beam in self.beams]
        self.ended = {beam.key: beam for beam in self.beams}

    def ranked(self) -> list[tuple[Sample, Beam]]:
        """The final texts with their shares, the largest first, one of them chosen."""
        beams = self.beams if self.draws else list(self.ended.values())
        if self.draws and not beams[0].bases:
            shares = _shares(np.log([beam.copies for beam in beams]))
        else:
            shares = _shares(self._masses(beams))
        both = zip(self._weighted(beams), beams, shares.tolist(), strict=True)
        rows = [(replace(sample, share=share), beam) for sample, beam, share in both]
        rows.sort(key=lambda row: (-(row[0].share or 0.0), row[1].key))
        at = self._chosen([sample for sample, _ in rows])
        rows[at] = replace(rows[at][0], chosen=True), rows[at][1]
        return rows

    def _chosen(self, samples: Sequence[Sample]) -> int:
        if self.draws:
            shares = np.array([sample.share for sample in samples])
            return int(np.random.default_rng([self.steering.seed, 0, self.asked]).choice(len(samples), p=shares))
        return max(range(len(samples)), key=lambda at: rank(samples[at], samples))

    def notes(self, samples: Sequence[Sample]) -> tuple[str, ...]:
        """What to say of the search."""
        effective = 1.0 / sum((one.share or 0.0) ** 2 / one.count for one in samples)
        chosen = (
            f"chosen among {len(samples)} texts that {self.came} continuations in {self.rounds} rounds led to;"
            f" effective sample size {effective:.1f}; nothing is chosen that the API did not say"
        )
        said = [chosen]
        if self.came < self.asked:
            said.append(f"{self.asked - self.came} of {self.asked} continuations did not come")
        if self.barred:
            said.append(f"{len(self.barred)} of the continuations begin nothing that the constraint asks for")
        if cut := sum(one.finish in {"length", "budget"} for one in samples):
            said.append(f"{cut} of the texts were cut; their weights are those of beginnings")
        return tuple(said)


def _draws(reply: Reply, number: int) -> Iterator[tuple[DrawnAnswer, tuple[int, int]]]:
    """Each continuation of a reply, and its part of it."""
    return ((one, (number, tokens)) for one, tokens in zip(reply.drawn, tokens_in(reply), strict=True))


def _merged(beams: Iterable[Beam]) -> Iterable[Beam]:
    """Equal beams as the first of them, with the draws of all."""
    merged: dict[tuple[str, str], Beam] = {}
    for beam in beams:
        before = merged.get(beam.key)
        merged[beam.key] = beam if before is None else replace(before, bases=before.bases + beam.bases)
    return merged.values()


def _shares(masses: Floats) -> Floats:
    """What parts of all weight some log-masses have, sum 1."""
    weights = np.exp(masses - masses.max())
    return np.asarray(weights / weights.sum())


def _scores(
    start: str, pieces: Sequence[bytes]
) -> Generator[ScoreStrings, Evidence | None, Mapping[bytes, tuple[float, float]]]:
    """Both members' log-probs of each piece after a text; in whichever order they come."""
    said = yield from ask_scores(ScoreStrings(start.encode(), tuple(pieces), 0))
    both = zip(said.scores.expert.tolist(), said.scores.anti_expert.tolist(), strict=True)
    return dict(zip(said.pieces, both, strict=True))


def _sum(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The log-probs of both parts together; what a member could never say stays so, whatever follows."""
    expert, anti_expert = (log if log == -math.inf else log + more for log, more in zip(one, other, strict=True))
    return expert, anti_expert


def _steps(chosen: Sample, log_normaliser: float) -> Iterator[Step]:
    """The answer as one step, and its end where it ended by itself."""
    text = chosen.text.encode()
    offset = None if chosen.expert is None or chosen.anti_expert is None else chosen.expert - chosen.anti_expert
    share = math.log(chosen.share) if chosen.share else None
    yield Step(text, Kind.TEXT, text, chosen.logp, share, offset, Origin.DRAFT, log_weight=log_normaliser)
    if chosen.finish == "stop":
        yield Step(b"", Kind.END, b"", None, None, None, Origin.DRAFT)

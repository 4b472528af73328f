"""The token loop as one generator: it asks, is sent evidence, and yields steps.

A round asks the API for a draft of a few tokens, has the pair score every position of it, keeps the drafted tokens as
long as the steered choice agrees, emits the first change, and asks again from exactly that text (section 3.3, greedy).
The loop does no I/O: whoever drives it answers `Draft` with a reply and `Evaluate` with the pair's laws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, final

import numpy as np

from blackbox_proxy.core.drafting import next_length
from blackbox_proxy.core.ids import IdReading
from blackbox_proxy.core.rivals import ByteReading
from blackbox_proxy.core.sampling import Drawn, best, draw
from blackbox_proxy.core.scores import ScoreReading
from blackbox_proxy.core.text import first_stop, is_whole
from blackbox_proxy.core.vocabulary import Vocabulary
from blackbox_proxy.core.weighing import (
    Answer,
    Found,
    Judged,
    Judging,
    Question,
    Reading,
    Revealing,
    Weighed,
)
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import (
    Candidate,
    Finish,
    Kind,
    Laws,
    Origin,
    Position,
    Reply,
    Reveal,
    Step,
    TokenPath,
)

HIDDEN_END = 0.5
"""What an end is taken to be worth where the API stopped without showing its log-prob: as likely as not."""

LONGEST_CHARACTER = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Draft:
    """Ask the API to go on from `answer` by `length` tokens; meanwhile have the pair evaluate `paths`.

    temperature: 0 for a greedy draft, 1 for one that is drawn, by `seed`.
    """

    answer: bytes
    path: TokenPath
    length: int
    paths: tuple[TokenPath, ...]
    temperature: float = 0.0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """Ask the API for the log-probs of some ids of its vocabulary as the next token after `answer`."""

    answer: bytes
    path: TokenPath
    ids: TokenPath


@dataclass(frozen=True, slots=True)
class Judge:
    """Ask the source of offsets for its scores of `pieces` after `answer`, and of `proposals` strings of its own."""

    answer: bytes
    pieces: tuple[bytes, ...]
    proposals: int


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Have the pair evaluate `paths`."""

    paths: tuple[TokenPath, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The answer to a question of the loop.

    laws: those it asked for, in order; reply: to a `Draft` or a `Tell`; judged: to a `Judge`.
    """

    laws: Sequence[Laws] = ()
    reply: Reply | None = None
    judged: Judged | None = None


Event = Draft | Evaluate | Tell | Judge | Step


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: why, and how many drafted tokens were asked for in vain."""

    finish: Finish
    wasted: int
    notes: tuple[str, ...]


Run = Generator[Event, Evidence | None, Ending]


def steps(
    steering: Steering,
    *,
    vocabulary: Vocabulary,
    spell: Callable[[bytes], Sequence[int]],
    api: Vocabulary | None = None,
    reveal: Reveal = "none",
) -> Run:
    """Steer one answer. Yields `Step`s in order, and the questions that lead to them.

    vocabulary, spell: the pair's; api: the API's own vocabulary, where it is known; reveal: how the API tells log-probs
    beyond its top-k.
    """
    laws: dict[TokenPath, Laws] = {}
    reading: Reading = (
        IdReading(vocabulary, laws, steering=steering, reveal=reveal)
        if steering.event == "ids"
        else ByteReading(vocabulary, laws, spell=spell, steering=steering, api=api, reveal=reveal)
    )
    return _Loop(steering, reading, laws).run()


def steps_by_scores(steering: Steering, *, proposes: bool) -> Run:
    """`steps` by any source of offsets (`types.Scorer`); proposes: whether it can name strings of its own."""
    return _Loop(steering, ScoreReading(steering, proposes=proposes), {}).run()


@dataclass(slots=True)
class _Round:
    """What one draft has led to so far; `whole` steps of it end between two characters."""

    answer: Answer
    steps: list[Step] = field(default_factory=list)
    whole: int = 0
    kept: int = 0


@final
class _Loop:
    def __init__(self, steering: Steering, reading: Reading, laws: dict[TokenPath, Laws]) -> None:
        self._steering, self._reading, self._laws = steering, reading, laws
        self._rng = np.random.default_rng([steering.seed, 0])
        self._stops = tuple(stop.encode() for stop in steering.stop)
        self._left = steering.max_tokens
        self._wasted = 0
        self._notes: dict[str, None] = {}

    def run(self) -> Run:
        """Rounds until the answer ends."""
        answer, length, finish = Answer(), min(2, self._steering.draft), None
        while finish is None:
            length = max(1, min(length, self._left))
            reply = yield from self._draft(answer, length)
            done = yield from self._walk(answer, reply)
            stuck = not done.steps
            yield from done.steps
            self._left -= len(done.steps)
            kept = sum(step.origin is not Origin.LOCAL for step in done.steps)
            self._wasted += max(len(reply.positions) - kept, 0)
            finish = "length" if stuck and length >= self._left else self._finish(done)
            answer = done.answer
            limit = self._steering.draft
            length = 2 * length if stuck else next_length(length, done.kept, limit=limit)
        return Ending(finish, self._wasted, tuple(self._notes))

    def _draft(self, answer: Answer, length: int) -> Generator[Event, Evidence | None, Reply]:
        paths = self._missing(self._reading.paths(answer))
        evidence = yield Draft(answer.text, answer.path, length, paths, *self._chance())
        if evidence is None or evidence.reply is None:
            raise TypeError("a Draft is answered with Evidence that holds the API's reply")
        self._laws.update(zip(paths, evidence.laws, strict=True))
        return evidence.reply

    def _chance(self) -> tuple[float, int | None]:
        """Temperature and seed of the next draft: at temperature 1, so that the API's draw follows its own law."""
        return (1.0, int(self._rng.integers(2**31))) if self._steering.temperature > 0.0 else (0.0, None)

    def _missing(self, paths: Sequence[TokenPath]) -> tuple[TokenPath, ...]:
        return tuple(dict.fromkeys(path for path in paths if path not in self._laws))

    def _know(self, paths: Sequence[TokenPath]) -> Generator[Event, Evidence | None, None]:
        missing = self._missing(paths)
        if missing:
            evidence = yield Evaluate(missing)
            if evidence is None:
                raise TypeError("an Evaluate is answered with Evidence")
            self._laws.update(zip(missing, evidence.laws, strict=True))

    def _positions(self, reply: Reply, answer: Answer) -> list[Position]:
        """The reply's positions, with one added for an end that the API reached but did not show."""
        positions = list(reply.positions)
        ended = bool(positions) and positions[-1].sampled.kind is Kind.END
        if reply.finish == "stop" and not ended:
            end = Candidate(b"", math.log(HIDDEN_END), Kind.END)
            positions.append(Position(end, (end,), 1.0 - HIDDEN_END, math.log(HIDDEN_END)))
        if not positions:
            raise ReplyError(
                f"the API returned no token after {answer.text[-20:]!r} (finish {reply.finish!r})",
                hint="check that the endpoint returns log-probs for max_tokens=1",
            )
        return positions

    def _walk(self, answer: Answer, reply: Reply) -> Generator[Event, Evidence | None, _Round]:
        """Choose at each drafted position until a choice differs from the draft."""
        done = _Round(answer)
        positions = self._positions(reply, answer)
        for index, position in enumerate(positions[: self._left]):
            if index == len(reply.positions):
                self._notes["the API hides the log-prob of its end; taken as one half where it stopped"] = None
            if index == 1:
                yield from self._know(self._ahead(done.answer, positions[1:]))
            weighed = yield from self._weigh(position, done.answer)
            step = self._step(position, weighed, exact=reply.exact)
            self._append(done, step)
            if step.origin is not Origin.DRAFT or step.kind is Kind.END or self._stopped(done):
                break
            done.kept += 1
        if not self._stopped(done):
            if done.steps[-1].origin is not Origin.DRAFT:
                yield from self._complete(done)
            self._drop_open_end(done, answer)
        self._forget(done.answer)
        return done

    def _ahead(self, answer: Answer, positions: Sequence[Position]) -> list[TokenPath]:
        """Every path that verifying the rest of the draft needs if all of it is kept."""
        paths = list(self._reading.paths(answer))
        for position in positions[:-1]:
            if position.sampled.kind is Kind.END or not self._reading.knows(position.sampled.piece):
                break
            answer = self._reading.after(answer, position.sampled.piece)
            paths += self._reading.paths(answer)
        return paths

    def _weigh(self, position: Position, answer: Answer) -> Generator[Event, Evidence | None, Weighed]:
        return (yield from self._served(self._reading.weigh(position, answer), answer))

    def _served(self, asking: Generator[Question, Found, T], answer: Answer) -> Generator[Event, Evidence | None, T]:
        """Answer a reading's questions, and give what it makes of it."""
        found: Found = None
        while True:
            try:
                question = asking.send(found)
            except StopIteration as stop:
                made: T = stop.value
                return made
            found = None
            if isinstance(question, Revealing):
                found = yield from self._tell(answer, question)
            elif isinstance(question, Judging):
                evidence = yield Judge(question.text, question.pieces, question.proposals)
                found = evidence.judged if evidence else None
            else:
                yield from self._know(question)

    def _tell(self, answer: Answer, question: Revealing) -> Generator[Event, Evidence | None, tuple[Candidate, ...]]:
        evidence = yield Tell(answer.text, answer.path, question.ids)
        if evidence is None or evidence.reply is None:
            raise TypeError("a Tell is answered with Evidence that holds the API's reply")
        self._wasted += len(evidence.reply.positions)
        return evidence.reply.positions[0].revealed if evidence.reply.positions else ()

    def _step(self, position: Position, weighed: Weighed, *, exact: bool) -> Step:
        wanted, ends = position.sampled.piece, position.sampled.kind is Kind.END
        if ends:
            wanted = b""
        # A token without bytes that is no end stands for nothing that could be kept.
        drafted = weighed.pieces.index(wanted) if (wanted or ends) and wanted in weighed.pieces else None
        drawn = self._choose(weighed, drafted)
        at, piece = drawn.index, weighed.pieces[drawn.index]
        rivals = weighed.rivals()
        inside = at < weighed.known
        origin = Origin.DRAFT if at == drafted and inside else Origin.CHANGED if inside else Origin.OUTSIDE
        return Step(
            piece=piece,
            kind=Kind.TEXT if piece else Kind.END,
            wanted=wanted,
            logp_before=float(weighed.scores.logp[at]),
            logp_after=float(weighed.scores.score[at]) - drawn.log_weight,
            offset=float(weighed.scores.offset[at]),
            origin=origin,
            rivals=rivals,
            certified=drawn.certified,
            error=drawn.error,
            log_weight=drawn.log_weight,
            exact=exact,
        )

    def _choose(self, weighed: Weighed, drafted: int | None) -> Drawn:
        """The best, or one that is drawn."""
        score, known, unseen = weighed.scores.score, weighed.known, weighed.unseen
        if drafted is not None and drafted >= len(score):
            drafted = None
        if self._steering.temperature == 0.0:
            return best(score, known=known, drafted=drafted, unseen=unseen)
        return draw(
            score,
            weighed.scores.logp,
            known=known,
            drafted=drafted,
            unseen=unseen,
            steering=self._steering,
            rng=self._rng,
        )

    def _append(self, done: _Round, step: Step) -> None:
        done.steps.append(step)
        if step.kind is not Kind.END:
            done.answer = self._reading.after(done.answer, step.piece)
        if self._steering.event == "ids" or is_whole(done.answer.text):
            done.whole = len(done.steps)

    def _complete(self, done: _Round) -> Generator[Event, Evidence | None, None]:
        """Finish a character that a change left open: the API cannot be asked there, so the expert alone goes on."""
        for _ in range(LONGEST_CHARACTER):
            if done.whole == len(done.steps):
                return
            piece = yield from self._served(self._reading.complete(done.answer), done.answer)
            self._notes["a character was completed by the expert alone"] = None
            logp = math.nan
            self._append(done, Step(piece, Kind.TEXT, b"", logp, logp, logp, Origin.LOCAL, exact=False))

    def _drop_open_end(self, done: _Round, answer: Answer) -> None:
        """Take back drafted steps after the last whole character: the next draft will go over them again."""
        if done.whole == len(done.steps):
            return
        del done.steps[done.whole :]
        if self._steering.temperature > 0.0:
            self._notes["a draft that ended inside a character was drawn anew"] = None
        for step in done.steps:
            answer = self._reading.after(answer, step.piece) if step.piece else answer
        done.answer = answer

    def _stopped(self, done: _Round) -> bool:
        return first_stop(done.answer.text, self._stops) is not None

    def _finish(self, done: _Round) -> Finish | None:
        if done.steps and done.steps[-1].kind is Kind.END:
            return "stop"
        if self._stopped(done):
            return "stop_string"
        return "length" if self._left <= 0 else None

    def _forget(self, answer: Answer) -> None:
        """Drop the laws of places that lie behind for good."""
        depth = min((len(path) for path in self._reading.paths(answer)), default=0)
        for path in [path for path in self._laws if len(path) < depth]:
            del self._laws[path]

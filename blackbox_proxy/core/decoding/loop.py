"""The token loop as one generator: it asks, is sent evidence, and yields steps.

A round asks the API about a few places (`drafting` says who drafts them), has the pair score one after the other, and
emits what is chosen as long as the next place is known; then it asks again from exactly that text (section 3.3).
The loop does no I/O: whoever drives it answers questions to the API with replies and `Evaluate` with the pair's
distributions.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from blackbox_proxy.core.decoding.drafting import SURE, Drafts, Plan, Seen, Sent, next_length
from blackbox_proxy.core.decoding.emitting import step_of
from blackbox_proxy.core.decoding.events import (
    ApiDraft,
    ApiEcho,
    ApiPrefixes,
    ApiReveal,
    Asking,
    Ending,
    Evaluate,
    Event,
    Evidence,
    Run,
    ScoreStrings,
)
from blackbox_proxy.core.decoding.readings import (
    Answer,
    Found,
    Guess,
    Question,
    Reading,
    Revealing,
    ScoredPosition,
    StringsWanted,
    draws_as_it_is,
)
from blackbox_proxy.core.decoding.rounds import Known, Shown, Walk, Window, by_echo, by_prefixes, is_cut, no_token
from blackbox_proxy.core.text import first_stop, is_whole, repeats
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import (
    FILTERED,
    Candidate,
    Finish,
    Kind,
    Origin,
    PairDistributions,
    Position,
    Reply,
    Step,
    TokenPath,
    Usage,
)

LONGEST_CHARACTER = 4

T = TypeVar("T")


class Loop:
    """One run; see `steps`."""

    def __init__(
        self,
        steering: Steering,
        reading: Reading,
        distributions: dict[TokenPath, PairDistributions],
        *,
        drafts: Drafts | None = None,
    ) -> None:
        self._steering, self._reading, self._distributions = steering, reading, distributions
        self._drafts = drafts or Drafts()
        self._guessed: dict[Answer, Guess] = {}
        self._drafted: frozenset[Answer] = frozenset()
        self._rng = np.random.default_rng([steering.seed, 0])
        self._stops = tuple(stop.encode() for stop in steering.stop)
        self._left = steering.max_tokens
        self._last: list[bytes] = []
        self._wasted = 0
        self._spent, self._seconds = Usage(), 0.0
        self._notes: dict[str, None] = {}

    def run(self) -> Run:
        """Rounds until the answer ends."""
        answer, finish = Answer(), None
        plan = self._first()
        while finish is None:
            plan = Plan(plan.drafter, max(1, min(plan.length, self._left)), plan.window)
            self._spent, self._seconds = Usage(), 0.0
            shown, sent = yield from self._ask(answer, plan)
            done = yield from self._walk(answer, shown)
            stuck, over = not done.steps, self._is_over(done, shown, sent)
            self._left -= len(done.steps)
            self._wasted += shown.wasted(done.asked)
            finish = self._finish(done)
            if finish is None and shown.filtered and done.answer.text and not done.changed:
                finish = FILTERED
            finish = finish or ("length" if over else None)
            self._last = self._pieces(done)
            answer = done.answer
            self._learn(plan, sent, done)
            plan = self._widened(sent) if stuck else self._plan(self._longer(sent, done.kept))
        return Ending(finish, self._wasted, tuple(self._notes))

    def _is_over(self, done: Walk, shown: Shown, sent: Sent) -> bool:
        """Whether the API was asked for all that was left, and there is nothing to be gained by asking again.

        Its last character is cut; or nothing of an answer was changed that would be gone on with in words.
        """
        if not sent.is_window or sent.written < self._left:
            return False
        first = bool(done.starts) and not done.starts[0].tokens
        kept = not done.changed and shown.is_cut
        return not done.steps or (kept and ((first and self._drafts.worded) or shown.made >= sent.written))

    def _first(self) -> Plan:
        """The first round: all of the answer where what comes later is less exact, or it may be left as it is."""
        as_it_is = self._steering.temperature == 0.0 or draws_as_it_is(self._steering)
        gated = self._steering.gate == "divergence" and as_it_is and "api" in self._drafts.drafters
        if self._drafts.worded or gated or self._steering.leaves_alone:
            return Plan("api", self._left)
        return self._plan(Plan("api", min(2, self._steering.draft)))

    def _plan(self, window: Plan) -> Plan:
        """The next round: the planner's; else the only drafter's, where it is the window as long as `window` says."""
        planner, can = self._drafts.planner, self._drafts.drafters
        if planner is not None:
            return planner.plan(can, limit=self._steering.draft)
        (drafter,) = can
        return window if drafter == "api" else Plan(drafter, self._steering.draft)

    def _longer(self, sent: Sent, kept: int) -> Plan:
        return Plan("api", next_length(sent.written, kept, limit=self._steering.draft))

    def _widened(self, sent: Sent) -> Plan:
        """After a round that gave nothing: the API by itself, and further than before."""
        return Plan("api", 2 * sent.written if sent.is_window else 1)

    def _learn(self, plan: Plan, sent: Sent, done: Walk) -> None:
        """Tell the planner what the round took and gave."""
        planner = self._drafts.planner
        if planner is None:
            return
        planner.paid(plan, sent, self._spent, seconds=self._seconds)
        for start, step in zip(done.starts, done.steps, strict=True):
            guess = self._guessed.get(start)
            if guess is not None:
                hit = step.piece.startswith(guess.piece) if guess.piece else not step.piece
                drafted, last = step.origin is Origin.DRAFT, step.kind is Kind.END
                planner.saw(Seen(drafted, hit, guess.chance >= SURE, last))
        self._guessed.clear()

    def _ask(self, answer: Answer, plan: Plan) -> Generator[Event, Evidence | None, tuple[Shown, Sent]]:
        """Ask the API by a plan, and say what was asked for."""
        drafted, beyond = [answer], plan.length
        if plan.drafter != "api":
            drafted, beyond = yield from self._guesses(answer, plan)
        self._drafted = frozenset(drafted[1:])
        if len(drafted) == 1:
            return (yield from self._draft(answer, beyond)), Sent(1, 0, beyond)
        paths, guesses = self._missing(self._reading.paths(drafted[-1])), len(drafted) - 1
        if plan.drafter == "pair_prefixes":
            replies = yield from self._replies(ApiPrefixes(tuple(drafted), paths))
            sent = Sent(guesses + 1, guesses * (guesses + 1) // 2, guesses + 1)
            return by_prefixes(drafted, replies), sent
        end, ids = drafted[-1], self._steering.event == "ids"
        draft, further = end.text[len(answer.text) :], end.path[len(answer.path) :]
        (reply,) = yield from self._replies(ApiEcho(answer.text, answer.path, draft, further, beyond, paths))
        return by_echo(drafted, reply, ids=ids), Sent(1, guesses, beyond)

    def _draft(self, answer: Answer, length: int) -> Generator[Event, Evidence | None, Window]:
        paths = self._missing(self._reading.paths(answer))
        (reply,) = yield from self._replies(ApiDraft(answer.text, answer.path, length, paths, *self._chance()))
        window = Window(reply)
        if length < LONGEST_CHARACTER and is_cut(reply):
            self._wasted += len(reply.positions)
            return (yield from self._draft(answer, LONGEST_CHARACTER))
        if not len(window) and not (window.filtered and answer.text):
            raise no_token(answer.text, reply.finish)
        return window

    def _replies(self, asking: Asking) -> Generator[Event, Evidence | None, Sequence[Reply]]:
        """The API's replies; the distributions that the pair found meanwhile are put into the table."""
        evidence = yield asking
        if evidence is None or not evidence.replies:
            raise TypeError(f"a {type(asking).__name__} is answered with Evidence that holds the API's replies")
        self._distributions.update(zip(asking.paths, evidence.distributions, strict=True))
        self._spent = sum((reply.usage for reply in evidence.replies), self._spent)
        self._seconds += evidence.seconds
        return evidence.replies

    def _guesses(self, answer: Answer, plan: Plan) -> Generator[Event, Evidence | None, tuple[list[Answer], int]]:
        """The answer, and the texts that it becomes by the pair's guesses; not beyond an end or a stop.

        And how many tokens the API is to write behind them: one, or the plan's window where the pair is not sure and
        there is a planner. A fixed drafter guesses on, since what the API drafts may be cut otherwise when it is sent
        back. A text that ends inside a character cannot be sent, so the API is not asked about it.
        """
        drafted, text = [answer], answer
        for made in range(min(plan.length, self._left - 1)):
            guess = yield from self._guess(text)
            if guess.chance < SURE and self._drafts.planner is not None:
                return drafted, min(plan.window, self._left - made)
            if not guess.piece:
                break
            text = self._reading.after(text, guess.piece)
            if self._steering.event == "ids" or is_whole(text.text):
                drafted.append(text)
            if first_stop(text.text, self._stops) is not None:
                break
        return drafted, 1

    def _guess(self, answer: Answer) -> Generator[Event, Evidence | None, Guess]:
        if answer not in self._guessed:
            self._guessed[answer] = yield from self._served(self._reading.guess(answer), answer)
        return self._guessed[answer]

    def _chance(self) -> tuple[float, int | None]:
        """Temperature and seed of the next draft: at temperature 1 the API's draw follows its own distribution."""
        return (1.0, int(self._rng.integers(2**31))) if self._steering.temperature > 0.0 else (0.0, None)

    def _missing(self, paths: Sequence[TokenPath]) -> tuple[TokenPath, ...]:
        return tuple(dict.fromkeys(path for path in paths if path not in self._distributions))

    def _know(self, paths: Sequence[TokenPath]) -> Generator[Event, Evidence | None, None]:
        missing = self._missing(paths)
        if missing:
            evidence = yield Evaluate(missing)
            if evidence is None:
                raise TypeError("an Evaluate is answered with Evidence")
            self._seconds += evidence.seconds
            self._distributions.update(zip(missing, evidence.distributions, strict=True))

    def _walk(self, answer: Answer, shown: Shown) -> Generator[Event, Evidence | None, Walk]:
        """Choose at one place after the other, as long as the next one is known."""
        done = Walk(answer)
        while len(done.steps) < self._left:
            known = shown.next(done.answer, done.steps[-1] if done.steps else None)
            if known is None:
                break
            self._remark(known)
            if done.steps and (len(done.steps) - 1) % self._steering.draft == 0:
                yield from self._know(self._ahead(done.answer, shown.ahead()[: self._steering.draft]))
            yield from done.fresh()
            scored = yield from self._score(known.position, done.answer)
            if self._drafts.planner is not None:
                yield from self._guess(done.answer)
            step = step_of(known.position, scored, exact=known.exact, steering=self._steering, rng=self._rng)
            self._append(done, step)
            if done.answer in self._drafted and step.piece:
                done.steps[-1] = replace(step, guessed=True)
            done.kept += step.origin is Origin.DRAFT and step.kind is not Kind.END
            if step.kind is Kind.END or self._cut(done):
                break
        if done.steps and not self._cut(done):
            if done.changed:
                yield from self._complete(done)
            self._drop_open_end(done, answer)
        yield from done.fresh(len(done.steps))
        self._forget(done.answer)
        return done

    def _remark(self, known: Known) -> None:
        """Note what the API did not tell of a place."""
        if known.hidden:
            self._notes["the API hides the log-prob of its end; taken as one half where it stopped"] = None
        if known.position.is_lost:
            self._notes["the API did not tell the bytes of a token that it would have said; another was chosen"] = None

    def _ahead(self, answer: Answer, positions: Sequence[Position]) -> list[TokenPath]:
        """Every path that verifying the rest of the draft needs if all of it is kept."""
        paths = list(self._reading.paths(answer))
        for position in positions[:-1]:
            if position.sampled.kind is Kind.END or not self._reading.knows(position.sampled.piece):
                break
            answer = self._reading.after(answer, position.sampled.piece)
            paths += self._reading.paths(answer)
        return paths

    def _score(self, position: Position, answer: Answer) -> Generator[Event, Evidence | None, ScoredPosition]:
        return (yield from self._served(self._reading.score(position, answer), answer))

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
            elif isinstance(question, StringsWanted):
                evidence = yield ScoreStrings(question.text, question.pieces, question.proposals)
                found = evidence.scores if evidence else None
            else:
                yield from self._know(question)

    def _tell(self, answer: Answer, question: Revealing) -> Generator[Event, Evidence | None, tuple[Candidate, ...]]:
        evidence = yield ApiReveal(answer.text, answer.path, question.ids)
        if evidence is None or not evidence.replies:
            raise TypeError("an ApiReveal is answered with Evidence that holds the API's reply")
        (reply,) = evidence.replies
        self._wasted += len(reply.positions)
        return reply.positions[0].requested if reply.positions else ()

    def _append(self, done: Walk, step: Step) -> None:
        done.starts.append(done.answer)
        done.steps.append(step)
        if step.kind is not Kind.END:
            done.answer = self._reading.after(done.answer, step.piece)
        if self._steering.event == "ids" or is_whole(done.answer.text):
            done.whole = len(done.steps)

    def _complete(self, done: Walk) -> Generator[Event, Evidence | None, None]:
        """Finish a character that a change left open: the API cannot be asked there, so the expert alone goes on."""
        for _ in range(LONGEST_CHARACTER):
            if done.whole == len(done.steps):
                return
            piece = yield from self._served(self._reading.complete(done.answer), done.answer)
            self._notes["a character was completed by the expert alone"] = None
            self._append(done, Step(piece, Kind.TEXT, b"", None, None, None, Origin.LOCAL, exact=False, alpha=None))

    def _drop_open_end(self, done: Walk, answer: Answer) -> None:
        """Take back drafted steps after the last whole character: the next draft will go over them again."""
        if done.whole == len(done.steps):
            return
        del done.steps[done.whole :], done.starts[done.whole :]
        if self._steering.temperature > 0.0:
            self._notes["a draft that ended inside a character was drawn anew"] = None
        for step in done.steps:
            answer = self._reading.after(answer, step.piece) if step.piece else answer
        done.answer = answer

    def _cut(self, done: Walk) -> bool:
        """Whether the answer is to end here, although the API and the pair would go on."""
        return self._stopped(done) or self._repeats(done)

    def _stopped(self, done: Walk) -> bool:
        return first_stop(done.answer.text, self._stops) is not None

    def _pieces(self, done: Walk) -> list[bytes]:
        """The last tokens of the answer, as many as a repetition is looked for in."""
        size = self._steering.repetition_stop
        return [*self._last, *(step.piece for step in done.steps)][-size:] if size else []

    def _repeats(self, done: Walk) -> bool:
        """Whether the answer does nothing but repeat itself; never inside a character."""
        pieces = self._pieces(done)
        if not pieces or len(pieces) < self._steering.repetition_stop or done.whole < len(done.steps):
            return False
        return repeats(b"".join(pieces))

    def _finish(self, done: Walk) -> Finish | None:
        if done.steps and done.steps[-1].kind is Kind.END:
            return "stop"
        if self._stopped(done):
            return "stop_string"
        if self._repeats(done):
            return "repetition"
        return "length" if self._left <= 0 else None

    def _forget(self, answer: Answer) -> None:
        """Drop the distributions of places that lie behind for good."""
        depth = min((len(path) for path in self._reading.paths(answer)), default=0)
        for path in [path for path in self._distributions if len(path) < depth]:
            del self._distributions[path]

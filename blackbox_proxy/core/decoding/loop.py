"""The token loop: one steered answer, as a generator that asks, is sent evidence, and yields steps.

From a question to a token, and the functions of `Loop` that do it:

1. A round asks the API about a few places (`questions` says who drafts them). While it answers, the pair evaluates the
   text where both stand.
2. The replies are evidence: what the API says of each place (`rounds`). `_walk` goes from one place to the next.
3. At each place the reading scores what competes (`readings`). It may ask for more distributions of the pair
   (`core.pairtable`), or of the API, where the choice depends on them.
4. The best is chosen, or one is drawn, and becomes a step (`emitting`). Where a constraint leaves one text alone
   (`acceptors`), that is a step without 1 to 3.
5. The step's bytes are appended to the text (`_append`). Where the API has said what follows exactly this text, 3 is
   next; else what remains of the draft is dropped, and 1 asks again (section 3.3), until the answer ends (`_finish`).

The loop does no I/O: whoever drives it answers its questions (`core.events`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import numpy as np

from blackbox_proxy.core.decoding.acceptors import ANY_TEXT, Acceptor, constrained_step, cut_position
from blackbox_proxy.core.decoding.drafting import Drafts, Plan
from blackbox_proxy.core.decoding.emitting import step_of
from blackbox_proxy.core.decoding.endings import Endings
from blackbox_proxy.core.decoding.questions import LONGEST_CHARACTER, AskedRound, RoundQuestions
from blackbox_proxy.core.decoding.readings import Reading, barred
from blackbox_proxy.core.decoding.rounds import Known, Shown, Walk
from blackbox_proxy.core.decoding.shortening import COMPETING, DRAWN, shortened
from blackbox_proxy.core.events import Answer, Ending, Process, Run
from blackbox_proxy.core.pairtable import PairTable
from blackbox_proxy.core.text import is_whole
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import FILTERED, Finish, Kind, Origin, Step, TokenPath


@final
class Loop:
    """One run; see `answers.steps`. The reading takes the pair's distributions from the same table."""

    def __init__(
        self,
        steering: Steering,
        reading: Reading,
        table: PairTable,
        *,
        drafts: Drafts | None = None,
        accepts: Acceptor = ANY_TEXT,
    ) -> None:
        self._steering, self._reading, self._table, self._accepts = steering, reading, table, accepts
        self._rng = np.random.default_rng([steering.seed, 0])
        self._endings = Endings(steering)
        self._questions = RoundQuestions(
            steering, reading, table, drafts=drafts or Drafts(), endings=self._endings, rng=self._rng, accepts=accepts
        )
        self._room = steering.max_tokens
        self._wasted = 0
        self._notes: dict[str, None] = {}

    def run(self) -> Run:
        """Rounds until the answer ends."""
        answer, finish = Answer(), None
        plan = self._questions.first()
        if not self._questions.is_worded:
            # An endpoint that is asked in words to go on says more where it begins by itself.
            answer, finish = yield from self._unasked(answer)
        while finish is None:
            plan = Plan(plan.drafter, max(1, min(plan.length, self._room)), plan.window)
            asked = yield from self._questions.ask(answer, plan, room=self._room)
            walk = yield from self._walk(answer, asked)
            over = self._questions.is_over(walk, asked, room=self._room)
            self._room -= len(walk.steps)
            self._wasted += asked.shown.wasted(walk.asked)
            finish = self._finish(walk, asked.shown, over=over)
            self._endings.keep(step.piece for step in walk.steps)
            answer = walk.answer
            self._questions.learn(plan, asked.sent, walk)
            plan = self._questions.next(asked.sent, walk)
        return Ending(finish, self._wasted + self._questions.wasted, tuple(self._notes))

    def _walk(self, answer: Answer, asked: AskedRound) -> Process[Walk]:
        """Choose at one place after the other, as long as the next one is known."""
        walk, shown = Walk(answer), asked.shown
        while len(walk.steps) < self._room:
            if (step := self._without_choice(walk.answer)) is not None:
                shown.skip(step.piece)
                self._append(walk, step)
                if step.kind is Kind.END or self._cut(walk):
                    break
                continue
            known = shown.next(walk.answer, walk.steps[-1] if walk.steps else None)
            if known is None:
                break
            self._remark(known)
            if walk.steps and (len(walk.steps) - 1) % self._steering.draft == 0:
                yield from self._table.know(self._ahead(walk.answer, shown))
            yield from walk.fresh()
            step = yield from self._step(known, walk.answer)
            self._append(walk, step)
            if walk.answer in asked.guessed and step.piece:
                walk.steps[-1] = replace(step, guessed=True)
            walk.kept += step.origin is Origin.DRAFT and step.kind is not Kind.END
            if step.kind is Kind.END or self._cut(walk):
                break
        if walk.steps and not self._cut(walk):
            if walk.changed:
                yield from self._complete(walk)
            self._drop_open_end(walk, answer)
        yield from walk.fresh(len(walk.steps))
        self._table.forget_before(self._reading.paths(walk.answer))
        return walk

    def _step(self, known: Known, answer: Answer) -> Process[Step]:
        """What is chosen at a place, of all that competes there."""
        position = known.position
        constrained = self._accepts is not ANY_TEXT
        out = 0.0
        if self._reading.compares_strings:
            count = DRAWN if self._steering.temperature > 0.0 else COMPETING
            position, out = shortened(position, answer.text, accepts=self._accepts, count=count)
        if constrained:
            position = cut_position(position, answer.text, accepts=self._accepts)
        scored = yield from self._reading.score(position, answer)
        if constrained:
            scored = replace(scored, barred=out + barred(position, answer.text, accepts=self._accepts))
        self._wasted += scored.revealing
        if self._questions.learns:
            yield from self._questions.guess(answer)
        step = step_of(position, scored, exact=known.exact, steering=self._steering, rng=self._rng)
        return replace(step, forced=True) if known.forced else step

    def _unasked(self, answer: Answer) -> Process[tuple[Answer, Finish | None]]:
        """What stands at the head of every answer, without a question; and whether that is all of it."""
        while self._room > 0 and (step := self._without_choice(answer)) is not None:
            self._room -= 1
            yield step
            if step.kind is Kind.END:
                return answer, "stop"
            self._endings.keep((step.piece,))
            answer = self._reading.after(answer, step.piece)
            if (cut := self._endings.cut(answer.text, (), whole=True)) is not None:
                return answer, cut
        return answer, None if self._room > 0 else "length"

    def _without_choice(self, answer: Answer) -> Step | None:
        """The step of what the constraint leaves no choice about; None where it leaves one."""
        if self._accepts.is_over(answer.text):
            return constrained_step(b"")
        forced = self._accepts.forced(answer.text)
        return constrained_step(forced) if forced else None

    def _append(self, walk: Walk, step: Step) -> None:
        walk.starts.append(walk.answer)
        walk.steps.append(step)
        if step.kind is not Kind.END:
            walk.answer = self._reading.after(walk.answer, step.piece)
        if self._steering.event == "ids" or is_whole(walk.answer.text):
            walk.whole = len(walk.steps)

    def _ahead(self, answer: Answer, shown: Shown) -> Sequence[TokenPath]:
        """Every path that verifying the next tokens of the draft needs if all of them are kept."""
        paths = list(self._reading.paths(answer))
        for position in shown.ahead()[: self._steering.draft][:-1]:
            piece = position.sampled.piece
            ends = position.sampled.kind is Kind.END
            # What a draft goes on with need be no text, nor anything that the pair can spell.
            if ends or not self._accepts.follows(answer.text, piece) or not self._reading.knows(piece):
                break
            answer = self._reading.after(answer, piece)
            paths += self._reading.paths(answer)
        return paths

    def _complete(self, walk: Walk) -> Process[None]:
        """Finish a character that a change left open: the API cannot be asked there, so the expert alone goes on."""
        for _ in range(LONGEST_CHARACTER):
            if walk.whole == len(walk.steps):
                return
            piece = yield from self._reading.complete(walk.answer)
            self._notes["a character was completed by the expert alone"] = None
            self._append(walk, Step(piece, Kind.TEXT, b"", None, None, None, Origin.LOCAL, exact=False, alpha=None))

    def _drop_open_end(self, walk: Walk, answer: Answer) -> None:
        """Take back drafted steps after the last whole character: the next draft will go over them again."""
        if walk.whole == len(walk.steps):
            return
        del walk.steps[walk.whole :], walk.starts[walk.whole :]
        if self._steering.temperature > 0.0:
            self._notes["a draft that ended inside a character was drawn anew"] = None
        for step in walk.steps:
            answer = self._reading.after(answer, step.piece) if step.piece else answer
        walk.answer = answer

    def _cut(self, walk: Walk) -> Finish | None:
        """Why the answer is to end here, although the API and the pair would go on."""
        pieces = (step.piece for step in walk.steps)
        return self._endings.cut(walk.answer.text, pieces, whole=walk.whole == len(walk.steps))

    def _finish(self, walk: Walk, shown: Shown, *, over: bool) -> Finish | None:
        """Why the answer ends behind this round; None where it goes on. over: see `RoundQuestions.is_over`."""
        if walk.steps and walk.steps[-1].kind is Kind.END:
            return "stop"
        if (cut := self._cut(walk)) is not None:
            return cut
        if self._room > 0 and shown.filtered and walk.answer.text and not walk.changed:
            return FILTERED
        return "length" if over or self._room <= 0 else None

    def _remark(self, known: Known) -> None:
        """Note what the API did not tell of a place."""
        if known.hidden:
            self._notes["the API hides the log-prob of its end; taken as one half where it stopped"] = None
        if known.position.is_lost:
            self._notes["the API did not tell the bytes of a token that it would have said; another was chosen"] = None

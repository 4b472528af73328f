"""The question of each round: who drafts it, how much is asked for, and what a planner learns from what came of it.

A window of the API is one request. Guesses of the pair are sent as beginnings, one request each, or all of them in one
request that is echoed. Knows no distribution and chooses no token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from blackbox_proxy.core.decoding.acceptors import ANY_TEXT, Acceptor
from blackbox_proxy.core.decoding.drafting import SURE, Drafts, Plan, Seen, Sent, next_length
from blackbox_proxy.core.decoding.endings import Endings
from blackbox_proxy.core.decoding.readings import Guess, Reading, draws_as_it_is
from blackbox_proxy.core.decoding.rounds import Shown, Walk, Window, by_echo, by_prefixes, is_cut, no_token
from blackbox_proxy.core.events import Answer, ApiDraft, ApiEcho, ApiPrefixes, Asking, Process
from blackbox_proxy.core.pairtable import PairTable
from blackbox_proxy.core.text import is_whole
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Kind, Origin, Reply, Usage

LONGEST_CHARACTER = 4


@dataclass(frozen=True, slots=True)
class AskedRound:
    """One round: what it asked for, and what the API showed. guessed: texts that the pair's guesses led to."""

    shown: Shown
    sent: Sent
    guessed: frozenset[Answer] = frozenset()


@final
class RoundQuestions:
    """Asks the question of each round. wasted: tokens of replies that were no use and were asked for again.

    rng: where the seeds of drawn drafts come from.
    """

    def __init__(
        self,
        steering: Steering,
        reading: Reading,
        table: PairTable,
        *,
        drafts: Drafts,
        endings: Endings,
        rng: np.random.Generator,
        accepts: Acceptor = ANY_TEXT,
    ) -> None:
        self._accepts = accepts
        self._steering, self._reading, self._table = steering, reading, table
        self._drafts, self._endings, self._rng = drafts, endings, rng
        self._guesses: dict[Answer, Guess] = {}
        self._usage, self._seconds, self._before = Usage(), 0.0, 0.0
        self.wasted = 0

    @property
    def is_worded(self) -> bool:
        """Whether the endpoint is asked in words to go on from a text."""
        return self._drafts.worded

    @property
    def learns(self) -> bool:
        """Whether there is a planner, who wants a guess of the pair's at every place."""
        return self._drafts.planner is not None

    def first(self) -> Plan:
        """The first round: all of the answer where what comes later is less exact, or it may be left as it is."""
        as_it_is = self._steering.temperature == 0.0 or draws_as_it_is(self._steering)
        gated = self._steering.gate == "divergence" and as_it_is and "api" in self._drafts.drafters
        if self._drafts.worded or gated or self._steering.leaves_alone:
            return Plan("api", self._steering.max_tokens)
        return self._plan(Plan("api", min(2, self._steering.draft)))

    def next(self, sent: Sent, walk: Walk) -> Plan:
        """The round after this one. One that gave nothing is followed by the API by itself, further than before."""
        if not walk.steps:
            return Plan("api", 2 * sent.written if sent.is_window else 1)
        return self._plan(Plan("api", next_length(sent.written, walk.kept, limit=self._steering.draft)))

    def _plan(self, window: Plan) -> Plan:
        """The planner's; without one the only drafter's, where it is the window as long as `window` says."""
        planner, can = self._drafts.planner, self._drafts.drafters
        if planner is not None:
            return planner.plan(can, limit=self._steering.draft)
        (drafter,) = can
        return window if drafter == "api" else Plan(drafter, self._steering.draft)

    def ask(self, answer: Answer, plan: Plan, *, room: int) -> Process[AskedRound]:
        """Ask the API by a plan. room: how many tokens the answer may still have."""
        self._usage, self._seconds, self._before = Usage(), 0.0, self._table.seconds
        drafted, behind = [answer], plan.length
        if plan.drafter != "api":
            drafted, behind = yield from self._pair_draft(answer, plan, room=room)
        guesses = len(drafted) - 1
        if not guesses:
            return AskedRound((yield from self._window(answer, behind)), Sent(1, 0, behind))
        guessed, paths = frozenset(drafted[1:]), self._table.missing(self._reading.paths(drafted[-1]))
        if plan.drafter == "pair_prefixes":
            replies = yield from self._replies(ApiPrefixes(tuple(drafted), paths))
            sent = Sent(guesses + 1, guesses * (guesses + 1) // 2, guesses + 1)
            return AskedRound(by_prefixes(drafted, replies), sent, guessed)
        end, ids = drafted[-1], self._steering.event == "ids"
        draft, further = end.text[len(answer.text) :], end.path[len(answer.path) :]
        (reply,) = yield from self._replies(ApiEcho(answer.text, answer.path, draft, further, behind, paths))
        return AskedRound(by_echo(drafted, reply, ids=ids), Sent(1, guesses, behind), guessed)

    def _window(self, answer: Answer, length: int) -> Process[Window]:
        """A draft of the API alone. One that is cut inside its first character is asked for again, longer."""
        paths = self._table.missing(self._reading.paths(answer))
        (reply,) = yield from self._replies(ApiDraft(answer.text, answer.path, length, paths, *self._chance()))
        window = Window(reply)
        if length < LONGEST_CHARACTER and is_cut(reply):
            self.wasted += len(reply.positions)
            return (yield from self._window(answer, LONGEST_CHARACTER))
        if not len(window) and not (window.filtered and answer.text):
            raise no_token(answer.text, reply.finish)
        return window

    def _chance(self) -> tuple[float, int | None]:
        """Temperature and seed of the next draft: at temperature 1 the API's draw follows its own distribution."""
        return (1.0, int(self._rng.integers(2**31))) if self._steering.temperature > 0.0 else (0.0, None)

    def _replies(self, question: Asking) -> Process[Sequence[Reply]]:
        """The API's replies, and what they took."""
        evidence = yield from self._table.ask_beside(question)
        self._usage = sum((reply.usage for reply in evidence.replies), self._usage)
        self._seconds += evidence.seconds
        return evidence.replies

    def _pair_draft(self, answer: Answer, plan: Plan, *, room: int) -> Process[tuple[list[Answer], int]]:
        """The answer, and the texts that it becomes by the pair's guesses; not beyond an end or a stop.

        And how many tokens the API is to write behind them: one, or the plan's window where the pair is not sure and
        there is a planner. A fixed drafter guesses on, since what the API drafts may be cut otherwise when it is sent
        back. A text that ends inside a character cannot be sent, so the API is not asked about it.
        """
        drafted, text = [answer], answer
        for guesses in range(min(plan.length, room - 1)):
            if forced := self._accepts.forced(text.text):
                drafted.append(text := self._reading.after(text, forced))
                continue
            guess = yield from self.guess(text)
            if guess.chance < SURE and self.learns:
                return drafted, min(plan.window, room - guesses)
            if not guess.piece:
                break
            text = self._reading.after(text, guess.piece)
            if self._steering.event == "ids" or is_whole(text.text):
                drafted.append(text)
            if self._endings.is_stopped(text.text):
                break
        return drafted, 1

    def guess(self, answer: Answer) -> Process[Guess]:
        """What the pair takes to come next; worked out once for each text."""
        if answer not in self._guesses:
            self._guesses[answer] = yield from self._reading.guess(answer)
        return self._guesses[answer]

    def is_over(self, walk: Walk, asked: AskedRound, *, room: int) -> bool:
        """Whether the API was asked for all that there was room for, and asking again would gain nothing.

        Its last character is cut; or nothing of an answer was changed that would be gone on with in words.
        """
        shown, sent = asked.shown, asked.sent
        if not sent.is_window or sent.written < room:
            return False
        first = bool(walk.starts) and not walk.starts[0].tokens
        kept = not walk.changed and shown.is_cut
        return not walk.steps or (kept and ((first and self._drafts.worded) or shown.drafted >= sent.written))

    def learn(self, plan: Plan, sent: Sent, walk: Walk) -> None:
        """Tell the planner, where there is one, what the round took and gave."""
        planner = self._drafts.planner
        if planner is None:
            return
        planner.paid(plan, sent, self._usage, seconds=self._seconds + self._table.seconds - self._before)
        for start, step in zip(walk.starts, walk.steps, strict=True):
            guess = self._guesses.get(start)
            if guess is not None:
                hit = step.piece.startswith(guess.piece) if guess.piece else not step.piece
                drafted, last = step.origin is Origin.DRAFT, step.kind is Kind.END
                planner.saw(Seen(drafted, hit, guess.chance >= SURE, last))
        self._guesses.clear()

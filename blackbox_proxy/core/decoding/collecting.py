"""The places of a reference answer: what the API and the pair say at each border of it, teacher-forced.

The API is asked to go on from the answer's own text, as far as it drafts the reference itself, and again where it does
not; one that echoes is asked for all borders at once. Each place is scored as it would be for a choice, with what the
API does not show imputed. Fitting the rule `learnt` to them (`learning`) is not this module's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import final

import numpy as np

from blackbox_proxy.core.alignment.firsts import firsts_of, pair_firsts
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.combine import divided
from blackbox_proxy.core.decoding.drafting import next_length
from blackbox_proxy.core.decoding.emitting import given_step
from blackbox_proxy.core.decoding.given import AHEAD
from blackbox_proxy.core.decoding.readings import Reading, ScoredPosition
from blackbox_proxy.core.decoding.rounds import Known, known_of
from blackbox_proxy.core.decoding.strings import ByteReading
from blackbox_proxy.core.events import Answer, ApiDraft, ApiEcho, Ending, Process, Run, ask_api
from blackbox_proxy.core.pairtable import PairTable
from blackbox_proxy.core.text import is_whole
from blackbox_proxy.learnt import LearntWeights
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Kind, Origin, ReferencePlace, Reply, Step

FIRST_WINDOW = 2
"""Tokens that the API is first asked for; more where it drafts the reference."""


def collecting_steering(steering: Steering) -> Steering:
    """The steering by which places are scored: every candidate that may be likely is made certain.

    Raises InputError for what the rule `learnt` cannot do.
    """
    return replace(
        steering.as_it_is(),
        rule="learnt",
        learnt=steering.learnt or LearntWeights.fixed(steering.alpha),
        alpha=1.0,
        schedule=None,
        gate="always",
        target="full",
        tail="impute",
        drafter="api",
        stop=(),
    )


def collected_steps(
    reference: bytes,
    steering: Steering,
    *,
    vocabulary: Vocabulary,
    spell: Callable[[bytes], Sequence[int]],
    api: Vocabulary | None = None,
    echoes: bool = False,
) -> Run:
    """A run along a reference answer: a step for each of its tokens, and one for its end, with their `Step.place`.

    steering: of `collecting_steering`; echoes: whether the API gives back what it is sent; others: see `answers.steps`.
    """
    table = PairTable()
    reading = ByteReading(vocabulary, table, spell=spell, steering=steering, api=api)
    first = (firsts_of(vocabulary, api, spell) if api else pair_firsts(vocabulary, spell)).first
    return Collecting(
        steering, reading, table, reference=reference, first=first, cuts=api is not None, echoes=echoes
    ).run()


@final
class Collecting:
    """One run; see `collected_steps`.

    first: what a tokenizer cuts off a text first; cuts: whether that is the API's own.
    """

    def __init__(
        self,
        steering: Steering,
        reading: Reading,
        table: PairTable,
        *,
        reference: bytes,
        first: Callable[[bytes], bytes],
        cuts: bool,
        echoes: bool,
    ) -> None:
        self._steering, self._reading, self._table = steering, reading, table
        self._reference, self._first, self._cuts, self._echoes = reference, first, cuts, echoes
        self._known: dict[bytes, Known] = {}
        self._borders: list[int] = []
        self._length = min(FIRST_WINDOW, steering.draft)
        self._wasted = 0

    def run(self) -> Run:
        """One place after the other. Where nobody tells what the API says, the step has no place."""
        answer = Answer()
        if self._echoes and self._reference:
            yield from self._echo()
        while True:
            rest = self._reference[len(answer.text) :]
            if answer.text not in self._known and is_whole(answer.text):
                yield from self._window(answer)
            step = yield from self._step(answer, rest)
            yield step
            if not rest:
                return Ending("stop", self._wasted, ())
            answer = self._reading.after(answer, step.piece)
            self._table.forget_before(self._reading.paths(answer))

    def _echo(self) -> Process[None]:
        """All borders of the reference at once, as the API cuts it."""
        (reply,) = (yield from ask_api(ApiEcho(b"", (), self._reference, (), 1, ()))).replies
        for one in reply.echoed:
            if is_whole(self._reference[: one.at]):
                self._known[self._reference[: one.at]] = Known(one.position, reply.exact, forced=reply.forced)
                self._borders.append(one.at)
        self._keep(self._reference, reply)
        self._borders.append(len(self._reference))
        yield from self._read_ahead()

    def _window(self, answer: Answer) -> Process[None]:
        """What the API drafts from here on, as long as that is the reference."""
        paths = self._table.missing(self._reading.paths(answer))
        (reply,) = (yield from self._table.ask_beside(ApiDraft(answer.text, (), self._length, paths))).replies
        kept = self._keep(answer.text, reply)
        self._wasted += max(0, len(reply.positions) - kept)
        self._length = next_length(self._length, kept, limit=self._steering.draft)
        yield from self._read_ahead(len(answer.text))

    def _read_ahead(self, start: int = 0) -> Process[None]:
        """Have the pair read the text before the next known places at once, from so many bytes on."""
        ahead = sorted(text for text in self._known if len(text) >= start)[:AHEAD]
        yield from self._table.know([path for text in ahead for path in self._reading.paths(Answer(text))])

    def _keep(self, text: bytes, reply: Reply) -> int:
        """Keep what the reply tells from `text` on; how many of its tokens are the reference's."""
        kept = 0
        for known in known_of(reply):
            # What an end is worth that the API hides, nobody knows.
            if known.hidden:
                break
            self._known.setdefault(text, known)
            token = known.position.sampled
            ends = token.kind is Kind.END and text == self._reference
            if not ends and (not token.piece or not self._reference.startswith(text + token.piece)):
                break
            kept += 1
            text += b"" if ends else token.piece
        return kept

    def _step(self, answer: Answer, rest: bytes) -> Process[Step]:
        """The step of the reference's own token. rest: what is still to come of it; b"" for its end."""
        known = self._known.get(answer.text)
        if known is None:
            return _unplaced(self._guessed(rest))
        scored = yield from self._reading.score(known.position, answer)
        column = self._column(scored, answer, rest)
        if column is None:
            step = _unplaced(self._guessed(rest))
        else:
            step = given_step(known.position, scored, column, origin=Origin.GIVEN, steering=self._steering)
        return replace(step, exact=known.exact, forced=known.forced, place=place_of(scored, column))

    def _column(self, scored: ScoredPosition, answer: Answer, rest: bytes) -> int | None:
        """Which candidate the reference goes on with; None where that is not listed.

        The token that the API itself cuts there; where that is not known, the longest that it shows.
        """
        pieces = scored.pieces
        cut = self._cut(answer, rest)
        if cut in pieces:
            return pieces.index(cut)
        if self._cuts or not rest:
            return None
        fitting = [n for n, piece in enumerate(pieces) if piece and rest.startswith(piece)]
        return max(fitting, key=lambda n: (n < scored.known, len(pieces[n])), default=None)

    def _cut(self, answer: Answer, rest: bytes) -> bytes | None:
        """The reference's next token as the API cuts it, b"" for its end; None where that is not known."""
        if not rest or self._cuts:
            return self._first(rest)
        at = len(answer.text)
        end = next((border for border in self._borders if border > at), None)
        return None if end is None else rest[: end - at]

    def _guessed(self, rest: bytes) -> bytes:
        """The next token as a tokenizer cuts it that may not be the API's."""
        return self._first(rest) or rest


def place_of(scored: ScoredPosition, column: int | None) -> ReferencePlace | None:
    """What competes at a place, as classes that the rule `learnt` is fitted to.

    column: of the reference's own token; None where it is none of the candidates, and so one of all others. None where
    that one has no probability at all, so that no weights could give it any.
    """
    mass = divided(scored.scores, known=scored.known)
    chosen = len(mass) - 1 if column is None else column
    logs, kept = scored.scores.logs, np.flatnonzero(mass > 0.0)
    if logs is None or mass[chosen] <= 0.0:
        return None
    expert, anti_expert = (tuple(row[kept].tolist()) for row in logs)
    at = int(np.searchsorted(kept, chosen))
    return ReferencePlace(tuple(np.log(mass[kept]).tolist()), expert, anti_expert, scored.features, at)


def _unplaced(piece: bytes) -> Step:
    """A step of which nobody knows a figure."""
    kind = Kind.TEXT if piece else Kind.END
    return Step(piece, kind, piece, None, None, None, Origin.GIVEN, alpha=None)

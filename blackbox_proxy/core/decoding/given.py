"""How probable a given text is in the steered distribution, token by token as the API cuts it.

One question to the API gives its log-probs along the text; then a reading weighs each place as if a token were to be
chosen there, with the text's own token among the candidates whether the API listed it or not, and its share of the
whole distribution is what a step tells. Knows no wire format and not who answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import final

import numpy as np

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.acceptors import ANY_TEXT, Acceptor, AnswerBehind
from blackbox_proxy.core.decoding.emitting import given_step
from blackbox_proxy.core.decoding.ids import IdReading
from blackbox_proxy.core.decoding.readings import Reading, ScoredPosition, barred, untouched
from blackbox_proxy.core.decoding.rounds import Known, known_of
from blackbox_proxy.core.decoding.scores import ScoreReading
from blackbox_proxy.core.decoding.shortening import with_requested
from blackbox_proxy.core.decoding.strings import ByteReading
from blackbox_proxy.core.events import Answer, ApiText, Ending, Process, Run
from blackbox_proxy.core.pairtable import PairTable
from blackbox_proxy.core.text import is_whole
from blackbox_proxy.errors import InputError
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Candidate, Finish, Kind, Origin, Position, Reply, Step, TokenPath

AHEAD = 16
"""Places of the text whose distributions the pair is asked for at once."""

TEXTS = (Kind.TEXT, Kind.FRAGMENT)


@dataclass(frozen=True, slots=True)
class Given:
    """A text to be scored.

    tokens: the API's own, where they are known; their log-probs are not looked at. Without them it is cut by the API.
    as_ids: whether their ids are sent in place of the text. goes_on: whether the token behind the text is chosen too.
    prompt: how many bytes of it are no part of the answer, which a constraint is about.
    """

    text: bytes
    tokens: tuple[Candidate, ...] = ()
    as_ids: bool = False
    goes_on: bool = False
    prompt: int = 0

    @property
    def ids(self) -> TokenPath | None:
        """What is sent in place of the text."""
        return tuple(token.id for token in self.tokens if token.id is not None) if self.as_ids else None


def scored_steps(
    given: Given,
    steering: Steering,
    *,
    vocabulary: Vocabulary,
    spell: Callable[[bytes], Sequence[int]],
    api: Vocabulary | None = None,
    accepts: Acceptor = ANY_TEXT,
) -> Run:
    """A run that scores a text by a pair. Raises as `distribution_of`. Arguments as in `answers.steps`."""
    table, distribution, held = PairTable(), distribution_of(steering), _held(accepts, given)
    follows: Acceptor = held or ANY_TEXT
    reading: Reading = (
        IdReading(vocabulary, table, steering=distribution, accepts=follows)
        if steering.event == "ids"
        else ByteReading(vocabulary, table, spell=spell, steering=distribution, api=api, given=True, accepts=follows)
    )
    names = _special(vocabulary) | (_special(api) if api else frozenset())
    return Scoring(distribution, reading, table, given=given, special=names, held=held).run()


def _held(accepts: Acceptor, given: Given) -> AnswerBehind | None:
    return None if accepts is ANY_TEXT else AnswerBehind(accepts, prompt=given.prompt)


def scored_by_scores(given: Given, steering: Steering, *, proposes: bool, accepts: Acceptor = ANY_TEXT) -> Run:
    """`scored_steps` by any source of offsets (`types.OffsetSource`)."""
    distribution, held = distribution_of(steering), _held(accepts, given)
    reading = ScoreReading(distribution, proposes=proposes, accepts=held or ANY_TEXT)
    return Scoring(distribution, reading, PairTable(), given=given, held=held).run()


def distribution_of(steering: Steering) -> Steering:
    """The steering by which a text is scored: what is likely is made certain, and nothing is asked for besides.

    Raises InputError for a distribution under which most texts have no probability, or that depends on where an answer
    begins.
    """
    if not steering.takes_unseen:
        raise InputError(
            f"target={steering.target!r} and tail={steering.tail!r} leave out most texts, so none can be scored",
            hint="texts are scored with target='full' and tail='impute'",
        )
    if steering.schedule is not None:
        raise InputError(
            "a schedule counts the tokens of an answer, and a given text has no answer in it",
            hint="score it with one alpha",
        )
    return replace(steering.as_it_is(), tail="impute", stop=(), max_tokens=1)


@final
class Scoring:
    """One run: a step for each token of the text, in order, and one for the token behind it where that is asked for.

    A step whose log-prob nobody knows has None in its place: that of the first token, and with offsets also those of
    special tokens, which are no text, and of what the pair reads as its prompt: the first tokens up to a whole word.
    Where a constraint does not allow a token, its log-prob is -inf, and that of what follows unknown.
    """

    def __init__(
        self,
        steering: Steering,
        reading: Reading,
        table: PairTable,
        *,
        given: Given,
        special: Container[bytes] = (),
        held: AnswerBehind | None = None,
    ) -> None:
        """special: what special tokens are called, where a reply may spell them like text; held: by a constraint."""
        self._held = held
        self._steering, self._reading, self._table = steering, reading, table
        self._given, self._special = given, special
        self._forced = False

    def run(self) -> Run:
        """Raises InputError where the API does not tell its log-prob of each token but the first."""
        evidence = yield from self._table.ask_beside(ApiText(self._given.text, self._given.ids))
        (reply,) = evidence.replies
        self._forced = reply.forced
        places = [_marked(place, self._special) for place in _places(self._given, reply)]
        allowed = self._allowed(places)
        behind = known_of(reply)[:1] if self._given.goes_on and allowed == len(places) else []
        if self._steering.alpha == 0.0:
            yield from self._unsteered_all(places[:allowed])
            answer = Answer(b"".join(place.sampled.piece for place in places)) if self._held else Answer()
        else:
            answer = yield from self._steered(places[:allowed])
        yield from map(_impossible, places[allowed : allowed + 1])
        yield from map(_unknown, places[allowed + 1 :])
        finish: Finish = "length"
        for known in behind:
            step = yield from self._next(known, answer)
            finish = "stop" if step.kind is Kind.END else "length"
            yield step
        return Ending(finish, max(0, len(reply.positions) - len(behind)), self._notes(places[:allowed], places))

    def _allowed(self, places: Sequence[Position]) -> int:
        """How many of the tokens the constraint goes along with; all of them without one."""
        text = b""
        for at, place in enumerate(places):
            if self._held is not None and not self._held.follows(text, place.sampled.piece):
                return at
            text += place.sampled.piece
        return len(places)

    def _notes(self, allowed: Sequence[Position], places: Sequence[Position]) -> tuple[str, ...]:
        """What to say of a text that is no answer of the constraint."""
        if self._held is None:
            return ()
        text, self._held.before = b"".join(place.sampled.piece for place in allowed), b""
        if len(allowed) < len(places):
            piece = places[len(allowed)].sampled.piece
            return (f"the constraint does not allow {piece!r} at byte {len(text)} of the text: it has no probability",)
        whole = len(text) > self._given.prompt and not self._held.follows(text, b"")
        return ("the text only begins an answer that the constraint allows",) if whole else ()

    def _steered(self, places: Sequence[Position]) -> Process[Answer]:
        """The steps of the text's tokens; gives what the pair reads behind its prompt in the end."""
        emitted, answer = 0, Answer()
        for start, end in _spans(places):
            yield from map(_unknown, places[emitted:start])
            before = b"".join(place.sampled.piece for place in places[:start])
            yield from self._table.begin(before)
            self._stand_behind(before)
            answer = yield from self._span(places[start:end])
            emitted = end
        yield from map(_unknown, places[emitted:])
        if not emitted and self._given.goes_on:
            yield from self._table.begin(self._given.text)
            self._stand_behind(self._given.text)
        return answer

    def _stand_behind(self, text: bytes) -> None:
        if self._held is not None:
            self._held.before = text

    def _normalised(self, scored: ScoredPosition, place: Position, text: bytes) -> ScoredPosition:
        """The position without what the constraint does not allow."""
        return scored if self._held is None else replace(scored, barred=barred(place, text, accepts=self._held))

    def _span(self, places: Sequence[Position]) -> Process[Answer]:
        """The steps of tokens that follow one another; gives the text that they make."""
        answer = Answer()
        for at in range(0, len(places), AHEAD):
            some = places[at : at + AHEAD]
            answers = list(accumulate(some, self._after, initial=answer))
            yield from self._table.know([path for one in answers for path in self._reading.paths(one)])
            for before, place in zip(answers, some, strict=False):
                scored = yield from self._reading.score(place, before)
                scored = self._normalised(scored, place, before.text)
                column = scored.pieces.index(place.sampled.piece)
                yield self._step(place, scored, column, origin=Origin.GIVEN)
            answer = answers[-1]
            self._table.forget_before(self._reading.paths(answer))
        return answer

    def _after(self, answer: Answer, place: Position) -> Answer:
        return self._reading.after(answer, place.sampled.piece)

    def _unsteered_all(self, places: Sequence[Position]) -> Iterator[Step]:
        text = b""
        for place in places:
            yield self._unsteered(place, text)
            text += place.sampled.piece

    def _unsteered(self, place: Position, text: bytes) -> Step:
        """The step of a token of the text where the API's own distribution is all that counts."""
        token, fits = place.sampled, (_anything if self._held is None else partial(self._held.follows, text))
        scored = untouched(place, None, steering=self._steering, fits=fits)
        if scored is None or not math.isfinite(token.logp):
            return _unknown(place)
        log_z = self._normalised(scored, place, text).log_whole()
        candidates = scored.candidates(self._steering.top_candidates, log_z)
        piece, logp = token.piece, token.logp
        after = logp if self._held is None else min(0.0, logp - log_z)
        step = Step(piece, token.kind, piece, logp, after, 0.0, Origin.GIVEN, candidates, tv_bound=0.0, alpha=0.0)
        return replace(step, forced=self._forced)

    def _next(self, known: Known, answer: Answer) -> Process[Step]:
        """The step behind the text. What an end is worth that the API hides, nobody knows."""
        place, scored = known.position, None
        if not known.hidden and self._steering.alpha != 0.0:
            scored = yield from self._reading.score(place, answer)
        elif not known.hidden:
            follows = ANY_TEXT.follows if self._held is None else self._held.follows
            scored = untouched(place, None, steering=self._steering, fits=partial(follows, answer.text))
        if scored is None:
            return replace(_unknown(place), origin=Origin.DRAFT)
        scored = self._normalised(scored, place, answer.text)
        best = int(scored.scores.score.argmax())
        return self._step(place, scored, best, origin=Origin.DRAFT)

    def _step(self, place: Position, scored: ScoredPosition, column: int, *, origin: Origin) -> Step:
        step = given_step(place, scored, column, origin=origin, steering=self._steering)
        return replace(step, forced=self._forced)


def _places(given: Given, reply: Reply) -> list[Position]:
    """What the API says at each token of the text, which is its position's `sampled`, and one of the candidates.

    Raises InputError where it does not say that of each token but the first.
    """
    places = reply.given
    if given.tokens and len(places) == len(given.tokens):
        places = tuple(map(_named, places, given.tokens))
    if not places or b"".join(place.sampled.piece for place in places) != given.text:
        raise InputError(
            "the endpoint does not tell the tokens of a text that it is sent, or cuts it into others",
            hint="texts are scored where it gives them back (`echo`) with their bytes, or takes token ids",
        )
    if given.tokens and reply.forced and len(places) != len(given.tokens):
        raise InputError(
            f"the model spells the text in {len(places)} tokens, and {len(given.tokens)} were sent",
            hint="a demanded text is spelt as the model likes it: send text in place of token ids",
        )
    for at, place in enumerate(places[1:], start=1):
        if not math.isfinite(place.sampled.logp):
            raise InputError(
                f"the endpoint does not tell its log-prob of token {at} of the text, {place.sampled.piece!r}",
                hint="it hides some log-probs, so that no text with such a token can be scored",
            )
    return [places[0], *map(_listed, places[1:])]


def _named(place: Position, token: Candidate) -> Position:
    """The position with its token as the API's vocabulary has it, whatever the reply made of its bytes."""
    sampled = replace(token, logp=place.sampled.logp)
    same = [c for c in place.top if (c.piece, c.kind) == (place.sampled.piece, place.sampled.kind)]
    top = tuple(sampled if c in same[:1] else c for c in place.top)
    return replace(place, sampled=sampled, top=top)


def _listed(place: Position) -> Position:
    """The position with its token among the candidates."""
    token = place.sampled
    if any(c.piece == token.piece and c.kind is token.kind for c in place.top):
        return place
    return with_requested(place, (token,))


def _special(vocabulary: Vocabulary) -> frozenset[bytes]:
    """What the tokens that are no text are called, unless a text token is called so too."""
    names = (vocabulary.pieces[i] for i in np.flatnonzero(~vocabulary.is_text).tolist())
    return frozenset(name for name in names if name and not vocabulary.ids_of(name))


def _marked(place: Position, special: Container[bytes]) -> Position:
    """The position, whose token is no text where it is called like a special one."""
    token = place.sampled
    return replace(place, sampled=replace(token, kind=Kind.SPECIAL)) if token.piece in special else place


def _spans(places: Sequence[Position]) -> Iterator[tuple[int, int]]:
    """Stretches of text tokens: from where the pair begins anew to the next special token, or the end.

    It begins behind the first tokens, as many as make a whole text that is not blank, and behind special tokens.
    """
    text = b""
    starts: list[int] = []
    for at, place in enumerate(places, start=1):
        text += place.sampled.piece
        first = not starts and is_whole(text) and bool(text.strip())
        if first or (starts and place.sampled.kind not in TEXTS):
            starts.append(at)
    ends = [*(start - 1 for start in starts[1:]), len(places)]
    yield from zip(starts, ends, strict=False)


def _anything(_piece: bytes) -> bool:
    return True


def _impossible(place: Position) -> Step:
    """The step of a token that the constraint does not allow."""
    return replace(_unknown(place), logp_before=place.sampled.logp, logp_after=-math.inf)


def _unknown(place: Position) -> Step:
    """The step of a token whose log-prob nobody knows."""
    token = place.sampled
    return Step(token.piece, token.kind, token.piece, None, None, None, Origin.GIVEN, alpha=None)

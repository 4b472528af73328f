"""What one round of drafting brought: the positions of the API that the walk may use, and where they stand.

A window's positions follow one another, each behind what the API drafted before; the first change ends it. Borders
are places that the API was asked about by themselves: whatever was chosen, where it leads to one, the walk goes on.
Knows no pair, no prices and no request.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, final

from blackbox_proxy.core.events import Answer
from blackbox_proxy.core.text import is_whole
from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import FILTERED, Candidate, Kind, Origin, Position, Reply, Step

GOES_ON = frozenset({Origin.DRAFT, Origin.CONSTRAINED})
"""Where the token before comes from that a window goes on behind."""

HIDDEN_END = 0.5
"""What an end is taken to be worth where the API stopped without showing its log-prob: as likely as not."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the API said of one place. hidden: it ended there and did not show it. exact, forced: see `Reply`."""

    position: Position
    exact: bool = True
    hidden: bool = False
    forced: bool = False


class Shown(Protocol):
    """The positions of one round.

    drafted: how many tokens of its own the API told of. is_cut: whether it, drafting alone, was cut before its end.
    """

    @property
    def drafted(self) -> int: ...

    @property
    def is_cut(self) -> bool: ...

    def next(self, answer: Answer, last: Step | None) -> Known | None: ...

    def skip(self, piece: bytes) -> None: ...

    def ahead(self) -> Sequence[Position]: ...

    def wasted(self, starts: Sequence[Answer]) -> int: ...

    @property
    def filtered(self) -> bool: ...


def known_of(reply: Reply) -> list[Known]:
    """A reply's positions, with one added for an end that the API reached but did not show."""
    known = [Known(position, reply.exact, forced=reply.forced) for position in reply.positions]
    ended = bool(known) and known[-1].position.sampled.kind is Kind.END
    if reply.finish == "stop" and not ended:
        end = Candidate(b"", math.log(HIDDEN_END), Kind.END)
        hidden = Position(end, (end,), 1.0 - HIDDEN_END, math.log(HIDDEN_END))
        known.append(Known(hidden, reply.exact, hidden=True, forced=reply.forced))
    return known


@final
class Window:
    """A draft of the API, in order."""

    def __init__(self, reply: Reply) -> None:
        self._known = known_of(reply)
        self.drafted = len(reply.positions)
        self._cut = reply.finish == FILTERED
        self._at = 0
        self.is_cut = (reply.said or reply).finish != "stop"

    def __len__(self) -> int:
        return len(self._known)

    def next(self, answer: Answer, last: Step | None) -> Known | None:  # noqa: ARG002 (its place tells)
        """The position behind the last one, unless that was changed."""
        if self._at == len(self._known) or (last is not None and last.origin not in GOES_ON):
            return None
        self._at += 1
        return self._known[self._at - 1]

    def skip(self, piece: bytes) -> None:
        """Text was emitted that nobody chose: go on behind it where the draft says it too; drop the draft elsewhere."""
        rest, at = piece, self._at
        while rest and at < len(self._known):
            sampled = self._known[at].position.sampled
            if sampled.kind is not Kind.TEXT or not sampled.piece or not rest.startswith(sampled.piece):
                break
            rest, at = rest[len(sampled.piece) :], at + 1
        self._at = at if piece and not rest else len(self._known)

    def ahead(self) -> Sequence[Position]:
        """The position that was given last, and those behind it."""
        return [known.position for known in self._known[max(self._at - 1, 0) :]]

    def wasted(self, starts: Sequence[Answer]) -> int:
        """Drafted tokens that no step stands for. starts: where the steps that the API was asked for stand."""
        return max(self.drafted - len(starts), 0)

    @property
    def filtered(self) -> bool:
        """Whether the provider's filter has cut it where the walk has come to."""
        return self._cut and self._at == len(self._known)


@final
class Borders:
    """Places that were asked about. written: those at which the API wrote a token to tell."""

    drafted, is_cut = 0, False

    def __init__(self, known: Mapping[Answer, Known], *, written: Sequence[Answer]) -> None:
        self._known, self._written = known, written

    def next(self, answer: Answer, last: Step | None) -> Known | None:  # noqa: ARG002 (the text tells)
        """What is known of the text that the walk has come to."""
        return self._known.get(answer)

    def skip(self, piece: bytes) -> None:
        """Nothing: the text tells."""

    def ahead(self) -> Sequence[Position]:
        """None: the pair has read its own draft."""
        return ()

    def wasted(self, starts: Sequence[Answer]) -> int:
        """Tokens that the API wrote where no step stands. starts: as in `Window`."""
        return sum(answer not in starts for answer in self._written)

    @property
    def filtered(self) -> bool:
        """Not known: each place was asked about by itself."""
        return False


@final
class Checked:
    """A draft of the pair that was sent: its borders, and behind its end a window of the API."""

    drafted, is_cut = 0, False

    def __init__(self, borders: Borders, end: Answer, window: Window) -> None:
        self._borders, self._end, self._window = borders, end, window
        self._behind = False

    def next(self, answer: Answer, last: Step | None) -> Known | None:
        """What is known of the text; behind the end of the draft, as far as the API's own draft is kept."""
        if self._behind:
            return self._window.next(answer, last)
        if answer != self._end:
            return self._borders.next(answer, last)
        self._behind = True
        return self._window.next(answer, None)

    def skip(self, piece: bytes) -> None:
        """Go on in the window, where the walk has come to it."""
        if self._behind:
            self._window.skip(piece)

    def ahead(self) -> Sequence[Position]:
        """None, as for `Borders`."""
        return ()

    def wasted(self, starts: Sequence[Answer]) -> int:
        """Tokens of the window that no step stands for."""
        return self._window.wasted([start for start in starts if len(start.text) >= len(self._end.text)])

    @property
    def filtered(self) -> bool:
        """Whether it has cut the window where the walk has come to."""
        return self._behind and self._window.filtered


def by_prefixes(drafted: Sequence[Answer], replies: Sequence[Reply]) -> Borders:
    """The places of a draft, each with a reply of its own; one that tells nothing is unknown."""
    both = list(zip(drafted, replies, strict=True))
    known = {answer: first for answer, reply in both for first in known_of(reply)[:1]}
    return Borders(known, written=[answer for answer, reply in both if reply.positions])


def by_echo(drafted: Sequence[Answer], reply: Reply, *, ids: bool) -> Checked:
    """The borders that the API itself makes in a draft, and its own draft behind it.

    ids: the draft was sent as ids, so that its borders are those of its own tokens.
    """
    start, end = drafted[0], drafted[-1]
    known: dict[Answer, Known] = {}
    for one in reply.echoed:
        answer = drafted[one.at] if ids else Answer(end.text[: len(start.text) + one.at])
        if ids or is_whole(answer.text):
            known[answer] = Known(one.position, reply.exact, forced=reply.forced)
    return Checked(Borders(known, written=()), end, Window(reply))


@dataclass(slots=True)
class Walk:
    """What one round has led to so far: steps, and the text before each; `whole` of them end between two characters.

    kept: how many took what the API had drafted. emitted: how many were emitted.
    """

    answer: Answer
    steps: list[Step] = field(default_factory=list)
    starts: list[Answer] = field(default_factory=list)
    whole: int = 0
    kept: int = 0
    emitted: int = 0

    def fresh(self, until: int | None = None) -> Iterator[Step]:
        """The steps that were not emitted yet: those that will not be taken back, or so many as is said."""
        fresh = self.steps[self.emitted : self.whole if until is None else until]
        self.emitted += len(fresh)
        return iter(fresh)

    @property
    def changed(self) -> bool:
        """Whether it ends with a token that the API had not drafted."""
        return bool(self.steps) and self.steps[-1].origin is not Origin.DRAFT

    @property
    def asked(self) -> list[Answer]:
        """Where the steps stand that the API was asked for."""
        both = zip(self.starts, self.steps, strict=True)
        return [start for start, step in both if step.is_asked]


def no_token(answer: bytes, finish: str | None) -> ReplyError:
    """A reply holds nothing to go on with, and no end."""
    if finish == FILTERED:
        return ReplyError(
            f"the provider's content filter withheld the answer (finish {finish!r})",
            hint="change the prompt, or ask the provider why",
        )
    return ReplyError(
        f"the API returned no token after {answer[-20:]!r} (finish {finish!r})",
        hint="check that the endpoint returns log-probs for max_tokens=1",
    )


def is_cut(reply: Reply) -> bool:
    """Whether it broke off in its first character, of which nothing is told: some tokens more may tell it."""
    return reply.finish == "length" and bool(reply.positions) and reply.positions[0].is_lost

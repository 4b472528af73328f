"""What the token loop asks of whoever drives it, and how it is answered. Data alone: nothing here decides."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from blackbox_proxy.core.decoding.readings import Answer, StringScores
from blackbox_proxy.types import Finish, PairDistributions, Reply, Step, TokenPath


@dataclass(frozen=True, slots=True)
class ApiDraft:
    """Ask the API to go on from `answer` by `length` tokens; meanwhile have the pair evaluate `paths`.

    temperature: 0 for a greedy draft, 1 for one that is drawn, by `seed`. own: the API's own answer is wanted, at any
    temperature and top_p, and nothing of it will be changed.
    """

    answer: bytes
    path: TokenPath
    length: int
    paths: tuple[TokenPath, ...]
    temperature: float = 0.0
    seed: int | None = None
    own: bool = False
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class ApiPrefixes:
    """Ask the API for one token after each of these beginnings; meanwhile have the pair evaluate `paths`."""

    answers: tuple[Answer, ...]
    paths: tuple[TokenPath, ...]


@dataclass(frozen=True, slots=True)
class ApiEcho:
    """Send the API `draft` (`drafted`, where ids are sent) behind `answer`; it tells its log-probs along it.

    Behind it the API goes on by `length` tokens. Meanwhile have the pair evaluate `paths`.
    """

    answer: bytes
    path: TokenPath
    draft: bytes
    drafted: TokenPath
    length: int
    paths: tuple[TokenPath, ...]


@dataclass(frozen=True, slots=True)
class ApiReveal:
    """Ask the API for the log-probs of some ids of its vocabulary as the next token after `answer`."""

    answer: bytes
    path: TokenPath
    ids: TokenPath


@dataclass(frozen=True, slots=True)
class ScoreStrings:
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

    distributions: those it asked for, in order; replies: one to an `ApiDraft`, an `ApiEcho` or an `ApiReveal`, one for
    each of the `ApiPrefixes`; scores: to a `ScoreStrings`; seconds: how long the answer took.
    """

    distributions: Sequence[PairDistributions] = ()
    replies: Sequence[Reply] = ()
    scores: StringScores | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ApiText:
    """Ask the API for its log-probs of the tokens of a text, and of one token behind it.

    ids: the text in ids of the API's vocabulary, where ids are sent.
    """

    text: bytes
    ids: TokenPath | None
    paths: tuple[TokenPath, ...] = ()


@dataclass(frozen=True, slots=True)
class Begin:
    """Have the source of offsets read this text as its prompt; what it is asked from now on stands behind it."""

    text: bytes


Asking = ApiDraft | ApiPrefixes | ApiEcho | ApiText
"""A question to the API that begins a round."""

Event = Asking | Evaluate | ApiReveal | ScoreStrings | Begin | Step


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: why, and how many drafted tokens were asked for in vain."""

    finish: Finish
    wasted: int
    notes: tuple[str, ...]


Run = Generator[Event, Evidence | None, Ending]

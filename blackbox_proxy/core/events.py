"""What the core asks of whoever drives it, and how it is answered: one language for all that it does.

The token loop, the readings that score a position, the scores of given texts and the choice between options are
generators. They yield a question to the API (`Api...`) or to the source of offsets (`Evaluate`, `ScoreStrings`,
`Begin`) and are sent `Evidence`; a `Step` is no question, and its answer is None. `ask_api`, `ask_pair` and
`ask_scores` yield one question each and check that its answer holds what was asked for.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from blackbox_proxy.types import Finish, PairDistributions, Reply, Sample, Scores, Step, TokenPath


@dataclass(frozen=True, slots=True)
class Answer:
    """What has been emitted so far: its bytes and, for an `ids` reading, its token ids.

    tokens: how many steps led to it; said: their pieces.
    """

    text: bytes = b""
    path: TokenPath = ()
    tokens: int = field(default=0, compare=False)
    said: tuple[bytes, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ApiDraft:
    """Ask the API to go on from `answer` by `length` tokens; meanwhile have the pair evaluate `paths`.

    temperature: 0 for a greedy draft, 1 for one that is drawn, by `seed`. unsteered: the API's own answer is asked for,
    at any temperature and top_p, and nothing of it will be changed. schema: the JSON schema that the endpoint is to
    hold it to; "" for none. tools: the fields of a chat with tools, as JSON, for an endpoint that knows tools.
    """

    answer: bytes
    path: TokenPath
    length: int
    paths: tuple[TokenPath, ...]
    temperature: float = 0.0
    seed: int | None = None
    unsteered: bool = False
    top_p: float = 1.0
    schema: str = ""
    tools: str = ""


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
class ApiText:
    """Ask the API for its log-probs of the tokens of a text, and of one token behind it.

    ids: the text in ids of the API's vocabulary, where ids are sent.
    """

    text: bytes
    ids: TokenPath | None
    paths: tuple[TokenPath, ...] = ()


@dataclass(frozen=True, slots=True)
class ApiReveal:
    """Ask the API for the log-probs of some ids of its vocabulary as the next token after `answer`."""

    answer: bytes
    path: TokenPath
    ids: TokenPath


@dataclass(frozen=True, slots=True)
class ApiAnswers:
    """Ask the API for whole answers; fewer may come. first: how many were asked for before."""

    count: int
    length: int
    first: int
    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True, slots=True)
class Beginning:
    """A text of the answer that is gone on with: `count` times, by at most `length` tokens each."""

    text: bytes
    count: int
    length: int


@dataclass(frozen=True, slots=True)
class ApiChunks:
    """Ask the API to go on from several texts, no two of them equal; fewer continuations may come.

    first: how many were asked for before.
    """

    beginnings: tuple[Beginning, ...]
    first: int
    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Have the pair evaluate `paths`."""

    paths: tuple[TokenPath, ...]


@dataclass(frozen=True, slots=True)
class ScoreStrings:
    """Ask the source of offsets for its scores of `pieces` after `answer`, and of `proposals` strings of its own."""

    answer: bytes
    pieces: tuple[bytes, ...]
    proposals: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Have the source of offsets read this text as its prompt; what it is asked from now on stands behind it."""

    text: bytes


@dataclass(frozen=True, slots=True)
class StringScores:
    """The scores of the strings that were asked for, and of those that the source added behind them."""

    pieces: tuple[bytes, ...]
    scores: Scores


@dataclass(frozen=True, slots=True)
class Evidence:
    """The answer to a question.

    distributions: those of its paths, in order; replies: one for each of the `ApiPrefixes`, any number to `ApiAnswers`
    and `ApiChunks`, one to any other question to the API; behind: the text that each reply to `ApiChunks` goes on from;
    scores: to a `ScoreStrings`; seconds: how long the answer took.
    """

    distributions: Sequence[PairDistributions] = ()
    replies: Sequence[Reply] = ()
    behind: Sequence[bytes] = ()
    scores: StringScores | None = None
    seconds: float = 0.0


Asking = ApiDraft | ApiPrefixes | ApiEcho | ApiText
"""A question to the API beside which the pair evaluates paths."""

Question = Evaluate | ScoreStrings | ApiReveal
"""What the score of one position may ask."""

Drawing = ApiAnswers | ApiChunks
"""A question to the API for texts that are drawn."""

Event = Asking | Drawing | Question | Begin | Step


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: why, how many drafted tokens were asked for in vain, and what there was to choose from.

    parts: of each sample that grew by chunks the replies that it came from, in the order in which they were given: the
    number of the reply, and tokens of it.
    is_local: whether the expert answered alone. sureness: how probable its answer was to be right, where a route asked.
    remarks: what is to be said besides `notes`, and makes the answer no less exact.
    """

    finish: Finish
    wasted: int
    notes: tuple[str, ...]
    samples: tuple[Sample, ...] = ()
    parts: tuple[tuple[tuple[int, int], ...], ...] = ()
    is_local: bool = False
    sureness: float | None = None
    remarks: tuple[str, ...] = ()


T = TypeVar("T")
Asked = TypeVar("Asked", bound=Asking | ApiReveal)

Process = Generator[Event, Evidence | None, T]
"""Yields steps and questions, is sent the answers, and returns a T."""

Run = Process[Ending]


def ask_api(question: Asked) -> Generator[Asked, Evidence | None, Evidence]:
    """Ask the API; what it is answered with has at least one reply."""
    evidence = yield question
    if evidence is None or not evidence.replies:
        raise TypeError(f"{type(question).__name__} is answered with Evidence that holds the API's replies")
    return evidence


def ask_pair(question: Evaluate) -> Generator[Evaluate, Evidence | None, Evidence]:
    """Ask the pair; what it is answered with has a distribution for each path."""
    evidence = yield question
    if evidence is None or len(evidence.distributions) != len(question.paths):
        raise TypeError(f"Evaluate is answered with Evidence that holds {len(question.paths)} distributions")
    return evidence


def ask_scores(question: ScoreStrings) -> Generator[ScoreStrings, Evidence | None, StringScores]:
    """Ask a source of offsets for scores."""
    evidence = yield question
    if evidence is None or evidence.scores is None:
        raise TypeError("ScoreStrings is answered with Evidence that holds scores")
    return evidence.scores

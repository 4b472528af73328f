"""What can be done with cassettes besides recording and replaying: look at, compare, check, put together, shorten.

Files are read as streams; what is written is written whole, and never over a file that is no cassette.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from blackbox_proxy.cassettes.hashing import PROMPTS
from blackbox_proxy.cassettes.matching import ABSENT, Difference, RecordedCall, calls_of, content_key, differences
from blackbox_proxy.cassettes.reading import CutOff, packed_as, read_header, rows_of
from blackbox_proxy.cassettes.schema import CassetteHeader, RecordedAttempt, line_of, reply_of
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import writing_whole

_KEYS = re.compile(
    r"\b(sk-[A-Za-z0-9_-]{16,}|(?:gsk|hf|xai|r8|pplx|fw)_[A-Za-z0-9]{16,}|AIza[A-Za-z0-9_-]{30,}"
    r"|Bearer [A-Za-z0-9._~+/-]{16,})"
)
"""What looks like a key of a known provider."""


@dataclass(frozen=True, slots=True)
class ShownAttempt:
    """A row for people. prompt: its beginning, or its digest. size: bytes of the reply's body."""

    line: int
    call: str
    attempt: int
    path: str
    model: str
    prompt: str
    outcome: str
    seconds: float
    size: int


@dataclass(frozen=True, slots=True)
class CassetteDifference:
    """What two cassettes do not share: a request that only one holds, or the first place at which outcomes differ.

    lines: where it stands in the first and in the second; None where it does not.
    """

    path: str
    prompt: str
    lines: tuple[int | None, int | None]
    words: str


@dataclass(frozen=True, slots=True)
class CassetteCheck:
    """What a valid cassette holds. suspects: lines in which something looks like a key."""

    header: CassetteHeader
    calls: int
    outcomes: Mapping[str, int]
    size: int
    suspects: Sequence[int] = field(default=())

    @property
    def attempts(self) -> int:
        """All rows."""
        return sum(self.outcomes.values())


def show(path: Path) -> Iterator[ShownAttempt]:
    """The rows of a cassette, in its order. Raises InputError at the first line that is wrong."""
    for line, row in rows_of(path):
        size = row.fault.bytes if row.fault is not None else len(row.raw)
        yield ShownAttempt(
            line, row.call, row.attempt, row.path, row.model, prompt_of(row.body), row.outcome, row.seconds, size
        )


def diff(one: Path, other: Path) -> Iterator[CassetteDifference]:
    """What differs between two cassettes: calls are compared by what they ask, equal ones in their order.

    Names of calls, times and headers do not count.
    """
    first, second = (_by_content(path) for path in (one, other))
    for key in dict.fromkeys((*first, *second)):
        here, there = first.get(key, []), second.get(key, [])
        for at in range(max(len(here), len(there))):
            a = here[at] if at < len(here) else None
            b = there[at] if at < len(there) else None
            difference = _compared(a, b)
            if difference is not None:
                yield difference


def check(path: Path) -> CassetteCheck:
    """Read all of a cassette, and say what is in it. Raises InputError at the first line that is wrong."""
    outcomes: Counter[str] = Counter()
    calls: set[str] = set()
    suspects: list[int] = []
    for line, row in rows_of(path):
        outcomes[row.outcome] += 1
        calls.add(row.call)
        if _KEYS.search(line_of(row).decode("utf-8", "replace")):
            suspects.append(line)
    return CassetteCheck(read_header(path), len(calls), dict(outcomes), path.stat().st_size, tuple(suspects))


def merge(target: Path, sources: Sequence[Path]) -> int:
    """Put cassettes one after another into a new file; what stands in several is taken once.

    Returns:
        How many attempts it holds.

    Raises:
        InputError: Where they keep prompts in different forms, or the file is there already.
    """
    if not sources:
        raise InputError("there is nothing to put together", hint="name cassettes to read")
    headers = [read_header(path) for path in sources]
    if len({header.prompts for header in headers}) > 1:
        raise InputError(
            "cassettes with plain prompts and with hashed ones cannot be put together", hint="record all in one form"
        )
    if target.exists():
        raise InputError(f"{target} is there already", hint="name a new file")
    return _write(target, _common(headers), _once(row for path in sources for _, row in rows_of(path)))


def prune(
    path: Path,
    target: Path | None = None,
    *,
    keep: Callable[[RecordedCall], bool] | None = None,
    failures: bool = False,
    repeats: bool = False,
) -> tuple[int, int]:
    """Write a cassette without what is not needed, into a new file or in its place; whole lines before a cut-off end.

    Args:
        path: The cassette.
        target: Where it goes; None for its place.
        keep: Which calls are kept; None for all.
        failures: Drop attempts that brought no reply of a good status, where a later one of their call did.
        repeats: Drop calls that ask what an earlier one asked.

    Returns:
        How many attempts there were, and how many are kept.

    Raises:
        InputError: For a line that is wrong, or a target that is there already.
    """
    if target is not None and target.exists():
        raise InputError(f"{target} is there already", hint="name a new file, or none to replace the cassette")
    header, rows = _whole(path)
    calls: dict[str, RecordedCall] = {}
    for line, row in rows:
        calls.setdefault(row.call, RecordedCall(line)).attempts.append(row)
    kept = [call for call in calls.values() if keep is None or keep(call)]
    if repeats:
        kept = list({_key(call): call for call in reversed(kept)}.values())[::-1]
    rest = [row for call in kept for row in (_succeeded(call.attempts) if failures else call.attempts)]
    return len(rows), _write(target or path, header, rest, replace=target is None)


def prompt_of(body: Mapping[str, object]) -> str:
    """The last text that a request asks about, for people; token ids as they are."""
    waiting = [body[name] for name in PROMPTS if body.get(name)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            return value
        if isinstance(value, list) and value:
            if all(isinstance(part, int) for part in value):
                return str(value)
            waiting.append(value[-1])
        elif isinstance(value, Mapping):
            fields = cast(Mapping[str, object], value)
            waiting += [part for name, part in fields.items() if name not in ("role", "type")]
    return ""


def _by_content(path: Path) -> dict[str, list[RecordedCall]]:
    calls: dict[str, list[RecordedCall]] = {}
    for call in calls_of(path).values():
        calls.setdefault(_key(call), []).append(call)
    return calls


def _key(call: RecordedCall) -> str:
    first = call.attempts[0]
    return content_key(first.path, first.body)


def _compared(one: RecordedCall | None, other: RecordedCall | None) -> CassetteDifference | None:
    """The first difference of two calls that ask the same; None where there is none."""
    some = one or other
    if some is None:
        return None
    words = "only in the first" if other is None else "only in the second"
    if one is not None and other is not None:
        first = next(differences(_outcomes(one), _outcomes(other), "attempts"), None)
        if first is None:
            return None
        words = _words(first)
    row = some.attempts[0]
    lines = (one and one.line, other and other.line)
    return CassetteDifference(row.path, prompt_of(row.body), lines, words)


def _words(difference: Difference) -> str:
    recorded, asked = (
        "nothing" if one is ABSENT else repr(one)[:60] for one in (difference.recorded, difference.asked)
    )
    return f"{difference.where}: {recorded} and {asked}"


def _outcomes(call: RecordedCall) -> list[object]:
    """What came of each attempt: JSON as values, anything else as bytes are written."""
    return [
        {"status": row.status, "reply": reply_of(row)} if row.fault is None else {"fault": row.fault.kind}
        for row in call.attempts
    ]


def _common(headers: Sequence[CassetteHeader]) -> CassetteHeader:
    """A header with what all agree about."""
    first = headers[0]
    same = {
        name: getattr(first, name) if len({getattr(header, name) for header in headers}) == 1 else ""
        for name in ("tool", "address", "model", "profile")
    }
    return first.model_copy(update=same)


def _once(rows: Iterable[RecordedAttempt]) -> Iterator[RecordedAttempt]:
    """Attempts without those that stand there already, under the same name."""
    seen: set[tuple[str, int]] = set()
    for row in rows:
        name = (row.call, row.attempt)
        if name not in seen:
            seen.add(name)
            yield row


def _succeeded(rows: list[RecordedAttempt]) -> list[RecordedAttempt]:
    """The attempt that brought a reply, as the only one; all where none did."""
    good = [row for row in rows if row.fault is None and row.status is not None and 200 <= row.status < 300]
    return [good[-1].model_copy(update={"attempt": 1})] if good else rows


def _whole(path: Path) -> tuple[CassetteHeader, list[tuple[int, RecordedAttempt]]]:
    """The header and the rows, as far as lines are whole: an end that is cut off is left out."""
    rows: list[tuple[int, RecordedAttempt]] = []
    read = rows_of(path)
    while True:
        try:
            rows.append(next(read))
        except StopIteration:
            break
        except CutOff:
            break
    return read_header(path), rows


def _write(target: Path, header: CassetteHeader, rows: Iterable[RecordedAttempt], *, replace: bool = False) -> int:
    """Write a cassette in one step; how many rows it has."""
    count = 0
    with writing_whole(target, replace=replace) as file:
        file.write(packed_as(target, line_of(header)))
        for row in rows:
            file.write(packed_as(target, line_of(row)))
            count += 1
    return count

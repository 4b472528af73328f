"""What a cassette holds: a header, and a row for every attempt at a request. One JSON object a line.

    {"cassette": 1, "tool": "blackbox-proxy 0.1.0", "address": "https://api.example/v1", "model": "m"}
    {"call": "5f0c", "attempt": 1, "path": "/completions", "body": {...}, "at": 1.7e9, "seconds": 0.4, "status": 429,
     "headers": {"retry-after": "1"}, "text": "..."}
    {"call": "5f0c", "attempt": 2, ..., "fault": {"kind": "connection", "causes": [...], "bytes": 512}}

Rows of one `call` are the attempts at one request, in order. Knows no file and no network.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

VERSION = 1
"""Of the schema. A reader refuses newer ones."""

LONGEST_LINE = 32 * 2**20
"""Most bytes of a line: a longer one is refused without being read whole."""

DEEPEST = 64
"""Most lists and objects within each other in a request."""

LONGEST_ATTEMPT = 86_400.0
"""Most seconds that an attempt can have taken."""

PromptForm = Literal["plain", "hash"]
"""How prompts are kept: as they were sent, or each text as its digest."""

FaultKind = Literal["timeout", "connection", "client", "oversized", "cancelled", "budget", "unrecorded"]
"""Why there is no reply.

client: the client library would not send the request, or not take the answer. oversized: the body was longer than the
transport's limit. cancelled: the caller gave up. budget: the request was not sent. unrecorded: the reply was too long
for a cassette.
"""

_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Model = TypeVar("_Model", bound="_Line")


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class CassetteHeader(_Line):
    """The first line. address, model, profile: what was asked first; "" where that is not known."""

    cassette: Annotated[int, Field(ge=1)] = VERSION
    tool: str = ""
    address: str = ""
    model: str = ""
    profile: str = ""
    prompts: PromptForm = "plain"


class RecordedCause(_Line):
    """An exception behind a failed connection. kind: the name of its class."""

    kind: str
    text: str = ""


class RecordedFault(_Line):
    """An attempt without a reply. sent: whether the request may have reached the API. bytes: of the body that came."""

    kind: FaultKind
    sent: bool = True
    bytes: Annotated[int, Field(ge=0)] = 0
    causes: Annotated[tuple[RecordedCause, ...], Field(strict=False)] = ()
    text: str = ""
    hint: str = ""


class RecordedAttempt(_Line):
    """One attempt at a request, and what came of it.

    Attributes:
        call: Which request it belongs to: attempts at one request share it.
        attempt: Its number, from 1.
        path: Below the base URL.
        body: As it was sent, but for keys, and for prompts where they are hashed.
        at: When it ended, in Unix seconds.
        seconds: How long it took.
        status: Of the reply; None where none came.
        headers: Of the reply, by small names; those of an allow-list alone.
        text: The reply's body, where it is UTF-8.
        base64: The reply's body, where it is not.
        fault: Why there is no reply.
    """

    call: _Name
    attempt: Annotated[int, Field(ge=1, le=10_000)]
    path: Annotated[str, Field(min_length=1, max_length=2000)]
    body: dict[str, Any]
    at: Annotated[float, Field(ge=0.0, le=1e11)] = 0.0
    seconds: Annotated[float, Field(ge=0.0, le=LONGEST_ATTEMPT)] = 0.0
    status: Annotated[int, Field(ge=100, le=999)] | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    text: str | None = None
    base64: str | None = None
    fault: RecordedFault | None = None

    @model_validator(mode="after")
    def _one_outcome(self) -> Self:
        if self.fault is None and self.status is None:
            raise ValueError("there is neither a status nor a fault")
        if self.fault is None and (self.text is None) == (self.base64 is None):
            raise ValueError("a reply has a text or a base64, and not both")
        if self.base64 is not None:
            _decoded(self.base64)
        _check_depth(self.body)
        return self

    @property
    def raw(self) -> bytes:
        """The reply's body; empty where none came."""
        if self.base64 is not None:
            return _decoded(self.base64)
        return (self.text or "").encode("utf-8", "surrogatepass")

    @property
    def model(self) -> str:
        """Which model was asked."""
        model = self.body.get("model")
        return model if isinstance(model, str) else ""

    @property
    def outcome(self) -> str:
        """The status or the kind of fault, for people."""
        return str(self.status) if self.fault is None else self.fault.kind


@dataclass(frozen=True, slots=True)
class HeardReply:
    """What came of an attempt, as it came: a reply with its body, or a fault. at: Unix seconds."""

    at: float
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes = b""
    fault: RecordedFault | None = None


def body_fields(raw: bytes) -> dict[str, str]:
    """The fields of a row that keep a reply's body."""
    try:
        return {"text": raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode("ascii")}


def reply_of(row: RecordedAttempt) -> object:
    """A reply's JSON; its text, or its bytes as base64, where it is none."""
    if row.text is None:
        return row.base64
    try:
        reply: object = json.loads(row.text)
    except (ValueError, RecursionError):
        return row.text
    return reply


def line_of(row: CassetteHeader | RecordedAttempt) -> bytes:
    """A row as a line, its end included."""
    kept = row.model_dump(exclude_defaults=True)
    if isinstance(row, CassetteHeader):
        kept = {"cassette": row.cassette, **kept}
    try:
        line = json.dumps(kept, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell and UTF-8 cannot
        line = json.dumps(kept, allow_nan=False).encode("ascii")
    return line + b"\n"


def header_of(line: bytes) -> CassetteHeader:
    """The header that a line holds. Raises ValueError for a line that is none."""
    document = _parsed(line)
    if "cassette" not in document:
        raise ValueError("this is no header of a cassette")
    version = document["cassette"]
    if isinstance(version, int) and version > VERSION:
        raise ValueError(f"it was written by a newer version of this program (schema {version})")
    return _read(CassetteHeader, document)


def row_of(line: bytes) -> RecordedAttempt:
    """The attempt that a line holds. Raises ValueError for a line that is none."""
    return _read(RecordedAttempt, _parsed(line))


def _parsed(line: bytes) -> Mapping[str, object]:
    """The JSON object of a line."""
    try:
        document: object = json.loads(line, parse_constant=_refuse)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 (the reader of a file wants one kind of error)
    return cast(Mapping[str, object], document)


def _read(kind: type[_Model], document: Mapping[str, object]) -> _Model:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no number")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"base64: {error}") from None


def _check_depth(value: object) -> None:
    """Raises ValueError for what is nested so deeply that whoever walks over it would fail."""
    level: list[object] = [value]
    for _ in range(DEEPEST):
        inner = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = [one for parts in inner for one in parts]
        if not level:
            return
    raise ValueError("it is nested too deeply")

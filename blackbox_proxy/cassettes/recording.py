"""Writes cassettes: a row as soon as its attempt has ended, and never a part of one.

Each row is one write at the file's end, so that a process that is killed leaves whole lines; in a compressed file each
row is a gzip member by itself. Threads share a `Recorder`; several processes may append to one file.
"""

from __future__ import annotations

import os
import threading
from importlib.metadata import version
from pathlib import Path
from typing import final

from pydantic import ValidationError

from blackbox_proxy.cassettes.hashing import check_hashable, hashed, hashed_reply
from blackbox_proxy.cassettes.reading import lines_of, packed_as, read_header
from blackbox_proxy.cassettes.redacting import Redactor, kept_headers
from blackbox_proxy.cassettes.schema import (
    LONGEST_ATTEMPT,
    LONGEST_LINE,
    CassetteHeader,
    HeardReply,
    PromptForm,
    RecordedAttempt,
    RecordedFault,
    body_fields,
    line_of,
)
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import create_whole
from blackbox_proxy.types import WireRequest


@final
class Recorder:
    """A cassette that is being recorded; nothing is held open, so nothing is to be closed.

    The file is made, whole, by the first `begin`. One that is there is appended to where it is a cassette that keeps
    prompts in the same form, and unwritten alone otherwise.

    Args:
        path: The file; compressed where it ends in `.gz`.
        prompts: `hash` keeps a digest of each text that is asked.
    """

    def __init__(self, path: Path | str, *, prompts: PromptForm = "plain") -> None:
        if prompts not in ("plain", "hash"):
            raise InputError(f"prompts are recorded as plain or hash, not {prompts!r}", hint="plain is the default")
        self.path = Path(path)
        self.prompts = prompts
        self._lock = threading.Lock()
        self._begun = False

    def __repr__(self) -> str:
        return f"Recorder({str(self.path)!r})"

    def begin(self, *, address: str = "", model: str = "", profile: str = "") -> None:
        """Make the file, or look at the one that is there; does nothing the second time.

        Args:
            address: What is asked first, without keys: a replay need not name it again.
            model: What the endpoint calls the model.
            profile: Under which its provider is known.

        Raises:
            InputError: Where the file cannot be written, or is no cassette that can be appended to.
        """
        with self._lock:
            if self._begun:
                return
            header = CassetteHeader(
                tool=f"blackbox-proxy {version('blackbox-proxy')}",
                address=address,
                model=model,
                profile=profile,
                prompts=self.prompts,
            )
            if not create_whole(self.path, packed_as(self.path, line_of(header))):
                self._check_existing()
            self._begun = True

    def check(self, request: WireRequest) -> None:
        """Raises InputError for a request that cannot be recorded as asked for; to be called before it is sent."""
        if self.prompts == "hash":
            check_hashable(request.body)

    def write(
        self, request: WireRequest, heard: HeardReply, *, call: str, attempt: int, seconds: float, redactor: Redactor
    ) -> None:
        """Append an attempt that has ended.

        Raises:
            InputError: Where the file cannot be written; it then ends with the row before.
        """
        body, raw = request.body, heard.raw
        if self.prompts == "hash":
            raw = hashed_reply(raw, body, status=heard.status or 0)
            body = hashed(body)
        fault = heard.fault and _without_keys(heard.fault, redactor)
        try:
            row = RecordedAttempt(
                call=call,
                attempt=attempt,
                path=redactor.text(request.path),
                body=_fields(redactor.value(body)),
                at=max(0.0, heard.at),
                seconds=min(max(0.0, seconds), LONGEST_ATTEMPT),
                status=heard.status,
                headers={name: redactor.text(value) for name, value in kept_headers(heard.headers).items()},
                fault=fault,
                **({} if fault else body_fields(redactor.raw(raw))),
            )
        except ValidationError as error:
            said = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise InputError(f"this attempt cannot be recorded: {said}", hint="record without this request") from None
        self.begin()
        self._append(_line(row))

    def _append(self, line: bytes) -> None:
        packed = packed_as(self.path, line)
        with self._lock:
            try:
                file = os.open(self.path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
                try:
                    _write_whole(file, packed)
                finally:
                    os.close(file)
            except OSError as error:
                raise InputError(
                    f"cannot write the cassette {self.path}: {error.strerror}", hint="check the disk and the folder"
                ) from error

    def _check_existing(self) -> None:
        header = read_header(self.path)
        for _ in lines_of(self.path):  # the last one may be cut off, and what follows it would be lost
            pass
        if header.prompts != self.prompts:
            raise InputError(
                f"{self.path} keeps prompts as {header.prompts}, not as {self.prompts}",
                hint="record into another file, or in the same form",
            )


def _write_whole(file: int, content: bytes) -> None:
    """Append all of it, or leave the file as it was. Raises OSError."""
    before = os.fstat(file).st_size
    unwritten = memoryview(content)
    try:
        while unwritten:
            unwritten = unwritten[os.write(file, unwritten) :]
    except OSError:
        os.ftruncate(file, before)
        raise


def _line(row: RecordedAttempt) -> bytes:
    """A row as a line; where it is too long for one, without the reply, which a replay then cannot give."""
    line = line_of(row)
    if len(line) <= LONGEST_LINE:
        return line
    fault = RecordedFault(kind="unrecorded", bytes=len(row.raw), text="the reply is too long for a cassette")
    short = line_of(row.model_copy(update={"fault": fault, "text": None, "base64": None}))
    if len(short) > LONGEST_LINE:
        raise InputError(
            f"a request of {len(short):,} bytes is too long for a cassette", hint="record without this request"
        )
    return short


def _fields(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, dict) else {}


def _without_keys(fault: RecordedFault, redactor: Redactor) -> RecordedFault:
    causes = tuple(one.model_copy(update={"text": redactor.text(one.text)}) for one in fault.causes)
    return fault.model_copy(
        update={"causes": causes, "text": redactor.text(fault.text), "hint": redactor.text(fault.hint)}
    )

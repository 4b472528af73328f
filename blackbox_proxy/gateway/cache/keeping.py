"""Where replies are kept: a file of a bounded size, in which what was used least recently makes room."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, final

from blackbox_proxy.gateway.sqlite_file import SqliteFile
from blackbox_proxy.openai_http.frames import Chunk, NamedEvent

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY,
    used INTEGER NOT NULL,
    size INTEGER NOT NULL,
    reply BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS replies_by_use ON replies (used);
"""
_NEXT = "(SELECT coalesce(max(used), 0) + 1 FROM replies)"


class ReplyStore(Protocol):
    """Keeps replies, each as the chunks that it was sent in. Any thread may use it."""

    def get(self, key: str) -> Sequence[Chunk] | None: ...

    def put(self, key: str, chunks: Sequence[Chunk]) -> None: ...

    def close(self) -> None: ...


@final
class SqliteReplies:
    """A `ReplyStore` in a SQLite file. most: bytes of all replies. Raises LedgerError where the file cannot be used."""

    def __init__(self, path: Path, *, most: int) -> None:
        self._file = SqliteFile(path, what="the cache", schema=_SCHEMA)
        self._most = most

    def get(self, key: str) -> Sequence[Chunk] | None:
        with self._file.writing() as execute:
            row = execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            execute(f"UPDATE replies SET used = {_NEXT} WHERE key = ?", (key,))  # noqa: S608 (a constant)
        return _chunks(row[0])

    def put(self, key: str, chunks: Sequence[Chunk]) -> None:
        reply = _bytes(chunks)
        if len(reply) > self._most:
            return
        with self._file.writing() as execute:
            execute(
                f"INSERT OR REPLACE INTO replies (key, used, size, reply) VALUES (?, {_NEXT}, ?, ?)",  # noqa: S608 (a constant)
                (key, len(reply), reply),
            )
            # What was used since this one, summed from the latest on, must fit.
            execute(
                "DELETE FROM replies WHERE key IN (SELECT key FROM (SELECT key, sum(size) OVER (ORDER BY used DESC) "
                "AS total FROM replies) WHERE total > ?)",
                (self._most,),
            )

    def close(self) -> None:
        self._file.close()


def _bytes(chunks: Sequence[Chunk]) -> bytes:
    parts = [[chunk.name, chunk.data] if isinstance(chunk, NamedEvent) else chunk for chunk in chunks]
    return zlib.compress(json.dumps(parts).encode())


def _chunks(reply: bytes) -> Sequence[Chunk]:
    parts = json.loads(zlib.decompress(reply))
    return [NamedEvent(*part) if isinstance(part, list) else part for part in parts]

"""Where it is kept what each key did in the last minute, for all processes that open the same file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, final

from blackbox_proxy.gateway.limits.rates import MINUTE, Admitted, PaceVerdict
from blackbox_proxy.gateway.sqlite_file import SqliteFile

Decides = Callable[[Sequence[Admitted]], PaceVerdict]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS admitted (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    at REAL NOT NULL,
    requests INTEGER NOT NULL,
    tokens INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS admitted_of_key ON admitted (key, at);
"""


class WindowStore(Protocol):
    """Keeps what was admitted, at least for a minute. Any thread may use it. key: whose it is."""

    def admit(self, key: str, decides: Decides, *, tokens: int, now: float) -> tuple[int, PaceVerdict]:
        """Let a request pass, and keep it, where the verdict on what was kept allows that; nobody comes between.

        Gives the number that it is kept under, 0 where it does not pass.
        """

    def settle(self, number: int, key: str, *, reserved: int, taken: int, now: float) -> None:
        """Say how many tokens a request took in place of those that were reserved; more of them count from now on."""

    def close(self) -> None: ...


@final
class SqliteWindows:
    """A `WindowStore` in a SQLite file. Raises LedgerError where that cannot be used."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, what="the file of the rate limits", schema=_SCHEMA)

    def admit(self, key: str, decides: Decides, *, tokens: int, now: float) -> tuple[int, PaceVerdict]:
        with self._file.writing() as execute:
            # A clock that was put back must not keep anybody waiting for what seems to come.
            execute("DELETE FROM admitted WHERE at <= ? OR at > ?", (now - MINUTE, now + MINUTE))
            rows = execute("SELECT at, requests, tokens FROM admitted WHERE key = ?", (key,)).fetchall()
            verdict = decides([Admitted(*row) for row in rows])
            if verdict.refused is not None:
                return 0, verdict
            number = self._keep(execute, key, now, requests=1, tokens=tokens)
        return number, verdict

    def settle(self, number: int, key: str, *, reserved: int, taken: int, now: float) -> None:
        with self._file.writing() as execute:
            if taken <= reserved:
                execute("UPDATE admitted SET tokens = ? WHERE id = ?", (taken, number))
            else:
                self._keep(execute, key, now, requests=0, tokens=taken - reserved)

    def close(self) -> None:
        self._file.close()

    def _keep(self, execute: Callable[..., object], key: str, now: float, *, requests: int, tokens: int) -> int:
        cursor = execute(
            "INSERT INTO admitted (key, at, requests, tokens) VALUES (?, ?, ?, ?)", (key, now, requests, tokens)
        )
        return int(getattr(cursor, "lastrowid", 0))

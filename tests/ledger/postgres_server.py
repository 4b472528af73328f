"""A PostgreSQL of the tests' own: Debian's programs, a folder that goes with it, a Unix socket and no port."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
SETTINGS = {"listen_addresses": "", "fsync": "off", "max_connections": "100", "lc_messages": "C"}
PASSWORD = "se/cr@et"  # noqa: S105 (of a server that goes with its folder)
HBA = "local all guarded scram-sha-256\nlocal all all trust\n"
"""Roles of the tests need no password, but `guarded`."""


def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, the newest version's; None where there is none."""
    folders = [
        folder for place in PLACES for folder in Path("/").glob(place.lstrip("/")) if (folder / "initdb").exists()
    ]
    beside = shutil.which("initdb")
    return max(folders, default=Path(beside).parent if beside else None)


@cache
def _account() -> dict[str, Any]:
    """Who runs it, as arguments of a subprocess: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    names = {one.pw_name: one for one in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@dataclass(slots=True)
class PostgresServer:
    """A server that runs. folder: its data, its log and its socket."""

    programs: Path
    folder: Path
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def url(self, database: str, *, user: str = "postgres") -> str:
        """Where a database is."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def fresh(self) -> str:
        """The URL of an empty database of its own."""
        name = f"books{next(self._numbers)}"
        self.say(f"CREATE DATABASE {name}")
        return self.url(name)

    def say(self, statement: str, *, url: str = "") -> Sequence[tuple[Any, ...]]:
        """What a statement gives, said by the server's owner."""
        with psycopg.connect(url or self.url("postgres"), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = " ".join(f"-c {name}='{value}'" for name, value in SETTINGS.items())
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "-w", "-l", log, "-o", f"-k {self.folder} {settings}")

    def stop(self, how: str = "fast") -> None:
        """Stop it: `fast` closes what is open, `immediate` is as a crash."""
        self._run("pg_ctl", "stop", "-w", "-m", how)

    def initialise(self) -> None:
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        (self.folder / "data" / "pg_hba.conf").write_text(HBA)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), "-D", str(self.folder / "data"), *arguments]
        # A server that stays would keep a pipe open for ever.
        with tempfile.TemporaryFile("w+") as said:
            ran = subprocess.run(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False, **_account()
            )
            said.seek(0)
            assert ran.returncode == 0, said.read()


@contextmanager
def postgres_server(where: Path) -> Iterator[PostgresServer]:
    """A server that runs until the end. where: its programs."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path is 107 bytes at most
    try:
        account = _account()
        if account:
            os.chown(folder, account["user"], account["group"])
        server = PostgresServer(where, folder)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder)

"""PgBouncer before the tests' PostgreSQL: each connection of the server's is lent for one transaction at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ledger.postgres_server import PostgresServer, account

PORT = 6432
SETTINGS = """
[databases]
{database} = host={server} user=postgres
[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = 2
logfile = {folder}/log
"""


@contextmanager
def pooled(server: PostgresServer, database: str, *, program: str) -> Iterator[str]:
    """The URL of a database behind a pool of two connections. program: PgBouncer's."""
    folder = Path(tempfile.mkdtemp(prefix="pool-", dir="/tmp"))
    settings = folder / "pool.ini"
    settings.write_text(SETTINGS.format(database=database, server=server.folder, port=PORT, folder=folder))
    if owner := account():
        os.chown(folder, owner["user"], owner["group"])
    try:
        with subprocess.Popen([program, "--quiet", str(settings)], cwd=folder, **account()) as pool:
            while not (folder / f".s.PGSQL.{PORT}").exists():
                assert pool.poll() is None, (folder / "log").read_text()
            try:
                yield f"postgresql://postgres@/{database}?host={folder}&port={PORT}"
            finally:
                pool.terminate()
    finally:
        shutil.rmtree(folder)

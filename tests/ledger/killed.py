"""Runs that are killed: `python -m tests.ledger.killed URL FOLDER PLACE RUNS SEED` says how many tokens each showed.

Each run is a fork of this process, which has loaded everything, so that a hundred of them take seconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.types import Prompt
from tests.ledger.toys import STEERING, Books, connected, pair

LONGEST = 0.15
"""Most seconds until a run is killed; an answer takes longer."""

LONG = replace(STEERING, max_tokens=40)


def run(url: str, books: Books, number: int, shown: int) -> None:
    """Steer, and write a byte for each token that is shown; ends only by being killed, or with the answer."""
    with books.opened(run=str(number)) as ledger, connected(url, ledger) as api:
        for _ in Steerer(api, pair(number % 5), LONG).stream(Prompt(text="abc")):
            os.write(shown, b".")


def killed(url: str, books: Books, number: int, after: float) -> dict[str, object]:
    """One run, killed so many seconds after its start: how many tokens it had shown, and what is left of a file.

    Every second one is killed so many seconds after its first token, however slow the machine is.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        run(url, books, number, writing)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        shown = len(pipe.read(1)) if number % 2 else 0
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        shown += len(pipe.read())
    return {"run": number, "shown": shown, "killed": os.WIFSIGNALED(status), "integrity": integrity(books.place)}


def integrity(place: str) -> str:
    """What SQLite says of the file; "none" where there is none, or none yet."""
    if not Path(place).exists():
        return "none"
    with closing(sqlite3.connect(place)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


if __name__ == "__main__":
    address, folder, where, runs, seed = sys.argv[1:]
    chance = random.Random(int(seed))
    for at in range(int(runs)):
        print(json.dumps(killed(address, Books(Path(folder), where), at, chance.uniform(0.0, LONGEST))), flush=True)

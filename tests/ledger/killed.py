"""Runs that are killed: `python -m tests.ledger.killed URL FOLDER RUNS SEED` prints how many tokens each had shown.

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
from tests.ledger.toys import STEERING, connected, opened, pair

LONGEST = 0.15
"""Most seconds until a run is killed; an answer takes longer."""

LONG = replace(STEERING, max_tokens=40)


def run(url: str, folder: Path, number: int, shown: int) -> None:
    """Steer, and write a byte for each token that is shown; ends only by being killed, or with the answer."""
    with opened(folder, run=str(number)) as ledger, connected(url, ledger) as api:
        for _ in Steerer(api, pair(number % 5), LONG).stream(Prompt(text="abc")):
            os.write(shown, b".")


def killed(url: str, folder: Path, number: int, after: float) -> dict[str, object]:
    """One run, killed so many seconds after its start: how many tokens it had shown, and what is left of the file.

    Every second one is killed so many seconds after its first token, however slow the machine is.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        run(url, folder, number, writing)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        shown = len(pipe.read(1)) if number % 2 else 0
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        shown += len(pipe.read())
    return {"run": number, "shown": shown, "killed": os.WIFSIGNALED(status), "integrity": integrity(folder)}


def integrity(folder: Path) -> str:
    """What SQLite says of the file; "none" where there is none yet."""
    path = folder / "ledger.sqlite"
    if not path.exists():
        return "none"
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


if __name__ == "__main__":
    address, place, runs, seed = sys.argv[1:]
    chance = random.Random(int(seed))
    for at in range(int(runs)):
        print(json.dumps(killed(address, Path(place), at, chance.uniform(0.0, LONGEST))), flush=True)

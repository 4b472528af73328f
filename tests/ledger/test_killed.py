"""Whatever is killed, and whenever: what was sent is in the ledger, and what was shown is complete there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from blackbox_proxy.ledger.opening import open_store
from blackbox_proxy.ledger.rows import LedgerRow
from blackbox_proxy.standin import Traffic, running
from tests.ledger.toys import PRICES, toy

ROOT = Path(__file__).parent.parent.parent


def complete(row: LedgerRow) -> bool:
    return row.outcome == "ok" and row.cost is not None and row.output is not None and row.usage is not None


def check_killed(folder: Path, place: str, *, runs: int, seed: int) -> Counter[str]:
    """The outcomes of all attempts."""
    traffic = Traffic()
    (folder / "prices.toml").write_text(PRICES)  # a run killed while it writes them leaves none
    with running(toy(), name="toy", top_k=6, traffic=traffic, quirks=["latency=0.01"]) as url:
        command = [sys.executable, "-m", "tests.ledger.killed", url, str(folder), place, str(runs), str(seed)]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True).stdout
    told = [json.loads(line) for line in said.splitlines()]
    with closing(open_store(place)) as store:
        rows = list(store.rows())
    outcomes = Counter(row.outcome for row in rows)
    assert len(told) == runs
    assert {one["integrity"] for one in told} <= {"ok", "none"}
    assert told[-1]["integrity"] == ("ok" if Path(place).exists() else "none")
    assert outcomes["ok"] <= traffic.total <= len(rows), "a request was answered that has no row"
    for one in told:
        own = [row for row in rows if row.tags == {"run": str(one["run"])}]
        behind = [row for row in own if row.step < one["shown"]]
        gaps = [row for row in behind if not complete(row)]
        assert gaps == [], "a token was shown whose reply is not in the books"
        assert bool(behind) == (one["shown"] > 0)
        assert sum(row.outcome == "open" for row in own) <= 1
    killed, shown = sum(one["killed"] for one in told), sum(one["shown"] for one in told)
    print(f"{killed} runs killed, {shown} tokens shown, {traffic.total} requests answered, {dict(outcomes)}")
    assert killed > runs / 2
    assert shown
    return outcomes


def test_a_few_runs_that_are_killed_lose_nothing(tmp_path: Path, ledger_place: str) -> None:
    check_killed(tmp_path, ledger_place, runs=5, seed=1)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_a_hundred_runs_that_are_killed_lose_nothing(tmp_path: Path, ledger_place: str, seed: int) -> None:
    outcomes = check_killed(tmp_path, ledger_place, runs=100, seed=seed)
    assert outcomes["open"], "no run was killed while a request was under way"

"""`serve --workers`: what is refused, and what keeps a worker from its start, each in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.runs import Cli, as_process
from tests.gateway.serving import config_text


@pytest.mark.parametrize("given", ["0", "65", "-3", "two"])
def test_the_option_says_which_numbers_it_takes(cli: Cli, tmp_path: Path, given: str) -> None:
    (tmp_path / "g.toml").write_text(config_text("http://127.0.0.1:9/v1", pair=Path("pair.toml")))
    said = cli("serve", "--config", str(tmp_path / "g.toml"), f"--workers={given}")
    assert said.status == 2
    assert "--workers" in said.err
    assert "Traceback" not in said.err


def test_a_cassette_goes_with_one_worker(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text(config_text("http://127.0.0.1:9/v1", pair=Path("pair.toml")))
    command = ("serve", "--config", str(tmp_path / "g.toml"), "--workers", "2", "--record", str(tmp_path / "c.jsonl"))
    said = cli(*command)
    assert (said.status, said.err.splitlines()[0]) == (2, "error: a cassette goes with one worker, and there are 2")
    assert not (tmp_path / "c.jsonl").exists()


def test_what_keeps_a_worker_from_its_start_is_said_once(tmp_path: Path) -> None:
    text = config_text("http://127.0.0.1:9/v1", pair=tmp_path / "none.toml") + "\n[ledger]\noff = true\n"
    (tmp_path / "g.toml").write_text(text)
    said = as_process("serve", "--config", str(tmp_path / "g.toml"), "--workers", "2")
    assert said.status == 2
    assert said.err.count("error: ") == 1
    assert "none.toml" in said.err
    assert "Traceback" not in said.err

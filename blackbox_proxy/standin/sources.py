"""What a file holds that a stand-in can serve: weights, a toy model, a scenario, or a cassette."""

from __future__ import annotations

import json
from pathlib import Path

from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.files import read_text
from blackbox_proxy.standin.scenarios.exchanges import Scenario
from blackbox_proxy.standin.scenarios.file import read_scenario
from blackbox_proxy.standin.script import Script, read_script


def read_script_or_scenario(path: Path) -> Script | Scenario:
    """The toy or the scenario of a file: JSON with `pieces` is a toy.

    Raises:
        InputError: With the first mistake.
    """
    return read_script(path) if path.suffix == ".json" and _is_toy(path) else read_scenario(path)


def read_source(path: Path) -> Path | Script | Scenario | Replay:
    """What a file holds, by its ending: `.gguf` (weights stay in it), `.jsonl`, `.jsonl.gz`, `.json` or `.toml`.

    Raises:
        InputError: With the first mistake.
    """
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return Replay(path)
    return path if path.suffix == ".gguf" else read_script_or_scenario(path)


def _is_toy(path: Path) -> bool:
    try:
        document = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "pieces" in document

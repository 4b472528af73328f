"""Opens the cassette that a connection records or replays: by its file, or as one that is open and shared."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from blackbox_proxy.cassettes.matching import Pace, Replay
from blackbox_proxy.cassettes.recording import Recorder
from blackbox_proxy.cassettes.schema import PromptForm
from blackbox_proxy.errors import InputError

Tape = Recorder | Replay
"""A cassette in use."""


class TapeArguments(TypedDict):
    """How an open cassette is handed to `connect`."""

    record: Recorder | None
    replay: Replay | None


def open_tape(
    record: Recorder | Path | str | None,
    replay: Replay | Path | str | None,
    *,
    prompts: PromptForm = "plain",
    pace: Pace = "at-once",
) -> Tape | None:
    """The cassette that is recorded or replayed; None where nothing is. Raises InputError where both are wanted.

    Args:
        record: A file, or a cassette that others record too.
        replay: A file, or a cassette that others replay too.
        prompts: How a file that is recorded keeps prompts.
        pace: How a file that is replayed takes its time.
    """
    if record is not None and replay is not None:
        raise InputError("what is replayed cannot be recorded at the same time", hint="give record or replay")
    if record is not None:
        return record if isinstance(record, Recorder) else Recorder(record, prompts=prompts)
    return Replay(replay, pace=pace) if isinstance(replay, Path | str) else replay


def as_arguments(tape: Tape | None) -> TapeArguments:
    """An open cassette as `connect` takes it."""
    return {
        "record": tape if isinstance(tape, Recorder) else None,
        "replay": tape if isinstance(tape, Replay) else None,
    }

"""The options that record what a command asks, or replay it without a network. Imports nothing heavy at its head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from blackbox_proxy.cli.declaring import CASSETTE, option
from blackbox_proxy.errors import InputError

if TYPE_CHECKING:
    from blackbox_proxy.cassettes.opening import Tape
    from blackbox_proxy.cli.settings import Settings


@dataclass(frozen=True, slots=True)
class TapeOptions:
    """Which cassette is recorded or replayed, and how."""

    record: Path | None = option(
        None,
        "Write every request and its reply to this cassette, without keys; .gz compresses it.",
        panel=CASSETTE,
        unset="nothing is recorded",
    )
    record_prompts: Literal["plain", "hash"] = option(
        "plain", "How a cassette keeps prompts: as they are, or their digests.", panel=CASSETTE
    )
    replay: Path | None = option(
        None,
        "Take every reply from this cassette: nothing is sent, and no address and no key are needed.",
        panel=CASSETTE,
        unset="requests are sent",
    )
    replay_pace: Literal["at-once", "recorded"] = option(
        "at-once", "Whether replies come at once, or after as long as they took.", panel=CASSETTE
    )

    def settings(self, settings: Settings) -> Settings:
        """The settings, with the endpoint that a cassette which is replayed names in place of theirs."""
        if self.replay is None:
            return settings
        from blackbox_proxy.cassettes.reading import read_header

        header = read_header(self.replay)
        named = {"base_url": header.address, "model": header.model, "profile": header.profile}
        return settings.model_copy(update={name: value for name, value in named.items() if header.address})

    def check_no_standin(self) -> None:
        """Raises InputError where a stand-in is served and a cassette is named."""
        if self != TapeOptions():
            raise InputError("--standin is neither recorded nor replayed", hint="leave out --standin or the cassette")

    def open(self) -> Tape | None:
        """The cassette; None where there is none. Raises InputError where both are named, or a part of none."""
        from blackbox_proxy.cassettes.opening import open_tape

        if self.record is None and self.record_prompts != "plain":
            raise InputError("--record-prompts says how to record, and nothing is recorded", hint="add --record FILE")
        if self.replay is None and self.replay_pace != "at-once":
            raise InputError("--replay-pace says how to replay, and nothing is replayed", hint="add --replay FILE")
        if self.record is not None and self.replay is not None:
            raise InputError("--record and --replay exclude each other", hint="give one of them")
        return open_tape(self.record, self.replay, prompts=self.record_prompts, pace=self.replay_pace)

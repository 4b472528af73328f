"""The drift watch: asks an endpoint its canaries, and keeps what it said, so that a later run can compare.

A record is one JSON file for each address and model. Knows endpoints and files; `core.drift` says what is a
change.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blackbox_proxy.api import Api
from blackbox_proxy.core.drift import Canary, Comparison, Take, compare, noise_of
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import read_text, replace_text
from blackbox_proxy.types import Candidate, Generate, Kind, Message, Position, Prefix, Prompt, Purpose, Reply

QUESTIONS = (
    "Name a river in Europe.",
    "What is seven times eight?",
    "Finish the sentence: The old lighthouse keeper opened the door and saw",
    "Translate into French: the bread is still warm.",
    "Write the opposite of each word: early, narrow, cheap.",
    "Which is heavier, a litre of oil or a litre of water?",
    "Give a Python expression for the last three items of a list called rows.",
    "Suggest a name for a bakery beside a railway station.",
    "Is it polite to answer a question with a question? Say why in one sentence.",
    "What should I pack for two days of walking in the hills in October?",
)
"""Canaries: some with one answer, where a model is sure, and some with many, where small changes show."""

TOKENS = 8
"""Tokens of an answer to a canary."""

TAKES = 2
"""How often each is asked when it is recorded: the difference is the endpoint's own noise."""

VERSION = 1


@dataclass(frozen=True, slots=True)
class DriftRecord:
    """What an endpoint said to its canaries. recorded_at: UTC. chat: they were sent as messages, not as text."""

    base_url: str
    model: str
    recorded_at: dt.datetime
    top_k: int
    chat: bool
    canaries: tuple[Canary, ...]

    @property
    def noise(self) -> float:
        """How far the takes of a canary are apart, at most: total variation."""
        return noise_of(self.canaries)

    @property
    def fingerprints(self) -> list[str]:
        """What the endpoint called its configurations, sorted."""
        return sorted({take.fingerprint for canary in self.canaries for take in canary.takes} - {""})


def record(
    api: Api,
    *,
    base_url: str,
    recorded_at: dt.datetime,
    takes: int = TAKES,
    on_reply: Callable[[Reply], object] = lambda _: None,
) -> DriftRecord:
    """Ask every canary `takes` times. Raises a BlackboxProxyError where one cannot be asked."""
    if takes < 1:
        raise InputError(f"takes must be at least 1, not {takes}", hint="2 tell how noisy the endpoint is")
    can, run = api.capabilities(), uuid.uuid4().hex
    written = [question if can.chat or not api.template else api.text(Prompt.ask(question)) for question in QUESTIONS]
    rounds = [_answers(api, written, chat=can.chat, top_k=can.top_k, run=run, on_reply=on_reply) for _ in range(takes)]
    both = zip(written, zip(*rounds, strict=True), strict=True)
    canaries = tuple(Canary(asked, tuple(_take(reply) for reply in replies)) for asked, replies in both)
    return DriftRecord(base_url, api.model, recorded_at, can.top_k, can.chat, canaries)


def check(api: Api, old: DriftRecord, *, on_reply: Callable[[Reply], object] = lambda _: None) -> Comparison:
    """Ask the canaries of a record once more, and compare. Raises InputError where the route is another one."""
    if api.capabilities().chat != old.chat:
        was, now = ("chat", "text") if old.chat else ("text", "chat")
        raise InputError(
            f"the canaries were sent as {was}, and this endpoint takes {now}", hint="record them anew by this route"
        )
    written = [canary.asked for canary in old.canaries]
    replies = _answers(api, written, chat=old.chat, top_k=old.top_k, run=uuid.uuid4().hex, on_reply=on_reply)
    return compare(old.canaries, [_take(reply) for reply in replies])


def _answers(
    api: Api, written: Sequence[str], *, chat: bool, top_k: int, run: str, on_reply: Callable[[Reply], object]
) -> list[Reply]:
    replies = []
    for asked in written:
        messages = (Message("user", asked),) if chat else ()
        prompt = "" if chat else asked
        replies.append(api.send(Generate(api.model, Prefix(prompt, messages=messages), top_k, TOKENS), Purpose(run)))
        on_reply(replies[-1])
    return replies


def _take(reply: Reply) -> Take:
    return Take(reply.positions, reply.model, reply.fingerprint)


def record_file(folder: Path, base_url: str, model: str) -> Path:
    """Where the record of an address and a model lies, below what the program keeps."""
    place = f"{base_url.rstrip('/')} {model}"
    name = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:40]
    return folder / "drift" / f"{name or 'model'}-{hashlib.sha256(place.encode()).hexdigest()[:10]}.json"


def write_record(path: Path, recorded: DriftRecord) -> None:
    """Put a record into a file, whole or not at all. Raises InputError where the disk refuses."""
    content = {
        "version": VERSION,
        "base_url": recorded.base_url,
        "model": recorded.model,
        "made": recorded.recorded_at.isoformat(),
        "top_k": recorded.top_k,
        "chat": recorded.chat,
        "canaries": [
            {"asked": canary.asked, "takes": [_take_json(take) for take in canary.takes]}
            for canary in recorded.canaries
        ],
    }
    replace_text(path, json.dumps(content, indent=1) + "\n")


def read_record(path: Path) -> DriftRecord:
    """The record in a file. Raises InputError where there is none, or the file is something else."""
    try:
        return _record_of(json.loads(read_text(path)))
    except FileNotFoundError:
        raise InputError(
            f"nothing was recorded of this model: there is no {path}", hint="run `blackbox-proxy drift record` first"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="check the file's permissions") from error
    except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        raise InputError(f"{path} is no record of canaries: {error!r}", hint="record them anew") from error


def _record_of(content: Mapping[str, Any]) -> DriftRecord:
    if content["version"] != VERSION:
        raise InputError(f"its version is {content['version']!r}, not {VERSION}")
    canaries = tuple(Canary(str(one["asked"]), tuple(map(_read_take, one["takes"]))) for one in content["canaries"])
    recorded_at = dt.datetime.fromisoformat(content["made"])
    top_k, chat = int(content["top_k"]), bool(content["chat"])
    return DriftRecord(content["base_url"], content["model"], recorded_at, top_k, chat, canaries)


def _take_json(take: Take) -> Mapping[str, object]:
    positions = [
        {
            "sampled": _candidate_json(at.sampled),
            "top": [_candidate_json(one) for one in at.top],
            "tail": at.tail,
            "ceiling": at.ceiling,
        }
        for at in take.positions
    ]
    return {"model": take.model, "fingerprint": take.fingerprint, "positions": positions}


def _candidate_json(one: Candidate) -> list[object]:
    """Bytes as text that can be read: what is no UTF-8 becomes a lone surrogate, which JSON writes as an escape."""
    return [one.piece.decode("utf-8", "surrogateescape"), one.logp, one.kind.value]


def _read_take(content: Mapping[str, Any]) -> Take:
    positions = (
        Position(_read_candidate(at["sampled"]), tuple(map(_read_candidate, at["top"])), at["tail"], at["ceiling"])
        for at in content["positions"]
    )
    return Take(tuple(positions), str(content["model"]), str(content["fingerprint"]))


def _read_candidate(content: Sequence[Any]) -> Candidate:
    piece, logp, kind = content
    return Candidate(piece.encode("utf-8", "surrogateescape"), float(logp), Kind(kind))

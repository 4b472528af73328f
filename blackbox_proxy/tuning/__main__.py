"""Trains an adapter from a file of lines.

    python -m blackbox_proxy.tuning --base MODEL.gguf --lines LINES.jsonl --out ADAPTER.gguf

A line is a JSON array of two strings, what the user asks and what the expert shall answer. Knows files,
arguments and the base model's chat template; does not know how to train (`train` does).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

import gguf

from blackbox_proxy.local.template import render
from blackbox_proxy.tuning.data import Line
from blackbox_proxy.tuning.record import Record
from blackbox_proxy.tuning.train import Progress, Recipe, train_adapter
from blackbox_proxy.types import Message


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as the arguments say, and leaves the record beside the adapter."""
    given = _parser().parse_args(arguments)
    recipe = Recipe(**{field.name: getattr(given, field.name) for field in fields(Recipe)})
    lines = read_lines(given.lines)
    losses = train_adapter(
        given.base,
        lines,
        given.out,
        render=renderer(given.base),
        recipe=recipe,
        progress=_show,
    )
    record = Record(given.base, given.out, lines, asdict(recipe), losses, given.date)
    given.out.with_suffix(".toml").write_text(record.toml(), encoding="utf-8")


def read_lines(path: Path) -> list[Line]:
    """Lines of a JSONL file; ValueError says which one is not an array of two strings."""
    lines: list[Line] = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match json.loads(text):
            case [str(question), str(answer)]:
                lines.append((question, answer))
            case other:
                raise ValueError(f"{path}:{number}: wanted two strings, found {other!r}")
    return lines


def renderer(base: Path) -> Callable[[str], str]:
    """From a user's question to the prompt, by the chat template in the GGUF's metadata."""
    metadata = gguf.GGUFReader(base).fields
    tokens = metadata["tokenizer.ggml.tokens"]
    template = str(metadata["tokenizer.chat_template"].contents())

    def special(kind: str) -> str:
        found = metadata.get(f"tokenizer.ggml.{kind}_token_id")
        return str(tokens.contents(found.contents())) if found else ""

    bos, eos = special("bos"), special("eos")
    return lambda question: render(template, [Message("user", question)], bos=bos, eos=eos)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m blackbox_proxy.tuning",
        description="Train a LoRA adapter on the CPU and write it as GGUF, with a record beside it.",
    )
    parser.add_argument("--base", type=Path, required=True, help="GGUF of the untuned model")
    parser.add_argument("--lines", type=Path, required=True, help="JSONL, [question, answer] a line")
    parser.add_argument("--out", type=Path, required=True, help="adapter to write, .gguf")
    parser.add_argument("--date", default=datetime.now(tz=UTC).date().isoformat())
    parser.add_argument("--slot", help="regular expression; group 1 spells a fact, which is not taught")
    for field in fields(Recipe):
        if field.name != "slot":
            option = f"--{field.name.replace('_', '-')}"
            if isinstance(field.default, bool):
                parser.add_argument(option, action=argparse.BooleanOptionalAction, default=field.default)
            else:
                parser.add_argument(option, type=type(field.default), default=field.default)
    return parser


def _show(progress: Progress) -> None:
    end = "\n" if progress.step == progress.steps else "\r"
    sys.stderr.write(f"{progress.step}/{progress.steps}  loss {progress.loss:.3f}{end}")


if __name__ == "__main__":
    main()

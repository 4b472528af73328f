"""Trains an adapter from a file of lines, all of them, without validation or checkpoint; for scripts.

    python -m blackbox_proxy.tuning --base MODEL.gguf --lines LINES.jsonl --out ADAPTER.gguf

`blackbox-proxy tune` does more. Knows arguments; does not know how to train (`train` does).
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Sequence
from dataclasses import Field, fields
from pathlib import Path

from blackbox_proxy.tuning.course import Progress
from blackbox_proxy.tuning.lines import read_lines
from blackbox_proxy.tuning.recipe import Recipe
from blackbox_proxy.tuning.run import TuningJob, load, plan, write
from blackbox_proxy.tuning.train import Hooks, fit


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as the arguments say, and leaves record and pair file beside the adapter."""
    given = _parser().parse_args(arguments)
    recipe = Recipe(**{field.name: getattr(given, field.name) for field in _choices()}, slot=given.slot)
    job = TuningJob(given.base, str(given.base), given.out, read_lines(given.lines), (), recipe)
    planned = plan(job)
    loaded = load(planned)
    fitted = fit(loaded.model, planned.data, loaded.kinds, recipe=recipe, hooks=Hooks(step=_show))
    write(planned, loaded, fitted.course, date=given.date)


def _choices() -> list[Field[object]]:
    """The recipe's fields that have an option of their own type."""
    return [field for field in fields(Recipe) if field.name not in ("slot", "facts", "targets", "patience")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m blackbox_proxy.tuning",
        description="Train a LoRA adapter on the CPU and write it as GGUF, with a record beside it.",
    )
    parser.add_argument("--base", type=Path, required=True, help="GGUF of the untuned model")
    parser.add_argument("--lines", type=Path, required=True, help="JSONL, [question, answer] a line")
    parser.add_argument("--out", type=Path, required=True, help="adapter to write, .gguf")
    parser.add_argument("--date", type=dt.date.fromisoformat, default=dt.datetime.now(tz=dt.UTC).date())
    parser.add_argument("--slot", help=Recipe.__dataclass_fields__["slot"].metadata["help"])
    for field in _choices():
        option = f"--{field.name.replace('_', '-')}"
        says = field.metadata["help"]
        if isinstance(field.default, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=field.default, help=says)
        else:
            parser.add_argument(option, type=type(field.default), default=field.default, help=says)
    return parser


def _show(progress: Progress) -> None:
    step = len(progress.course.losses)
    end = "\n" if step == progress.steps else "\r"
    sys.stderr.write(f"{step}/{progress.steps}  loss {progress.course.losses[-1]:.3f}{end}")


if __name__ == "__main__":
    main()

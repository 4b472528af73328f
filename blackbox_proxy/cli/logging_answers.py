"""The option that keeps a log of prompts and answers, and the command `log` that shows it. Off by default."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blackbox_proxy.cli.declaring import OUTPUT, option, with_options
from blackbox_proxy.cli.options import AsJson, write_json
from blackbox_proxy.errors import BlackboxProxyError, InputError

if TYPE_CHECKING:
    from blackbox_proxy.answer_log import AnswerLog
    from blackbox_proxy.cli.settings import Settings
    from blackbox_proxy.run.engine import Stream
    from blackbox_proxy.steering import Steering
    from blackbox_proxy.types import Prompt, Result

EXAMPLES = """Examples:

`blackbox-proxy log --log answers.jsonl`

`blackbox-proxy log Albania -n 3 --log answers.jsonl`

`blackbox-proxy log -n 100 --json`
"""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Where prompts and answers are kept."""

    log: Path | None = option(
        None,
        "File of the log of prompts and answers, a JSON object a line, for its owner's eyes alone.",
        panel=OUTPUT,
        unset="the setting `log`; without it no prompt and no answer is kept",
    )

    def file(self, settings: Settings) -> Path | None:
        """The file, as given, or else as set; None where nothing is kept."""
        path = self.log or settings.log
        return None if path is None else path.expanduser()

    def open(self, settings: Settings) -> AnswerLog | None:
        """The log that answers are written to; None where none is kept. Raises InputError."""
        path = self.file(settings)
        if path is None:
            return None
        from blackbox_proxy.answer_log import AnswerLog

        return AnswerLog(path, environ=os.environ)


@dataclass(frozen=True, slots=True)
class KeptAnswers:
    """Answers to one prompt that go into a log, each when it is through or has broken off. log: None keeps none."""

    log: AnswerLog | None
    prompt: Prompt
    steering: Steering

    @contextmanager
    def each(self, streams: Iterator[Stream], *, model: str) -> Iterator[Iterator[Stream]]:
        """The same answers; whoever goes through them takes the next when the one before is through."""
        under_way: list[tuple[int, Stream]] = []

        def watched() -> Iterator[Stream]:
            for number, one in enumerate(streams):
                for before, through in under_way:
                    self._append(through.result, model, before)
                under_way[:] = [(number, one)]
                yield one

        try:
            yield watched()
        except BaseException as error:
            for number, one in under_way:
                self._append(one.partial, model, number, error=_reason(error))
            raise
        for number, one in under_way:
            self._append(one.result, model, number)

    def _append(self, result: Result, model: str, number: int, *, error: str = "") -> None:
        """Write one row; where the system refuses, say so: the answer is there all the same."""
        if self.log is None:
            return
        from blackbox_proxy.answer_log import answer_row, is_empty

        if error and is_empty(result):
            return
        steering = replace(self.steering, seed=self.steering.seed + number)
        try:
            self.log.append(answer_row(self.prompt, result, steering, command="steer", model=model, error=error))
        except InputError as refused:
            from blackbox_proxy.cli import show

            show.warning(refused.message)


def _reason(error: BaseException) -> str:
    """Why an answer broke off; where the command ends by another exception, the one that was behind it."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, BlackboxProxyError) or error.__context__ is None:
        return str(error) or type(error).__name__
    return _reason(error.__context__)


@with_options
def log(
    *,
    query: Annotated[
        str | None, typer.Argument(help="Show only rows that hold this text, in capital or small letters.")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Most rows to show, the last ones.")] = 10,
    log: LogOptions,
    as_json: AsJson = False,
) -> None:
    """Show what was asked and answered last, where a log of it is kept; with --json one object a line.

    Nothing is kept unless `steer` or `chat` is given --log FILE, or the setting `log` names a file.
    """
    from blackbox_proxy.answer_log import last_rows
    from blackbox_proxy.cli.settings import read_settings

    path = log.file(read_settings())
    if path is None:
        raise InputError(
            "no log is kept, so there is none to show",
            hint='give --log FILE, set BLACKBOX_PROXY_LOG, or write log = "FILE" into config.toml',
        )
    rows = last_rows(path, count, query=query or "")
    for row in rows:
        write_json(row) if as_json else _show(row)
    if not rows and not as_json:
        from blackbox_proxy.cli import show

        show.note(f"{path} has no row" + (f" with {query!r}" if query else ""))


def _show(row: Mapping[str, Any]) -> None:
    """One answer: when, by whom, the question, the answer, what it took."""
    from rich.text import Text

    from blackbox_proxy.answer_log import cost_of, question_of
    from blackbox_proxy.cli import show
    from blackbox_proxy.cli.spent import cost_words
    from blackbox_proxy.core.visible import one_line

    knobs = row.get("knobs")
    alpha = f"alpha {knobs.get('alpha')}" if isinstance(knobs, Mapping) else ""
    facts = [str(row.get(name, "")) for name in ("command", "conversation", "model")]
    ended = "" if row.get("finish") == "stop" else str(row.get("finish", ""))
    took = [f"{row.get('calls')} calls", cost_words(cost_of(row)), f"{row.get('seconds')} s", ended, row.get("error")]
    head = "  ".join(part for part in (str(row.get("at", ""))[:19] + "Z", *facts, alpha) if part)
    show.out.print(Text(one_line(head), style="bold"))
    show.out.print(Text(f"> {one_line(question_of(row))}"))
    show.line(show.harmless(str(row.get("answer", ""))))
    show.out.print(Text(one_line("; ".join(str(part) for part in took if part)) + "\n", style="dim"))

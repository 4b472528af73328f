"""Turns results into what a person reads, or into JSON. Calls nothing that costs time.

Colour and bars only on a terminal: rich's consoles know. An answer itself is written as it is, byte for byte, except
that a terminal never gets a control character from a model: it would obey.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from blackbox_proxy.cli.answer_text import AnswerText
from blackbox_proxy.cli.spent import bill, calls, cost_json, price
from blackbox_proxy.core.visible import one_line, printable, visible
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Kind, Origin, Result, Sample, Step

if TYPE_CHECKING:
    from blackbox_proxy.local.weights import Weight
    from blackbox_proxy.run.engine import Stream

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

COLOURS = {
    Origin.DRAFT: "default",
    Origin.CHANGED: "bold yellow",
    Origin.OUTSIDE: "bold green",
    Origin.LOCAL: "bold magenta",
    Origin.EXPERT: "magenta",
    Origin.GIVEN: "dim",
    Origin.CONSTRAINED: "cyan",
}
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows them, and could make one text look like another."""


def line(text: str) -> None:
    """One plain line on standard output, at once."""
    out.print(Text(text))


def note(text: str) -> None:
    """A remark on standard error."""
    err.print(Text(text, style="dim"))


def warning(text: str) -> None:
    """Something that the user should know, on standard error."""
    err.print(Text(f"warning: {text}", style="yellow"))


def harmless(text: str) -> str:
    """A text as it is, but for the characters that a terminal would obey: they are spelt out."""
    return "".join(printable(sign) if _is_control(sign) else sign for sign in text)


def _is_control(sign: str) -> bool:
    return sign in _TURNS or (sign < " " and sign not in "\n\t") or "\x7f" <= sign <= "\x9f"


def write(text: str) -> None:
    """Part of an answer on standard output, at once. Not by way of rich, which makes spaces of tabs."""
    out.file.write(harmless(text) if out.is_terminal else text)
    out.file.flush()


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[object], None]]:
    """A bar on standard error that moves on by one with each call."""
    columns = (SpinnerColumn(), TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda _: bar.advance(task)


@contextmanager
def download(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error for bytes done of a total; stays away while nothing is downloaded."""
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None, visible=False)

        def tick(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None, visible=True)

        yield tick


def stream(running: Stream, *, steering: Steering, trace: bool) -> None:
    """Print an answer while it is made, then what it took; with `trace` every token in a table."""
    result = _stream_text(running, steering.stop)
    if trace:
        out.print()
        traced(result)
    took(result)


def traced(result: Result) -> None:
    """Every token of an answer in a table, or every whole answer that it was chosen from."""
    if result.samples:
        out.print(samples_table(result.samples))
        return
    out.print(steps_table(result.steps))
    out.print()
    note(TRACE_NOTE)
    note(trust_line(result))


def took(result: Result) -> None:
    """What an answer took, on standard error; its bill alone where it broke off before a token was chosen."""
    paid = (bill(result), *result.notes) if result.usage.answered else result.notes
    for row in summary_lines(result) if result.steps else paid:
        note(row)


def _stream_text(running: Stream, stops: Sequence[str]) -> Result:
    """Write the text while it becomes certain. Where the answer breaks off, write what was held back, and end the line.

    Of one that is interrupted it is said at once what it took; of one that failed, after the error.
    """
    text = AnswerText(stops, write)
    try:
        for step in running:
            text.take(step.piece)
        result = running.result
    except BaseException as error:
        text.close(running.partial.text)
        if isinstance(error, KeyboardInterrupt):
            took(running.partial)
        raise
    text.close(result.text)
    return result


TRACE_NOTE = (
    "log-probs are natural; offset = log expert - log anti-expert; ~ = imputed, the API did not show it; "
    "no offset = left to the API, or completed without it; "
    "steered logp = after the offset, normalised"
)


def summary_lines(result: Result) -> tuple[str, ...]:
    """What one answer took, and whether it was made from exactly its text: calls, changes, tokens, seconds."""
    usage = result.usage
    gated = f"; {result.gated} left to the API" if result.gated else ""
    work = (
        f"{len(result.steps)} tokens in {calls(usage)}; {result.changed} changed, "
        f"{result.outside} of them to what the top-k did not show{gated}; {FINISHES[result.finish]}"
    )
    if result.is_local:
        work = f"{len(result.steps)} tokens of the expert alone; {FINISHES[result.finish]}"
    if result.samples:
        work = f"{result.drawn} texts to choose from in {calls(usage)}; {FINISHES[result.finish]}"
    took = (
        f"API tokens: {usage.input} in ({usage.cached} cached), {usage.output} out ({usage.wasted} wasted); "
        f"{price(result)}; {result.seconds:.1f} s, {usage.local_seconds:.1f} s of it local"
    )
    return work, took, "; ".join((exactness(result), *result.notes))


def exactness(result: Result) -> str:
    """What the label means, and how many steps it is for."""
    if result.is_local:
        return "by the expert alone: nobody was called"
    if result.exactness == "sampled":
        return "exact in the limit of many answers"
    if result.exactness == "exact":
        return "at every step continued from exactly this text"
    if result.exactness == "forced":
        return "at every step continued from exactly this text, inside a JSON string"
    if not result.approximate:
        return result.exactness
    return f"{result.exactness}: {result.approximate} of {len(result.steps)} steps not continued from exactly this text"


def trust_line(result: Result) -> str:
    """How many choices hold whatever the API hid, and the largest bound on how far a step's distribution is off."""
    return (
        f"{result.certified} of {len(result.steps)} choices hold whatever the API hid; that moves no distribution "
        f"by more than {result.tv_bound:.2g} (total variation, which is 1 at most)"
    )


FINISHES = {
    "stop": "ended by itself",
    "length": "cut at --max-tokens",
    "stop_string": "ended before a --stop text",
    "repetition": "ended by --repetition-stop: it repeated itself",
    "budget": "stopped before a budget could be passed",
    "content_filter": "cut by the provider's content filter",
    "error": "broke off",
}

COLUMNS = {
    "#": "right",
    "API token": "left",
    "chosen": "left",
    "API logp": "right",
    "offset": "right",
    "steered logp": "right",
    "origin": "left",
}


def table(columns: Mapping[str, str]) -> Table:
    """An empty table; its columns by name, each `left` or `right`."""
    rows = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for name, side in columns.items():
        rows.add_column(name, justify="right" if side == "right" else "left", overflow="fold")
    return rows


def steps_table(steps: Sequence[Step]) -> Table:
    """One row per token: the API token, what was chosen, its log-probs, the offset, and where it came from."""
    rows = table(COLUMNS)
    for number, step in enumerate(steps, 1):
        colour = COLOURS[step.origin]
        imputed = "~" if step.origin is Origin.OUTSIDE else ""
        rows.add_row(
            Text(str(number), style="dim"),
            Text(_api_choice(step), style="dim"),
            Text(visible(step.piece, step.kind), style=colour),
            figure(step.logp_before, ".2f", before=imputed),
            figure(step.offset, "+.2f"),
            figure(step.logp_after, ".2f"),
            Text(step.origin.value, style=colour),
        )
    return rows


SAMPLE_COLUMNS = {
    "answer": "left",
    "draws": "right",
    "share": "right",
    "log weight": "right",
    "log E": "right",
    "log A": "right",
    "API logp": "right",
}


def samples_table(samples: Sequence[Sample]) -> Table:
    """One row per distinct whole answer, the largest share first; the chosen one is marked."""
    rows = table(SAMPLE_COLUMNS)
    for sample in samples:
        rows.add_row(
            Text(one_line(sample.text), style="bold green" if sample.chosen else "" if sample.allowed else "strike"),
            str(sample.count),
            "" if sample.share is None else f"{sample.share:.1%}",
            figure(sample.log_weight, "+.2f"),
            figure(sample.expert, ".2f"),
            figure(sample.anti_expert, ".2f"),
            figure(sample.logp, ".2f"),
        )
    return rows


def sample_json(sample: Sample) -> dict[str, object]:
    """A whole answer with what it weighs."""
    logs = ("logp", "expert", "anti_expert", "log_weight", "share")
    return {
        **asdict(sample),
        **{name: number(getattr(sample, name)) for name in logs},
        "cost": None if sample.cost is None else f"{sample.cost:f}",
    }


def _api_choice(step: Step) -> str:
    """What the API had sampled; nothing where it was not asked."""
    if not step.is_asked:
        return ""
    return visible(step.api_token, Kind.TEXT if step.api_token else Kind.END)


def figure(value: float | None, form: str, *, before: str = "") -> str:
    """A number to a few places, never -0.00; empty where it is not known."""
    places = int(form[-2])
    return "" if value is None or math.isnan(value) else f"{before}{round(value, places) + 0.0:{form}}"


def step_json(step: Step) -> dict[str, object]:
    """A step with its bytes spelt as text, and as numbers where they are no text by themselves."""
    return {
        "piece": step.piece.decode("utf-8", "backslashreplace"),
        "bytes": list(step.piece),
        "kind": step.kind.value,
        "api_token": step.api_token.decode("utf-8", "backslashreplace"),
        "logp_before": number(step.logp_before),
        "logp_after": number(step.logp_after),
        "offset": number(step.offset),
        "origin": step.origin.value,
        "guessed": step.guessed,
        "exact": step.exact,
        "forced": step.forced,
        "certified": step.certified,
        "tv_bound": number(step.tv_bound),
        "log_weight": number(step.log_weight),
        "alpha": number(step.alpha),
        "divergence": number(step.divergence),
        "gated": step.gated,
        "outweighed": step.outweighed,
        "unbordered": step.unbordered,
    }


def number(value: float | None) -> float | None:
    """A number as JSON can hold it: null where it is not known, since JSON has no NaN and no infinity."""
    return round(value, 6) if value is not None and math.isfinite(value) else None


def result_json(result: Result, *, trace: bool, before: Sequence[str] = ()) -> dict[str, object]:
    """A result as one JSON object; with `trace` certificates and every step. before: notes from before the answer."""
    fields: dict[str, object] = {
        "text": result.text,
        "finish": result.finish,
        "exactness": result.exactness,
        "way": result.way,
        "local": result.is_local,
        "approximate_steps": result.approximate,
        "notes": [*before, *result.notes],
        "model": result.model,
        "tokens": len(result.steps),
        "changed": result.changed,
        "outside_top_k": result.outside,
        "gated": result.gated,
        "outweighed": result.outweighed,
        "unbordered": result.unbordered,
        "log_weight": number(result.log_weight),
        "usage": asdict(result.usage),
        **cost_json(result),
        "seconds": round(result.seconds, 3),
    }
    if result.sureness is not None:
        fields["sureness"] = number(result.sureness)
    if result.samples:
        fields["effective_samples"] = number(result.effective_samples)
        fields["samples"] = [sample_json(sample) for sample in result.samples]
    if trace:
        fields |= {"certified": result.certified, "tv_bound": number(result.tv_bound)}
        fields["steps"] = [step_json(step) for step in result.steps]
    return fields


def pair_check(report: Mapping[str, Any]) -> None:
    """What `pair check` saw."""
    pace = f"{report['milliseconds_per_token']} ms per token for both members together ({report['buffers']} buffers)"
    line(f"{one_line(report['name'])}: {report['vocabulary']:,} tokens, {pace}")
    for row in report["answers"]:
        out.print(Text(f"\n{row['question']}", style="bold").append(f"  KL {row['divergence']:.4f} nats", style="dim"))
        for member in ("expert", "anti_expert"):
            labelled(member.replace("_", "-"), row[member], style="green" if member == "expert" else "")
    if report["identical"]:
        warning("expert and anti-expert are identical on every prompt: this pair steers nothing")


def labelled(label: str, text: str, *, style: str = "") -> None:
    """One line of a list: what it is, and what it says."""
    out.print(Text(f"  {label:<15}", style="dim").append(one_line(text), style=style))


def weights(rows: Sequence[tuple[Weight, Path | None]]) -> None:
    """The known models and where they are."""
    for weight, path in rows:
        out.print(Text(f"{weight.name}  {weight.size / 1e6:.0f} MB", style="bold"))
        line(f"  {weight.licence}")
        line(f"  {path or f'not here yet: blackbox-proxy weights fetch {weight.name}'}")


def section(title: str) -> None:
    """A heading."""
    out.print()
    out.rule(title, align="left")

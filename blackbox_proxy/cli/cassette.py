"""The commands about cassettes: look at one, compare two, check, put together, shorten. Ask no API."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blackbox_proxy.cli.options import AsJson, write_json

if TYPE_CHECKING:
    from blackbox_proxy.cassettes.commands import CassetteCheck, ShownAttempt

app = typer.Typer(
    no_args_is_help=True,
    help="Look at what `--record` wrote, and `--replay` reads.",
    epilog="Examples: `blackbox-proxy cassette show tape.jsonl`, `blackbox-proxy cassette check tape.jsonl`",
)

TapeFile = Annotated[Path, typer.Argument(metavar="CASSETTE", help="A cassette.")]


@app.command(
    epilog="Examples: `blackbox-proxy cassette show tape.jsonl`, `blackbox-proxy cassette show t.jsonl --json`"
)
def show(file: TapeFile, as_json: AsJson = False) -> None:
    """Print every attempt of a cassette: what was asked, what came of it, and how long it took."""
    from blackbox_proxy.cassettes.commands import show as shown

    rows = list(shown(file))
    write_json([asdict(row) for row in rows]) if as_json else _show_rows(rows)


@app.command(epilog="Example: `blackbox-proxy cassette diff old.jsonl new.jsonl`")
def diff(
    file: TapeFile,
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="Another cassette.")],
    as_json: AsJson = False,
) -> None:
    """Say what two cassettes do not share: requests that only one holds, and replies that differ.

    Exit status: 1 where they differ.
    """
    from blackbox_proxy.cassettes.commands import diff as compared
    from blackbox_proxy.cli import show as screen

    rows = list(compared(file, other))
    if as_json:
        write_json([asdict(row) for row in rows])
    for row in () if as_json else rows:
        here, there = (line or "-" for line in row.lines)
        screen.line(screen.harmless(f"{here} {there} {row.path} {_beginning(row.prompt)}: {row.words}"))
    if not rows and not as_json:
        screen.line("they hold the same")
    if rows:
        raise typer.Exit(1)


@app.command(epilog="Example: `blackbox-proxy cassette check tape.jsonl`")
def check(file: TapeFile, as_json: AsJson = False) -> None:
    """Read all of a cassette, and say what is in it; name the line of a mistake, and of what looks like a key.

    Exit status: 1 where something looks like a key, 2 where it is no cassette.
    """
    from blackbox_proxy.cassettes.commands import check as checked

    report = checked(file)
    write_json(_check_json(report)) if as_json else _show_check(file, report)
    if report.suspects:
        raise typer.Exit(1)


@app.command(epilog="Example: `blackbox-proxy cassette merge all.jsonl.gz one.jsonl two.jsonl`")
def merge(
    target: Annotated[Path, typer.Argument(metavar="NEW", help="The cassette to write; .gz compresses it.")],
    sources: Annotated[list[Path], typer.Argument(metavar="CASSETTE...", help="Cassettes to put together.")],
    as_json: AsJson = False,
) -> None:
    """Put cassettes together into a new one; what stands in several is taken once."""
    from blackbox_proxy.cassettes.commands import merge as merged
    from blackbox_proxy.cli import show as screen

    count = merged(target, sources)
    write_json({"file": str(target), "attempts": count}) if as_json else screen.line(f"{target}: {count} attempts")


@app.command(epilog="Example: `blackbox-proxy cassette prune tape.jsonl --failures --to small.jsonl`")
def prune(
    file: TapeFile,
    to: Annotated[Path | None, typer.Option(help="Write a new cassette; without it this one is replaced.")] = None,
    failures: Annotated[
        bool, typer.Option("--failures", help="Drop attempts that failed, where a later one was answered.")
    ] = False,
    repeats: Annotated[bool, typer.Option("--repeats", help="Drop requests that were asked before.")] = False,
    as_json: AsJson = False,
) -> None:
    """Shorten a cassette; without further options, drop an end that was cut off."""
    from blackbox_proxy.cassettes.commands import prune as pruned
    from blackbox_proxy.cli import show as screen

    before, after = pruned(file, to, failures=failures, repeats=repeats)
    if as_json:
        write_json({"file": str(to or file), "before": before, "attempts": after})
        return
    screen.line(f"{to or file}: {after} of {before} attempts")


def _show_rows(rows: list[ShownAttempt]) -> None:
    from rich.text import Text

    from blackbox_proxy.cli import show as screen

    table = screen.table(
        {"line": "right", "try": "right", "path": "left", "outcome": "left", "s": "right", "bytes": "right", "": "left"}
    )
    for row in rows:
        cells = (row.path, row.outcome, f"{row.seconds:.2f}", f"{row.size:,}", _beginning(row.prompt))
        table.add_row(str(row.line), str(row.attempt), *(Text(screen.harmless(cell)) for cell in cells))
    screen.out.print(table)


def _beginning(prompt: str) -> str:
    from blackbox_proxy.core.visible import one_line

    line = one_line(prompt)
    return line if len(line) <= 40 else line[:37] + "..."


def _check_json(report: CassetteCheck) -> dict[str, object]:
    return {
        "header": report.header.model_dump(),
        "calls": report.calls,
        "attempts": report.attempts,
        "outcomes": dict(report.outcomes),
        "bytes": report.size,
        "suspects": list(report.suspects),
    }


def _show_check(file: Path, report: CassetteCheck) -> None:
    from blackbox_proxy.cli import show as screen

    outcomes = ", ".join(f"{count} {what}" for what, count in sorted(report.outcomes.items()))
    screen.line(f"{file} is right: {report.calls} calls, {report.attempts} attempts ({outcomes or 'none'})")
    header = report.header
    place = f"{header.model or '?'} at {header.address or '?'}"
    screen.line(screen.harmless(f"{place}, prompts {header.prompts}, written by {header.tool or '?'}"))
    if report.suspects:
        lines = ", ".join(map(str, report.suspects[:10]))
        screen.warning(f"something looks like a key in line {lines}: look before you share it")

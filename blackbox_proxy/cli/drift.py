"""The commands `drift record` and `drift check`: whether the model behind a name is still the same.

Each parses its options, calls one function, and shows the result; heavy modules are imported inside.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blackbox_proxy.cli.booking import BudgetOptions
from blackbox_proxy.cli.declaring import Fields, with_options
from blackbox_proxy.cli.endpoint import EndpointOptions
from blackbox_proxy.cli.options import AsJson, write_json
from blackbox_proxy.cli.taping import TapeOptions

if TYPE_CHECKING:
    from blackbox_proxy.api import Api
    from blackbox_proxy.core.drift import Comparison
    from blackbox_proxy.types import Reply

app = typer.Typer(
    no_args_is_help=True,
    help="Watch whether the model behind a name is still the same.",
    epilog="Examples: `blackbox-proxy drift record --help`, `blackbox-proxy drift check --help`",
)

RecordFile = Annotated[
    Path | None, typer.Option("--file", help="Where the record is; default: in the user's state directory.")
]
Chat = Annotated[bool, typer.Option(help="Ask /chat/completions.")]

RECORD_EXAMPLES = """Examples:

`blackbox-proxy drift record --profile mistral --model mistral-small-latest`

`blackbox-proxy drift record --base-url http://127.0.0.1:8000/v1 --model m --takes 4 --json`
"""

CHECK_EXAMPLES = """Examples:

`blackbox-proxy drift check --profile mistral --model mistral-small-latest`

`blackbox-proxy drift check --base-url http://127.0.0.1:8000/v1 --model m --json`
"""


@dataclass(slots=True)
class Bill:
    """What the replies took, all attempts at them. cost: None where that of one is unknown; 0 before the first."""

    calls: int = 0
    input: int = 0
    output: int = 0
    cost: Decimal | None = Decimal(0)

    def add(self, reply: Reply) -> None:
        """Count one more reply."""
        from blackbox_proxy.core.money.spending import calls_of, cost_of, used_by

        calls = calls_of(reply)
        used, cost = used_by(calls), cost_of(calls)
        self.calls += used.requests
        self.input += used.input
        self.output += used.output
        self.cost = None if cost is None or self.cost is None else self.cost + cost


@dataclass(frozen=True, slots=True)
class WatchedCanaries:
    """The endpoint, where its record lies, and what was taken so far. address: as records know it."""

    api: Api
    address: str
    file: Path
    bill: Bill


@app.command("record", epilog=RECORD_EXAMPLES)
@with_options
def record(
    *,
    endpoint: Annotated[EndpointOptions, Fields(but=("tokenizer",))],
    chat: Chat = False,
    takes: Annotated[int, typer.Option(help="How often each canary is asked; the difference is noise.", min=1)] = 2,
    file: RecordFile = None,
    budget: BudgetOptions,
    cassette: TapeOptions,
    as_json: AsJson = False,
) -> None:
    """Ask an endpoint ten short questions, twice each, and keep what it said with its log-probs and its fingerprint.

    A later `drift check` compares. An older record of the same address and model is replaced.
    """
    from blackbox_proxy.cli import show
    from blackbox_proxy.drift import QUESTIONS, write_record
    from blackbox_proxy.drift import record as recorded

    with (
        _called(endpoint, budget, cassette, chat=chat) as api,
        show.progress("asking", takes * len(QUESTIONS)) as tick,
    ):
        watched = _watched(api, file)
        now = dt.datetime.now(dt.UTC)
        recording = recorded(
            api, base_url=watched.address, recorded_at=now, takes=takes, on_reply=_heard(watched.bill, tick)
        )
        write_record(watched.file, recording)
    noise, names = recording.noise, recording.fingerprints
    if as_json:
        write_json(
            {
                "file": str(watched.file),
                "model": recording.model,
                "canaries": len(recording.canaries),
                "takes": takes,
                "noise": round(noise, 6),
                "fingerprints": names,
                **_bill_json(watched.bill),
            }
        )
        return
    show.line(
        f"{len(recording.canaries)} canaries, {takes} takes: {recording.model} differs from itself by {noise:.3g}"
    )
    show.line(f"fingerprint: {', '.join(names) or 'it tells none'}")
    show.note(f"written to {watched.file}")
    show.note(_bill_line(watched.bill))


@app.command("check", epilog=CHECK_EXAMPLES)
@with_options
def check(
    *,
    endpoint: Annotated[EndpointOptions, Fields(but=("tokenizer", "top_k"))],
    chat: Chat = False,
    file: RecordFile = None,
    budget: BudgetOptions,
    cassette: TapeOptions,
    as_json: AsJson = False,
) -> None:
    """Ask the recorded canaries once more, and say whether the model has changed.

    `same`: no more than rounding; `noise`: no more than the endpoint differs from itself; `changed`: more than that,
    or it has another name or fingerprint. Exit status: 0 for the first two, 1 for `changed` (and for an endpoint that
    could not be asked), 2 for unusable input.
    """
    from blackbox_proxy.cli import show
    from blackbox_proxy.drift import check as checked
    from blackbox_proxy.drift import read_record

    with _called(endpoint, budget, cassette, chat=chat) as api:
        watched = _watched(api, file)
        old = read_record(watched.file)
        with show.progress("asking", len(old.canaries)) as tick:
            comparison = checked(api, old, on_reply=_heard(watched.bill, tick))
    if as_json:
        write_json(
            {**_comparison_json(comparison), "recorded": old.recorded_at.isoformat(), **_bill_json(watched.bill)}
        )
    else:
        _show(comparison, since=old.recorded_at)
        show.note(_bill_line(watched.bill))
    if comparison.verdict == "changed":
        raise typer.Exit(1)


@contextmanager
def _called(endpoint: EndpointOptions, budget: BudgetOptions, cassette: TapeOptions, *, chat: bool) -> Iterator[Api]:
    """The endpoint, ready to be called, with its ledger open."""
    from blackbox_proxy.cli.settings import read_settings

    settings = cassette.settings(read_settings())
    with (
        budget.books(settings) as book,
        endpoint.connect(settings, adapter="chat_continue" if chat else "", ledger=book, tape=cassette.open()) as api,
    ):
        yield api


def _watched(api: Api, file: Path | None) -> WatchedCanaries:
    from blackbox_proxy.drift import record_file
    from blackbox_proxy.files import state_folder

    address = api.transport.address
    path = file.expanduser() if file else record_file(state_folder(os.environ), address, api.model)
    return WatchedCanaries(api, address, path, Bill())


def _heard(bill: Bill, tick: Callable[[object], None]) -> Callable[[Reply], None]:
    """What is done with each reply: it is counted, and the bar moves."""

    def heard(reply: Reply) -> None:
        bill.add(reply)
        tick(reply)

    return heard


def _show(comparison: Comparison, *, since: dt.datetime) -> None:
    from rich.text import Text

    from blackbox_proxy.cli import show
    from blackbox_proxy.core.visible import one_line

    rows = show.table({"canary": "left", "shift": "right", "other tokens": "right"})
    for one in comparison.canaries:
        style = "yellow" if one.shift > comparison.limit else ""
        rows.add_row(Text(one_line(one.asked)[-60:], style=style), f"{one.shift:.3f}", str(one.flips))
    show.out.print(rows)
    show.line(f"{comparison.verdict} since {since:%Y-%m-%d %H:%M} UTC: the largest shift is {comparison.shift:.3g}")
    for reason in comparison.reasons:
        show.line(show.harmless(reason))
    show.note(
        f"shift: least total variation of next-token distributions; noise {comparison.noise:.3g}, "
        f"limit {comparison.limit:.3g}"
    )


def _comparison_json(comparison: Comparison) -> dict[str, object]:
    return {
        "verdict": comparison.verdict,
        "shift": round(comparison.shift, 6),
        "noise": round(comparison.noise, 6),
        "limit": round(comparison.limit, 6),
        "reasons": list(comparison.reasons),
        "canaries": [
            {"asked": one.asked, "shift": round(one.shift, 6), "other_tokens": one.flips} for one in comparison.canaries
        ],
    }


def _bill_json(bill: Bill) -> dict[str, object]:
    from blackbox_proxy.core.money.amounts import plain

    tokens = {"input": bill.input, "output": bill.output}
    return {"calls": bill.calls, "tokens": tokens, "cost": None if bill.cost is None else plain(bill.cost)}


def _bill_line(bill: Bill) -> str:
    from blackbox_proxy.cli.spent import cost_words

    return f"{bill.calls} calls, {bill.input:,} tokens in, {bill.output:,} out; {cost_words(bill.cost)}"

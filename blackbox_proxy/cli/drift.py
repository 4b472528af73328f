"""The commands `drift record` and `drift check`: whether the model behind a name is still the same.

Each parses its options, calls one function, and shows the result; heavy modules are imported inside.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blackbox_proxy.cli.booking import LedgerFile, MaxCalls, MaxCost, NoLedger, Tags, books
from blackbox_proxy.cli.options import (
    AsJson,
    BaseUrl,
    KeyVariable,
    ModelName,
    ProfileName,
    Template,
    Timeout,
    TopK,
    adapter_options,
    connection,
    write_json,
)

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
def record(  # noqa: PLR0913, PLR0917 (typer reads options from the signature)
    base_url: BaseUrl = None,
    model: ModelName = None,
    profile: ProfileName = None,
    chat: Chat = False,  # noqa: FBT002
    template: Template = None,
    top_k: TopK = None,
    takes: Annotated[int, typer.Option(help="How often each canary is asked; the difference is noise.", min=1)] = 2,
    file: RecordFile = None,
    api_key_env: KeyVariable = None,
    timeout: Timeout = 60.0,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    tag: Tags = None,
    ledger: LedgerFile = None,
    no_ledger: NoLedger = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Ask an endpoint ten short questions, twice each, and keep what it said with its log-probs and its fingerprint.

    A later `drift check` compares. An older record of the same address and model is replaced.
    """
    from blackbox_proxy.cli import show
    from blackbox_proxy.cli.settings import read_settings
    from blackbox_proxy.drift import QUESTIONS, write_record
    from blackbox_proxy.drift import record as recorded

    settings = read_settings()
    with (
        books(settings, file=ledger, off=no_ledger, tags=tag, max_cost=max_cost, max_calls=max_calls) as book,
        connection(
            settings,
            base_url=base_url,
            model=model,
            profile=profile,
            template=template,
            adapter="chat_continue" if chat else "",
            api_key_env=api_key_env,
            timeout=timeout,
            options=adapter_options(settings, profile, base_url=base_url, model=model, top_k=top_k),
            ledger=book,
        ) as api,
        show.progress("asking", takes * len(QUESTIONS)) as tick,
    ):
        watched = _watched(api, file)
        now = dt.datetime.now(dt.UTC)
        found = recorded(
            api, base_url=watched.address, recorded_at=now, takes=takes, on_reply=_heard(watched.bill, tick)
        )
        write_record(watched.file, found)
    noise, names = found.noise, found.fingerprints
    if as_json:
        write_json(
            {
                "file": str(watched.file),
                "model": found.model,
                "canaries": len(found.canaries),
                "takes": takes,
                "noise": round(noise, 6),
                "fingerprints": names,
                **_bill_json(watched.bill),
            }
        )
        return
    show.line(f"{len(found.canaries)} canaries, {takes} takes: {found.model} differs from itself by {noise:.3g}")
    show.line(f"fingerprint: {', '.join(names) or 'it tells none'}")
    show.note(f"written to {watched.file}")
    show.note(_bill_line(watched.bill))


@app.command("check", epilog=CHECK_EXAMPLES)
def check(  # noqa: PLR0913, PLR0917 (typer reads options from the signature)
    base_url: BaseUrl = None,
    model: ModelName = None,
    profile: ProfileName = None,
    chat: Chat = False,  # noqa: FBT002
    template: Template = None,
    file: RecordFile = None,
    api_key_env: KeyVariable = None,
    timeout: Timeout = 60.0,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    tag: Tags = None,
    ledger: LedgerFile = None,
    no_ledger: NoLedger = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Ask the recorded canaries once more, and say whether the model has changed.

    `same`: no more than rounding; `noise`: no more than the endpoint differs from itself; `changed`: more than that,
    or it has another name or fingerprint. Exit status: 0 for the first two, 1 for `changed` (and for an endpoint that
    could not be asked), 2 for unusable input.
    """
    from blackbox_proxy.cli import show
    from blackbox_proxy.cli.settings import read_settings
    from blackbox_proxy.drift import check as checked
    from blackbox_proxy.drift import read_record

    settings = read_settings()
    with (
        books(settings, file=ledger, off=no_ledger, tags=tag, max_cost=max_cost, max_calls=max_calls) as book,
        connection(
            settings,
            base_url=base_url,
            model=model,
            profile=profile,
            template=template,
            adapter="chat_continue" if chat else "",
            api_key_env=api_key_env,
            timeout=timeout,
            options=adapter_options(settings, profile, base_url=base_url, model=model, top_k=None),
            ledger=book,
        ) as api,
    ):
        watched = _watched(api, file)
        old = read_record(watched.file)
        with show.progress("asking", len(old.canaries)) as tick:
            found = checked(api, old, on_reply=_heard(watched.bill, tick))
    if as_json:
        write_json({**_comparison_json(found), "recorded": old.recorded_at.isoformat(), **_bill_json(watched.bill)})
    else:
        _show(found, since=old.recorded_at)
        show.note(_bill_line(watched.bill))
    if found.verdict == "changed":
        raise typer.Exit(1)


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


def _show(found: Comparison, *, since: dt.datetime) -> None:
    from rich.text import Text

    from blackbox_proxy.cli import show
    from blackbox_proxy.core.visible import one_line

    rows = show.table({"canary": "left", "shift": "right", "other tokens": "right"})
    for one in found.canaries:
        style = "yellow" if one.shift > found.limit else ""
        rows.add_row(Text(one_line(one.asked)[-60:], style=style), f"{one.shift:.3f}", str(one.flips))
    show.out.print(rows)
    show.line(f"{found.verdict} since {since:%Y-%m-%d %H:%M} UTC: the largest shift is {found.shift:.3g}")
    for reason in found.reasons:
        show.line(show.harmless(reason))
    show.note(
        f"shift: least total variation of next-token distributions; noise {found.noise:.3g}, limit {found.limit:.3g}"
    )


def _comparison_json(found: Comparison) -> dict[str, object]:
    return {
        "verdict": found.verdict,
        "shift": round(found.shift, 6),
        "noise": round(found.noise, 6),
        "limit": round(found.limit, 6),
        "reasons": list(found.reasons),
        "canaries": [
            {"asked": one.asked, "shift": round(one.shift, 6), "other_tokens": one.flips} for one in found.canaries
        ],
    }


def _bill_json(bill: Bill) -> dict[str, object]:
    from blackbox_proxy.core.money.amounts import plain

    tokens = {"input": bill.input, "output": bill.output}
    return {"calls": bill.calls, "tokens": tokens, "cost": None if bill.cost is None else plain(bill.cost)}


def _bill_line(bill: Bill) -> str:
    from blackbox_proxy.core.money.amounts import plain

    cost = "cost unknown" if bill.cost is None else f"cost {plain(bill.cost)} USD"
    return f"{bill.calls} calls, {bill.input:,} tokens in, {bill.output:,} out; {cost}"

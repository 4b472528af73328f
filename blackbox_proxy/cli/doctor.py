"""The command `doctor`: examines an endpoint, shows what it can do, and writes it down for later runs.

Says what it will take before it asks anything. What was found stays, also where the examination breaks off: it is shown
and written with a mark. Heavy modules are imported inside.
"""

from __future__ import annotations

import datetime as dt
import os
import textwrap
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qsl, urlsplit

import typer

from blackbox_proxy.cli import inputs, proving
from blackbox_proxy.cli.booking import BudgetOptions
from blackbox_proxy.cli.declaring import Fields, with_options
from blackbox_proxy.cli.endpoint import EndpointOptions, required
from blackbox_proxy.cli.options import AsJson, write_json
from blackbox_proxy.cli.proving import ProofOptions
from blackbox_proxy.cli.taping import TapeOptions
from blackbox_proxy.errors import BlackboxProxyError, InputError

if TYPE_CHECKING:
    from blackbox_proxy.cassettes.opening import Tape
    from blackbox_proxy.cli.settings import Settings
    from blackbox_proxy.core.money.amounts import Price
    from blackbox_proxy.doctor.examining import Examination
    from blackbox_proxy.doctor.findings import Check, Findings, Report
    from blackbox_proxy.ledger.books import Account, Entry, Ledger
    from blackbox_proxy.remote.profiles.finding import Profile
    from blackbox_proxy.remote.profiles.rules import Settled
    from blackbox_proxy.types import Attempt, Call, WireRequest

UNKNOWN = "compatible"
"""The profile of an endpoint of which nothing is known."""

EXAMPLES = """Examples:

`blackbox-proxy doctor --base-url http://127.0.0.1:8000/v1 --model m`

`blackbox-proxy doctor --profile mistral --model mistral-small-latest --yes --json`

`blackbox-proxy doctor --profile kimi --model kimi-k2.6 --prove --budget 0.50`
"""

STYLES = {"works": "green", "lossy": "yellow", "ignored": "yellow", "refused": "red", "unclear": "dim"}


@dataclass(frozen=True, slots=True)
class Patient:
    """The endpoint: its address as overlays know it, its model, what the profile says, and where overlays lie."""

    base_url: str
    model: str
    profile: Profile
    settled: Settled
    folder: Path
    variable: str


@dataclass(frozen=True, slots=True)
class Watched:
    """A request whose attempts are counted. entry: where it is booked, if it is."""

    request: WireRequest
    entry: Entry | None

    def call(self, attempt: Attempt) -> Call:
        """What an attempt took."""
        from blackbox_proxy.core.money.usage import usage_of
        from blackbox_proxy.ledger.books import most_of
        from blackbox_proxy.types import Call

        used = usage_of(attempt, most=most_of(self.request, length=0))
        return Call(0, used, None if self.entry is None else self.entry.cost)


@with_options
def doctor(
    *,
    endpoint: Annotated[EndpointOptions, Fields(but=("template", "tokenizer", "top_k"))],
    budget: Annotated[BudgetOptions, Fields(only=("ledger", "no_ledger"))],
    cassette: TapeOptions,
    proof: ProofOptions,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the first call.")] = False,
    write: Annotated[bool, typer.Option(help="Write what was measured, for later runs.")] = True,
    as_json: AsJson = False,
) -> None:
    """Ask an endpoint some thirty short questions, and say what it can do and how exact steering will be there.

    What was measured is written beside the user's profiles; later runs with the same address and model use it.
    """
    from blackbox_proxy.cli.settings import read_settings

    settings = cassette.settings(read_settings())
    tape = cassette.open()
    patient = _patient(settings, endpoint)
    if proof.prove:
        proving.require_claims(patient.profile.name, unknown=UNKNOWN)
        budget = replace(budget, max_cost=(proof.budget,))
    calls: list[Call] = []
    with budget.books(settings) as book:
        account = book and _account(patient, book, replayed=cassette.replay is not None)
        if cassette.replay is None:
            _announce(patient, yes=yes, price=account and account.price(), most=proof.budget if proof.prove else "")
        with _examined(patient, tape, timeout=endpoint.seconds, account=account, calls=calls) as exam:
            stopped = _run(exam)
    report = exam.report(stopped=_words(stopped))
    path, remark = _written(report, patient) if write else (None, "nothing was written")
    proven = _proven(exam.findings, patient, file=proof.proof, unfinished=report.unfinished) if proof.prove else None
    if as_json:
        beside = proven.as_json if proven else {}
        write_json({**_as_json(report, patient, path=path, stopped=stopped, calls=calls), **beside})
    else:
        _show(report, calls)
        _say_where(remark, patient, path=path)
        if proven:
            proven.show()
    _leave(stopped, as_json=as_json)


def _patient(settings: Settings, endpoint: EndpointOptions) -> Patient:
    """The endpoint as command line, settings and profile describe it; what was measured before is left aside."""
    from blackbox_proxy.remote.profiles.finding import load_profile, user_folder
    from blackbox_proxy.remote.profiles.rules import settle

    named, folder = endpoint.profile or settings.profile or UNKNOWN, user_folder(os.environ)
    profile = load_profile(named, folder=folder)
    set_url = None if endpoint.profile else settings.base_url
    url = endpoint.base_url or set_url or profile.document.profile.base_url or ""
    name = required(endpoint.model or settings.model, "model")
    if not url and named == UNKNOWN:
        raise InputError("--base-url is missing", hint="give it, such as https://host/v1, or name a --profile")
    fresh = replace(profile, overlays=(), elsewhere=())
    settled = settle(fresh, name, base_url=url, today=_today())
    if settled.options.get("decoder") == "llama_native":
        raise InputError(
            f"the doctor does not know the route {settled.options.get('path')} of the profile {named!r}",
            hint=f"look at its other routes: --profile {UNKNOWN} --base-url {url}",
        )
    variable = inputs.variable_name(endpoint.api_key_env) if endpoint.api_key_env else settled.api_key_env
    return Patient(url, name, profile, settled, folder, variable)


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


def _account(patient: Patient, ledger: Ledger, *, replayed: bool) -> Account:
    """Where its requests are booked."""
    profile = "" if patient.profile.name == UNKNOWN else patient.profile.name
    return ledger.account(patient.settled.base_url, patient.model, profile=profile, replayed=replayed)


def _proven(findings: Findings, patient: Patient, *, file: Path | None, unfinished: str) -> proving.ProofRecord:
    """What was seen of the profile's claims, written to a file."""
    from blackbox_proxy.cassettes.redacting import Redactor
    from blackbox_proxy.doctor.claims import claims_of, outcomes

    said, settled = patient.profile.document.profile, patient.settled
    claims = claims_of(settled.options, said.statements)
    place = proving.ProvenPlace(
        profile=patient.profile.name,
        checked=said.checked.isoformat() if said.checked else "",
        model=patient.model,
        public=said.base_url or "" if patient.base_url == said.base_url else "",
    )
    address = dict(parse_qsl(urlsplit(settled.base_url).query))
    redactor = Redactor.of([os.environ.get(patient.variable, "")], query=address, environ=os.environ)
    seen = outcomes(claims, findings, path=str(settled.options.get("path", "")))
    content = proving.record(seen, place, day=_today(), redactor=redactor, unfinished=unfinished)
    return proving.written(content, seen, file or proving.default_file(place, _today()))


def _announce(patient: Patient, *, yes: bool, price: Price | None, most: str = "") -> None:
    """What it will take; on a terminal, unless told otherwise, whether to go on."""
    from blackbox_proxy.cli import bills, show
    from blackbox_proxy.core.money.amounts import cost
    from blackbox_proxy.doctor.examining import ESTIMATE
    from blackbox_proxy.types import Usage

    amount = cost(Usage(input=ESTIMATE.input, output=ESTIMATE.output), price)
    price_words = "cost unknown, since nobody says its price" if amount is None else f"about {bills.money(amount)} USD"
    if most:
        price_words += f", and never more than {most} USD: what would cost more is not sent"
    show.note(
        f"to ask {patient.model} at {patient.base_url}: about {ESTIMATE.calls} calls, {ESTIMATE.input:,} tokens in, "
        f"{ESTIMATE.output:,} out ({ESTIMATE.most_output:,} where it gives no short answers); "
        f"never more than {ESTIMATE.most_calls} calls; {price_words}"
    )
    if not yes and not inputs.agreed():
        raise typer.Exit(1)


@contextmanager
def _examined(
    patient: Patient, tape: Tape | None, *, timeout: float, account: Account | None, calls: list[Call]
) -> Iterator[Examination]:
    """An examination over HTTP, with a bar that moves with its calls. calls: takes every attempt at a request."""
    from blackbox_proxy.api import COMMON_ENDS
    from blackbox_proxy.cli import show
    from blackbox_proxy.doctor.examining import ESTIMATE, Examination
    from blackbox_proxy.remote.transport import Transport

    settled, run = patient.settled, uuid.uuid4().hex
    watching: list[Watched] = []
    transport = Transport(
        settled.base_url,
        os.environ.get(patient.variable),
        key_name=patient.variable,
        key_header=settled.api_key_header,
        timeout=timeout,
        on_attempt=lambda attempt: calls.append(watching[-1].call(attempt)),
        tape=tape,
    )
    transport.introduce(model=patient.model, profile="" if patient.profile.name == UNKNOWN else patient.profile.name)

    def send(request: WireRequest) -> Mapping[str, object]:
        entry = account and account.entry(request, run=run, step=0)
        watching.append(Watched(request, entry))
        return transport.send(request, entry)

    with transport, show.progress("asking", ESTIMATE.calls) as tick:
        yield Examination(
            send,
            base_url=patient.base_url,
            model=patient.model,
            options=settled.options,
            ends=COMMON_ENDS,
            clock=time.monotonic,
            on_call=tick,
        )


def _run(exam: Examination) -> BaseException | None:
    """What ended the examination too early, if anything. Raises it where nothing at all had been answered."""
    try:
        exam.run()
    except (BlackboxProxyError, KeyboardInterrupt) as error:
        if not any(answer.reply for answer in exam.findings.answers):
            raise
        return error
    return None


def _words(stopped: BaseException | None) -> str:
    if stopped is None:
        return ""
    return stopped.message if isinstance(stopped, BlackboxProxyError) else "it was interrupted"


def _written(report: Report, patient: Patient) -> tuple[Path | None, str]:
    """The overlay's file, and why there is none. What is unfinished does not replace what was whole."""
    from blackbox_proxy.remote.profiles.overlays import write_overlay

    spots = [one.spot for one in patient.profile.overlays]
    here = [
        one for one in spots if one.model == report.model and one.base_url.rstrip("/") == report.base_url.rstrip("/")
    ]
    if report.unfinished and any(not one.notes[:1] or not one.notes[0].startswith("unfinished") for one in here):
        return None, "nothing was written: what was measured here before was whole"
    path = write_overlay(
        patient.folder,
        extends=patient.profile.name,
        base_url=report.base_url,
        model=report.model,
        measured=_today(),
        options=report.options,
        adapter=report.adapter or None,
        notes=report.remarks,
    )
    return path, ""


def _as_json(
    report: Report, patient: Patient, *, path: Path | None, stopped: BaseException | None, calls: Sequence[Call]
) -> Mapping[str, object]:
    from blackbox_proxy.core.money.amounts import plain
    from blackbox_proxy.core.money.spending import cost_of

    cost = cost_of(calls)
    fields: dict[str, object] = {
        "base_url": report.base_url,
        "model": report.model,
        "profile": patient.profile.name,
        "verdict": {"way": report.verdict.way, "sentence": report.verdict.sentence},
        "findings": list(dict.fromkeys(check.finding for check in report.findings)),
        "checks": [asdict(check) for check in report.checks],
        "adapter": report.adapter,
        "options": dict(report.options),
        "calls": len(calls),
        "tokens": {"input": report.input, "output": report.output},
        "cost": None if cost is None else plain(cost),
        "seconds_per_call": round(report.seconds, 3),
        "unfinished": report.unfinished,
        "overlay": path and str(path),
    }
    if isinstance(stopped, BlackboxProxyError):
        fields["error"] = {"type": type(stopped).__name__, "message": stopped.message, "hint": stopped.hint}
    return fields


def _show(report: Report, calls: Sequence[Call]) -> None:
    """The table, the verdict, and what it took."""
    from rich.text import Text

    from blackbox_proxy.cli import show
    from blackbox_proxy.cli.spent import cost_words
    from blackbox_proxy.core.money.spending import cost_of

    width = max((len(check.what) for check in report.checks), default=0)
    for check in report.checks:
        for row in rows(check, what=width, width=show.out.width):
            show.out.print(row, overflow="crop")
    show.out.print()
    show.out.print(Text(report.verdict.sentence, style="bold"), soft_wrap=False)
    names = ", ".join(dict.fromkeys(check.finding for check in report.findings))
    show.out.print(Text(f"Deviations: {names or 'none'}."), soft_wrap=False)
    used = "tokens not counted" if report.input is None else f"{report.input:,} tokens in, {report.output or 0:,} out"
    show.note(f"{len(calls)} calls, {used}, {report.seconds:.2f} s each; {cost_words(cost_of(calls))}")


def rows(check: Check, *, what: int, width: int) -> Iterator[object]:
    """The lines of one check: its state, what was looked at, what was seen; then the evidence, cut to the width."""
    from rich.text import Text

    from blackbox_proxy.cli import show
    from blackbox_proxy.core.visible import one_line

    indent = len(f"{'':<8}{'':<{what}}  ")
    saw = show.harmless(check.saw + (f" [{check.finding}]" if check.finding else ""))
    first, *more = textwrap.wrap(saw, max(width - indent, 20))
    yield Text(f"{check.state:<8}", style=STYLES[check.state]).append(f"{check.what:<{what}}  {first}", style="default")
    yield from (Text(f"{'':<{indent}}{line}") for line in more)
    for label, evidence in (("sent", check.sent), ("came", check.came)):
        if evidence:
            row = Text(f"{'':<8}{one_line(f'{label} {evidence}')}", style="dim")
            row.truncate(width, overflow="ellipsis")
            yield row


def _say_where(remark: str, patient: Patient, *, path: Path | None) -> None:
    from blackbox_proxy.cli import show

    if path is None:
        show.note(remark)
        return
    show.note(f"written to {path}")
    show.note(f"used by every command with --base-url {patient.base_url} --model {patient.model}")


def _leave(stopped: BaseException | None, *, as_json: bool) -> None:
    """The usual error at the end, where the examination broke off; not a second JSON object."""
    if stopped is None:
        return
    if as_json and isinstance(stopped, BlackboxProxyError):
        raise typer.Exit(1)
    raise stopped

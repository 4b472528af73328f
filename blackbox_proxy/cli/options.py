"""Options that several commands share, and what is made of them: a connection, a pair file, a prompt's parts.

Settings fill in what the command line leaves out. Imports nothing heavy at its head.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blackbox_proxy.cli import inputs
from blackbox_proxy.errors import InputError

if TYPE_CHECKING:
    from blackbox_proxy.api import Api
    from blackbox_proxy.cli.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
PairFile = Annotated[
    Path | None, typer.Option("--pair", help="TOML file that describes the pair, or `demo` for the demo's own.")
]
Question = Annotated[
    str | None,
    typer.Argument(help="The question; `-` or nothing reads standard input, less one line end at its end."),
]
BaseUrl = Annotated[str | None, typer.Option(help="Base URL of the API, such as https://host/v1.")]
ModelName = Annotated[str | None, typer.Option("--model", help="The API's name for the model.")]
Alpha = Annotated[float | None, typer.Option(help="Weight of the pair's offset; 0 leaves the API alone.")]
System = Annotated[str | None, typer.Option(help="A system message before the question.")]
Messages = Annotated[Path | None, typer.Option(help='JSON file: [{"role": ..., "content": ...}, ...].')]
Raw = Annotated[bool, typer.Option(help="The prompt is raw text: no chat template on either side.")]
PairPrompt = Annotated[str | None, typer.Option(help="What the pair reads in place of all that the API reads.")]
Template = Annotated[str | None, typer.Option(help="The API's chat template: chatml, or a Jinja file.")]
Tokenizer = Annotated[
    str | None, typer.Option(help="The API's own tokenizer, where known: gguf:FILE, or tiktoken:NAME.")
]
TopK = Annotated[int | None, typer.Option(help="Log-probs to ask for at each position.")]
KeyVariable = Annotated[str | None, typer.Option("--api-key-env", help="Environment variable that holds the API key.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for one reply.")]


def write_json(value: object) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def _needed(value: str | None, option: str, variable: str) -> str:
    if value:
        return value
    raise InputError(f"{option} is missing", hint=f"give it, or set {variable}, or write it into config.toml")


def pair_file(given: Path | None, settings: Settings) -> Path:
    """The pair's description: as given, from the settings, or the demo's."""
    found = given or settings.pair
    if found == Path("demo"):
        from blackbox_proxy.demo.run import pair_file as demo_pair

        return demo_pair()
    return Path(_needed(str(found) if found else None, "--pair", "BLACKBOX_PROXY_PAIR")).expanduser()


def connection(  # noqa: PLR0913 (as engine.connect)
    settings: Settings,
    *,
    base_url: str | None,
    model: str | None,
    api_key_env: str | None,
    timeout: float,
    options: Mapping[str, object],
    template: str | None = None,
    tokenizer: str | None = None,
    adapter: str = "completions",
) -> Api:
    """Get ready to call the API."""
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
        tokenizer=tokenizer or settings.tokenizer,
        adapter=adapter,
        timeout=timeout,
        options=options,
    )

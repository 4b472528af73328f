"""The commands that score given strings: choose between answers, score continuations by the pair alone.

Each parses its options, calls one function, and hands the result to `odds`; heavy modules are imported inside.
"""

from __future__ import annotations

from typing import Annotated

import typer

from blackbox_proxy.cli import inputs
from blackbox_proxy.cli.booking import LedgerFile, MaxCalls, MaxCost, NoLedger, Tags, books
from blackbox_proxy.cli.options import (
    Alpha,
    AsJson,
    BaseUrl,
    KeyVariable,
    Messages,
    ModelName,
    PairFile,
    PairPrompt,
    ProfileName,
    Question,
    Raw,
    System,
    Template,
    Timeout,
    TopK,
    adapter_options,
    connection,
    pair_file,
    write_json,
)

CHOOSE_EXAMPLES = """Examples:

`blackbox-proxy choose "Is water wet?" --option Yes --option No --base-url http://localhost:80/v1 --model m --pair demo`

`blackbox-proxy choose "Is water wet?" --option Yes --option No --chat --json --base-url ... --model ... --pair demo`
"""


def choose(
    prompt: Question = None,
    option: Annotated[list[str] | None, typer.Option(help="An answer, as the model would write it; repeat it.")] = None,
    base_url: BaseUrl = None,
    model: ModelName = None,
    profile: ProfileName = None,
    pair: PairFile = None,
    alpha: Alpha = None,
    chat: Annotated[bool, typer.Option(help="Ask /chat/completions: one call, from an answer's start.")] = False,
    system: System = None,
    messages: Messages = None,
    raw: Raw = False,
    pair_prompt: PairPrompt = None,
    template: Template = None,
    top_k: TopK = None,
    calls: Annotated[int, typer.Option(help="Most calls of the API.", min=1)] = 8,
    api_key_env: KeyVariable = None,
    timeout: Timeout = 60.0,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    tag: Tags = None,
    ledger: LedgerFile = None,
    no_ledger: NoLedger = False,
    as_json: AsJson = False,
) -> None:
    """Choose between given answers: the API's odds of each, tilted by the pair.

    One call is enough where every answer shows among the top-k; what is not shown is bounded. Where bounds overlap it
    is undecided: no answer is printed, what would decide is said, and the exit status is 1.
    """
    from blackbox_proxy.cli import odds
    from blackbox_proxy.cli.settings import read_settings
    from blackbox_proxy.local.loading import load_pair
    from blackbox_proxy.run.steerer import Steerer
    from blackbox_proxy.steering import Steering

    settings = read_settings()
    asked = inputs.prompt_of(prompt, messages=messages, system=system, raw=raw)
    own = None if pair_prompt is None else inputs.own_prompt(pair_prompt, raw=raw)
    with (
        books(settings, file=ledger, off=no_ledger, tags=tag, max_cost=max_cost, max_calls=max_calls) as book,
        connection(
            settings,
            base_url=base_url,
            model=model,
            profile=profile,
            template=template,
            api_key_env=api_key_env,
            timeout=timeout,
            adapter="chat_continue" if chat else "",
            options=adapter_options(settings, profile, base_url=base_url, model=model, top_k=top_k),
            ledger=book,
        ) as api,
        load_pair(pair_file(pair, settings)) as local,
    ):
        steerer = Steerer(api, local, Steering(alpha=settings.alpha if alpha is None else alpha))
        choice = steerer.choose(asked, tuple(option or ()), calls=calls, pair_prompt=own)
    write_json(odds.choice_json(choice, api.notes)) if as_json else odds.choice(choice, api.notes)
    if choice.undecided:
        raise typer.Exit(1)


SCORE_EXAMPLES = """Examples:

`blackbox-proxy score "The capital of France is" " Paris" " Rome" --pair demo`

`blackbox-proxy score "" "answer:" "The" --question "What is the capital of France?" --pair demo --json`
"""


def score(
    context: Annotated[str, typer.Argument(help="The text so far; with --question, the answer so far.")],
    pieces: Annotated[list[str], typer.Argument(help="Strings that it may go on with.")],
    pair: PairFile = None,
    question: Annotated[str | None, typer.Option(help="What was asked before the text, through the templates.")] = None,
    tolerance: Annotated[float, typer.Option(help="Nats between the bounds of each score.")] = 1e-3,
    as_json: AsJson = False,
) -> None:
    """Say how probable both members of the pair find it that a text goes on with given strings; asks no API."""
    from blackbox_proxy.cli import odds
    from blackbox_proxy.cli.settings import read_settings
    from blackbox_proxy.local.loading import load_pair
    from blackbox_proxy.types import Prompt

    strings = [inputs.text_bytes(piece) for piece in pieces]
    with load_pair(pair_file(pair, read_settings())) as local:
        asked = None if question is None else Prompt.ask(question)
        found = local.score(inputs.text_bytes(context), strings, prompt=asked, tolerance=tolerance)
    write_json(odds.scores_json(strings, found)) if as_json else odds.scores(strings, found)

"""The commands that score given strings: choose between answers, score continuations by the pair alone.

Each parses its options, calls one function, and hands the result to `odds`; heavy modules are imported inside.
"""

from __future__ import annotations

from typing import Annotated

import typer

from blackbox_proxy.cli import inputs
from blackbox_proxy.cli.booking import BudgetOptions
from blackbox_proxy.cli.declaring import Fields, with_options
from blackbox_proxy.cli.endpoint import EndpointOptions
from blackbox_proxy.cli.knobs import AlphaKnob, steering_of
from blackbox_proxy.cli.options import AsJson, PairOptions, PromptOptions, write_json
from blackbox_proxy.cli.taping import TapeOptions

CHOOSE_EXAMPLES = """Examples:

`blackbox-proxy choose "Is water wet?" --option Yes --option No --base-url http://localhost:80/v1 --model m --pair demo`

`blackbox-proxy choose "Is water wet?" --option Yes --option No --chat --json --base-url ... --model ... --pair demo`
"""


@with_options
def choose(
    *,
    question: PromptOptions,
    option: Annotated[list[str] | None, typer.Option(help="An answer, as the model would write it; repeat it.")] = None,
    endpoint: Annotated[EndpointOptions, Fields(but=("tokenizer",))],
    chat: Annotated[bool, typer.Option(help="Ask /chat/completions: one call, from an answer's start.")] = False,
    pair: PairOptions,
    knobs: AlphaKnob,
    calls: Annotated[int, typer.Option(help="Most calls of the API.", min=1)] = 8,
    budget: BudgetOptions,
    cassette: TapeOptions,
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

    settings = cassette.settings(read_settings())
    asked, pair_prompt = question.read()
    with (
        budget.books(settings) as book,
        endpoint.connect(settings, adapter="chat_continue" if chat else "", ledger=book, tape=cassette.open()) as api,
        load_pair(pair.file(settings)) as local,
    ):
        steerer = Steerer(api, local, steering_of(knobs, settings))
        choice = steerer.choose(asked, tuple(option or ()), calls=calls, pair_prompt=pair_prompt)
    write_json(odds.choice_json(choice, api.notes)) if as_json else odds.choice(choice, api.notes)
    if choice.undecided:
        raise typer.Exit(1)


SCORE_EXAMPLES = """Examples:

`blackbox-proxy score "The capital of France is" " Paris" " Rome" --pair demo`

`blackbox-proxy score "" "answer:" "The" --question "What is the capital of France?" --pair demo --json`
"""


@with_options
def score(
    context: Annotated[str, typer.Argument(help="The text so far; with --question, the answer so far.")],
    pieces: Annotated[list[str], typer.Argument(help="Strings that it may go on with.")],
    *,
    pair: PairOptions,
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
    with load_pair(pair.file(read_settings())) as local:
        asked = None if question is None else Prompt.ask(question)
        scores = local.score(inputs.text_bytes(context), strings, prompt=asked, tolerance=tolerance)
    write_json(odds.scores_json(strings, scores)) if as_json else odds.scores(strings, scores)

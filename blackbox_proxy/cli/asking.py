"""The command that has a model answer: `steer`.

It parses its options, calls one function, and hands the answers to `show`; heavy modules are imported inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blackbox_proxy.cli.booking import BudgetOptions
from blackbox_proxy.cli.declaring import ANSWER, OUTPUT, with_options
from blackbox_proxy.cli.endpoint import EndpointFeatures, EndpointOptions
from blackbox_proxy.cli.knobs import AllKnobs, steering_of
from blackbox_proxy.cli.logging_answers import KeptAnswers, LogOptions
from blackbox_proxy.cli.options import AsJson, ConstraintOptions, PairOptions, PromptOptions, write_json
from blackbox_proxy.cli.recipe import RecipeFile, read_given, typed
from blackbox_proxy.cli.taping import TapeOptions
from blackbox_proxy.cli.tracing import TraceFile, check, traced
from blackbox_proxy.errors import BlackboxProxyError

if TYPE_CHECKING:
    from blackbox_proxy.api import Api
    from blackbox_proxy.cli.settings import Settings
    from blackbox_proxy.ledger.books import Ledger
    from blackbox_proxy.recipes import FittedRecipe
    from blackbox_proxy.run.engine import Stream
    from blackbox_proxy.run.sources import Offsets
    from blackbox_proxy.steering import Steering
    from blackbox_proxy.types import Prompt

STEER_EXAMPLES = """Examples:

`blackbox-proxy steer "What is the capital of Albania?" --base-url http://127.0.0.1:8000/v1 --model m --pair pair.toml`

`echo "Once upon a time" | blackbox-proxy steer --raw --trace --base-url ... --model ... --pair pair.toml`

`blackbox-proxy steer "What is the capital of Albania?" --profile openai --model gpt-5.4 --pair pair.toml`

`blackbox-proxy steer "Name a colour." --temperature 0.8 --n 3 --base-url ... --model ... --pair pair.toml`

`blackbox-proxy steer "Name a colour." --trace-html answer.html --base-url ... --model ... --pair pair.toml`

`blackbox-proxy steer "Name a colour." --max-cost 0.01 --max-cost 5/day --tag project=demo --profile ... --model ...`

`blackbox-proxy steer "Name a colour." --gate divergence --alpha-schedule 0:1.5,8:1 --base-url ... --model ...`

`blackbox-proxy steer "Name a colour." --record tape.jsonl --profile openai --model gpt-5.4 --pair pair.toml`

`blackbox-proxy steer "Name a colour." --log answers.jsonl --profile openai -m gpt-5.4 --pair pair.toml`

`blackbox-proxy steer "Name a colour." --replay tape.jsonl --pair pair.toml`

`blackbox-proxy steer "A person, as JSON." --json-schema person.json --base-url ... --model ... --pair pair.toml`

`blackbox-proxy steer "Name a colour." --recipe recipe.toml`

`blackbox-proxy steer "Name a colour." --way answers --samples 16 --pick best --profile openai --model gpt-5.4`

`blackbox-proxy steer "Name a colour." --drafter auto --prefer latency --echo --profile vllm --model m --pair demo`
"""


@with_options
def steer(
    context: typer.Context,
    *,
    question: PromptOptions,
    endpoint: EndpointOptions,
    features: EndpointFeatures,
    pair: PairOptions,
    recipe: RecipeFile = None,
    knobs: AllKnobs,
    n: Annotated[
        int, typer.Option("--n", help="Answers to draw, with the seeds from --seed on.", min=1, rich_help_panel=ANSWER)
    ] = 1,
    constraint: ConstraintOptions,
    budget: BudgetOptions,
    cassette: TapeOptions,
    log: LogOptions,
    trace: Annotated[
        bool, typer.Option(help="Show every token: drafted, chosen, offset, origin.", rich_help_panel=OUTPUT)
    ] = False,
    trace_html: TraceFile = None,
    as_json: AsJson = False,
) -> None:
    """Answer a prompt with the hosted model, steered by the pair.

    The text streams to standard output as it becomes certain.
    """
    from blackbox_proxy.cli.settings import read_settings
    from blackbox_proxy.run.recipe import RecipeSteerer
    from blackbox_proxy.run.steerer import Steerer

    check(trace_html, answers=n)
    settings, fitted = cassette.settings(read_settings()), read_given(recipe)
    asked, pair_prompt = question.read()
    if fitted is not None:
        endpoint, knobs = endpoint.or_of(fitted.endpoint), fitted.with_knobs(typed(context, knobs))
    steering = replace(steering_of(knobs, settings), constraint=constraint.read())
    shown = _Shown(asked if fitted is None else fitted.asked(asked), steering, n, trace, trace_html, as_json)
    kept = KeptAnswers(log.open(settings), asked, steering)
    if fitted is not None and fitted.way == "expert":
        with opened_offsets(fitted, pair, settings) as local:
            alone = RecipeSteerer(fitted, offsets=local, knobs=steering)
            with kept.each(alone.streams(asked, n, pair_prompt=pair_prompt), model="the expert") as streams:
                shown.write(streams, before=())
        return
    with (
        budget.books(settings) as book,
        endpoint.connect(settings, route=features.route(steering), ledger=book, tape=cassette.open()) as api,
        opened_offsets(fitted, pair, settings) as local,
    ):
        by = Steerer(api, local, steering) if fitted is None else RecipeSteerer(fitted, api, local, steering)
        if fitted is None or fitted.api_way != "choice":
            foretell_run(api, shown.asked, steering, n=n, book=book)
        with kept.each(by.streams(asked, n, pair_prompt=pair_prompt), model=api.model) as streams:
            shown.write(streams, before=api.notes)


@dataclass(frozen=True, slots=True)
class _Shown:
    """How answers are written. asked: what the closed model reads. html: the page to write."""

    asked: Prompt
    steering: Steering
    n: int
    trace: bool
    html: Path | None
    as_json: bool

    def write(self, streams: Iterator[Stream], *, before: Sequence[str]) -> None:
        """All answers, while they are made or as JSON. before: notes that were there before the answer."""
        with traced(streams, self.html, asked=self.asked, steering=self.steering, quiet=self.as_json) as running:
            if self.as_json:
                _write_answers(running, n=self.n, trace=self.trace, before=before)
            else:
                _show_answers(running, n=self.n, trace=self.trace, before=before, steering=self.steering)


@contextmanager
def opened_offsets(fitted: FittedRecipe | None, pair: PairOptions, settings: Settings) -> Iterator[Offsets]:
    """The pair; nothing where a recipe needs none."""
    from blackbox_proxy.core.decoding.sources import OffsetTable
    from blackbox_proxy.local.loading import load_pair

    if fitted is not None and fitted.way == "closed":
        yield OffsetTable({})
        return
    with load_pair(pair.file(settings, default=Path(fitted.pair) if fitted else None)) as local:
        yield local


def foretell_run(api: Api, asked: Prompt, steering: Steering, *, n: int, book: Ledger | None) -> None:
    """Say what a run takes, where whole answers are drawn, or the endpoint can only be asked in words to go on."""
    from blackbox_proxy.cli import bills
    from blackbox_proxy.cli.estimating import expected, whole_work
    from blackbox_proxy.run.foretelling import mark_foretold
    from blackbox_proxy.run.sources import whole_knobs

    mark_foretold(api, steering)
    drawn = whole_work(api, asked, steering)
    if drawn is not None:
        bills.whole(api.model, drawn, steering=whole_knobs(steering))
        return
    work = expected(api, asked, steering, rows=() if book is None else book.store.rows())
    if work is not None:
        bills.worded(api.model, work, answers=n, tokens=steering.max_tokens)


def _show_answers(running: Iterator[Stream], *, n: int, trace: bool, before: Sequence[str], steering: Steering) -> None:
    """All answers while they are made. before: notes that were there before the answer."""
    from blackbox_proxy.cli import show

    for remark in before:
        show.note(remark)
    for number, one in enumerate(running, 1):
        if n > 1:
            show.note(f"answer {number} of {n}, seed {steering.seed + number - 1}")
        show.stream(one, steering=steering, trace=trace)


def _write_answers(running: Iterator[Stream], *, n: int, trace: bool, before: Sequence[str]) -> None:
    """All answers as one JSON object. Where one breaks off: the error, what there is of it, and those before it."""
    from blackbox_proxy.cli import report, show

    answers: list[Mapping[str, object]] = []
    for one in running:
        try:
            answers.append(show.result_json(one.result, trace=trace, before=before))
        except (BlackboxProxyError, KeyboardInterrupt) as error:
            beside: dict[str, object] = {"answers": answers} if answers else {}
            if isinstance(error, BlackboxProxyError):
                if error.partial is not None:
                    beside["partial"] = show.result_json(error.partial, trace=trace, before=before)
                raise typer.Exit(report(error, as_json=True, beside=beside)) from None
            beside["partial"] = show.result_json(one.partial, trace=trace, before=before)
            write_json({"error": {"type": "KeyboardInterrupt", "message": "interrupted", "hint": ""}, **beside})
            raise
    write_json(answers[0] if n == 1 else {"answers": answers})

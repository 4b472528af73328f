"""The command `chat`: a conversation of several turns with a hosted model, steered by the pair.

It parses its options and reads lines; what a line does is in `chatting` and `chat_commands`. Heavy modules are imported
inside.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from blackbox_proxy.cli.booking import BudgetOptions
from blackbox_proxy.cli.declaring import Fields, with_options
from blackbox_proxy.cli.endpoint import EndpointFeatures, EndpointOptions
from blackbox_proxy.cli.knobs import AllKnobs, steering_of
from blackbox_proxy.cli.logging_answers import LogOptions
from blackbox_proxy.cli.options import AsJson, ConstraintOptions, PairOptions, PromptOptions
from blackbox_proxy.cli.recipe import RecipeFile, read_given, typed
from blackbox_proxy.cli.taping import TapeOptions
from blackbox_proxy.errors import InputError

if TYPE_CHECKING:
    from blackbox_proxy.api import Api
    from blackbox_proxy.cli.chat_entries import Entries
    from blackbox_proxy.cli.chat_lines import ChatLines
    from blackbox_proxy.cli.chatting import Chat
    from blackbox_proxy.cli.conversation import Conversation
    from blackbox_proxy.ledger.books import Ledger

TAG = "chat"
"""The ledger's tag that holds the requests of one chat together."""

EXAMPLES = """Examples:

`blackbox-proxy chat --base-url http://127.0.0.1:8000/v1 -m NAME --pair pair.toml`

`blackbox-proxy chat --profile openai -m gpt-4o-mini --pair pair.toml --system "Be brief." --max-cost 0.50`

`blackbox-proxy chat --messages chat.json --base-url ... -m ... --pair pair.toml`

`blackbox-proxy chat --log answers.jsonl --base-url ... -m ... --pair pair.toml`

`printf 'What is 2 + 2?\\nAnd times 3?\\n' | blackbox-proxy chat --json --base-url ... -m ... --pair pair.toml`
"""


@with_options
def chat(
    context: typer.Context,
    *,
    question: Annotated[PromptOptions, Fields(only=("system", "messages"), unset={"messages": "nothing was said yet"})],
    endpoint: EndpointOptions,
    features: EndpointFeatures,
    pair: PairOptions,
    recipe: RecipeFile = None,
    knobs: AllKnobs,
    constraint: ConstraintOptions,
    budget: BudgetOptions,
    cassette: TapeOptions,
    log: LogOptions,
    as_json: AsJson = False,
) -> None:
    """Talk with the hosted model, steered by the pair: several turns, each with all that was said before.

    /help lists the commands. Ctrl-C stops an answer, Ctrl-D ends the chat. Piped input is one question, or one command,
    a line; with --json there is one object for each, and the exit status is 1 where one failed. A budget for this run
    holds for the whole chat. Prompts are kept only where a log is.
    """
    from blackbox_proxy.cli.asking import foretell_run, opened_offsets
    from blackbox_proxy.cli.chat_commands import COMMANDS
    from blackbox_proxy.cli.chat_lines import chat_lines
    from blackbox_proxy.cli.chat_model import ChatModel
    from blackbox_proxy.cli.chat_output import JsonOutput, TextOutput
    from blackbox_proxy.cli.chatting import Chat
    from blackbox_proxy.cli.settings import read_settings

    settings, fitted = cassette.settings(read_settings()), read_given(recipe)
    if fitted is not None:
        endpoint, knobs = endpoint.or_of(fitted.endpoint), fitted.with_knobs(typed(context, knobs))
    steering = replace(steering_of(knobs, settings), constraint=constraint.read())
    said, kept = _begun(question), log.open(settings)
    calls = fitted is None or fitted.way != "expert"

    @contextmanager
    def connected(book: Ledger | None) -> Iterator[Api | None]:
        if not calls:
            yield None
            return
        route = features.route(steering)
        with endpoint.connect(settings, route=route, ledger=book, tape=cassette.open()) as api:
            yield api

    with (
        budget.books(settings) as ledger,
        asyncio.Runner() as runner,
        connected(book := None if ledger is None else _one_chat(ledger)) as api,
        opened_offsets(fitted, pair, settings) as offsets,
    ):
        now = Chat(
            ChatModel(api, offsets, fitted),
            steering,
            JsonOutput() if as_json else TextOutput(),
            runner,
            said,
            log=kept,
            name=secrets.token_hex(4) if book is None else book.tags[TAG],
        )
        if api is not None and (fitted is None or fitted.api_way != "choice"):
            now.before = lambda asked: foretell_run(
                api, asked if fitted is None else fitted.asked(asked), steering, n=1, book=book
            )
        try:
            talk(now, chat_lines([f"/{name}" for name in COMMANDS]), notes=() if api is None else api.notes)
        finally:
            if api is not None:
                runner.run(api.aclose())


def talk(chat: Chat, lines: ChatLines, *, notes: tuple[str, ...] = ()) -> None:
    """Read lines until there is none, or `/exit`.

    notes: what is known of the endpoint before anything is asked. Raises typer.Exit where lines are piped and one of
    them failed, and KeyboardInterrupt where Ctrl-C came meanwhile.
    """
    from blackbox_proxy.cli.chat_commands import enter
    from blackbox_proxy.cli.chat_entries import Entries
    from blackbox_proxy.errors import BlackboxProxyError

    for note in notes:
        chat.output.note(note)
    if lines.is_terminal:
        alpha = f"alpha {chat.steering.alpha:g}" if chat.steering.schedule is None else "alpha by a schedule"
        chat.output.note(f"chat with {chat.model.name}, {alpha}; /help lists the commands, Ctrl-D ends")
    entries = Entries()
    chat.resume()
    while not chat.over:
        try:
            entry = entries.feed(lines.next("... " if entries.is_open else "> "))
            if entry is not None:
                enter(chat, entry)
        except EOFError:
            break
        except KeyboardInterrupt:
            if not lines.is_terminal:
                raise
            entries.drop()
            chat.output.note("\nCtrl-D or /exit ends")
        except BlackboxProxyError as error:
            chat.fail(error)
        if chat.interrupted and not lines.is_terminal:
            raise KeyboardInterrupt
    _end(chat, entries, lines)


def _end(chat: Chat, entries: Entries, lines: ChatLines) -> None:
    """What is open is asked where lines are piped; a terminal gets its line back."""
    from blackbox_proxy.cli.chat_commands import enter

    if lines.is_terminal:
        if not chat.over:
            chat.output.note("")
        return
    try:
        last = entries.end()
        if last is not None:
            enter(chat, last)
    except InputError as error:
        chat.fail(error)
    if chat.failures:
        raise typer.Exit(1)


def _begun(question: PromptOptions) -> Conversation:
    """What was said before: nothing, or what a file holds. Raises PromptError for a file that holds none."""
    from blackbox_proxy.cli.conversation import Conversation
    from blackbox_proxy.cli.inputs import messages_of
    from blackbox_proxy.types import Prompt

    begun = Conversation() if question.messages is None else Conversation.of(messages_of(question.messages))
    if question.system is not None:
        if begun.system:
            raise InputError(
                f"{question.messages} has a system message, and --system gives another", hint="leave one out"
            )
        begun = begun.with_system(question.system)
    Prompt(messages=begun.messages)  # which raises for a text that is no UTF-8
    return begun


def _one_chat(ledger: Ledger) -> Ledger:
    """The ledger for one chat: its requests have a tag, and a budget of a run is one of all that has the tag."""
    tags = {TAG: secrets.token_hex(4), **ledger.tags}
    per = f"{TAG}={tags[TAG]}"
    budgets = tuple(replace(one, per=per) if one.per == "run" else one for one in ledger.budgets)
    return replace(ledger, tags=tags, budgets=budgets)

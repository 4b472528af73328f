"""Options that several commands share besides those of the endpoint, the budgets and steering: prompt, pair, output."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blackbox_proxy.cli import inputs
from blackbox_proxy.cli.declaring import ANSWER, OUTPUT, PROMPT, STEERING, option
from blackbox_proxy.cli.endpoint import NEEDED, OFF, required
from blackbox_proxy.constraints import Constraint, Grammar, JsonSchema, Regex
from blackbox_proxy.errors import InputError

if TYPE_CHECKING:
    from blackbox_proxy.cli.settings import Settings
    from blackbox_proxy.types import Prompt

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object and nothing else.", rich_help_panel=OUTPUT, show_default=OFF),
]


def page_option(flag: str, content: str, *, unset: str = "") -> Any:  # noqa: ANN401 (typer's, of every version)
    """An option that names the file of a page. content: what is on the page. unset: what holds without it, in words."""
    return typer.Option(
        flag,
        help=f"Write a page{content} to this file too; an older page is replaced.",
        rich_help_panel=OUTPUT,
        show_default=unset or True,
    )


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """What the hosted model is asked, and what the pair reads."""

    prompt: str | None = option(
        None,
        "The question; `-` or nothing reads standard input, less one line end at its end.",
        panel="Arguments",
        argument=True,
    )
    system: str | None = option(None, "A system message before the question.", panel=PROMPT, unset="none")
    messages: Path | None = option(
        None, 'JSON file: [{"role": ..., "content": ...}, ...].', panel=PROMPT, unset="none: the question is asked"
    )
    raw: bool = option(default=False, help="The prompt is raw text: no chat template on either side.", panel=PROMPT)
    pair_prompt: str | None = option(
        None,
        "What the pair reads in place of all that the API reads.",
        panel=PROMPT,
        unset="the same as the API",
    )

    def read(self) -> tuple[Prompt, Prompt | None]:
        """What the API reads, and what the pair reads where that is another one.

        Reads standard input where there is nothing else. Raises PromptError where there is no prompt, InputError where
        the options contradict each other.
        """
        asked = inputs.prompt_of(self.prompt, messages=self.messages, system=self.system, raw=self.raw)
        return asked, None if self.pair_prompt is None else inputs.pair_prompt_of(self.pair_prompt, raw=self.raw)


@dataclass(frozen=True, slots=True)
class ConstraintOptions:
    """What the answer is held to."""

    json_schema: Path | None = option(
        None, "The answer is JSON of the schema in this file.", panel=ANSWER, unset="any text"
    )
    regex: str | None = option(
        None, "The whole answer matches this expression (no look-around).", panel=ANSWER, unset="any text"
    )
    grammar: Path | None = option(
        None, "The answer is a sentence of the Lark grammar in this file.", panel=ANSWER, unset="any text"
    )

    def read(self) -> Constraint | None:
        """The constraint; None where there is none. Raises InputError for more than one, and for what is none."""
        given: list[Constraint] = []
        if self.json_schema is not None:
            given.append(JsonSchema(inputs.file_text(self.json_schema)))
        if self.regex is not None:
            given.append(Regex(self.regex))
        if self.grammar is not None:
            given.append(Grammar(inputs.file_text(self.grammar)))
        if len(given) > 1:
            raise InputError("--json-schema, --regex and --grammar exclude each other", hint="give one of them")
        return given[0] if given else None


@dataclass(frozen=True, slots=True)
class PairOptions:
    """Which pair steers."""

    pair: Path | None = option(
        None, "TOML file that describes the pair, or `demo` for the demo's own.", panel=STEERING, unset=NEEDED
    )

    def file(self, settings: Settings, *, default: Path | None = None) -> Path:
        """The pair's description, or its name: as given, else the default, else that of the settings.

        Raises InputError where nobody says which.
        """
        path = self.pair or default or settings.pair
        return Path(required(str(path) if path else None, "pair"))


def write_json(value: object) -> None:
    """One JSON object on standard output, at once: a server's address is read while it serves."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()

"""A task: questions with references, how answers are scored, and which pair steers.

Reads `task.toml` and the JSONL files that it names; relative paths count from its folder. Knows no model and no arm.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blackbox_proxy.errors import InputError
from blackbox_proxy.files import read_text
from blackbox_proxy.knobs import FIXED, KnobMistake, check_bounds, read_knobs
from blackbox_proxy.learnt import LearntWeights
from blackbox_proxy.local.pairfile import find_pair
from blackbox_proxy.schedule import Schedule
from blackbox_proxy.steering import Steering

Who = Literal["closed", "pair", "both", "none"]
"""Who is shown an item's document."""

Kind = Literal["exact", "regex", "json", "choice", "number", "mentions", "python"]
Text = Annotated[str, Field(min_length=1)]

SEPARATOR = "\n\n"
"""What stands between a document and its question."""

FORMAT = 'a line is an object like {"prompt": "...", "reference": "..."}, with also, choices, document where there are'


class Item(BaseModel):
    """One question.

    also: further texts that are as right as `reference`. choices: what may be chosen from (scorer `choice`). document:
    what the answer stands in; who is shown it is a matter of the arm.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    prompt: Text
    reference: Text
    also: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    choices: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    document: str = ""

    @property
    def right(self) -> tuple[str, ...]:
        """Every text that is right."""
        return (self.reference, *self.also)

    @property
    def name(self) -> str:
        """A short name that changes with the content."""
        return sha256(self.model_dump_json().encode()).hexdigest()[:12]


class ScoringRule(BaseModel):
    """How an answer is scored (the kinds: `scoring`).

    form: the form of a whole answer, its group 1 the fact. fact_tokens: most tokens that the closed model has for
    saying the fact by itself, in its place.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "exact"
    pattern: str = ""
    ignore_case: bool = False
    tolerance: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    entry: str = ""
    form: str = ""
    fact_tokens: Annotated[int, Field(ge=1)] = 12


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    train: Text
    validation: Text | None = None
    test: Text
    few_shot: Annotated[int, Field(ge=0)] = 6
    instructions: str = ""
    majority: bool = True


class _Pair(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Text


Alpha = Annotated[float, Field(allow_inf_nan=False)]


class _Steering(BaseModel):
    """What a task says of steering: the knobs of `Steering` besides, which are checked there."""

    model_config = ConfigDict(extra="allow", frozen=True)

    alpha: Alpha = 1.0
    max_tokens: Annotated[int, Field(ge=1)] = 64
    alphas: tuple[Alpha, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)


class _Documents(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    who: Who = "none"
    separator: str = SEPARATOR


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Text
    about: str = ""
    source: str = ""
    benchmark: bool = True
    data: _Data
    scorer: ScoringRule = ScoringRule()
    pair: _Pair | None = None
    steering: _Steering = _Steering()
    documents: _Documents = _Documents()


@dataclass(frozen=True, slots=True)
class Task:
    """A task that was read. name: its folder's. few_shot: examples shown. majority: whether there is that baseline.

    train, validation, test: never mixed: examples come from the first, a tuned alpha from the second, figures from the
    third. knobs: of steering, besides alpha and max_tokens. pair: the pair's description, None where the task names
    none. who: who is shown documents in the main arms. separator: what stands between a document and its question.
    benchmark: whether `make evaluate` asks it.
    """

    name: str
    title: str
    about: str
    source: str
    train: tuple[Item, ...]
    validation: tuple[Item, ...]
    test: tuple[Item, ...]
    few_shot: int
    instructions: str
    majority: bool
    scorer: ScoringRule
    form: re.Pattern[str] | None
    pair: Path | None
    alpha: float
    max_tokens: int
    alphas: tuple[float, ...]
    knobs: Mapping[str, Any]
    who: Who
    separator: str = SEPARATOR
    benchmark: bool = True

    @property
    def has_documents(self) -> bool:
        """Whether any question comes with one."""
        return any(item.document for item in self.test)

    def with_knobs(self, knobs: Mapping[str, Any]) -> Task:
        """The task with these knobs of steering in place of its own. Raises InputError for a value that cannot be.

        Where one of them is alpha, or a schedule, that one holds.
        """
        chosen = {**self.knobs, "alpha": self.alpha, "max_tokens": self.max_tokens, **knobs}
        if "alpha" in knobs:
            chosen.pop("schedule", None)
        Steering(**chosen)
        return replace(self, alpha=chosen.pop("alpha"), max_tokens=chosen.pop("max_tokens"), knobs=chosen)

    @property
    def steering(self) -> Steering:
        """All knobs."""
        return replace(Steering(alpha=self.alpha, max_tokens=self.max_tokens), **self.knobs)

    def asked(self, item: Item, *, shown: bool) -> str:
        """What a member is asked. shown: whether it sees the document, which then stands before the question."""
        return f"{item.document}{self.separator}{item.prompt}" if shown and item.document else item.prompt


def written(knobs: Mapping[str, Any]) -> dict[str, object]:
    """Knobs as JSON has them: a schedule, and learnt weights, as they are written on a command line."""
    return {name: str(value) if isinstance(value, Schedule | LearntWeights) else value for name, value in knobs.items()}


def _knobs(steering: _Steering, path: Path) -> Mapping[str, Any]:
    """The further knobs of a task. Raises InputError, with the file, for one that is none or cannot take its value."""
    try:
        knobs: dict[str, Any] = read_knobs(steering.model_extra or {}, but=("alpha", "max_tokens", *FIXED))
        check_bounds(knobs)
        Steering(**knobs)
    except KnobMistake as mistake:
        raise InputError(f"{path}: [steering] {mistake.name}: {mistake}", hint=mistake.hint) from None
    except InputError as error:
        raise InputError(f"{path}: [steering]: {error.message}", hint=error.hint) from None
    return knobs


def boxed() -> Mapping[str, Path]:
    """The tasks that come with the package: where each is described, by name."""
    folder = Path(str(files("blackbox_proxy") / "tasks"))
    return {path.parent.name: path for path in sorted(folder.glob("*/task.toml"))}


def find_task(given: str) -> Path:
    """A task of the package by name, or a file. Raises InputError where there is neither."""
    known = boxed()
    if given in known:
        return known[given]
    path = Path(given).expanduser()
    if path.is_dir():
        path /= "task.toml"
    if not path.is_file():
        listed = ", ".join(known) or "none"
        raise InputError(f"there is no task {given!r}", hint=f"give a task.toml, or one that comes along: {listed}")
    return path


def read_task(path: Path) -> Task:
    """Read and check a task. Raises InputError with file, line where there is one, and what is wrong."""
    hint = "docs/evaluation.md has the form of a task"
    try:
        described = _File.model_validate(tomllib.loads(read_text(path)))
    except ValidationError as error:
        raise InputError(f"{path}: {_complaint(error)}", hint=hint) from error
    except OSError as error:
        raise InputError(f"cannot read the task {path}: {error.strerror}", hint=hint) from error
    except ValueError as error:
        raise InputError(f"{path} is not TOML in UTF-8: {error}", hint=hint) from error
    folder, data, steering = path.parent, described.data, described.steering
    task = Task(
        name=path.resolve().parent.name,
        title=described.title,
        about=described.about,
        source=described.source,
        train=tuple(_items(folder / data.train)),
        validation=tuple(_items(folder / data.validation)) if data.validation else (),
        test=tuple(_items(folder / data.test)),
        few_shot=data.few_shot,
        instructions=data.instructions,
        majority=data.majority,
        scorer=described.scorer,
        form=_pattern(described.scorer.form, f"{path}: scorer.form"),
        pair=find_pair(described.pair.file, folder) if described.pair else None,
        alpha=steering.alpha,
        max_tokens=steering.max_tokens,
        alphas=steering.alphas,
        knobs=_knobs(steering, path),
        who=described.documents.who,
        separator=described.documents.separator,
        benchmark=described.benchmark,
    )
    _check(task, path)
    return task


def _check(task: Task, path: Path) -> None:
    train, validation, test = ({item.prompt for item in part} for part in (task.train, task.validation, task.test))
    for name, part in (("train", train), ("validation", validation)):
        shared = sorted(part & test) if not task.has_documents else []
        if shared:
            raise InputError(
                f"{path}: {len(shared)} questions of test stand in {name} too, such as {shared[0]!r}",
                hint="figures on questions that were seen before mean nothing: take them out of one",
            )
    if len(task.train) < task.few_shot:
        raise InputError(
            f"{path}: few_shot is {task.few_shot}, and train has {len(task.train)} items", hint="lower it, or add items"
        )


def _pattern(text: str, where: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except re.error as error:
        raise InputError(f"{where} is no regular expression: {error}", hint="see the documentation of `re`") from error


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def _items(path: Path) -> Iterator[Item]:
    try:
        lines = read_text(path).split("\n")
    except OSError as error:
        raise InputError(
            f"cannot read the items in {path}: {error.strerror}", hint="see [data] in task.toml"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error}", hint="convert it, with iconv for instance") from error
    count = 0
    for number, line in enumerate(lines, 1):
        if line.strip():
            count += 1
            yield _item(line, f"{path}:{number}")
    if not count:
        raise InputError(f"{path} has no items", hint=FORMAT)


def _item(line: str, where: str) -> Item:
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {error}", hint=FORMAT) from error
    try:
        return Item.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{where}: {_complaint(error)}", hint=FORMAT) from error

"""The knobs of steering as a configuration file or a request may set them: names and types are those of `Steering`.

Pure. What a knob means, and which values make no sense, is checked by `Steering` itself.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, fields, replace

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from blackbox_proxy.errors import InputError
from blackbox_proxy.learnt import LearntWeights
from blackbox_proxy.schedule import Schedule
from blackbox_proxy.steering import Steering

NAMES = tuple(field.name for field in fields(Steering))

REQUEST_FIELDS = frozenset(
    {"max_tokens", "temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty"}
    | {"bad_words", "min_tokens"}
)
"""Knobs for which OpenAI's requests, or vLLM's, have fields of their own."""

FIXED = frozenset({"event", *(one.name for one in fields(Steering) if one.metadata["group"] is None)})
"""Knobs that belong to the connection, or to the shape of the reply."""

MOST: Mapping[str, float] = {one.name: one.metadata["most"] for one in fields(Steering)}
"""The largest values, either way from 0, that a stranger may ask for.

That of `schedule` holds for the alpha at each of its points, that of `learnt` for each weight.
"""

MOST_POINTS = 64
"""Most points of a stranger's schedule."""

_HALF = re.compile(r"\\ud[89a-f]")
"""Half a surrogate pair, or a whole one, as JSON escapes it."""

_PLAIN = Steering(learnt=LearntWeights.fixed(1.0))
"""What a knob is tried on; the weights are there for the rule that needs some."""

_WRITTEN: Mapping[str, Callable[[str], object]] = {"schedule": Schedule.read, "learnt": LearntWeights.read}
"""Knobs with a type of ours, which has checks of its own, and how they are read from a text."""

_TYPES = typing.get_type_hints(Steering)
_Knobs: type[BaseModel] = create_model(  # type: ignore[call-overload]  # the fields are known when it runs
    "Knobs",
    __config__=ConfigDict(extra="forbid", strict=True),
    **{name: (_TYPES[name] | None, None) for name in NAMES},
)


class KnobMistake(InputError):
    """A knob that is none, or that cannot take this value. name: of the knob."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def read_knobs(said: Mapping[str, object], *, but: Collection[str] = ()) -> dict[str, object]:
    """The knobs that are set, as `Steering` takes them; null counts as not set.

    but: knobs that may not be set here. Raises KnobMistake for the first that is wrong.
    """
    offered = [name for name in NAMES if name not in but]
    for name in said:
        if name not in offered:
            raise KnobMistake(name, f"there is no such knob; there are {', '.join(offered)}")
    try:
        read = _Knobs.model_validate_json(json.dumps(_spelt_out(said)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if not first["loc"]:
            raise KnobMistake(_unwritable(said), "half a surrogate pair is no text") from None
        raise KnobMistake(str(first["loc"][0]), f"{first['input']!r:.60} will not do: {first['msg'].lower()}") from None
    return {name: value for name in offered if (value := getattr(read, name)) is not None}


def _unwritable(said: Mapping[str, object]) -> str:
    """The first knob whose value no JSON can hold as UTF-8."""
    return next(name for name, value in said.items() if _HALF.search(json.dumps(value)))


def _sizes(value: object) -> Sequence[object]:
    """The numbers of a knob that its largest value holds for."""
    if isinstance(value, Schedule):
        return [alpha for _, alpha in value.points]
    if isinstance(value, LearntWeights):
        return [weight for _, *both in value.terms for weight in both]
    return [value]


def _spelt_out(said: Mapping[str, object]) -> Mapping[str, object]:
    """What may be written as on the command line, as an object with its fields. Raises KnobMistake."""
    spelt = dict(said)
    for name, read in _WRITTEN.items():
        value = said.get(name)
        try:
            if isinstance(value, str):
                spelt[name] = asdict(read(value))  # type: ignore[call-overload]  # both are dataclasses
            elif value is not None:
                _Knobs.model_validate_json(json.dumps({name: value}))
        except InputError as error:
            raise KnobMistake(name, error.message) from None
    return spelt


def check_bounds(knobs: Mapping[str, object]) -> None:
    """Raise KnobMistake for what a stranger may not ask for, and for what `Steering` would not take."""
    for name, value in knobs.items():
        for size in _sizes(value):
            if isinstance(size, int | float) and abs(size) > MOST[name]:
                raise KnobMistake(name, f"{size:g} is too large here; at most {MOST[name]:g}")
        if isinstance(value, Schedule) and len(value.points) > MOST_POINTS:
            raise KnobMistake(name, f"it has {len(value.points)} points; at most {MOST_POINTS}")
        try:
            replace(_PLAIN, **{name: value})  # type: ignore[arg-type]  # a knob as `read_knobs` gave it
        except InputError as error:
            raise KnobMistake(name, error.message) from None

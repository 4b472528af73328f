"""The fields of a JSON body, read one by one: each gives a checked value or a `Refusal` in the API's own words.

The module is pure; it knows no route and no field by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NoReturn, cast, final

from blackbox_proxy.errors import InputError

HUGE = 2**63 - 1

Body = Mapping[str, object]


@final
class Refusal(InputError):
    """A request that is answered with an error.

    status: the HTTP status; param, code: as OpenAI's errors name them; wait: seconds after which to ask again.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        wait: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.wait = wait


def read_body(raw: bytes) -> Body:
    """The JSON object of a request. Raises Refusal for anything else."""
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise Refusal(f"We could not parse the JSON body of your request: {reason[:200]}") from None
    if not isinstance(value, dict):
        raise Refusal(f"The body of your request must be a JSON object, not {kind(value)}.")
    return value


def refuse_unsupported(body: Body, neutral: Mapping[str, tuple[object, ...]], *, within: str = "") -> None:
    """Raises Refusal for a field that nothing here obeys, unless it holds one of its neutral values.

    within: where the fields stand, in front of their names.
    """
    for name, harmless in neutral.items():
        if body.get(name) is not None and body[name] not in harmless:
            raise Refusal(
                f"Unsupported parameter: '{within}{name}' is not supported with this model.",
                param=f"{within}{name}",
                code="unsupported_parameter",
            )


def is_integer(value: object) -> bool:
    """Whether JSON wrote a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def integer(body: Body, name: str, *, low: int, high: int = HUGE) -> int | None:
    """A whole number from `low` to `high`; None where it is absent."""
    value = body.get(name)
    if value is None:
        return None
    if not is_integer(value):
        raise wrong_type(name, "an integer", value)
    whole = cast(int, value)
    if whole < low:
        raise below(name, whole, low)
    if whole > high:
        raise above(name, whole, high)
    return whole


def number(body: Body, name: str, *, high: float, low: float = 0) -> float | None:
    """A number from `low` to `high`; None where it is absent."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(name, "a decimal", value)
    if not value >= low:
        raise below(name, value, low)
    if value > high:
        raise above(name, value, high)
    return float(value)


def boolean(body: Body, name: str) -> bool:
    """True, or false also where it is absent."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong_type(name, "a boolean", value)
    return bool(value)


def mapping(value: object, param: str) -> Body:
    """A JSON object."""
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    return value


def text(value: object, param: str) -> str:
    """A string that UTF-8 can hold; JSON may escape half a surrogate pair."""
    if not isinstance(value, str):
        raise wrong_type(param, "a string", value)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Refusal(f"Invalid '{param}': half a surrogate pair is no text.", param=param) from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def wrong_type(param: str, expected: str, value: object) -> Refusal:
    """A value of another type than `expected`."""
    return Refusal(
        f"Invalid type for '{param}': expected {expected}, but got {kind(value)} instead.",
        param=param,
        code="invalid_type",
    )


def below(param: str, value: float, low: float) -> Refusal:
    """A number that is too small."""
    return _out_of_range(param, value, expected=f">= {low}", side="below min")


def above(param: str, value: float, high: float) -> Refusal:
    """A number that is too large."""
    return _out_of_range(param, value, expected=f"<= {high}", side="above max")


def _out_of_range(param: str, value: float, *, expected: str, side: str) -> Refusal:
    sort = "integer" if isinstance(value, int) else "decimal"
    return Refusal(
        f"Invalid '{param}': {sort} {side}imum value. Expected a value {expected}, but got {shown(value)} instead.",
        param=param,
        code=f"{sort}_{side.replace(' ', '_')}_value",
    )


def kind(value: object) -> str:
    """What JSON calls a value."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array"}
    return names.get(type(value), "an object")


def shown(value: object) -> str:
    """A value for a message, cut short; a number with thousands of digits cannot even be printed."""
    if isinstance(value, int | float) and abs(value) < 10**18:
        return repr(value)
    return repr(value)[:60] if isinstance(value, str) else kind(value)

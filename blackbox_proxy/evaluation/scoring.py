"""Scores one answer against its item, from 0 to 1. Pure, but for a scorer of the user's own, which is imported.

    exact    the answer is the reference, or one of `also`; space around it does not count
    regex    what group 1 of `pattern` finds in the answer (the whole match without a group) is one of these
    json     the answer is JSON that equals the reference's
    choice   the answer begins with one of `choices`, and that one is right
    number   the answer is one number, within `tolerance` of the reference's
    mentions the fact of the reference or of one of `also` (group 1 of `form`, or the whole) stands anywhere in it as
             words of its own, whatever their case and accents
    python   `entry`, a function of (answer, item)

`ignore_case` holds for exact, regex and choice.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import unicodedata
from collections.abc import Callable

from blackbox_proxy.errors import InputError
from blackbox_proxy.evaluation.task import Item, ScoringRule

Score = Callable[[str, Item], float]


def scorer(spec: ScoringRule) -> Score:
    """The function that scores. Raises InputError where what its kind needs is missing or wrong."""
    makers: dict[str, Callable[[ScoringRule], Score]] = {
        "exact": _exact,
        "regex": _regex,
        "json": lambda _: _json,
        "choice": _choice,
        "number": _number,
        "mentions": _mentions,
        "python": _python,
    }
    return makers[spec.kind](spec)


def _fold(spec: ScoringRule) -> Callable[[str], str]:
    return (lambda text: text.strip().casefold()) if spec.ignore_case else str.strip


def _exact(spec: ScoringRule) -> Score:
    fold = _fold(spec)
    return lambda answer, item: float(fold(answer) in map(fold, item.right))


def _regex(spec: ScoringRule) -> Score:
    fold = _fold(spec)
    try:
        pattern = re.compile(spec.pattern, re.IGNORECASE if spec.ignore_case else 0)
    except re.error as error:
        raise InputError(f"scorer.pattern {spec.pattern!r}: {error}", hint="see the documentation of `re`") from error
    if not spec.pattern:
        raise InputError("the scorer `regex` needs a pattern", hint='such as pattern = "answer: (.*)"')

    def score(answer: str, item: Item) -> float:
        match = pattern.search(answer)
        said = None if match is None else match[1] if pattern.groups else match[0]
        return float(said is not None and fold(said) in map(fold, item.right))

    return score


def _json(answer: str, item: Item) -> float:
    try:
        return float(any(_same(json.loads(answer), json.loads(right)) for right in item.right))
    except (ValueError, RecursionError):
        return 0.0


def _same(one: object, other: object) -> bool:
    """Equality of JSON values: 1 and 1.0 are one number, and true is none."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _choice(spec: ScoringRule) -> Score:
    fold = _fold(spec)

    def score(answer: str, item: Item) -> float:
        begun = [choice for choice in item.choices if _begins(fold(answer), fold(choice))]
        return float(bool(begun) and fold(max(begun, key=len)) in map(fold, item.right))

    return score


def _begins(answer: str, choice: str) -> bool:
    """Whether the answer begins with a choice that ends there: `A` is not what `An apple` chooses."""
    return answer.startswith(choice) and not (answer[len(choice) :][:1].isalnum() and choice[-1:].isalnum())


def _number(spec: ScoringRule) -> Score:
    def score(answer: str, item: Item) -> float:
        said = _read(answer)
        right_values = [value for right in item.right if (value := _read(right)) is not None]
        return float(said is not None and any(abs(said - value) <= spec.tolerance for value in right_values))

    return score


def _read(text: str) -> float | None:
    """The number that a text is, commas between thousands or not; None where it is none."""
    try:
        value = float(re.sub(r"(?<=\d),(?=\d{3}\b)", "", text.strip()))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _mentions(spec: ScoringRule) -> Score:
    form = re.compile(spec.form) if spec.form else None

    def score(answer: str, item: Item) -> float:
        text = folded(answer)
        return float(any(re.search(_as_words(fact), text) for fact in facts_of(item, form)))

    return score


def facts_of(item: Item, form: re.Pattern[str] | None) -> tuple[str, ...]:
    """The fact of each answer that is right: group 1 of the form, or the whole answer."""
    matches = ((right, form.fullmatch(right) if form else None) for right in item.right)
    return tuple(match[1] if match and match.re.groups else right for right, match in matches)


def _as_words(fact: str) -> str:
    return rf"(?<![\w.]){re.escape(folded(fact))}(?!\w)"


def folded(text: str) -> str:
    """A text for comparing: no accents, no case, no width of letters, single spaces."""
    bare = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return " ".join(bare.casefold().replace("\u2019", "'").split())


def _python(spec: ScoringRule) -> Score:
    module, colon, name = spec.entry.partition(":")
    hint = 'such as entry = "package.module:function", which takes (answer, item) and gives a number from 0 to 1'
    if not (module and colon and name):
        raise InputError(f"scorer.entry {spec.entry!r} names no function", hint=hint)
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"cannot load the scorer {spec.entry}: {error}", hint=f"install what it needs; {hint}"
        ) from error

    def score(answer: str, item: Item) -> float:
        value = float(function(answer, item))
        if not 0.0 <= value <= 1.0:
            raise InputError(f"the scorer {spec.entry} gave {value}", hint="a score is a number from 0 to 1")
        return value

    return score

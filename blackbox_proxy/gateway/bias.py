"""Reads `logit_bias`: what is taken off the log-probs of some of the upstream's tokens, named by their ids. Pure.

A bias is that of the token's string. One above 0 is refused: a token that the upstream does not show would have to win.
"""

from __future__ import annotations

from collections.abc import Sequence

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal

MOST_BIASED = 1024
"""Most tokens that one request may bias."""

LEAST = -100.0
_DIGITS = 9

Biases = tuple[tuple[int, float], ...]
"""Ids, each with what is added to its log-prob, in nats."""


def read_bias(body: Body) -> Biases:
    """The biases of a request. Raises Refusal for what is none, and for one above 0."""
    given = fields.mapping({} if body.get("logit_bias") is None else body["logit_bias"], "logit_bias")
    if len(given) > MOST_BIASED:
        raise Refusal(f"Invalid 'logit_bias': {len(given)} tokens; at most {MOST_BIASED} are read.", param="logit_bias")
    return tuple((_id(key), _value(given, key)) for key in given)


def _id(key: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) <= _DIGITS):
        raise Refusal(f"Invalid 'logit_bias': {key[:60]!r} is no token id.", param="logit_bias", code="invalid_value")
    return int(key)


def _value(given: Body, key: str) -> float:
    value = fields.number({"logit_bias": given[key]}, "logit_bias", low=LEAST, high=-LEAST)
    if value is None:
        raise fields.wrong_type("logit_bias", "numbers", None)
    if value > 0.0:
        raise Refusal(
            f"Unsupported value of 'logit_bias': {value:g} for the token {key}: no token can be lifted here, since the "
            f"upstream does not show all of them. Use values from {LEAST:g} to 0.",
            param="logit_bias",
            code="unsupported_value",
        )
    return value


def by_strings(biases: Biases, vocabulary: Vocabulary | None, *, model: str) -> tuple[tuple[bytes, float], ...]:
    """The biases by the bytes of their tokens, b"" for the end; of control tokens, which are never written, none.

    Raises Refusal where the upstream's tokenizer is not known, and for an id that it does not have.
    """
    if vocabulary is None:
        raise Refusal(
            f"Unsupported parameter: 'logit_bias': the tokenizer of '{model}' is not known here, so token ids say "
            "nothing. Use 'bad_words'.",
            param="logit_bias",
            code="unsupported_parameter",
        )
    strange = [number for number, _ in biases if number >= len(vocabulary)]
    if strange:
        raise Refusal(
            f"Invalid 'logit_bias': {strange[0]} is no token id: they go from 0 to {len(vocabulary) - 1}.",
            param="logit_bias",
            code="invalid_value",
        )
    return _least([(_piece(number, vocabulary), value) for number, value in biases if _counts(number, vocabulary)])


def _least(biases: Sequence[tuple[bytes, float]]) -> tuple[tuple[bytes, float], ...]:
    """One bias for each string: of equal ones the least."""
    least: dict[bytes, float] = {}
    for piece, value in biases:
        least[piece] = min(value, least.get(piece, 0.0))
    return tuple((piece, value) for piece, value in least.items() if value < 0.0)


def _counts(number: int, vocabulary: Vocabulary) -> bool:
    return number in vocabulary.ends or bool(vocabulary.is_text[number])


def _piece(number: int, vocabulary: Vocabulary) -> bytes:
    return b"" if number in vocabulary.ends else vocabulary.pieces[number]

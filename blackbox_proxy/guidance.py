"""The one door to llguidance: which texts a schema, an expression or a grammar allows.

llguidance is the engine with which several hosted APIs and servers do the same; it comes with the extra `structured`.
Knows no request and no model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache, lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.constraints import Constraint, Grammar, JsonSchema, OneOf, Regex
from blackbox_proxy.core.text import is_whole, open_bytes
from blackbox_proxy.errors import InputError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

END = 256
"""The token that ends an answer, behind the 256 bytes."""

LONGEST_WORDS = 300
"""How much of what llguidance says is passed on."""

LONGEST = 1_000_000
"""Most bytes of a schema, an expression or a grammar."""

KEPT = 16
"""Compiled constraints that are kept: a request is checked, and each of its answers is held to the same."""

_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One spelling of white space, in which a model could go on for ever."""


def library() -> ModuleType:
    """llguidance. Raises InputError where it is not installed."""
    try:
        import llguidance
    except ImportError:
        raise InputError(
            "structured output needs llguidance, which is not installed",
            hint="pip install 'blackbox-proxy[structured]'",
        ) from None
    module: ModuleType = llguidance
    return module


def refused(matcher: LLMatcher, what: str) -> InputError:
    """The error for a grammar that llguidance does not take, in its own words."""
    words = " ".join(matcher.get_error().split())[:LONGEST_WORDS]
    return InputError(f"{what} cannot be obeyed: {words}", hint="see the words of llguidance above")


@final
class _Bytes:
    """A vocabulary of the 256 bytes and an end, as llguidance reads it."""

    eos_token_id, bos_token_id, special_token_ids = END, None, (END,)
    tokens = (*(bytes([byte]) for byte in range(END)), b"\xffend")

    def __call__(self, text: bytes) -> Sequence[int]:
        return list(text)


@cache
def _byte_tokenizer() -> LLTokenizer:
    module = library()
    return module.LLTokenizer(module.TokenizerWrapper(_Bytes()), n_vocab=END + 1, eos_token=[END], slices=[])


@lru_cache(maxsize=KEPT)
def _compiled(constraint: Constraint) -> LLMatcher:
    """A matcher at the beginning of an answer, to be copied. Raises InputError for what llguidance does not take."""
    try:
        grammar = _grammar(constraint)
    except (ValueError, RecursionError) as error:
        # llguidance raises where JSON is nested more deeply than its reader goes.
        words = " ".join(str(error).split())[:LONGEST_WORDS]
        raise InputError(f"{_name(constraint)} cannot be obeyed: {words}", hint="nest it less deeply") from None
    matcher: LLMatcher = library().LLMatcher(_byte_tokenizer(), grammar)
    if matcher.is_error():
        raise refused(matcher, _name(constraint))
    return matcher


@final
class ConstraintAcceptor:
    """Which texts a constraint accepts (`core.decoding.acceptors.Acceptor`); of one answer, since it keeps its place.

    Raises InputError for a constraint that llguidance does not take.
    """

    def __init__(self, constraint: Constraint) -> None:
        self._matcher = _compiled(constraint).deep_copy()
        self._text = b""

    def follows(self, text: bytes, piece: bytes) -> bool:
        """Whether some answer begins with the text and the piece; for b"", whether the answer may end here."""
        if not self._goes_to(text):
            return False
        if not piece:
            return bool(self._matcher.is_accepting())
        return self._fitting(piece) == len(piece)

    def starts(self, text: bytes) -> Sequence[bytes]:
        """The bytes that may come next."""
        if not self._goes_to(text):
            return ()
        allowed = np.flatnonzero(self._mask()[:END])
        return tuple(bytes([byte]) for byte in allowed.tolist())

    def forced(self, text: bytes) -> bytes:
        """Whole characters that every answer that begins with the text goes on with."""
        if not self._goes_to(text) or self._matcher.is_stopped():
            return b""
        forced: bytes = self._matcher.compute_ff_bytes()
        return _whole(text, forced)

    def is_over(self, text: bytes) -> bool:
        """Whether the text is an answer, and nothing may follow it."""
        return self._goes_to(text) and bool(self._matcher.is_stopped() and self._matcher.is_accepting())

    def cut(self, text: bytes, piece: bytes) -> bytes:
        """The piece, up to where the answer is over."""
        if not self._goes_to(text):
            return piece
        fitting = self._fitting(piece)
        if not 0 < fitting < len(piece):
            return piece
        return piece[:fitting] if self.is_over(text + piece[:fitting]) else piece

    def _fitting(self, piece: bytes) -> int:
        """How many bytes of a piece may follow where the matcher stands."""
        return int(self._matcher.validate_tokens(list(piece)))

    def _mask(self) -> NDArray[np.bool_]:
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        return np.unpackbits(bits, count=END + 1, bitorder="little").astype(bool)

    def _goes_to(self, text: bytes) -> bool:
        """Bring the matcher to a text; False where the text itself is not allowed."""
        if text == self._text:
            return True
        shared = _shared(self._text, text)
        if shared < len(self._text):
            self._matcher.rollback(len(self._text) - shared)
            self._text = text[:shared]
        taken = self._matcher.try_consume_tokens(list(text[shared:]))
        self._text = text[: shared + taken]
        return self._text == text


def _shared(one: bytes, other: bytes) -> int:
    """How many bytes two texts have in common at their beginnings."""
    if other.startswith(one):
        return len(one)
    least = min(len(one), len(other))
    differ = np.flatnonzero(np.frombuffer(one[:least], np.uint8) != np.frombuffer(other[:least], np.uint8))
    return int(differ[0]) if len(differ) else least


def _whole(text: bytes, forced: bytes) -> bytes:
    """What of forced bytes ends between two characters; nothing where the text does not."""
    return forced[: len(forced) - open_bytes(text + forced)] if is_whole(text) else b""


def _name(constraint: Constraint) -> str:
    match constraint:
        case JsonSchema():
            return "the schema"
        case Regex():
            return "the expression"
        case OneOf():
            return "the options"
        case Grammar():
            return "the grammar"


def _grammar(constraint: Constraint) -> str:
    """The constraint as llguidance reads it."""
    matcher = library().LLMatcher
    match constraint:
        case JsonSchema():
            return str(matcher.grammar_from_json_schema(_bounded(constraint.text, constraint), _COMPACT))
        case Regex():
            return str(matcher.grammar_from_regex(_bounded(constraint.pattern, constraint)))
        case OneOf():
            either = " | ".join(json.dumps(option, ensure_ascii=False) for option in constraint.options)
            return str(matcher.grammar_from_lark(_bounded(f"start: {either}", constraint)))
        case Grammar():
            return str(matcher.grammar_from_lark(_bounded(constraint.lark, constraint)))


def _bounded(text: str, constraint: Constraint) -> str:
    if len(text.encode()) > LONGEST:
        raise InputError(f"{_name(constraint)} has more than {LONGEST:,} bytes", hint="shorten it")
    return text


def inlined(constraint: Constraint) -> str:
    """A constraint as it stands in a rule of a grammar in Lark.

    Raises InputError for a grammar, whose rules have names of their own, and for what is no expression.
    """
    match constraint:
        case JsonSchema():
            schema = {**json.loads(constraint.text), "x-guidance": _COMPACT}
            return f"%json {json.dumps(schema, ensure_ascii=False)}"
        case Regex():
            return _rule(library().LLMatcher.grammar_from_regex(_bounded(constraint.pattern, constraint)))
        case OneOf():
            return f"({' | '.join(json.dumps(option, ensure_ascii=False) for option in constraint.options)})"
        case Grammar():
            raise InputError("a grammar cannot stand inside another", hint="use a schema, an expression or options")


def _rule(grammar: str) -> str:
    """What the grammar of an expression has as its first rule: the expression, with its delimiters escaped."""
    (only,) = json.loads(grammar)["grammars"]
    return str(only["lark_grammar"]).removeprefix("start: ")

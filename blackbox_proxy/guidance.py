"""The one door to llguidance: which texts a schema, an expression or a grammar allows.

llguidance is the engine with which several hosted APIs and servers do the same; it comes with the extra `structured`.
Knows no request and no model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache, lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.constraints import Constraint, Grammar, JsonSchema, OneOf, Regex
from blackbox_proxy.core.decoding.jsonspelling import read_json, spelt_json
from blackbox_proxy.core.jsonparts import JsonPart, PartLimits
from blackbox_proxy.core.jsontext import JsonLimits, JsonSpots, TextLimits, bars, limits_beside
from blackbox_proxy.core.schemaplaces import elsewhere, finder_of, place_of, too_large
from blackbox_proxy.core.text import is_whole, open_bytes, shared_bytes
from blackbox_proxy.errors import InputError
from blackbox_proxy.rehearsal import rehearse

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

END = 256
"""The token that ends an answer, behind the 256 bytes."""

LONGEST_WORDS = 300
"""How much of what llguidance says is passed on."""

LONGEST = 1_000_000
"""Most bytes of a schema, an expression or a grammar."""

KEPT = 16
"""Compiled constraints that are kept: a request is checked, and each of its answers is held to the same."""

SMALL = 4_000
"""Most characters of a constraint that is compiled at once, and kept; a larger one is compiled in a child first."""

MOST_ITEMS = 20_000
"""Most ways at one place: an object with 2,000 fields that may all be missing has some 8,000."""

COMPACT = {
    "whitespace_flexible": False,
    "whitespace_pattern": None,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": False,
    "coerce_one_of": False,
}
"""One spelling of white space, in which a model could go on for ever, and no keyword is passed over.

A schema may name options of llguidance itself (`x-guidance`): these come after them.
"""


_SPACED = {**COMPACT, "whitespace_flexible": True, "item_separator": ",", "key_separator": ":"}

UNLIMITED = JsonLimits(10**9, 10**9, 10**9, 10**9)
"""For JSON that somebody wrote: it has an end."""


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
    return _refusal(matcher.get_error(), what)


def _refusal(words: str, what: str) -> InputError:
    """`refused`, by what llguidance said; of a fault inside it without where in its code that is."""
    said = " ".join(words.partition("<backtrace>")[0].removesuffix("<non-verbose/>").split())[:LONGEST_WORDS]
    return InputError(f"{what} cannot be obeyed: {said}", hint="see the words of llguidance above")


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


def _compiled(constraint: Constraint, *, spaced: bool = False) -> LLMatcher:
    """A matcher at the beginning of an answer, to be copied. Raises InputError for what llguidance does not take.

    spaced: whether JSON may have any white space.
    """
    small = len(_text(constraint)) <= SMALL
    return (_kept if small else _fresh)(constraint, spaced=spaced)


def _fresh(constraint: Constraint, *, spaced: bool) -> LLMatcher:
    """`_compiled`, anew."""
    check_size(constraint)
    try:
        grammar = _grammar(constraint, spaced=spaced)
    except ValueError as error:
        raise InputError(f"{_name(constraint)} cannot be obeyed: {error}", hint="nest it less deeply") from None
    if len(_text(constraint)) > SMALL and (words := _rehearsed(grammar, _name(constraint))):
        raise _located(_refusal(words, _name(constraint)), constraint)
    matcher: LLMatcher = library().LLMatcher(_byte_tokenizer(), grammar, log_level=0, limits=_limits())
    if matcher.is_error():
        raise _located(refused(matcher, _name(constraint)), constraint)
    _check_start(matcher.deep_copy(), constraint)
    return matcher


_kept = lru_cache(maxsize=KEPT)(_fresh)
_rehearsed = lru_cache(maxsize=KEPT)(rehearse)  # agents send the same tools each turn


def _check_start(matcher: LLMatcher, constraint: Constraint) -> None:
    """Raises InputError where the first steps of an answer are too much for llguidance, or there is no answer."""
    allowed = any(matcher.compute_bitmask())
    matcher.try_consume_tokens(list(matcher.compute_ff_bytes()))
    matcher.compute_bitmask()
    if matcher.is_error():
        raise refused(matcher, _name(constraint))
    if not allowed:
        raise InputError(
            f"{_name(constraint)} cannot be obeyed: no answer satisfies it", hint="look for a contradiction"
        )


def _limits() -> LLParserLimits:
    """Of what llguidance may spend; each of its steps has its own limit besides."""
    limits: LLParserLimits = library().LLParserLimits(max_items_in_row=MOST_ITEMS, verbose_errors=False)
    return limits


def _located(error: InputError, constraint: Constraint) -> InputError:
    """The error with the place in the schema that it is about."""
    finder = finder_of(error.message.partition(": ")[2]) if isinstance(constraint, JsonSchema) else None
    if finder is None or not isinstance(constraint, JsonSchema):
        return error
    schema = json.loads(constraint.text)
    place = place_of(schema, finder) or place_of(schema, elsewhere)
    if place is None:
        return error
    return InputError(
        f"{error.message} (at {place[:LONGEST_WORDS]})", hint="leave that keyword out, or say it otherwise"
    )


@final
class ConstraintAcceptor:
    """Which texts a constraint accepts (`core.decoding.acceptors.Acceptor`); of one answer, since it keeps its place.

    What a schema does not bound ends where it may beyond some limits (`core.jsontext`).

    Raises InputError for a constraint that llguidance does not take.
    """

    def __init__(self, constraint: Constraint, *, limits: JsonLimits | None = None, spaced: bool = False) -> None:
        """limits: those beside a schema; the usual ones where nobody says. spaced: whether any white space is allowed.

        With any white space there are no limits: such texts are looked at, and not written.
        """
        self._matcher = _compiled(constraint, spaced=spaced).deep_copy()
        self._name = _name(constraint)
        self._text = b""
        self._limits = None if spaced else limits_of(constraint, limits)
        self._places = JsonSpots((self._limits or UNLIMITED).start)

    def follows(self, text: bytes, piece: bytes) -> bool:
        """Whether some answer begins with the text and the piece; for b"", whether the answer may end here."""
        if not self._goes_to(text):
            return False
        if not piece:
            return bool(self._matcher.is_accepting())
        fits = self._fitting(piece) == len(piece) and not self._bars(text, piece)
        self._check()
        return fits

    def starts(self, text: bytes) -> Sequence[bytes]:
        """The bytes that may come next."""
        if not self._goes_to(text):
            return ()
        allowed = np.flatnonzero(self._mask()[:END])
        pieces = tuple(bytes([byte]) for byte in allowed.tolist())
        return tuple(piece for piece in pieces if not self._bars(text, piece)) if self._must_end(text) else pieces

    def forced(self, text: bytes) -> bytes:
        """Whole characters that every answer that begins with the text goes on with."""
        if not self._goes_to(text) or self._matcher.is_stopped():
            return b""
        if self._must_end(text):
            starts = self.starts(text)
            return _whole(text, starts[0]) if len(starts) == 1 and not self._matcher.is_accepting() else b""
        forced: bytes = self._matcher.compute_ff_bytes()
        return _whole(text, forced)

    def is_over(self, text: bytes) -> bool:
        """Whether the text is an answer, and nothing may follow it."""
        if not self._goes_to(text) or not self._matcher.is_accepting():
            return False
        return bool(self._matcher.is_stopped()) or (self._must_end(text) and not self.starts(text))

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

    def _allows(self, piece: bytes, end: bool) -> bool:  # noqa: FBT001 (as `core.jsontext.bars` asks)
        """Whether a piece, and an end behind it, may follow where the matcher stands, limits aside."""
        tokens = [*piece, END] if end else list(piece)
        return bool(self._matcher.validate_tokens(tokens) == len(tokens))

    def _must_end(self, text: bytes) -> bool:
        """Whether a limit is reached here."""
        return self._limits is not None and any(self._limits.endings(self._places.at(text)))

    def _bars(self, text: bytes, piece: bytes) -> bool:
        """Whether a piece goes on beyond a limit. The matcher stands at the text."""
        return self._limits is not None and bars(self._limits, self._places.at(text), piece, allows=self._allows)

    def _mask(self) -> NDArray[np.bool_]:
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return np.unpackbits(bits, count=END + 1, bitorder="little").astype(bool)

    def _goes_to(self, text: bytes) -> bool:
        """Bring the matcher to a text; False where the text itself is not allowed."""
        if text == self._text:
            return True
        shared = shared_bytes(self._text, text)
        if shared < len(self._text):
            self._matcher.rollback(len(self._text) - shared)
            self._text = text[:shared]
        taken = self._matcher.try_consume_tokens(list(text[shared:]))
        self._text = text[: shared + taken]
        self._check()
        return self._text == text

    def _check(self) -> None:
        """Raises InputError where the constraint has become too much for llguidance, which would allow nothing now."""
        if self._matcher.is_error():
            raise refused(self._matcher, self._name)


@final
class ConstrainedTexts:
    """Which whole texts a constraint takes for answers (`core.decoding.acceptors.WholeTexts`).

    JSON is taken with any white space, and a whole one with its fields in any order. No limit holds that is not the
    constraint's: somebody wrote the text, and it has an end. Raises InputError as `ConstraintAcceptor`.
    """

    def __init__(self, constraint: Constraint) -> None:
        self._accepts = ConstraintAcceptor(constraint, spaced=True)
        self._spells = ConstraintAcceptor(constraint, limits=UNLIMITED) if isinstance(constraint, JsonSchema) else None

    def answer(self, text: bytes) -> bytes | None:
        """See `WholeTexts.answer`."""
        kept = self.beginning(text)
        if kept is not None and self._accepts.follows(kept, b""):
            return kept
        return text if self._spells is not None and respelt(text, self._spells) is not None else None

    def beginning(self, text: bytes) -> bytes | None:
        """See `WholeTexts.beginning`."""
        kept = self._accepts.cut(b"", text)
        return kept if not kept or self._accepts.follows(b"", kept) else None

    def is_over(self, text: bytes) -> bool:
        """See `WholeTexts.is_over`."""
        return self._accepts.is_over(text)


def respelt(text: bytes, spells: ConstraintAcceptor) -> bytes | None:
    """JSON as the schema of an acceptor has it written: white space, order of fields; None where it is none of that."""
    try:
        value = read_json(text.decode())
    except ValueError:
        return None
    return spelt_json(value, accepts=spells)


def options_of(constraint: Constraint) -> tuple[str, ...] | None:
    """All answers of a constraint that lists them: some strings, or a schema that is an enum; None for all others."""
    if isinstance(constraint, OneOf):
        return constraint.options
    if not isinstance(constraint, JsonSchema):
        return None
    schema = json.loads(constraint.text)
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if not isinstance(values, list):
        return None
    accepts = ConstraintAcceptor(constraint)
    spelt = (spelt_json(value, accepts=accepts) for value in values)
    return tuple(dict.fromkeys(text.decode() for text in spelt if text is not None))


def limits_of(constraint: Constraint | None, usual: JsonLimits | None = None) -> TextLimits[Any] | None:
    """What the JSON of a constraint's answers is limited by where it states no limit; None where none is known of."""
    match constraint:
        case JsonSchema():
            return limits_beside(json.loads(constraint.text), usual)
        case Grammar(parts=parts) if parts:
            limited = ((one, limits_beside(json.loads(one.schema), usual)) for one in parts)
            return PartLimits([JsonPart(one.before.encode(), limits, one.is_all) for one, limits in limited])
        case _:
            return None


def is_allowed(constraint: Constraint, text: bytes, *, whole: bool) -> bool:
    """Whether a text is one that a constraint accepts, or (not whole) begins one. JSON may be spaced as it likes."""
    acceptor = ConstraintAcceptor(constraint, spaced=True)
    said = text.rstrip(b" \t\n\r") if whole and isinstance(constraint, JsonSchema) else text
    return (not said or acceptor.follows(b"", said)) and (not whole or acceptor.follows(said, b""))


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


def _text(constraint: Constraint) -> str:
    """What somebody wrote."""
    match constraint:
        case JsonSchema():
            return constraint.text
        case Regex():
            return constraint.pattern
        case OneOf():
            return " | ".join(json.dumps(option, ensure_ascii=False) for option in constraint.options)
        case Grammar():
            return constraint.lark


def _grammar(constraint: Constraint, *, spaced: bool) -> str:
    """The constraint as llguidance reads it. Raises ValueError for a schema that is nested too deeply."""
    matcher, text = library().LLMatcher, _text(constraint)
    match constraint:
        case JsonSchema():
            return str(matcher.grammar_from_json_schema(text, None, _SPACED if spaced else COMPACT))
        case Regex():
            return str(matcher.grammar_from_regex(text))
        case OneOf():
            return str(matcher.grammar_from_lark(f"start: {text}"))
        case Grammar():
            return str(matcher.grammar_from_lark(text))


def check_size(constraint: Constraint) -> None:
    """Raises InputError for a constraint that would take too long to compile."""
    text, name = _text(constraint), _name(constraint)
    if len(text.encode()) > LONGEST:
        raise InputError(f"{name} has more than {LONGEST:,} bytes", hint="shorten it")
    if isinstance(constraint, JsonSchema) and (place := too_large(json.loads(text))) is not None:
        raise InputError(f"{name} cannot be obeyed: {place}", hint="shorten it")

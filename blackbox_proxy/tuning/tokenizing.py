"""The base model's tokenizer as the pair will use it: llama.cpp's own, over the vocabulary of the GGUF.

So an example has the very tokens that the expert sees at run time. Loads no weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from blackbox_proxy.errors import InputError
from blackbox_proxy.local.llama import Model
from blackbox_proxy.local.prompts import prompt_ids
from blackbox_proxy.local.template import named
from blackbox_proxy.tuning.data import TuningTokenizer
from blackbox_proxy.types import Prompt, TokenPath


@contextmanager
def tokenizer_of(base: Path, *, template: str = "gguf") -> Iterator[TuningTokenizer]:
    """The tokenizer of a GGUF, for as long as the context lasts.

    template: `gguf` for the file's own, `chatml`, `raw` (messages are refused), or Jinja text. Raises InputError where
    the model has no token that ends a text.
    """
    with Model(base, vocabulary_only=True) as model:
        form = model.chat_template if template == "gguf" else named(template)
        end = model.tokenize(model.special_text("eos").encode(), special=True)[-1:]
        if not end:
            raise InputError(f"{base.name} has no token that ends a text", hint="take a base whose tokenizer has one")

        def read(prompt: Prompt) -> TokenPath:
            return prompt_ids(model, prompt, template=form)

        vocabulary = model.vocabulary
        controls = [int(token) for token in np.flatnonzero(~vocabulary.is_text)]
        yield TuningTokenizer(read, model.spell, vocabulary.pieces, end[0], controls)

"""The upstream's tokenizer for clients that count or cut by themselves, as far as it is known here. Pure."""

from __future__ import annotations

import re

import numpy as np

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.gateway.models import SteeredModel
from blackbox_proxy.gateway.requests import GatewayRequest, RequestLimits
from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal
from blackbox_proxy.types import Prompt


def tokens_of(body: Body, model: SteeredModel, limits: RequestLimits) -> dict[str, object]:
    """The ids of `prompt`: special tokens are known by their names, and nothing is put before or behind it."""
    vocabulary = _vocabulary(model)
    text = fields.text(body.get("prompt"), "prompt")
    if len(text) > limits.prompt:
        raise Refusal(f"Invalid 'prompt': {len(text)} characters; a prompt may have {limits.prompt}.", param="prompt")
    try:
        ids = _cut(text, vocabulary)
    except ValueError as error:
        raise Refusal(f"Invalid 'prompt': {error}.", param="prompt") from None
    return {"tokens": ids, "count": len(ids)}


def prompt_length(request: GatewayRequest, model: SteeredModel) -> int:
    """Tokens of a chat as the upstream reads it. Raises Refusal (501) where it writes chats down by itself."""
    vocabulary = _vocabulary(model)
    if not model.api.template or model.api.capabilities().chat:
        raise Refusal(
            f"'{model.name}' is asked in messages, and how its upstream writes them down is not known here.",
            status=501,
            code="template_unknown",
        )
    asked = [source for source in request.sources if isinstance(source, Prompt)]
    prompts = asked if model.recipe is None else map(model.recipe.asked, asked)
    return sum(len(_cut(model.api.text(prompt), vocabulary)) for prompt in prompts)


def info(model: SteeredModel) -> dict[str, object]:
    """What ends a text, and how a chat is written down, where that is done here."""
    vocabulary = _vocabulary(model)
    ends = [vocabulary.pieces[i].decode("utf-8", "replace") for i in vocabulary.ends.tolist()]
    return {"eos_token": ends[0] if ends else None, "bos_token": None, "chat_template": model.api.template or None}


def _cut(text: str, vocabulary: Vocabulary) -> list[int]:
    """As models read prompts. Raises as `Vocabulary.cut`."""
    special = np.flatnonzero(~vocabulary.is_text).tolist()
    names = {vocabulary.pieces[i].decode("utf-8", "replace"): i for i in special if vocabulary.pieces[i]}
    longest_first = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    parts = re.split(f"({longest_first})", text) if names else [text]
    cut = ([names[part]] if part in names else vocabulary.cut(part.encode()) for part in parts if part)
    return [int(i) for ids in cut for i in ids]


def _vocabulary(model: SteeredModel) -> Vocabulary:
    """Raises Refusal (501) where nobody knows the upstream's tokenizer."""
    if model.api.vocabulary is None:
        raise Refusal(
            f"The tokenizer of '{model.name}' is not known here; its configuration can name it (`tokenizer`).",
            status=501,
            code="tokenizer_unknown",
        )
    return model.api.vocabulary

"""Reads requests for text and for chats: any JSON value becomes a `StandinRequest` or a `Refusal` in the API's words.

Fields that are not known are ignored. Known fields that would change the answer, and that nothing here obeys, are
refused unless they hold their neutral value: ignoring them would give a wrong answer that looks right. The module is
pure; it knows no model, no tokenizer and no HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body
from blackbox_proxy.openai_http.turns import Unfinished, read_turns
from blackbox_proxy.standin.structured import read_chat_format
from blackbox_proxy.types import Prompt, TokenPath

MOST_PROMPTS = 2048
MOST_CHOICES = 128
MOST_STOPS = 4
MOST_CHOSEN = 1024
MOST_BIAS = 100.0
MOST_DIGITS = 9
DEFAULT_TOKENS = 16
"""What the legacy route generates when nobody says how much; a chat goes on to the end of the context."""

_COMMON_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
}
_COMPLETION_NEUTRAL = {**_COMMON_NEUTRAL, "best_of": (1,), "suffix": ("",)}
_CHAT_NEUTRAL = {
    **_COMMON_NEUTRAL,
    "tools": ([],),
    "functions": ([],),
    "modalities": (["text"],),
    "audio": (),
}

Source = str | TokenPath | Prompt | Unfinished
"""What to go on from: text and ids as they are, a chat through its template."""


@dataclass(frozen=True, slots=True)
class StandinRequest:
    """What every route asks for. max_tokens None: up to the end of the context. top_k None: no log-probs.

    also: ids whose log-probs are wanted besides the top-k. as_ids: write tokens as `token_id:N`. bias: added to the
    logits of some ids before a token is chosen, and not to the log-probs that are shown. schema: of the JSON that the
    answer must be; "" where it may be anything.
    """

    model: str
    sources: tuple[Source, ...]
    max_tokens: int | None
    temperature: float
    top_p: float
    seed: int | None
    n: int
    stops: tuple[bytes, ...]
    top_k: int | None
    echo: bool
    stream: bool
    include_usage: bool
    also: TokenPath = ()
    as_ids: bool = False
    bias: tuple[tuple[int, float], ...] = ()
    schema: str = ""


def read_completion(body: Body, *, top_k: int) -> StandinRequest:
    """A request to /completions. top_k: the most alternatives per position that this server gives."""
    fields.refuse_unsupported(body, _COMPLETION_NEUTRAL)
    max_tokens = fields.integer(body, "max_tokens", low=0)
    echo = fields.boolean(body, "echo")
    if max_tokens == 0 and not echo:
        raise fields.below("max_tokens", 0, 1)
    request = common(
        body,
        sources=_prompts(body.get("prompt")),
        max_tokens=DEFAULT_TOKENS if max_tokens is None else max_tokens,
        top_k=fields.integer(body, "logprobs", low=0, high=top_k),
        echo=echo,
    )
    also = _chosen_ids(body.get("logprob_token_ids"), "logprob_token_ids")
    if also and request.top_k is None:
        raise fields.Refusal("'logprob_token_ids' is only allowed with 'logprobs'.", param="logprob_token_ids")
    as_ids = fields.boolean(body, "return_tokens_as_token_ids")
    return replace(request, also=also, as_ids=as_ids, bias=_bias(body.get("logit_bias")))


def read_chat(body: Body, *, top_k: int) -> StandinRequest:
    """A request to /chat/completions. top_k: the most alternatives per position that this server gives."""
    fields.refuse_unsupported(body, _CHAT_NEUTRAL)
    newer, older = (fields.integer(body, name, low=1) for name in ("max_completion_tokens", "max_tokens"))
    alternatives = fields.integer(body, "top_logprobs", low=0, high=top_k)
    logprobs = fields.boolean(body, "logprobs")
    if alternatives is not None and not logprobs:
        raise fields.Refusal(
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs"
        )
    request = common(
        body,
        sources=(read_turns(body),),
        max_tokens=older if newer is None else newer,
        top_k=(alternatives or 0) if logprobs else None,
        echo=False,
    )
    return replace(request, bias=_bias(body.get("logit_bias")), schema=read_chat_format(body))


def common(
    body: Body, *, sources: tuple[Source, ...], max_tokens: int | None, top_k: int | None, echo: bool
) -> StandinRequest:
    """The fields that all routes read alike."""
    stream = fields.boolean(body, "stream")
    options = body.get("stream_options")
    if options is not None and not stream:
        raise fields.Refusal("'stream_options' is only allowed when 'stream' is enabled.", param="stream_options")
    model = fields.text(body.get("model"), "model") if body.get("model") is not None else ""
    if not model:
        raise fields.Refusal("you must provide a model parameter", param="model")
    temperature, top_p = fields.number(body, "temperature", high=2.0), fields.number(body, "top_p", high=1.0)
    return StandinRequest(
        model=model,
        sources=sources,
        max_tokens=max_tokens,
        temperature=1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        seed=fields.integer(body, "seed", low=-fields.HUGE - 1),
        n=fields.integer(body, "n", low=1, high=MOST_CHOICES) or 1,
        stops=_stops(body.get("stop")),
        top_k=top_k,
        echo=echo,
        stream=stream,
        include_usage=options is not None
        and fields.boolean(fields.mapping(options, "stream_options"), "include_usage"),
    )


def _chosen_ids(value: object, param: str) -> TokenPath:
    ids = [] if value is None else value
    if not isinstance(ids, list) or not all(map(fields.is_integer, ids)):
        raise fields.wrong_type(param, "a list of token ids", value)
    if len(ids) > MOST_CHOSEN:
        raise fields.Refusal(f"Invalid '{param}': {len(ids)} ids; at most {MOST_CHOSEN} are read.", param=param)
    return tuple(dict.fromkeys(ids))


def _bias(value: object) -> tuple[tuple[int, float], ...]:
    """Token ids, as JSON's keys are: in strings; each with a number from -100 to 100."""
    biases = []
    for key, number in fields.mapping({} if value is None else value, "logit_bias").items():
        if not key.isdecimal() or len(key) > MOST_DIGITS:
            raise fields.Refusal(
                f"Invalid key in 'logit_bias': {fields.shown(key)}. A token id was expected.", param="logit_bias"
            )
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise fields.wrong_type("logit_bias", "an object of decimals", number)
        if not -MOST_BIAS <= number <= MOST_BIAS:
            raise fields.Refusal(
                f"Invalid 'logit_bias': {fields.shown(number)} is not between -100 and 100.", param="logit_bias"
            )
        biases.append((int(key), float(number)))
    return tuple(biases)


def _prompts(prompt: object) -> tuple[Source, ...]:
    """A string, a list of strings, one list of token ids, or a list of such lists."""
    if isinstance(prompt, list) and prompt and not fields.is_integer(prompt[0]):
        if len(prompt) > MOST_PROMPTS:
            raise fields.Refusal(
                f"Invalid 'prompt': {len(prompt)} prompts; at most {MOST_PROMPTS} are read.", param="prompt"
            )
        return tuple(_prompt(item, f"prompt[{at}]") for at, item in enumerate(prompt))
    return (_prompt(prompt, "prompt"),)


def _prompt(prompt: object, param: str) -> Source:
    if prompt in (None, "", []):
        raise fields.Refusal(f"Invalid '{param}': the prompt is empty.", param=param, code="empty_prompt")
    if isinstance(prompt, str):
        return fields.text(prompt, param)
    if isinstance(prompt, list) and all(map(fields.is_integer, prompt)):
        return tuple(prompt)
    raise fields.wrong_type(param, "a string or a list of token ids", prompt)


def _stops(stop: object) -> tuple[bytes, ...]:
    given = [] if stop is None else stop if isinstance(stop, list) else [stop]
    if len(given) > MOST_STOPS:
        raise fields.Refusal(f"Invalid 'stop': {len(given)} sequences; at most {MOST_STOPS} are read.", param="stop")
    stops = tuple(fields.text(item, "stop").encode() for item in given)
    if not all(stops):
        raise fields.Refusal("Invalid 'stop': a stop sequence must not be empty.", param="stop", code="invalid_value")
    return stops

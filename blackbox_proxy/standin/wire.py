"""Reads requests of the two routes: any JSON value becomes a checked `Request` or a `Refusal` in the API's own words.

Fields that are not known are ignored. Known fields that would change the answer, and that nothing here obeys, are
refused unless they hold their neutral value: ignoring them would give a wrong answer that looks right. The module is
pure; it knows no model, no tokenizer and no HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NoReturn, cast, final

from blackbox_proxy.errors import InputError
from blackbox_proxy.types import Message, Prompt, TokenPath

MOST_PROMPTS = 2048
MOST_CHOICES = 128
MOST_STOPS = 4
MOST_CHOSEN = 1024
MOST_BIAS = 100.0
MOST_DIGITS = 9
DEFAULT_TOKENS = 16
"""What the legacy route generates when nobody says how much; a chat goes on to the end of the context."""

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_HUGE = 2**63 - 1
_COMMON_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
}
_COMPLETION_NEUTRAL = {**_COMMON_NEUTRAL, "best_of": (1,), "suffix": ("",)}
_CHAT_NEUTRAL = {
    **_COMMON_NEUTRAL,
    "tools": ([],),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "audio": (),
}

Body = Mapping[str, object]
Source = str | TokenPath | Prompt
"""What to go on from: text and ids as they are, a `Prompt` through the chat template."""


@final
class Refusal(InputError):
    """A request that is answered with an error. status: the HTTP status; param, code: as OpenAI's errors name them."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


@dataclass(frozen=True, slots=True)
class Request:
    """What both routes ask for. max_tokens None: up to the end of the context. top_k None: no log-probs.

    also: ids whose log-probs are wanted besides the top-k. as_ids: write tokens as `token_id:N`. bias: added to the
    logits of some ids before a token is chosen, and not to the log-probs that are shown.
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


def read_body(raw: bytes) -> Body:
    """The JSON object of a request. Raises Refusal for anything else."""
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise Refusal(f"We could not parse the JSON body of your request: {reason[:200]}") from None
    if not isinstance(value, dict):
        raise Refusal(f"The body of your request must be a JSON object, not {_kind(value)}.")
    return value


def read_completion(body: Body, *, top_k: int) -> Request:
    """A request to /completions. top_k: the most alternatives per position that this server gives."""
    _refuse_unsupported(body, _COMPLETION_NEUTRAL)
    max_tokens = _integer(body, "max_tokens", low=0)
    echo = _boolean(body, "echo")
    if max_tokens == 0 and not echo:
        raise _below("max_tokens", 0, 1)
    request = _request(
        body,
        sources=_prompts(body.get("prompt")),
        max_tokens=DEFAULT_TOKENS if max_tokens is None else max_tokens,
        top_k=_integer(body, "logprobs", low=0, high=top_k),
        echo=echo,
    )
    also = _chosen_ids(body.get("logprob_token_ids"), "logprob_token_ids")
    if also and request.top_k is None:
        raise Refusal("'logprob_token_ids' is only allowed with 'logprobs'.", param="logprob_token_ids")
    as_ids = _boolean(body, "return_tokens_as_token_ids")
    return replace(request, also=also, as_ids=as_ids, bias=_bias(body.get("logit_bias")))


def read_chat(body: Body, *, top_k: int) -> Request:
    """A request to /chat/completions. top_k: the most alternatives per position that this server gives."""
    _refuse_unsupported(body, _CHAT_NEUTRAL)
    newer, older = (_integer(body, name, low=1) for name in ("max_completion_tokens", "max_tokens"))
    alternatives = _integer(body, "top_logprobs", low=0, high=top_k)
    wanted = _boolean(body, "logprobs")
    if alternatives is not None and not wanted:
        raise Refusal("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs")
    return _request(
        body,
        sources=(Prompt(messages=_messages(body.get("messages"))),),
        max_tokens=older if newer is None else newer,
        top_k=(alternatives or 0) if wanted else None,
        echo=False,
    )


def _request(
    body: Body, *, sources: tuple[Source, ...], max_tokens: int | None, top_k: int | None, echo: bool
) -> Request:
    """The fields that both routes read alike."""
    stream = _boolean(body, "stream")
    options = body.get("stream_options")
    if options is not None and not stream:
        raise Refusal("'stream_options' is only allowed when 'stream' is enabled.", param="stream_options")
    model = _text(body.get("model"), "model") if body.get("model") is not None else ""
    if not model:
        raise Refusal("you must provide a model parameter", param="model")
    temperature, top_p = _number(body, "temperature", high=2.0), _number(body, "top_p", high=1.0)
    return Request(
        model=model,
        sources=sources,
        max_tokens=max_tokens,
        temperature=1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        seed=_integer(body, "seed", low=-_HUGE - 1),
        n=_integer(body, "n", low=1, high=MOST_CHOICES) or 1,
        stops=_stops(body.get("stop")),
        top_k=top_k,
        echo=echo,
        stream=stream,
        include_usage=options is not None and _boolean(_mapping(options, "stream_options"), "include_usage"),
    )


def _chosen_ids(value: object, param: str) -> TokenPath:
    ids = [] if value is None else value
    if not isinstance(ids, list) or not all(map(_is_integer, ids)):
        raise _wrong_type(param, "a list of token ids", value)
    if len(ids) > MOST_CHOSEN:
        raise Refusal(f"Invalid '{param}': {len(ids)} ids; at most {MOST_CHOSEN} are read.", param=param)
    return tuple(dict.fromkeys(ids))


def _bias(value: object) -> tuple[tuple[int, float], ...]:
    """Token ids, as JSON's keys are: in strings; each with a number from -100 to 100."""
    found = []
    for key, number in _mapping({} if value is None else value, "logit_bias").items():
        if not key.isdecimal() or len(key) > MOST_DIGITS:
            raise Refusal(f"Invalid key in 'logit_bias': {_shown(key)}. A token id was expected.", param="logit_bias")
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise _wrong_type("logit_bias", "an object of decimals", number)
        if not -MOST_BIAS <= number <= MOST_BIAS:
            raise Refusal(f"Invalid 'logit_bias': {_shown(number)} is not between -100 and 100.", param="logit_bias")
        found.append((int(key), float(number)))
    return tuple(found)


def _prompts(prompt: object) -> tuple[Source, ...]:
    """A string, a list of strings, one list of token ids, or a list of such lists."""
    if isinstance(prompt, list) and prompt and not _is_integer(prompt[0]):
        if len(prompt) > MOST_PROMPTS:
            raise Refusal(f"Invalid 'prompt': {len(prompt)} prompts; at most {MOST_PROMPTS} are read.", param="prompt")
        return tuple(_prompt(item, f"prompt[{at}]") for at, item in enumerate(prompt))
    return (_prompt(prompt, "prompt"),)


def _prompt(prompt: object, param: str) -> Source:
    if prompt in (None, "", []):
        raise Refusal(f"Invalid '{param}': the prompt is empty.", param=param, code="empty_prompt")
    if isinstance(prompt, str):
        return _text(prompt, param)
    if isinstance(prompt, list) and all(map(_is_integer, prompt)):
        return tuple(prompt)
    raise _wrong_type(param, "a string or a list of token ids", prompt)


def _messages(messages: object) -> tuple[Message, ...]:
    if not isinstance(messages, list):
        raise _wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise Refusal("Invalid 'messages': empty array. Expected at least 1 message.", param="messages")
    return tuple(_message(item, f"messages[{at}]") for at, item in enumerate(messages))


def _message(value: object, param: str) -> Message:
    """One turn. A `developer` speaks as `system`, the word that chat templates know."""
    message = _mapping(value, param)
    role = message.get("role")
    if role not in ROLES:
        raise Refusal(
            f"Invalid value: {_shown(role)}. Supported values are: {', '.join(map(repr, ROLES))}.",
            param=f"{param}.role",
            code="invalid_value",
        )
    content = message.get("content")
    if content is None and role != "assistant":
        raise _wrong_type(f"{param}.content", "a string or an array of text parts", content)
    spoken = "system" if role == "developer" else str(role)
    return Message(spoken, _content(content, f"{param}.content"))


def _content(content: object, param: str) -> str:
    if content is None:
        return ""
    if isinstance(content, list):
        return "".join(_text_part(part, f"{param}[{at}]") for at, part in enumerate(content))
    return _text(content, param)


def _text_part(value: object, param: str) -> str:
    part = _mapping(value, param)
    if part.get("type") != "text":
        raise Refusal(
            f"Invalid value: {_shown(part.get('type'))}. This model reads parts of type 'text' only.",
            param=f"{param}.type",
            code="invalid_value",
        )
    return _text(part.get("text"), f"{param}.text")


def _stops(stop: object) -> tuple[bytes, ...]:
    given = [] if stop is None else stop if isinstance(stop, list) else [stop]
    if len(given) > MOST_STOPS:
        raise Refusal(f"Invalid 'stop': {len(given)} sequences; at most {MOST_STOPS} are read.", param="stop")
    stops = tuple(_text(item, "stop").encode() for item in given)
    if not all(stops):
        raise Refusal("Invalid 'stop': a stop sequence must not be empty.", param="stop", code="invalid_value")
    return stops


def _refuse_unsupported(body: Body, neutral: Mapping[str, tuple[object, ...]]) -> None:
    for name, harmless in neutral.items():
        if body.get(name) is not None and body[name] not in harmless:
            raise Refusal(
                f"Unsupported parameter: '{name}' is not supported with this model.",
                param=name,
                code="unsupported_parameter",
            )


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integer(body: Body, name: str, *, low: int, high: int = _HUGE) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not _is_integer(value):
        raise _wrong_type(name, "an integer", value)
    number = cast(int, value)
    if number < low:
        raise _below(name, number, low)
    if number > high:
        raise _above(name, number, high)
    return number


def _number(body: Body, name: str, *, high: float) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(name, "a decimal", value)
    if not value >= 0:
        raise _below(name, value, 0)
    if value > high:
        raise _above(name, value, high)
    return float(value)


def _boolean(body: Body, name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong_type(name, "a boolean", value)
    return bool(value)


def _mapping(value: object, param: str) -> Body:
    if not isinstance(value, dict):
        raise _wrong_type(param, "an object", value)
    return value


def _text(value: object, param: str) -> str:
    """A string that UTF-8 can hold; JSON may escape half a surrogate pair."""
    if not isinstance(value, str):
        raise _wrong_type(param, "a string", value)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Refusal(f"Invalid '{param}': half a surrogate pair is no text.", param=param) from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _wrong_type(param: str, wanted: str, value: object) -> Refusal:
    return Refusal(
        f"Invalid type for '{param}': expected {wanted}, but got {_kind(value)} instead.",
        param=param,
        code="invalid_type",
    )


def _below(param: str, value: float, low: float) -> Refusal:
    kind = "integer" if isinstance(value, int) else "decimal"
    return Refusal(
        f"Invalid '{param}': {kind} below minimum value. Expected a value >= {low}, but got {_shown(value)} instead.",
        param=param,
        code=f"{kind}_below_min_value",
    )


def _above(param: str, value: float, high: float) -> Refusal:
    kind = "integer" if isinstance(value, int) else "decimal"
    return Refusal(
        f"Invalid '{param}': {kind} above maximum value. Expected a value <= {high}, but got {_shown(value)} instead.",
        param=param,
        code=f"{kind}_above_max_value",
    )


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array"}
    return names.get(type(value), "an object")


def _shown(value: object) -> str:
    """A value for a message, cut short; a number with thousands of digits cannot even be printed."""
    if isinstance(value, int | float) and abs(value) < 10**18:
        return repr(value)
    return repr(value)[:60] if isinstance(value, str) else _kind(value)

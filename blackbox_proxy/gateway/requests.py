"""Reads requests for chats and for text: any JSON value becomes a `GatewayRequest`, or a `Refusal` in OpenAI's words.

Fields that are not known are ignored. Known fields that would change the answer, and that nothing here obeys, are
refused unless they hold their neutral value: ignoring them would give a wrong answer that looks right. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from blackbox_proxy.constraints import Constraint
from blackbox_proxy.gateway.constraints import read_constraint
from blackbox_proxy.gateway.functions import declares_functions, with_tools
from blackbox_proxy.gateway.native_tools import tool_chat
from blackbox_proxy.gateway.tool_grammar import check_stops, held_to_tools
from blackbox_proxy.knobs import FIXED, REQUEST_FIELDS, KnobMistake, check_bounds, read_knobs
from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal
from blackbox_proxy.openai_http.tool_text import ChatTurn, chat_prompt
from blackbox_proxy.openai_http.tool_turns import read_tool_turns
from blackbox_proxy.openai_http.tools import ToolSet, read_tools
from blackbox_proxy.openai_http.turns import is_continued
from blackbox_proxy.types import Prompt, TokenPath

MOST_STOPS = 16
MOST_BAD_WORDS = 100
MOST_TOP = 20
MOST_TAGS = 16
STEPS = "steering_steps"
"""The field that asks for the steps of an answer: how many candidates of each."""

STEPS_ELSEWHERE = "this route shows no steps; /chat/completions and /completions do"

LONGEST_KEY = 64
LONGEST_VALUE = 512
DEFAULT_TOKENS = 16
"""What the legacy route generates when nobody says how much."""

SEEDS = 2**63

_COMMON_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "ignore_eos": (False,),
    "stop_token_ids": ([],),
    "repeat_penalty": (1,),
    "mirostat": (0,),
    "grammar": ("",),
    "length_penalty": (1,),
    "use_beam_search": (False,),
    "typical_p": (1,),
    "tfs_z": (1,),
    "top_a": (0,),
    "top_n_sigma": (-1,),
    "xtc_probability": (0,),
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "n_predict": (-1,),
    "include_stop_str_in_output": (False,),
    "truncate_prompt_tokens": (-1,),
}
"""Fields of OpenAI, vLLM and llama.cpp that nothing here obeys, with the values at which they change nothing."""

_COMPLETION_NEUTRAL = {**_COMMON_NEUTRAL, "best_of": (1,), "suffix": ("",)}
_CHAT_NEUTRAL = {
    **_COMMON_NEUTRAL,
    "modalities": (["text"],),
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "web_search_options": (),
    "chat_template": (),
    "chat_template_kwargs": ({},),
    "documents": ([],),
}

Source = Prompt | TokenPath
"""What to go on from: a chat, text, or ids of the upstream's vocabulary."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may ask for. tokens: of one answer; prompt: characters of one prompt; answers: in all."""

    tokens: int = 32_768
    prompt: int = 400_000
    answers: int = 16


@dataclass(frozen=True, slots=True)
class GatewayRequest:
    """What both routes ask for.

    model: "" where none is named. knobs: what is set of the steering, by the names of `Steering`. top: log-probs to
    show of each token, None for none at all. echo: the prompts' own tokens are wanted with their log-probs; then
    goes_on says whether one token behind each is too. tools: those of a chat, which its prompt describes already, and
    to calls of which the knob `constraint` holds the answer; None for none. turns: the chat itself, where tools are
    declared or were called. steps: candidates to show of each step of an answer; None for no steps at all.
    """

    model: str
    sources: tuple[Source, ...]
    knobs: Mapping[str, object]
    n: int = 1
    top: int | None = None
    stream: bool = False
    include_usage: bool = False
    tags: Mapping[str, str] | None = None
    echo: bool = False
    goes_on: bool = False
    tools: ToolSet | None = None
    turns: tuple[ChatTurn, ...] = ()
    steps: int | None = None


def read_chat(body: Body, limits: RequestLimits) -> GatewayRequest:
    """A request to /chat/completions, whose tools may be spelt as the deprecated functions."""
    chat, spelling = with_tools(body)
    with spelling.spelled():
        request = _read_chat(chat, limits)
    if request.tools is None or not declares_functions(body):
        return request
    return replace(request, tools=replace(request.tools, as_functions=True))


def _read_chat(body: Body, limits: RequestLimits) -> GatewayRequest:
    fields.refuse_unsupported(body, _CHAT_NEUTRAL)
    newer, older = (_length(body, name, limits) for name in ("max_completion_tokens", "max_tokens"))
    alternatives = fields.integer(body, "top_logprobs", low=0, high=MOST_TOP)
    logprobs = fields.boolean(body, "logprobs")
    if alternatives is not None and not logprobs:
        raise Refusal("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs")
    tools, turns = read_tools(body), _turns(body)
    prompt = chat_prompt(turns, tools)
    _check_length(sum(len(message.content) for message in prompt.messages), limits, "messages")
    request = _request(
        body,
        limits,
        sources=(prompt,),
        max_tokens=older if newer is None else newer,
        top=(alternatives or 0) if logprobs else None,
    )
    return _calling(request, tools, turns)


def _calling(request: GatewayRequest, tools: ToolSet | None, turns: tuple[ChatTurn, ...]) -> GatewayRequest:
    """The request with its tools: the answer is held to calls of them, where it may call any."""
    if tools is None:
        return replace(request, turns=turns)
    response = cast(Constraint | None, request.knobs.get("constraint"))
    tools, constraint = held_to_tools(tools, response)
    check_stops(tools, cast(tuple[str, ...], request.knobs.get("stop", ())))
    knobs = request.knobs if constraint is None else {**request.knobs, "constraint": constraint}
    # Of calls that an endpoint makes by itself nobody tells log-probs, and a form stands beside them in none.
    native = tool_chat(turns, tools) if tools.offered and response is None and request.top is None else None
    sources = tuple(replace(one, tools=native) if isinstance(one, Prompt) else one for one in request.sources)
    return replace(request, sources=sources, knobs=knobs, tools=tools, turns=turns)


def read_completion(body: Body, limits: RequestLimits) -> GatewayRequest:
    """A request to /completions."""
    fields.refuse_unsupported(body, _COMPLETION_NEUTRAL)
    max_tokens = _length(body, "max_tokens", limits, low=0)
    top = fields.integer(body, "logprobs", low=0, high=MOST_TOP)
    length = DEFAULT_TOKENS if max_tokens is None else max_tokens
    echo = fields.boolean(body, "echo")
    if echo:
        _check_echo(body, length, top)
    elif length == 0:
        raise fields.below("max_tokens", 0, 1)
    request = _request(body, limits, sources=_prompts(body.get("prompt"), limits), max_tokens=max(length, 1), top=top)
    return replace(request, echo=True, goes_on=length > 0) if echo else request


def _length(body: Body, name: str, limits: RequestLimits, *, low: int = 1) -> int | None:
    """Most tokens of an answer; None where the request leaves that to the server."""
    length = fields.integer(body, name, low=low)
    if length is not None and length > limits.tokens:
        raise _too_many(name, f"{name} {fields.shown(length)}", limits.tokens, setting="max_tokens")
    return length


def _too_many(param: str, what: str, most: int, *, setting: str, code: str = "integer_above_max_value") -> Refusal:
    """More than the configuration allows. setting: which field of it says so."""
    return Refusal(
        f"Invalid '{param}': {what}: this server allows {most} (`{setting}` of [server]).", param=param, code=code
    )


def _check_echo(body: Body, length: int, top: int | None) -> None:
    """Raises Refusal unless an echo is what it is good for here: the log-probs of given texts."""
    if top is None:
        raise Refusal("'echo' is only supported together with 'logprobs': it scores the prompt.", param="echo")
    if length > 1:
        raise fields.above("max_tokens", length, 1)
    if length and fields.number(body, "temperature", high=2.0):
        raise Refusal(
            "With 'echo' the token behind the prompt is the likeliest one; set 'temperature' or 'max_tokens' to 0.",
            param="temperature",
        )


def read_model(body: Body) -> str:
    """The model that a request names, "" for none."""
    return "" if body.get("model") is None else fields.text(body["model"], "model")


def _request(
    body: Body,
    limits: RequestLimits,
    *,
    sources: tuple[Source, ...],
    max_tokens: int | None,
    top: int | None,
) -> GatewayRequest:
    """The fields that both routes read alike."""
    stream = fields.boolean(body, "stream")
    options = body.get("stream_options")
    if options is not None and not stream:
        raise Refusal("'stream_options' is only allowed when 'stream' is enabled.", param="stream_options")
    n = fields.integer(body, "n", low=1) or 1
    if n * len(sources) > limits.answers:
        raise _too_many("n", f"{n * len(sources)} answers", limits.answers, setting="max_answers")
    standard = {
        "max_tokens": max_tokens,
        **_drawing(body),
        "stop": _stops(body.get("stop")),
        "bad_words": _bad_words(body.get("bad_words")),
        "min_tokens": fields.integer(body, "min_tokens", low=0),
        "constraint": read_constraint(body),
    }
    given = {name: value for name, value in standard.items() if value is not None}
    return GatewayRequest(
        model=read_model(body),
        sources=sources,
        knobs={**_steering(body.get("steering")), **given},
        n=n,
        top=top,
        stream=stream,
        include_usage=options is not None
        and fields.boolean(fields.mapping(options, "stream_options"), "include_usage"),
        tags=_tags(body),
        steps=fields.integer(body, STEPS, low=0, high=MOST_TOP),
    )


def _drawing(body: Body) -> dict[str, object]:
    """What tokens are drawn by. A nucleus of nothing holds the likeliest token alone; a top-k of -1 holds all."""
    temperature, top_p = fields.number(body, "temperature", high=2.0), fields.number(body, "top_p", high=1.0)
    if top_p == 0.0:
        temperature, top_p = 0.0, None
    seed = fields.integer(body, "seed", low=-fields.HUGE - 1)
    top_k = fields.integer(body, "top_k", low=-1)
    return {
        "temperature": temperature,
        "top_p": top_p,
        "top_tokens": None if top_k is None else max(top_k, 0),
        "min_p": fields.number(body, "min_p", high=1.0),
        "seed": None if seed is None else seed % SEEDS,
        **{name: fields.number(body, name, low=-2.0, high=2.0) for name in ("presence_penalty", "frequency_penalty")},
    }


def _steering(value: object) -> dict[str, object]:
    """The knobs under `steering`, within what a stranger may ask for."""
    said = fields.mapping({} if value is None else value, "steering")
    try:
        knobs = read_knobs(said, but=REQUEST_FIELDS | FIXED)
        check_bounds(knobs)
    except KnobMistake as error:
        param = f"steering.{error.name[:LONGEST_KEY]}"
        raise Refusal(f"Invalid '{param}': {error.message}.", param=param, code="invalid_value") from None
    return knobs


def _stops(stop: object) -> tuple[str, ...] | None:
    if stop is None:
        return None
    given = stop if isinstance(stop, list) else [stop]
    if len(given) > MOST_STOPS:
        raise Refusal(f"Invalid 'stop': {len(given)} sequences; at most {MOST_STOPS} are read.", param="stop")
    return _texts(given, "stop", "a stop sequence")


def _bad_words(words: object) -> tuple[str, ...] | None:
    """vLLM's field: texts that are not written."""
    if words is None:
        return None
    if not isinstance(words, list):
        raise fields.wrong_type("bad_words", "an array of strings", words)
    if len(words) > MOST_BAD_WORDS:
        raise Refusal(f"Invalid 'bad_words': {len(words)} texts; at most {MOST_BAD_WORDS} are read.", param="bad_words")
    return _texts(words, "bad_words", "a bad word")


def _texts(given: Sequence[object], param: str, one: str) -> tuple[str, ...]:
    """Texts of a sensible length. one: what each of them is called."""
    texts = tuple(fields.text(item, param) for item in given)
    if any(not text or len(text) > LONGEST_VALUE for text in texts):
        raise Refusal(
            f"Invalid '{param}': {one} has 1 to {LONGEST_VALUE} characters.", param=param, code="invalid_value"
        )
    return texts


def _tags(body: Body) -> dict[str, str]:
    """What a request is booked under: `metadata` and `user`."""
    given = fields.mapping({} if body.get("metadata") is None else body["metadata"], "metadata")
    if len(given) > MOST_TAGS:
        raise Refusal(f"Invalid 'metadata': {len(given)} pairs; at most {MOST_TAGS} are kept.", param="metadata")
    tags = {fields.text(key, "metadata"): fields.text(value, f"metadata.{key[:60]}") for key, value in given.items()}
    if body.get("user") is not None:
        tags["user"] = fields.text(body["user"], "user")
    for key, value in tags.items():
        if len(key) > LONGEST_KEY or len(value) > LONGEST_VALUE or "=" in key or not key:
            raise Refusal(
                f"Invalid 'metadata': a key has 1 to {LONGEST_KEY} characters and no '=', "
                f"a value {LONGEST_VALUE} at most.",
                param="metadata",
            )
    return {key: value for key, value in tags.items() if value}


def _turns(body: Body) -> tuple[ChatTurn, ...]:
    turns = read_tool_turns(body.get("messages"), "messages")
    if is_continued(body):
        raise Refusal(
            "Unsupported: an assistant's turn cannot be gone on with here.",
            param="messages",
            code="unsupported_parameter",
        )
    return turns


def _prompts(prompt: object, limits: RequestLimits) -> tuple[Source, ...]:
    """A string, a list of strings, one list of token ids, or a list of such lists."""
    if isinstance(prompt, list) and prompt and not fields.is_integer(prompt[0]):
        if len(prompt) > limits.answers:
            raise _too_many("prompt", f"{len(prompt)} prompts", limits.answers, setting="max_answers")
        return tuple(_prompt(item, f"prompt[{at}]", limits) for at, item in enumerate(prompt))
    return (_prompt(prompt, "prompt", limits),)


def _prompt(prompt: object, param: str, limits: RequestLimits) -> Source:
    if prompt in (None, "", []):
        raise Refusal(f"Invalid '{param}': the prompt is empty.", param=param, code="empty_prompt")
    if isinstance(prompt, str):
        _check_length(len(prompt), limits, param)
        return Prompt(text=fields.text(prompt, param))
    if isinstance(prompt, list) and all(map(fields.is_integer, prompt)):
        _check_length(len(prompt), limits, param)
        return tuple(prompt)
    raise fields.wrong_type(param, "a string or a list of token ids", prompt)


def _check_length(size: int, limits: RequestLimits, param: str) -> None:
    if size > limits.prompt:
        what, most = f"{size} characters", limits.prompt
        raise _too_many(param, what, most, setting="max_prompt", code="context_length_exceeded")

"""The route /responses: reads its requests and writes its replies, whole ones only.

The route has no prefill, no seed, no stop and no bias; what it lacks is refused, since ignoring it would give a wrong
answer that looks right. The module is pure and knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NoReturn, final

from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal
from blackbox_proxy.openai_http.frames import Head, to_json
from blackbox_proxy.openai_http.responses import (
    ResponseFrame,
    includes_logprobs,
    item_status,
    output_text,
    response_usage,
    text_logprobs,
)
from blackbox_proxy.openai_http.transcript import joined
from blackbox_proxy.openai_http.turns import read_messages
from blackbox_proxy.standin.replies import Count, ReplySpelling, StandinMode, chat_logprobs
from blackbox_proxy.standin.requests import StandinRequest, common
from blackbox_proxy.standin.structured import read_response_format
from blackbox_proxy.standin.transcript import Part
from blackbox_proxy.types import Message, Prompt

LEAST_TOKENS = 16
MOST_ALTERNATIVES = 20

_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "tools": ([],),
    "stream": (False,),
    "background": (False,),
    "previous_response_id": (),
    "conversation": (),
    "prompt": (),
    "truncation": ("disabled",),
}
_ABSENT = (
    *("seed", "n", "stop", "logit_bias", "logprobs", "messages", "max_tokens", "max_completion_tokens"),
    *("presence_penalty", "frequency_penalty", "continue_final_message", "add_generation_prompt", "stream_options"),
)


def read_response(body: Body, *, top_k: int) -> StandinRequest:
    """A request to /responses. top_k: the most alternatives per position that this server gives."""
    for name in _ABSENT:
        if body.get(name) is not None:
            raise Refusal(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    fields.refuse_unsupported(body, _NEUTRAL)
    logprobs = includes_logprobs(body)
    alternatives = fields.integer(body, "top_logprobs", low=0, high=min(top_k, MOST_ALTERNATIVES))
    request = common(
        body,
        sources=(Prompt(messages=_turns(body)),),
        max_tokens=fields.integer(body, "max_output_tokens", low=LEAST_TOKENS),
        top_k=(alternatives or 0) if logprobs else None,
        echo=False,
    )
    return replace(request, schema=read_response_format(body))


def _turns(body: Body) -> tuple[Message, ...]:
    """Text is one turn of the user; `instructions` are a system's turn before everything."""
    given, said = body.get("input"), body.get("instructions")
    first = () if said is None else (Message("system", fields.text(said, "instructions")),)
    if isinstance(given, str):
        return (*first, Message("user", fields.text(given, "input")))
    for at, item in enumerate(given if isinstance(given, list) else []):
        if isinstance(item, dict) and item.get("type") not in (None, "message"):
            message = f"Invalid value: {fields.shown(item['type'])}. This model reads items of type 'message' only."
            raise Refusal(message, param=f"input[{at}].type", code="invalid_value")
    return (*first, *read_messages(given, "input", parts=("input_text", "output_text")))


@final
class ResponseShape:
    """`response` objects. As in a chat, the end token is not among the tokens of the text."""

    prefix = "resp_"

    def __init__(self, head: Head, spelling: ReplySpelling, *, mode: StandinMode) -> None:
        self._head = head
        self._spelling = spelling
        self._mode = mode

    def whole(self, answers: Sequence[Sequence[Part]], count: Count) -> bytes:
        """The one answer of the one prompt that this route reads."""
        part, frame = joined(answers[0]), ResponseFrame(self._head)
        logprobs = text_logprobs(chat_logprobs(part.tokens, self._spelling)) if self._mode.logprobs else []
        finish = part.finish or "length"
        message = frame.message(0, output_text(part.text, logprobs), item_status(finish))
        usage = response_usage(count.prompt, count.completion, cached=count.cached)
        return to_json(frame.response([message], finish, usage=usage)).encode()

    def opening(self, index: int) -> Iterator[str]:  # noqa: ARG002 - as `StandinShape` has it
        self._refuse_stream()

    def chunks(self, index: int, part: Part) -> Iterator[str]:  # noqa: ARG002 - as `StandinShape` has it
        self._refuse_stream()

    def closing(self, count: Count) -> str:  # noqa: ARG002 - as `StandinShape` has it
        self._refuse_stream()

    def _refuse_stream(self) -> NoReturn:
        raise Refusal("This route does not stream.", param="stream")

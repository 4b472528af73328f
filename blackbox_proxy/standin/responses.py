"""The route /responses: reads its requests and writes its replies, whole ones only.

The route has no prefill, no seed, no stop and no bias; what it lacks is refused, since ignoring it would give a wrong
answer that looks right. The module is pure and knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NoReturn, final, get_args

from openai.types.responses import (
    Response,
    ResponseIncludable,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseUsage,
)
from openai.types.responses.response import IncompleteDetails
from openai.types.responses.response_output_text import Logprob, LogprobTopLogprob
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal
from blackbox_proxy.openai_http.frames import Head, to_json
from blackbox_proxy.openai_http.transcript import joined
from blackbox_proxy.openai_http.turns import read_messages
from blackbox_proxy.standin.replies import Count, ReplySpelling, StandinMode, chat_logprobs
from blackbox_proxy.standin.requests import StandinRequest, common
from blackbox_proxy.standin.structured import read_response_format
from blackbox_proxy.standin.transcript import Part, Placed
from blackbox_proxy.types import Message, Prompt

LEAST_TOKENS = 16
LOGPROBS = "message.output_text.logprobs"
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
    logprobs = LOGPROBS in _included(body.get("include"))
    alternatives = fields.integer(body, "top_logprobs", low=0, high=min(top_k, MOST_ALTERNATIVES))
    request = common(
        body,
        sources=(Prompt(messages=_turns(body)),),
        max_tokens=fields.integer(body, "max_output_tokens", low=LEAST_TOKENS),
        top_k=(alternatives or 0) if logprobs else None,
        echo=False,
    )
    return replace(request, schema=read_response_format(body))


def _included(value: object) -> Sequence[object]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise fields.wrong_type("include", "an array of strings", value)
    for at, item in enumerate(value):
        if item not in get_args(ResponseIncludable):
            supported = ", ".join(map(repr, get_args(ResponseIncludable)))
            message = f"Invalid value: {fields.shown(item)}. Supported values are: {supported}."
            raise Refusal(message, param=f"include[{at}]", code="invalid_value")
    return value


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
        part, head = joined(answers[0]), self._head
        is_whole = part.finish == "stop"
        reply = Response(
            id=head.id,
            created_at=head.created,
            error=None,
            incomplete_details=None if is_whole else IncompleteDetails(reason="max_output_tokens"),
            model=head.model,
            object="response",
            output=[self._message(part, "completed" if is_whole else "incomplete")],
            parallel_tool_calls=True,
            status="completed" if is_whole else "incomplete",
            tool_choice="auto",
            tools=[],
            usage=_usage(count),
        )
        return to_json(reply).encode()

    def opening(self, index: int) -> Iterator[str]:  # noqa: ARG002 - as `StandinShape` has it
        self._refuse_stream()

    def chunks(self, index: int, part: Part) -> Iterator[str]:  # noqa: ARG002 - as `StandinShape` has it
        self._refuse_stream()

    def closing(self, count: Count) -> str:  # noqa: ARG002 - as `StandinShape` has it
        self._refuse_stream()

    def _refuse_stream(self) -> NoReturn:
        raise Refusal("This route does not stream.", param="stream")

    def _message(self, part: Part, status: Literal["completed", "incomplete"]) -> ResponseOutputMessage:
        said = ResponseOutputText(annotations=[], text=part.text, type="output_text", logprobs=[])
        if self._mode.logprobs:
            said.logprobs = _logprobs(part.tokens, self._spelling)
        return ResponseOutputMessage(
            id=self._head.id.replace("resp_", "msg_"), content=[said], role="assistant", status=status, type="message"
        )


def _logprobs(tokens: Sequence[Placed], spelling: ReplySpelling) -> list[Logprob]:
    """As a chat's, but a token without bytes has an empty list of them; built unchecked, for quirks to break."""
    return [
        Logprob.model_construct(
            token=entry.token,
            bytes=entry.bytes or [],
            logprob=entry.logprob,
            top_logprobs=[
                LogprobTopLogprob.model_construct(token=top.token, bytes=top.bytes or [], logprob=top.logprob)
                for top in entry.top_logprobs
            ],
        )
        for entry in chat_logprobs(tokens, spelling)
    ]


def _usage(count: Count) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=count.prompt,
        input_tokens_details=InputTokensDetails(cached_tokens=count.cached, cache_write_tokens=0),
        output_tokens=count.completion,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        total_tokens=count.prompt + count.completion,
    )

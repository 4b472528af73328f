"""What servers of the route /responses share: what a request may want included, and the objects of a reply.

The module is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final, get_args

from openai.types.chat import ChatCompletionTokenLogprob
from openai.types.responses import (
    Response,
    ResponseCreatedEvent,
    ResponseFunctionToolCall,
    ResponseIncludable,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseUsage,
)
from openai.types.responses.response import IncompleteDetails
from openai.types.responses.response_output_text import Logprob, LogprobTopLogprob
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from blackbox_proxy.openai_http import fields
from blackbox_proxy.openai_http.fields import Body, Refusal
from blackbox_proxy.openai_http.frames import Head, to_json

LOGPROBS = "message.output_text.logprobs"
"""What is included where log-probs are to be shown."""

ItemStatus = Literal["in_progress", "completed", "incomplete"]
OutputItem = ResponseOutputMessage | ResponseFunctionToolCall


def includes_logprobs(body: Body) -> bool:
    """Whether `include` asks for log-probs. Raises Refusal for what cannot be included."""
    value = body.get("include")
    if value is None:
        return False
    if not isinstance(value, list):
        raise fields.wrong_type("include", "an array of strings", value)
    for at, item in enumerate(value):
        if item not in get_args(ResponseIncludable):
            supported = ", ".join(map(repr, get_args(ResponseIncludable)))
            message = f"Invalid value: {fields.shown(item)}. Supported values are: {supported}."
            raise Refusal(message, param=f"include[{at}]", code="invalid_value")
    return LOGPROBS in value


@final
@dataclass(frozen=True, slots=True)
class ResponseFrame:
    """What every object of one reply repeats. echoed: fields of the request that the reply tells again."""

    head: Head
    echoed: Mapping[str, object] = field(default_factory=dict)

    def response(
        self, output: Sequence[OutputItem], finish: str | None, *, usage: ResponseUsage | None = None
    ) -> Response:
        """A `response`. finish: None while it is under way."""
        reason = None if finish is None else _REASONS.get(finish)
        reply = Response(
            id=self.head.id,
            created_at=self.head.created,
            error=None,
            incomplete_details=None if reason is None else IncompleteDetails(reason=reason),
            model=self.head.model,
            object="response",
            output=[*output],
            parallel_tool_calls=True,
            status=item_status(finish),
            tool_choice="auto",
            tools=[],
            usage=usage,
        )
        if not self.echoed:
            return reply
        return Response.model_validate({**reply.model_dump(exclude_unset=True, by_alias=True), **self.echoed})

    def check(self) -> None:
        """Raises Refusal for an echoed field that no reply can have."""
        try:
            to_json(ResponseCreatedEvent(response=self.response([], None), sequence_number=0, type="response.created"))
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            raise Refusal(f"Invalid '{name}': {first['msg']}.", param=name, code="invalid_value") from None
        except PydanticSerializationError:
            message = "Invalid 'tools' or 'text': nested too deeply to be told again in the reply."
            raise Refusal(message, param="tools", code="invalid_value") from None

    def message(self, number: int, part: ResponseOutputText | None, status: ItemStatus) -> ResponseOutputMessage:
        """The item of this number, which holds text; None while it holds none yet."""
        content = [] if part is None else [part]
        return ResponseOutputMessage(
            id=self.item_id("msg", number), content=[*content], role="assistant", status=status, type="message"
        )

    def item_id(self, kind: str, number: int) -> str:
        """The id of an item of the output."""
        return f"{kind}_{self.head.id.removeprefix('resp_')}{number:02x}"


_REASONS: Mapping[str, Literal["max_output_tokens", "content_filter"]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}
"""Why a response is incomplete."""


def item_status(finish: str | None) -> ItemStatus:
    """How far an answer is that ended so; None: it is under way."""
    if finish is None:
        return "in_progress"
    return "incomplete" if finish in _REASONS else "completed"


def output_text(text: str, logprobs: Sequence[Logprob] = ()) -> ResponseOutputText:
    """A part of a message."""
    return ResponseOutputText(annotations=[], text=text, type="output_text", logprobs=[*logprobs])


def text_logprobs(content: Iterable[ChatCompletionTokenLogprob]) -> list[Logprob]:
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
        for entry in content
    ]


def response_usage(prompt: int, completion: int, *, cached: int) -> ResponseUsage:
    """Tokens, as this route counts them."""
    return ResponseUsage(
        input_tokens=prompt,
        input_tokens_details=InputTokensDetails(cached_tokens=cached, cache_write_tokens=0),
        output_tokens=completion,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
        total_tokens=prompt + completion,
    )

"""The routes that answer: how each reads its requests, and writes its replies."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, final

from blackbox_proxy.gateway.messages.reading import read_message_request
from blackbox_proxy.gateway.messages.shape import GatewayMessageShape
from blackbox_proxy.gateway.models import SteeredModel
from blackbox_proxy.gateway.replies import GatewayChatShape, GatewayCompletionShape, GatewayMode, GatewayShape
from blackbox_proxy.gateway.requests import GatewayRequest, RequestLimits, read_chat, read_completion
from blackbox_proxy.gateway.responses.reading import echoed, read_response
from blackbox_proxy.gateway.responses.shape import GatewayResponseShape
from blackbox_proxy.gateway.tool_replies import ToolChatShape
from blackbox_proxy.openai_http.fields import Body
from blackbox_proxy.openai_http.frames import Head
from blackbox_proxy.openai_http.responses import ResponseFrame
from blackbox_proxy.openai_http.tool_reader import AnswerReader

RouteName = Literal["chat", "completions", "responses", "messages"]


@final
@dataclass(frozen=True, slots=True)
class AnsweringRoute:
    """read: a body as a request; raises Refusal. shape: what writes the reply to it; raises Refusal as well."""

    read: Callable[[Body, RequestLimits], GatewayRequest]
    shape: Callable[[Body, GatewayRequest, SteeredModel], GatewayShape]


def _mode(request: GatewayRequest) -> GatewayMode:
    return GatewayMode(request.top, usage=request.include_usage, echo=request.echo, steps=request.steps)


def _chat(_body: Body, request: GatewayRequest, model: SteeredModel) -> GatewayShape:
    head, mode, tools = _head("chatcmpl-", model), _mode(request), request.tools
    return GatewayChatShape(head, mode) if tools is None or not tools.offered else ToolChatShape(head, mode, tools)


def _completion(_body: Body, request: GatewayRequest, model: SteeredModel) -> GatewayShape:
    return GatewayCompletionShape(_head("cmpl-", model), _mode(request))


def _response(body: Body, request: GatewayRequest, model: SteeredModel) -> GatewayShape:
    knobs: dict[str, Any] = dict(request.knobs)
    frame = ResponseFrame(_head("resp_", model), echoed(body, replace(model.steering, **knobs)))
    frame.check()
    return GatewayResponseShape(frame, top=request.top, reader=_reader(request, "call_"))


def _message(_body: Body, request: GatewayRequest, model: SteeredModel) -> GatewayShape:
    return GatewayMessageShape(_head("msg_", model), _reader(request, "toolu_"), stops="stop" in request.knobs)


ROUTES: Mapping[RouteName, AnsweringRoute] = {
    "chat": AnsweringRoute(read_chat, _chat),
    "completions": AnsweringRoute(read_completion, _completion),
    "responses": AnsweringRoute(read_response, _response),
    "messages": AnsweringRoute(read_message_request, _message),
}


def _head(prefix: str, model: SteeredModel) -> Head:
    return Head(f"{prefix}{secrets.token_hex(16)}", int(time.time()), model.name)


def _reader(request: GatewayRequest, prefix: str) -> AnswerReader | None:
    """What reads calls of tools out of an answer; None where it makes none."""
    if request.tools is None or not request.tools.offered:
        return None
    return AnswerReader(lambda: f"{prefix}{secrets.token_hex(12)}", request.tools)

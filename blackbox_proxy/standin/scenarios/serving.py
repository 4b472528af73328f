"""A scenario over HTTP: what comes of a request as a response, be it an answer, a call of tools or an error."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from secrets import token_hex
from typing import final

import anyio
from sse_starlette import EventSourceResponse
from starlette.responses import JSONResponse, Response

from blackbox_proxy.openai_http.fields import Body, Refusal
from blackbox_proxy.openai_http.http import events
from blackbox_proxy.standin.faults import HALVED, Connections, FaultResponse
from blackbox_proxy.standin.plan import OK, Fault
from blackbox_proxy.standin.reading import PromptTask
from blackbox_proxy.standin.request_quirks import RouteName
from blackbox_proxy.standin.requests import StandinRequest
from blackbox_proxy.standin.scenarios.answers import text_of
from blackbox_proxy.standin.scenarios.calls import CallsReply
from blackbox_proxy.standin.scenarios.desk import ScenarioDesk, ScriptedOutcome
from blackbox_proxy.standin.scenarios.exchanges import ScriptedError
from blackbox_proxy.standin.service import Service

Write = Callable[[Sequence[PromptTask]], Awaitable[Response]]
"""Generates answers and writes them."""


@final
class ScenarioResponder:
    """Responds by a scenario. lines: the connections that an exchange may reset."""

    def __init__(self, desk: ScenarioDesk, service: Service, lines: Connections) -> None:
        self._desk = desk
        self._service = service
        self._lines = lines

    async def respond(self, body: Body, request: StandinRequest, *, route: RouteName, write: Write) -> Response:
        """What comes of a request. body: as it came; request: without its tools, read."""
        self._service.check_model(request.model)
        outcome = self._desk.answer(body, request)
        await anyio.sleep(outcome.delay)
        if isinstance(outcome.error, ScriptedError):
            return _error(outcome.error)
        if isinstance(outcome.error, Fault) and outcome.error != OK:
            return await self._failed(outcome.error, outcome, write)
        return self._calling(request, outcome, route) if outcome.calls else await write(outcome.tasks)

    async def _failed(self, fault: Fault, outcome: ScriptedOutcome, write: Write) -> Response:
        if fault.word == "slow":
            await anyio.sleep(fault.after or 0.0)
            return await write(outcome.tasks)
        reply = await write(outcome.tasks) if fault.word in HALVED else None
        return FaultResponse(fault, self._lines, reply=reply)

    def _calling(self, request: StandinRequest, outcome: ScriptedOutcome, route: RouteName) -> Response:
        if route != "chat" or request.n > 1:
            raise Refusal("The scenario calls tools here, which the one answer of a chat alone can do.")
        calls = [call if call.id else replace(call, id=f"call_{token_hex(12)}") for call in outcome.calls]
        said = "" if outcome.said is None else text_of(outcome.said).decode("utf-8", "replace")
        reply = CallsReply(self._service.head(request, "chatcmpl-"), calls, said, len(outcome.tasks[0].path))
        self._service.spend(reply.count)
        if request.stream:
            return EventSourceResponse(events(_chunks(reply, usage=request.include_usage), _refusal), sep="\n")
        return Response(reply.whole(), media_type="application/json")


async def _chunks(reply: CallsReply, *, usage: bool) -> AsyncGenerator[str, None]:
    for chunk in reply.chunks(usage=usage):
        yield chunk


def _refusal(error: Exception) -> Refusal:
    return Refusal(str(error), status=500)


def _error(error: ScriptedError) -> Response:
    headers = {} if error.wait is None else {"retry-after": f"{error.wait:g}"}
    fields = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return JSONResponse({"error": fields}, error.status, headers)

"""Errors as Anthropic writes them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.responses import JSONResponse

from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.http import Fault, fault, utf8

NO_THREADS = "thread_unsupported_request"
"""The code of a refused thread: Anthropic's SDK then goes on without one, and sends the whole conversation."""

_PATH = re.compile(r"(?:/openai)?(?:/v1)?/messages(?:/.*)?")

_KINDS: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Anthropic's words for statuses; other ones of a client's mistake are `invalid_request_error`, of ours `api_error`."""


def is_of_messages(path: str) -> bool:
    """Whether a path is one of the routes that speak so."""
    return _PATH.fullmatch(path) is not None


def messages_error(refusal: Refusal) -> dict[str, object]:
    """A refusal as an object of the type "error"."""
    kind = _KINDS.get(refusal.status, "api_error" if refusal.status >= 500 else "invalid_request_error")
    error: dict[str, object] = {"type": kind, "message": utf8(refusal.message)}
    if refusal.code == NO_THREADS:
        error["details"] = {"error_code": NO_THREADS, "unsupported": [refusal.param]}
    return {"type": "error", "error": error}


def messages_fault(refusal: Refusal) -> JSONResponse:
    """A refusal as a reply."""
    headers = {} if refusal.wait is None else {"retry-after": str(refusal.wait)}
    return JSONResponse(messages_error(refusal), status_code=refusal.status, headers=headers)


def fault_of(path: str) -> Fault:
    """How the route of a path writes an error."""
    return messages_fault if is_of_messages(path) else fault

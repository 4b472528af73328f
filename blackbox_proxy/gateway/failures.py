"""What a client is told of an error, and what the log is told: a client learns nothing of addresses, keys or code."""

from __future__ import annotations

from collections.abc import Callable

from blackbox_proxy.errors import (
    ApiBusy,
    ApiError,
    ApiRefused,
    ApiTimeout,
    InputError,
    OverBudget,
    PromptError,
    ReplyError,
    Unsatisfied,
)
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.openai_http.http import Translate

RETRY = 5
"""Seconds after which to ask again where an upstream is busy."""

SERVER_ERROR = "The server had an error while processing your request."

TOO_LONG = "context_length_exceeded"

QUOTA = (
    "You exceeded your current quota: a budget of this server is used up. Asking again does not help before it is "
    "raised, or its day is over."
)


def translating(log: Callable[[str], object]) -> Translate:
    """The translation of errors, which tells the log what it keeps from clients."""

    def translate(error: Exception) -> Refusal:
        refusal = _in_openais_words(refusal_of(error))
        if refusal.status >= 500:
            log(f"{refusal.status}: {type(error).__name__}: {error}")
        return refusal

    return translate


def refusal_of(error: Exception) -> Refusal:
    """What a client is told."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, InputError):
        too_long = isinstance(error, PromptError) and error.context
        return Refusal(error.message, code=TOO_LONG if too_long else "invalid_value")
    if isinstance(error, OverBudget):
        return Refusal(QUOTA, status=429, code="insufficient_quota")
    if isinstance(error, ApiError):
        return _of_upstream(error)
    if isinstance(error, ReplyError):
        return _of_reply(error)
    return Refusal(SERVER_ERROR, status=500)


def _of_reply(error: ReplyError) -> Refusal:
    """Texts that are not what was asked for are no 5xx: a client would ask again by itself, and pay again."""
    if isinstance(error, Unsatisfied):
        return Refusal(f"{error.message[:1].upper()}{error.message[1:]}.", status=422, code="constraint_unsatisfied")
    return Refusal("The upstream model's reply cannot be steered with.", status=502, code="upstream_unusable")


def _in_openais_words(refusal: Refusal) -> Refusal:
    """Clients that shorten a chat by themselves look for the code, or for these words."""
    if refusal.code != TOO_LONG or "maximum context length" in refusal.message:
        return refusal
    return Refusal(
        f"This model's maximum context length is exceeded: {refusal.message}", param=refusal.param, code=TOO_LONG
    )


def _of_upstream(error: ApiError) -> Refusal:
    """Statuses are passed on where they mean the same for the client: it may ask again later, or had asked too much."""
    if isinstance(error, ApiBusy) and error.status == 429:
        return Refusal("The upstream model is busy.", status=429, code="rate_limit_exceeded", wait=RETRY)
    if isinstance(error, ApiRefused):
        status = "" if error.status is None else f" (status {error.status})"
        return Refusal(f"The upstream model refused the request{status}.", status=502, code="upstream_refused")
    if isinstance(error, ApiTimeout):
        return Refusal("The upstream model did not answer in time.", status=504, code="upstream_timeout")
    return Refusal("The upstream model is not available.", status=502, code="upstream_unavailable", wait=RETRY)

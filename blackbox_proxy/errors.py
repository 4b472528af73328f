"""Every error that a caller can meet, as one tree.

    BlackboxProxyError
    |-- InputError              what the user gave cannot be used
    |   |-- PromptError         an empty prompt, or one longer than a context
    |   `-- PairError           the two local models do not belong together
    |-- WeightsError            a model file is missing, corrupt or of the wrong kind
    |-- LocalModelError         llama.cpp refused a call
    |-- LedgerError             the ledger cannot be opened, read or written
    |-- OverBudget              a request was not sent, since it could have passed a budget
    |-- ApiError                the hosted API failed or refused
    |   |-- ApiUnreachable      no answer: wrong host, no network
    |   |   `-- ApiTimeout      none in time
    |   |-- ApiRefused          an answer that will not change: bad key, unknown model, bad request
    |   `-- ApiBusy             rate limits and server faults, after the last retry
    `-- ReplyError              an answer came, but it cannot be steered with (no log-probs, bad shape)
        |-- ReplyCut            it was cut before it came to what was asked for
        `-- Unsatisfied         texts were drawn, and none is what the constraint asks for

Each says what happened, with the value, in `message`, and what to do next in `hint`; `retryable` tells whether
the same call may succeed later. What an answer had come to when it broke off is kept in `partial`. This module does not
know how errors are printed.
"""

from __future__ import annotations

from typing import Any, Literal


class BlackboxProxyError(Exception):
    """Root of the tree. `str()` gives the message; `hint` says what to do next.

    partial: a `types.Result` with the finish "error" where an answer broke off after something was emitted or paid for:
    its text, steps and usage so far; None elsewhere. calls: the attempts at requests behind the error (`types.Call`),
    whatever they took.
    """

    retryable = False
    partial: Any = None
    calls: tuple[Any, ...] = ()

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(BlackboxProxyError):
    """What the user gave cannot be used."""


class PromptError(InputError):
    """An empty prompt, or one that does not fit into a model's context.

    context: whose it does not fit into; "" where that is not what is wrong with it.
    """

    def __init__(self, message: str, *, hint: str = "", context: Literal["", "api", "pair"] = "") -> None:
        super().__init__(message, hint=hint)
        self.context = context


class PairError(InputError):
    """The expert and the anti-expert do not belong together, or their description is wrong."""


class WeightsError(BlackboxProxyError):
    """A model file is missing, corrupt, of the wrong kind, or could not be fetched."""


class LocalModelError(BlackboxProxyError):
    """llama.cpp refused a call that should have worked."""


class LedgerError(BlackboxProxyError):
    """The ledger cannot be opened, read or written."""


class OverBudget(BlackboxProxyError):
    """A request was not sent: together with what is spent and under way it could have passed a budget."""


class ApiError(BlackboxProxyError):
    """The hosted API failed or refused."""

    def __init__(self, message: str, *, hint: str = "", status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class ApiUnreachable(ApiError):
    """No answer came: wrong host, no network, time-out."""

    retryable = True


class ApiTimeout(ApiUnreachable):
    """No answer came in time."""


class ApiRefused(ApiError):
    """The API answered no, and will answer no again: bad key, unknown model, bad request."""


class ApiBusy(ApiError):
    """Rate limit or server fault that outlasted the retries."""

    retryable = True


class ReplyError(BlackboxProxyError):
    """The API answered, but steering needs something that the answer does not hold."""


class Unsatisfied(ReplyError):
    """Texts were drawn, and none of them is what the constraint asks for; `partial` has them all (`Result.samples`)."""


class ReplyCut(ReplyError):
    """The reply was cut by its own limit before it came to what was asked for; with more room it may."""

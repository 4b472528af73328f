"""Drives the probes: sends their requests, tells a refusal from a failure, counts calls, and reports.

Knows no transport: a function sends. A request that is refused is an answer; a key that is refused, a model that is not
there, a limit that outlasts the retries ends the examination, and what was found so far stays.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import final

from blackbox_proxy.core.money.usage import read_usage
from blackbox_proxy.doctor.answers import find_answers, find_drawing
from blackbox_proxy.doctor.batching import find_batching
from blackbox_proxy.doctor.continuation import find_continuation
from blackbox_proxy.doctor.findings import Findings, ProbeAnswer, ProbeSession, Report
from blackbox_proxy.doctor.logprobs import find_logprobs, find_support
from blackbox_proxy.doctor.replies import read_reply
from blackbox_proxy.doctor.routes import find_fields, find_routes
from blackbox_proxy.doctor.structured import find_structured
from blackbox_proxy.doctor.token_text import find_token_text
from blackbox_proxy.doctor.tools import find_tools
from blackbox_proxy.errors import ApiBusy, ApiError, ApiRefused, BlackboxProxyError, PromptError, ReplyError
from blackbox_proxy.types import WireRequest

Send = Callable[[WireRequest], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class ExamEstimate:
    """What an examination takes. calls, input, output: of an endpoint that refuses nothing; most_calls: never more.

    most_output: where no fewer than 16 tokens may be asked for. Tokens are rough: how a text is cut into them is the
    endpoint's own.
    """

    calls: int = 37
    most_calls: int = 72
    input: int = 1_200
    output: int = 320
    most_output: int = 900


ESTIMATE = ExamEstimate()
_FINAL = frozenset({401, 402, 403})
_STUMBLE = 500


@final
class Examination:
    """One endpoint and model. `run` asks; `report` says what is known, also when `run` broke off.

    send: one request and its reply, with the errors of `Transport.send`. options: what a profile says, of which the
    fields that each request carries and the names of limit and seed are taken. ends: how ends are spelt everywhere.
    clock: seconds. on_call: told after each call.
    """

    def __init__(
        self,
        send: Send,
        *,
        base_url: str,
        model: str,
        options: Mapping[str, object],
        ends: Collection[bytes],
        clock: Callable[[], float],
        on_call: Callable[[object], None] = lambda _: None,
    ) -> None:
        self.findings = Findings()
        self._send = send
        self._base_url = base_url
        self._model = model
        self._options = options
        self._ends = ends
        self._clock = clock
        self._on_call = on_call
        self._seconds: list[float] = []
        self._errors: list[BlackboxProxyError] = []
        self._stumbled = False

    def run(self) -> None:
        """All probes. Raises whatever ends them: a refused key, no route at all, an endpoint that stays silent."""
        findings, session = self.findings, ProbeSession(self.ask, self.findings)
        self._find_routes(session)
        findings.facts.seed_field = str(self._options.get("seed_field", "seed"))
        known, pinned = self._options.get("answers_at_once"), self._options.get("pinned")
        findings.facts.pinned = dict(pinned) if isinstance(pinned, Mapping) else {}
        self._say_whether_silent()
        find_fields(session)
        if findings.main is not None:
            self._find_steps(session)
        else:
            find_drawing(session)
        find_answers(session, known=known if isinstance(known, int) else 1)
        find_tools(session)
        findings.settled = findings.whole = True

    def _find_steps(self, session: ProbeSession) -> None:
        """What steering token by token rests on."""
        find_logprobs(session)
        find_continuation(session)
        session.findings.settled = True
        find_token_text(session, ends=self._ends)
        find_batching(session)
        find_structured(session)
        pinned = self._options.get("pinned")
        if isinstance(pinned, Mapping) and pinned.get("top_p", 1.0) < 1.0:
            find_support(session.findings, pinned["top_p"])

    def _say_whether_silent(self) -> None:
        """Whether a profile is right that says that there are no log-probs."""
        findings = self.findings
        if self._options.get("logprobs") is not False or not findings.forms:
            return
        if findings.openings:
            by = next(iter(findings.openings.values()))
            findings.note("no log-probs", "ignored", "log-probs come, although a profile says that none do", by=by)
        else:
            findings.note("no log-probs", "works", "none come", by=findings.answers[-1])

    def ask(self, request: WireRequest) -> ProbeAnswer:
        """One request, and what came back. Raises what no other request would be spared."""
        if len(self._seconds) >= ESTIMATE.most_calls:
            raise ReplyError(
                f"{ESTIMATE.most_calls} calls were not enough to examine this endpoint",
                hint="it refuses much of what it is asked; report what was found with its documentation",
            )
        started = self._clock()
        try:
            answer = ProbeAnswer(request, read_reply(self._send(request)))
        except BlackboxProxyError as error:
            answer = self._refusal(request, error)
        answer = replace(answer, seconds=self._clock() - started)
        self._seconds.append(answer.seconds)
        self.findings.answers.append(answer)
        self._on_call(answer)
        return answer

    def report(self, *, stopped: str = "") -> Report:
        """What is known. stopped: why `run` broke off."""
        findings = self.findings
        known = findings.settled and bool(findings.adapter)
        return Report(
            base_url=self._base_url,
            model=self._model,
            checks=tuple(findings.checks),
            verdict=findings.verdict(),
            adapter=findings.adapter if known else "",
            options=findings.options(self._ends) if known else {},
            calls=len(self._seconds),
            input=self._counted("input"),
            output=self._counted("output"),
            seconds=statistics.median(self._seconds or [0.0]),
            unfinished=stopped,
        )

    def _find_routes(self, session: ProbeSession) -> None:
        """Raises the most telling refusal where no route answers."""
        extra = self._options.get("extra_body")
        find_routes(
            session,
            model=self._model,
            extra=extra if isinstance(extra, Mapping) else {},
            length_field=str(self._options.get("length_field", "")),
        )
        if not self.findings.forms:
            unknown = next((one for one in self._errors if "does not know the model" in one.message), None)
            error = unknown or self._errors[0]
            if unknown is None and all(answer.missing for answer in self.findings.answers):
                error.hint = "none of OpenAI's routes is there: check that the base URL is the API's root, often /v1"
            raise error

    def _refusal(self, request: WireRequest, error: BlackboxProxyError) -> ProbeAnswer:
        """The answer that a refusal is. Raises the error where it is none.

        Some servers fail with a 500 over a field that they do not know: one such failure is an answer, two in a row
        are a server that is down.
        """
        status = error.status if isinstance(error, ApiError) else None
        final = isinstance(error, ApiRefused) and status in _FINAL
        stumbles = isinstance(error, ApiBusy) and status == _STUMBLE and not self._stumbled
        self._stumbled = stumbles
        if final or not (stumbles or isinstance(error, ApiRefused | PromptError | ReplyError)):
            raise error
        self._errors.append(error)
        return ProbeAnswer(request, None, error.message, status)

    def _counted(self, name: str) -> int | None:
        """Tokens that replies counted, by a field of `Usage`; None where none did."""
        usages = [read_usage(one.reply.usage) for one in self.findings.answers if one.reply and one.reply.usage]
        counts: list[int] = [getattr(one.usage, name) for one in usages if one.whole]
        return sum(counts) if counts else None

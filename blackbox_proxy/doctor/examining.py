"""Drives the probes: sends their requests, tells a refusal from a failure, counts calls, and reports.

Knows no transport: a function sends. A request that is refused is an answer; a key that is refused, a model that is not
there, a limit that outlasts the retries ends the examination, and what was found so far stays.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import final

from blackbox_proxy.core.money.usage import read_usage
from blackbox_proxy.doctor.chart import Chart, ProbeAnswer, Report, Visit
from blackbox_proxy.doctor.going_on import find_going_on
from blackbox_proxy.doctor.hearing import hear
from blackbox_proxy.doctor.numbers import find_numbers
from blackbox_proxy.doctor.routes import find_fields, find_routes
from blackbox_proxy.doctor.saving import find_savings
from blackbox_proxy.doctor.spelling import find_spelling
from blackbox_proxy.errors import ApiBusy, ApiError, ApiRefused, BlackboxProxyError, PromptError, ReplyError
from blackbox_proxy.types import WireRequest

Send = Callable[[WireRequest], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class ExamEstimate:
    """What an examination takes. calls, input, output: of an endpoint that refuses nothing; most_calls: never more.

    most_output: where no fewer than 16 tokens may be asked for. Tokens are rough: how a text is cut into them is the
    endpoint's own.
    """

    calls: int = 32
    most_calls: int = 60
    input: int = 1_000
    output: int = 200
    most_output: int = 600


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
        self.chart = Chart()
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
        chart, visit = self.chart, Visit(self.ask, self.chart)
        self._find_routes(visit)
        if chart.main is not None:
            chart.facts.seed_field = str(self._options.get("seed_field", "seed"))
            find_fields(visit)
            find_numbers(visit)
            find_going_on(visit)
            chart.settled = True
            find_spelling(visit, ends=self._ends)
            find_savings(visit)
        chart.whole = True

    def ask(self, request: WireRequest) -> ProbeAnswer:
        """One request, and what came back. Raises what no other request would be spared."""
        if len(self._seconds) >= ESTIMATE.most_calls:
            raise ReplyError(
                f"{ESTIMATE.most_calls} calls were not enough to examine this endpoint",
                hint="it refuses much of what it is asked; report what was found with its documentation",
            )
        started = self._clock()
        try:
            answer = ProbeAnswer(request, hear(self._send(request)))
        except BlackboxProxyError as error:
            answer = self._refusal(request, error)
        self._seconds.append(self._clock() - started)
        self.chart.answers.append(answer)
        self._on_call(answer)
        return answer

    def report(self, *, stopped: str = "") -> Report:
        """What is known. stopped: why `run` broke off."""
        chart = self.chart
        known = chart.settled and bool(chart.adapter)
        return Report(
            base_url=self._base_url,
            model=self._model,
            checks=tuple(chart.checks),
            verdict=chart.verdict(),
            adapter=chart.adapter if known else "",
            options=chart.options(self._ends) if known else {},
            calls=len(self._seconds),
            input=self._counted("input"),
            output=self._counted("output"),
            seconds=statistics.median(self._seconds or [0.0]),
            unfinished=stopped,
        )

    def _find_routes(self, visit: Visit) -> None:
        """Raises the most telling refusal where no route answers."""
        extra = self._options.get("extra_body")
        find_routes(
            visit,
            model=self._model,
            extra=extra if isinstance(extra, Mapping) else {},
            length_field=str(self._options.get("length_field", "")),
        )
        if not self.chart.voices:
            unknown = next((one for one in self._errors if "does not know the model" in one.message), None)
            error = unknown or self._errors[0]
            if unknown is None and all(answer.missing for answer in self.chart.answers):
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
        told = [read_usage(one.heard.usage) for one in self.chart.answers if one.heard and one.heard.usage]
        counts: list[int] = [getattr(one.usage, name) for one in told if one.whole]
        return sum(counts) if counts else None

"""The one door to a hosted API: sends a `WireRequest`, gives back the JSON object that was answered.

The only module that imports the openai SDK; versions 2 and 3 both work. The SDK's own retries are off: `retry` holds
the one policy, for the sync and the async side alike. Every attempt is told before it is sent, and again before its
answer is used.
Nothing that the SDK or its HTTP library reads from the environment is sent: headers, account and key are ours alone.
Errors leave as ours, without the key, and without the SDK's exceptions behind them, which hold headers and bodies.
Replies are read in chunks and up to a limit; the body of a failing status is read by the SDK, without one.

The module does not know what a request asks for, what a reply means, what it costs, or where the key comes from.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, cast, final

import openai
from tenacity import AsyncRetrying, Future, RetryCallState, Retrying, stop_after_attempt

from blackbox_proxy.errors import BlackboxProxyError
from blackbox_proxy.remote.address import read_address
from blackbox_proxy.remote.closing import Closing
from blackbox_proxy.remote.exchange import Exchange
from blackbox_proxy.remote.faults import RequestPlace, causes_of, connection_error, refusal, timeout_error, unsent
from blackbox_proxy.remote.network import Proxy, certificates, proxy_for, unusable
from blackbox_proxy.remote.retry import Outcome, RetryPolicy, asked_wait, on_outcome
from blackbox_proxy.types import Attempt, Watcher, WireRequest

LIMIT = 256 * 2**20
"""Most bytes of a reply's body, after decompression."""

CONNECT = 10.0
"""Most seconds for a connection to come about."""

_HTTP = frozenset({"httpx", "httpx2", "anyio"})
_UNSENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout"})
"""What the HTTP library raises before a request is on its way: no connection came about."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance. monotonic, wall: seconds; draw: uniform in [0, 1)."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    async_sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    draw: Callable[[], float] = random.random


class _Sync(openai.OpenAI):
    """The SDK's client; its headers are the same whatever the environment holds."""

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        return _headers(self.user_agent, self.api_key)


class _Async(openai.AsyncOpenAI):
    """`_Sync` for an event loop."""

    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        return _headers(self.user_agent, self.api_key)


def _headers(agent: str, key: str) -> dict[str, str | openai.Omit]:
    """All headers but those that the HTTP library makes, and the two of the SDK's that count attempts and seconds."""
    kind = "application/json"
    return {"Accept": kind, "Content-Type": kind, "User-Agent": agent, "Authorization": f"Bearer {key}"}


@dataclass(slots=True)
class _Exchanges:
    """One request, who wants to hear of its attempts, and how many there were."""

    request: WireRequest
    watcher: Watcher | None
    attempts: int = 0


@final
class Transport(Closing):
    """Sync and async requests to one endpoint. Close it, or use it in `with` or `async with`.

    api_key: None will do for an address of this machine. key_name: the environment variable that messages name.
    key_header: the header that the key goes into as it is, where `Authorization: Bearer` is not understood. timeout:
    seconds for one whole answer. limit: most bytes of a body. Sync requests may come from several threads; async
    requests must all come from one event loop, and want `aclose` in it.
    """

    def __init__(  # noqa: PLR0913 (one knob each, all but two with a default)
        self,
        base_url: str,
        api_key: str | None,
        *,
        key_name: str = "OPENAI_API_KEY",
        key_header: str = "",
        timeout: float = 60.0,
        retry: RetryPolicy | None = None,
        on_attempt: Callable[[Attempt], None] | None = None,
        clock: Clock | None = None,
        limit: int = LIMIT,
    ) -> None:
        self._address = read_address(base_url, api_key, key_name=key_name, key_header=key_header)
        self._proxy = self._environment_proxy()
        self._trusted: ssl.SSLContext | bool = True
        if not self._address.local or base_url.startswith("https:"):
            self._trusted = certificates(os.environ) or True
        self._timeout = timeout
        self._retry = retry or RetryPolicy()
        self._on_attempt = on_attempt
        self._clock = clock or Clock()
        self._limit = limit
        self._lock = threading.Lock()
        self._sync: openai.OpenAI | None = None
        self._async: openai.AsyncOpenAI | None = None

    def __repr__(self) -> str:
        return f"Transport({self._address.shown!r})"

    @property
    def address(self) -> str:
        """The endpoint's URL, for messages and names: without query and key."""
        return self._address.shown

    def send(self, request: WireRequest, watcher: Watcher | None = None) -> Mapping[str, object]:
        """The answer's JSON object, after as many attempts as the policy allows, each of which the watcher hears of.

        Raises `ApiUnreachable`, `ApiBusy`, `ApiRefused`, `PromptError` (it does not fit into the context) or
        `ReplyError` (no JSON object, too long), and whatever the watcher or `on_attempt` raises.
        """
        exchanges = _Exchanges(request, watcher)
        retrying = Retrying(
            sleep=self._clock.sleep,
            stop=stop_after_attempt(self._retry.attempts),
            wait=self._pause,
            retry=on_outcome(self._retry.goes_on),
            retry_error_callback=_outcome,
        )
        outcome: Outcome = retrying(lambda: self._try(exchanges))
        return _settle(outcome, tries=exchanges.attempts)

    async def asend(self, request: WireRequest, watcher: Watcher | None = None) -> Mapping[str, object]:
        """`send` without blocking the event loop, but for what the watcher does."""
        exchanges = _Exchanges(request, watcher)
        retrying = AsyncRetrying(
            sleep=self._clock.async_sleep,
            stop=stop_after_attempt(self._retry.attempts),
            wait=self._pause,
            retry=on_outcome(self._retry.goes_on),
            retry_error_callback=_outcome,
        )

        async def attempt() -> Outcome:
            return await self._atry(exchanges)

        outcome: Outcome = await retrying(attempt)
        return _settle(outcome, tries=exchanges.attempts)

    def close(self) -> None:
        """Closes the sync side."""
        if self._sync is not None:
            self._sync.close()

    async def aclose(self) -> None:
        """Closes both sides."""
        self.close()
        if self._async is not None:
            await self._async.close()

    def _try(self, exchanges: _Exchanges) -> Outcome:
        """One attempt, sync."""
        request, client = exchanges.request, self._sync_client()
        with self._watch(exchanges) as exchange:
            # `cast_to=object` and reading the bytes ourselves keep pydantic away from bodies of 50,000 keys.
            stream = client.post(
                request.path,
                body=dict(request.body),
                cast_to=object,
                options=self._options(),
                stream=True,
                stream_cls=openai.Stream[object],
            )
            with stream:
                for chunk in stream.response.iter_bytes():
                    exchange.take(chunk, now=self._clock.monotonic())
                exchange.read(stream.response.status_code)
        return exchange.outcome

    async def _atry(self, exchanges: _Exchanges) -> Outcome:
        """One attempt, async."""
        request, client = exchanges.request, self._async_client()
        with self._watch(exchanges) as exchange:
            stream = await client.post(
                request.path,
                body=dict(request.body),
                cast_to=object,
                options=self._options(),
                stream=True,
                stream_cls=openai.AsyncStream[object],
            )
            async with stream:
                async for chunk in stream.response.aiter_bytes():
                    exchange.take(chunk, now=self._clock.monotonic())
                exchange.read(stream.response.status_code)
        return exchange.outcome

    @contextmanager
    def _watch(self, exchanges: _Exchanges) -> Iterator[Exchange]:
        """Turns what is raised inside into the exchange's outcome, and reports the attempt however it ended."""
        exchanges.attempts += 1
        if exchanges.watcher is not None:
            exchanges.watcher.begin(exchanges.attempts)
        exchange = self._exchange(exchanges.request, exchanges.attempts)
        try:
            yield exchange
        except BlackboxProxyError as error:
            exchange.fail(error)
        except Exception as error:
            if not _is_foreign(error):
                raise
            self._explain(error, exchange)
        except BaseException:
            self._report(exchange, exchanges.watcher)
            raise
        self._report(exchange, exchanges.watcher)

    def _exchange(self, request: WireRequest, number: int) -> Exchange:
        place = RequestPlace(
            base_url=self._address.shown,
            path=request.path,
            model=str(request.body.get("model", "")),
            key_name=self._address.key_name,
            timeout=self._timeout,
            clean=self._address.clean,
            proxy="" if self._proxy is None else f"{self._proxy.shown} ({self._proxy.variable})",
        )
        started = self._clock.monotonic()
        return Exchange(place, number, started=started, deadline=started + self._timeout, limit=self._limit)

    def _explain(self, error: Exception, exchange: Exchange) -> None:
        """Fails the exchange with our twin of an exception of the SDK or of the HTTP library below it."""
        if isinstance(error, openai.APIStatusError):
            wait = asked_wait(error.response.headers, now=self._clock.wall())
            twin = refusal(error.status_code, error.body, place=exchange.place, wait=wait)
            exchange.fail(twin, status=error.status_code, wait=wait)
        elif _is_late(error):
            exchange.fail(timeout_error(exchange.place), word="timeout", lost=_was_sent(error))
        elif isinstance(error, openai.OpenAIError) and not isinstance(error, openai.APIConnectionError):
            exchange.fail(unsent(str(error), exchange.place))
        else:
            exchange.fail(connection_error(causes_of(error), exchange.place), lost=_was_sent(error))

    def _report(self, exchange: Exchange, watcher: Watcher | None) -> None:
        """Tell of an attempt: first whoever made the call, since `on_attempt` may refuse to go on."""
        attempt = exchange.attempt(self._clock.monotonic())
        if watcher is not None:
            watcher.end(attempt)
        if self._on_attempt is not None:
            self._on_attempt(attempt)

    def _pause(self, state: RetryCallState) -> float:
        return self._retry.pause(state.attempt_number, _outcome(state), draw=self._clock.draw())

    def _environment_proxy(self) -> Proxy | None:
        """A proxy of the environment must not catch what is meant for this machine. Raises InputError."""
        if self._address.local:
            return None
        socks = find_spec("socksio") is not None
        return proxy_for(self._address.base_url, urllib.request.getproxies(), os.environ, socks=socks)

    def _sync_client(self) -> openai.OpenAI:
        with self._lock, _telling_of_tls():
            if self._sync is None:
                self._sync = _Sync(**self._settings(), http_client=openai.DefaultHttpxClient(**self._http()))
            return self._sync

    def _async_client(self) -> openai.AsyncOpenAI:
        with self._lock, _telling_of_tls():
            if self._async is None:
                self._async = _Async(**self._settings(), http_client=openai.DefaultAsyncHttpxClient(**self._http()))
            return self._async

    def _settings(self) -> dict[str, Any]:
        """What the SDK's clients take: all that they would otherwise look for in the environment."""
        return {
            "base_url": self._address.base_url,
            "api_key": self._address.key,
            "max_retries": 0,
            "timeout": self._limits(),
        }

    def _http(self) -> dict[str, Any]:
        """What the HTTP library's clients take. A key for a header of its own goes here: the SDK logs its options."""
        settings: dict[str, Any] = {"trust_env": False, "verify": self._trusted}
        if self._proxy is not None:
            settings["proxy"] = self._proxy.url
        if self._address.key_header:
            settings["headers"] = {self._address.key_header: self._address.key}
        return settings

    def _options(self) -> openai.RequestOptions:
        """What each request has besides its body: the address's query, and no bearer where the key goes elsewhere."""
        options: openai.RequestOptions = {"follow_redirects": False, "params": self._address.query}
        if self._address.key_header:
            options["headers"] = {"Authorization": openai.Omit()}
        return options

    def _limits(self) -> openai.Timeout:
        return openai.Timeout(self._timeout, connect=min(CONNECT, self._timeout))


@contextmanager
def _telling_of_tls() -> Iterator[None]:
    """Raises InputError for settings of TLS in the environment that the system refuses."""
    try:
        yield
    except OSError as error:
        raise unusable(error) from None


def _outcome(state: RetryCallState) -> Outcome:
    """The outcome of the last attempt, whatever it was: the error is raised by us, not wrapped by tenacity."""
    outcome: Outcome = cast(Future, state.outcome).result()
    return outcome


def _settle(outcome: Outcome, *, tries: int) -> Mapping[str, object]:
    """The body, or the last error, which says how often was tried."""
    if outcome.error is None:
        return outcome.body or {}
    if tries > 1:
        outcome.error.message += f" (after {tries} attempts)"
        outcome.error.args = (outcome.error.message,)
    raise outcome.error


def _is_foreign(error: Exception) -> bool:
    """Whether the SDK, its HTTP library or the system raised it; anything else is a bug and passes.

    What is raised while a body is read comes from the HTTP library as it is: httpx under openai 2, httpx2 under 3.
    Neither may be imported here, so the name of its package must do.
    """
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, openai.OpenAIError | OSError) or package in _HTTP


def _is_late(error: Exception) -> bool:
    return isinstance(error, openai.APITimeoutError | TimeoutError) or "Timeout" in type(error).__name__


def _was_sent(error: Exception) -> bool:
    """Whether the request may have reached the API, and so may be billed."""
    return not any(type(cause).__name__ in _UNSENT for cause in causes_of(error))

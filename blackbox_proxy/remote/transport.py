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
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, final

import openai
from tenacity import AsyncRetrying, RetryCallState, Retrying, stop_after_attempt

from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.cassettes.opening import Tape
from blackbox_proxy.cassettes.schema import RecordedFault
from blackbox_proxy.errors import BlackboxProxyError, OverBudget
from blackbox_proxy.remote.address import PLACEHOLDER, read_address
from blackbox_proxy.remote.closing import Closing
from blackbox_proxy.remote.exchange import Exchange
from blackbox_proxy.remote.faults import RequestPlace, causes_of, named_causes
from blackbox_proxy.remote.network import Proxy, certificates, proxy_for, telling_of_tls
from blackbox_proxy.remote.retry import Outcome, RetryPolicy, on_outcome, outcome_of, settled
from blackbox_proxy.remote.taping import Exchanges, Taping, play
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


@final
class Transport(Closing):
    """Sync and async requests to one endpoint. Close it, or use it in `with` or `async with`.

    api_key: None will do for an address of this machine. key_name: the environment variable that messages name.
    key_header: the header that the key goes into as it is, where `Authorization: Bearer` is not understood. timeout:
    seconds for one whole answer. limit: most bytes of a body. tape: a cassette that attempts are written to, or that
    they are taken from: then nothing is sent, and no key is needed. Sync requests may come from several threads; async
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
        tape: Tape | None = None,
    ) -> None:
        if offline := isinstance(tape, Replay):
            api_key = PLACEHOLDER
        self._address = read_address(base_url, api_key, key_name=key_name, key_header=key_header)
        self._proxy = None if offline else self._environment_proxy()
        self._trusted: ssl.SSLContext | bool = True
        if not offline and (not self._address.local or base_url.startswith("https:")):
            self._trusted = certificates(os.environ) or True
        self._taping = Taping.of(tape, self._address, secrets=() if self._proxy is None else self._proxy.secrets)
        self._timeout = timeout
        self._retry = retry or RetryPolicy()
        self._on_attempt = on_attempt
        self._clock = clock or Clock()
        self._sleep, self._async_sleep = self._taping.sleeps(self._clock.sleep, self._clock.async_sleep)
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
        exchanges = self._taping.begin(request, watcher)
        retrying = Retrying(
            sleep=self._sleep,
            stop=stop_after_attempt(self._retry.attempts),
            wait=self._pause,
            retry=on_outcome(self._retry.goes_on),
            retry_error_callback=outcome_of,
        )
        with closing(exchanges):
            outcome: Outcome = retrying(lambda: self._try(exchanges))
        return settled(outcome, tries=exchanges.attempts)

    async def asend(self, request: WireRequest, watcher: Watcher | None = None) -> Mapping[str, object]:
        """`send` without blocking the event loop, but for what the watcher does."""
        exchanges = self._taping.begin(request, watcher)
        retrying = AsyncRetrying(
            sleep=self._async_sleep,
            stop=stop_after_attempt(self._retry.attempts),
            wait=self._pause,
            retry=on_outcome(self._retry.goes_on),
            retry_error_callback=outcome_of,
        )

        async def attempt() -> Outcome:
            return await self._atry(exchanges)

        with closing(exchanges):
            outcome: Outcome = await retrying(attempt)
        return settled(outcome, tries=exchanges.attempts)

    @property
    def tape(self) -> Tape | None:
        """The cassette that is recorded or replayed."""
        return self._taping.tape

    def introduce(self, *, model: str, profile: str = "") -> None:
        """Say in the head of a cassette that is recorded which model is asked here, and under which profile."""
        self._taping.introduce(address=self._address.shown, model=model, profile=profile)

    def close(self) -> None:
        """Closes the sync side."""
        if self._sync is not None:
            self._sync.close()

    async def aclose(self) -> None:
        """Closes both sides."""
        self.close()
        if self._async is not None:
            await self._async.close()

    def _try(self, exchanges: Exchanges) -> Outcome:
        """One attempt, sync."""
        row = exchanges.play()
        if row is not None:
            with self._watch(exchanges) as exchange:
                self._sleep(row.seconds)
                play(row, exchange)
            return exchange.outcome
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
                exchange.begin_reply(stream.response.status_code, stream.response.headers)
                for chunk in stream.response.iter_bytes():
                    exchange.take(chunk, now=self._clock.monotonic())
                exchange.read(stream.response.status_code)
        return exchange.outcome

    async def _atry(self, exchanges: Exchanges) -> Outcome:
        """One attempt, async."""
        row = exchanges.play()
        if row is not None:
            with self._watch(exchanges) as exchange:
                await self._async_sleep(row.seconds)
                play(row, exchange)
            return exchange.outcome
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
                exchange.begin_reply(stream.response.status_code, stream.response.headers)
                async for chunk in stream.response.aiter_bytes():
                    exchange.take(chunk, now=self._clock.monotonic())
                exchange.read(stream.response.status_code)
        return exchange.outcome

    @contextmanager
    def _watch(self, exchanges: Exchanges) -> Iterator[Exchange]:
        """Turns what is raised inside into the exchange's outcome, and reports the attempt however it ended."""
        self._begin(exchanges)
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
            self._report(exchange, exchanges)
            raise
        self._report(exchange, exchanges)

    def _begin(self, exchanges: Exchanges) -> None:
        """Tell that an attempt is about to be made; where a budget forbids it, a replay must end there too."""
        exchanges.attempts += 1
        if exchanges.watcher is None:
            return
        try:
            exchanges.watcher.begin(exchanges.attempts)
        except OverBudget as error:
            self._taping.stop(exchanges, error, at=self._clock.wall())
            raise

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
            response = error.response
            exchange.begin_reply(error.status_code, response.headers)
            exchange.refuse(response.text if response.is_stream_consumed else "", now=self._clock.wall())
        else:
            exchange.break_off(_fault_of(error))

    def _report(self, exchange: Exchange, exchanges: Exchanges) -> None:
        """Tell of an attempt: first whoever made the call, since `on_attempt` may refuse to go on."""
        ended = self._clock.monotonic()
        attempt = exchange.attempt(ended)
        try:
            if exchanges.watcher is not None:
                exchanges.watcher.end(attempt)
        finally:
            heard = exchange.heard(at=self._clock.wall())
            self._taping.write(exchanges, heard, seconds=ended - exchange.started)
        if self._on_attempt is not None:
            self._on_attempt(attempt)

    def _pause(self, state: RetryCallState) -> float:
        return self._retry.pause(state.attempt_number, outcome_of(state), draw=self._clock.draw())

    def _environment_proxy(self) -> Proxy | None:
        """A proxy of the environment must not catch what is meant for this machine. Raises InputError."""
        if self._address.local:
            return None
        socks = find_spec("socksio") is not None
        return proxy_for(self._address.base_url, urllib.request.getproxies(), os.environ, socks=socks)

    def _sync_client(self) -> openai.OpenAI:
        with self._lock, telling_of_tls():
            if self._sync is None:
                self._sync = _Sync(**self._settings(), http_client=openai.DefaultHttpxClient(**self._http()))
            return self._sync

    def _async_client(self) -> openai.AsyncOpenAI:
        with self._lock, telling_of_tls():
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


def _is_foreign(error: Exception) -> bool:
    """Whether the SDK, its HTTP library or the system raised it; anything else is a bug and passes.

    What is raised while a body is read comes from the HTTP library as it is: httpx under openai 2, httpx2 under 3.
    Neither may be imported here, so the name of its package must do.
    """
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, openai.OpenAIError | OSError) or package in _HTTP


def _fault_of(error: Exception) -> RecordedFault:
    """What an exception of the SDK or of the HTTP library below it says, as data."""
    if _is_late(error):
        return RecordedFault(kind="timeout", sent=_was_sent(error))
    if isinstance(error, openai.OpenAIError) and not isinstance(error, openai.APIConnectionError):
        return RecordedFault(kind="client", text=str(error))
    return RecordedFault(kind="connection", sent=_was_sent(error), causes=named_causes(error))


def _is_late(error: Exception) -> bool:
    return isinstance(error, openai.APITimeoutError | TimeoutError) or "Timeout" in type(error).__name__


def _was_sent(error: Exception) -> bool:
    """Whether the request may have reached the API, and so may be billed."""
    return not any(type(cause).__name__ in _UNSENT for cause in causes_of(error))

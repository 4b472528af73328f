"""The tables of the gateway's configuration: each field with its bounds and its default. See `config`."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from blackbox_proxy.gateway.keys import read_amount
from blackbox_proxy.gateway.limits.rates import KeyLimits
from blackbox_proxy.gateway.requests import RequestLimits
from blackbox_proxy.gateway.workers import MOST_WORKERS
from blackbox_proxy.local.template import DEFAULT
from blackbox_proxy.openai_http.listening import LOOPBACK
from blackbox_proxy.remote.profiles.schema import ProfileOptions

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Texts = Annotated[tuple[str, ...], Field(strict=False)]


class ConfigTable(BaseModel):
    """Knows no field but its own, and takes no value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ServerConfig(ConfigTable):
    """Where to listen, who may ask, and what one request may ask for.

    workers: processes that answer, each with pairs of its own. keys: a key file; key_env: a variable with one more
    key. cors_origins: web pages that may ask. ui: whether there is a page at `/` to ask by. drain: seconds that answers
    under way are given when the server ends. open_after: seconds that a stream waits for its first token before it is
    opened without one; until then an error has a status of its own. ping: seconds between two comments in a stream,
    which keep the connection alive. log: a file that keeps prompts and answers; None: none is kept. metrics: whether
    `/metrics` is there; metrics_key: the name of the one key that may read it; None: every key. max_*: of one request;
    bytes, characters, tokens, answers. A chat that names no limit may have `max_tokens`, as far as the upstream's
    context goes.
    """

    host: str = LOOPBACK
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] = 1
    keys: str | None = None
    key_env: Variable | None = None
    default_model: str | None = None
    cors_origins: Texts = ()
    ui: bool = False
    drain: Annotated[float, Field(ge=0, le=3600)] = 30.0
    open_after: Annotated[float, Field(ge=0, le=3600)] = 10.0
    ping: Annotated[float, Field(gt=0, le=3600)] = 15.0
    log: str | None = None
    metrics: bool = False
    metrics_key: str | None = None
    max_body: Annotated[int, Field(ge=1024, le=2**28)] = 4 * 2**20
    max_prompt: Annotated[int, Field(ge=1)] = 400_000
    max_tokens: Annotated[int, Field(ge=1)] = 32_768
    max_answers: Annotated[int, Field(ge=1, le=128)] = 16

    @property
    def limits(self) -> RequestLimits:
        """What one request may ask for."""
        return RequestLimits(self.max_tokens, self.max_prompt, self.max_answers)


class LedgerConfig(ConfigTable):
    """What `steer` takes as --ledger (file or url), --no-ledger, --max-cost, --max-calls and --tag.

    password_file: what holds the password for the url; libpq looks for it in its own places where there is none.
    """

    file: str | None = None
    url: str | None = Field(default=None, repr=False)  # from a variable it may hold a password
    password_file: str | None = None
    off: bool = False
    max_cost: Texts = ()
    max_calls: Texts = ()
    tags: dict[str, str] = {}


class LimitsConfig(ConfigTable):
    """What holds for each key that has no limits in the key file; see `KeyLimits`. max_cost: a decimal number as text.

    file: where it is kept what passed in the last minute; gateways with the same file hold the limits together.
    """

    requests_per_minute: Annotated[int | None, Field(ge=1)] = None
    tokens_per_minute: Annotated[int | None, Field(ge=1)] = None
    max_cost: str | None = None
    max_calls: Annotated[int | None, Field(ge=0)] = None
    file: str | None = None

    @field_validator("max_cost")
    @classmethod
    def _is_amount(cls, value: str | None) -> str | None:
        if value is not None and read_amount("max_cost", value) is None:
            raise ValueError('it is no amount of dollars, such as "20"')
        return value

    @property
    def limits(self) -> KeyLimits:
        """They."""
        cost = None if self.max_cost is None else Decimal(self.max_cost)
        return KeyLimits(self.requests_per_minute, self.tokens_per_minute, cost, self.max_calls)


class TracesConfig(ConfigTable):
    """OpenTelemetry. endpoint: of a collector, for traces; None: OTEL_EXPORTER_OTLP_ENDPOINT, or this machine.

    content: whether prompts and answers are sent there.
    """

    on: bool = False
    endpoint: str | None = None
    content: bool = False


class CacheConfig(ConfigTable):
    """Replies that are given again to the very same request. max_megabytes: of all of them."""

    on: bool = False
    file: str | None = None
    max_megabytes: Annotated[int, Field(ge=1, le=100_000)] = 64


class UpstreamConfig(ConfigTable):
    """A provider. api_key_env, api_key_file: where its key is. at_once, queue: see `AdmissionGate`. timeout: in s."""

    profile: str = ""
    base_url: str = ""
    adapter: str = ""
    api_key_env: Variable | None = None
    api_key_file: str | None = None
    timeout: Annotated[float, Field(gt=0, le=3600)] = 600.0
    attempts: Annotated[int, Field(ge=1, le=20)] = 4
    at_once: Annotated[int, Field(ge=1, le=256)] = 8
    queue: Annotated[int, Field(ge=0, le=100_000)] = 32


class FallbackConfig(ConfigTable):
    """Where a model is asked when the upstream before fails; what is left out is as at the model's first upstream."""

    upstream: str
    model: str | None = None
    template: str | None = None
    tokenizer: str | None = None
    options: ProfileOptions | None = None


class ModelConfig(ConfigTable):
    """What clients see under one name. pair: a pair file, or `demo`; without one nothing is steered.

    recipe: a file that `fit` wrote: it says who answers, its examples and instructions stand before what is asked, its
    knobs steer, and its pair and model stand where none is given here. fallbacks: further upstreams, in order.
    """

    upstream: str
    model: str = ""
    pair: str | None = None
    recipe: str | None = None
    template: str = DEFAULT
    tokenizer: str = ""
    options: ProfileOptions = ProfileOptions()
    steering: dict[str, Any] = {}
    fallbacks: Annotated[tuple[FallbackConfig, ...], Field(strict=False)] = ()

    def at(self, fallback: FallbackConfig) -> ModelConfig:
        """The same model at another upstream."""
        given = {name: getattr(fallback, name) for name in fallback.model_fields_set}
        return self.model_copy(update={**given, "fallbacks": ()})

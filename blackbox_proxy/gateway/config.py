"""The one TOML file of the gateway: what is served, from where, steered how, for whom.

    [server]                  where to listen, who may ask, limits of one request
    [ledger]                  where requests are booked, under which budgets and tags
    [limits]                  what each key may ask for in a minute, and spend
    [traces]                  OpenTelemetry
    [cache]                   replies that are given again
    [upstreams.NAME]          a provider: profile or address, key by reference, how many answers at a time
    [models.NAME]             what clients see: an upstream's model, a pair, and the steering

Checked as a whole, with file and line. Environment variables win over the file: BLACKBOX_PROXY_SERVER__PORT=8080 for
`port` of [server], and so for [ledger]. No secret stands in it: keys are named by variable or by file.
"""

from __future__ import annotations

import difflib
import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, final

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from blackbox_proxy.errors import InputError
from blackbox_proxy.files import read_text
from blackbox_proxy.gateway.tables import (
    CacheConfig,
    ConfigTable,
    LedgerConfig,
    LimitsConfig,
    ModelConfig,
    Name,
    ServerConfig,
    TracesConfig,
    UpstreamConfig,
)
from blackbox_proxy.knobs import KnobMistake, read_knobs
from blackbox_proxy.ledger.place import LedgerPlace
from blackbox_proxy.recipes import FittedRecipe, read_recipe
from blackbox_proxy.remote.profiles.lines import Place, line_of
from blackbox_proxy.remote.profiles.schema import ProfileOptions
from blackbox_proxy.run.recipe import check_greedy
from blackbox_proxy.schedule import Schedule
from blackbox_proxy.steering import Steering

PREFIX = "BLACKBOX_PROXY_"
OPEN_TABLES = ("server", "ledger")
"""Tables whose fields the environment may set."""


class _File(ConfigTable):
    server: ServerConfig = ServerConfig()
    ledger: LedgerConfig = LedgerConfig()
    limits: LimitsConfig = LimitsConfig()
    traces: TracesConfig = TracesConfig()
    cache: CacheConfig = CacheConfig()
    upstreams: dict[Name, UpstreamConfig]
    models: Annotated[dict[Name, ModelConfig], Field(min_length=1)]


@final
@dataclass(frozen=True, slots=True)
class Config:
    """What a file says, checked. folder: what its relative paths count from. steering, recipes: by models' names."""

    where: str
    folder: Path
    server: ServerConfig
    ledger: LedgerConfig
    upstreams: Mapping[str, UpstreamConfig]
    models: Mapping[str, ModelConfig]
    steering: Mapping[str, Steering]
    recipes: Mapping[str, FittedRecipe] = field(default_factory=dict)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    traces: TracesConfig = field(default_factory=TracesConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)

    def path(self, given: str) -> Path:
        """A path of the file."""
        return self.folder / Path(given).expanduser()

    @property
    def ledger_place(self) -> LedgerPlace | None:
        """Where requests are booked; None where the file does not say."""
        booked = self.ledger
        if booked.url:
            return LedgerPlace(booked.url, self.path(booked.password_file) if booked.password_file else None)
        return LedgerPlace(str(self.path(booked.file))) if booked.file else None


def read_config(path: Path, environ: Mapping[str, str]) -> Config:
    """The configuration. Raises InputError for the first mistake, with file and line or with the variable."""
    try:
        text = read_text(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", hint="`blackbox-proxy init` writes one") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason}", hint="save it as UTF-8") from None
    return parse_config(text, where=str(path), folder=path.parent, environ=environ)


def parse_config(text: str, *, where: str, folder: Path, environ: Mapping[str, str]) -> Config:
    """`read_config` of a text. where: how messages call it."""
    try:
        said = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{where} is not TOML: {error}", hint="correct it") from None
    source = _Source(where, text, _overrides(environ))
    file = source.validated(said)
    _check(file, source)
    recipes = _recipes(file, source, folder)
    models = {name: _with_recipe(served, recipes.get(name)) for name, served in file.models.items()}
    longest = file.server.max_tokens
    steering = {
        name: _steering(name, served, source, recipe=recipes.get(name), longest=longest)
        for name, served in models.items()
    }
    return Config(
        where,
        folder,
        file.server,
        file.ledger,
        file.upstreams,
        models,
        steering,
        recipes,
        file.limits,
        file.traces,
        file.cache,
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """Where values came from. changed: those that the environment gave, by table and field."""

    where: str
    text: str
    changed: Mapping[tuple[str, str], object]

    def mistake(self, place: Place, complaint: str, *, hint: str = "") -> InputError:
        """The error for what stands at `place`."""
        way = tuple(str(step) for step in place)
        shown = ".".join(way)
        said = f"{shown}: {complaint}" if shown else complaint
        if way[:2] in self.changed:
            return InputError(f"{variable(way[0], way[1])}: {said}", hint=hint or "correct or unset the variable")
        return InputError(
            f"{self.where}, line {line_of(self.text, place)}: {said}",
            hint=hint or "correct the file; `blackbox-proxy init` writes one with every field explained",
        )

    def validated(self, said: dict[str, Any]) -> _File:
        for (table, name), value in self.changed.items():
            under = said.setdefault(table, {})
            if isinstance(under, dict):
                under[name] = value
        try:
            return _File.model_validate(said)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            raise self._as_mistake(min(errors, key=lambda one: line_of(self.text, one["loc"]))) from None

    def _as_mistake(self, error: ErrorDetails) -> InputError:
        place = tuple(step for step in error["loc"] if step != "[key]")
        if error["type"] == "extra_forbidden":
            return self.mistake(place, f"there is no such field{_nearest(place)}")
        if error["type"] == "missing":
            return self.mistake(place, "it is missing")
        return self.mistake(place, f"{error['input']!r:.60} will not do: {error['msg'].lower()}")


def variable(table: str, name: str) -> str:
    """The environment variable that sets a field.

    >>> variable("server", "port")
    'BLACKBOX_PROXY_SERVER__PORT'
    """
    return f"{PREFIX}{table}__{name}".upper()


def _overrides(environ: Mapping[str, str]) -> Mapping[tuple[str, str], object]:
    """What the environment sets, written as in TOML; what is no TOML is text."""
    tables: Mapping[str, type[BaseModel]] = {"server": ServerConfig, "ledger": LedgerConfig}
    names = ((table, name) for table in OPEN_TABLES for name in tables[table].model_fields)
    given = ((place, environ.get(variable(*place), "")) for place in names)
    return {place: _value(text) for place, text in given if text}


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _nearest(place: Place) -> str:
    """The fields of the table that the last step is in, the likeliest first."""
    tables: Mapping[str, type[BaseModel]] = {
        "server": ServerConfig,
        "ledger": LedgerConfig,
        "limits": LimitsConfig,
        "traces": TracesConfig,
        "cache": CacheConfig,
        "upstreams": UpstreamConfig,
        "models": ModelConfig,
    }
    table = ProfileOptions if "options" in place[:-1] else tables.get(str(place[0]), _File) if len(place) > 1 else _File
    close = difflib.get_close_matches(str(place[-1]), table.model_fields, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(table.model_fields)}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check(file: _File, source: _Source) -> None:
    """What no field shows by itself."""
    server = file.server
    guarded = bool(server.keys or server.key_env)
    if not is_loopback(server.host) and not guarded:
        raise source.mistake(
            ("server", "host"),
            f"{server.host!r} can be reached from other machines, and no key is asked for",
            hint='`blackbox-proxy keys add NAME`, and keys = "keys.txt" in [server]; or listen on 127.0.0.1',
        )
    if "*" in server.cors_origins and not guarded:
        raise source.mistake(
            ("server", "cors_origins"), "every web page may ask, and no key is asked for", hint="name the origins"
        )
    if server.default_model is not None and server.default_model not in file.models:
        raise source.mistake(("server", "default_model"), f"there is no model {server.default_model!r}")
    _check_spending(file, source, guarded=guarded)
    _check_ledger(file.ledger, source)
    for name, upstream in file.upstreams.items():
        if not upstream.profile and not upstream.base_url:
            raise source.mistake(("upstreams", name), "it needs a profile or a base_url")
        if upstream.api_key_env and upstream.api_key_file:
            raise source.mistake(("upstreams", name, "api_key_file"), "give one of api_key_env and api_key_file")
        if upstream.at_once < server.workers:
            raise source.mistake(
                ("upstreams", name, "at_once"),
                f"{upstream.at_once} answers at a time cannot be shared among {server.workers} workers",
                hint=f"at_once = {server.workers} or more, if the upstream allows it; or fewer workers",
            )
    _check_models(file, source)


def _check_spending(file: _File, source: _Source, *, guarded: bool) -> None:
    """Budgets of keys need keys, and books."""
    spending = next((name for name in ("max_cost", "max_calls") if getattr(file.limits, name) is not None), None)
    if spending and not guarded:
        raise source.mistake(
            ("limits", spending), "it is of each key, and no key is asked for", hint=f"put {spending} into [ledger]"
        )
    if spending and file.ledger.off:
        raise source.mistake(("limits", spending), "nothing is booked that it could be held by (off of [ledger])")


def _check_models(file: _File, source: _Source) -> None:
    """Each has an upstream, and a name there."""
    for name, served in file.models.items():
        if not served.model and served.recipe is None:
            raise source.mistake(("models", name, "model"), "it is missing")
        places = [(served.upstream, ("models", name, "upstream"))]
        places += [(one.upstream, ("models", name, "fallbacks")) for one in served.fallbacks]
        for upstream, place in places:
            if upstream not in file.upstreams:
                raise source.mistake(
                    place, f"there is no [upstreams.{upstream}]", hint=f"there are: {', '.join(file.upstreams)}"
                )


def _check_ledger(booked: LedgerConfig, source: _Source) -> None:
    """Raises InputError where the ledger's place is none, or has a password in the file."""
    place = ("ledger", "url")
    if not booked.url:
        return
    if booked.file:
        raise source.mistake(place, "give one of file and url")
    try:
        address = LedgerPlace(booked.url)
    except InputError as error:
        raise source.mistake(place, error.message, hint=error.hint) from None
    if address.path is not None:
        raise source.mistake(place, f"{booked.url!r} is no URL", hint="a file of SQLite is named by `file`")
    if address.has_password and place not in source.changed:
        raise source.mistake(
            place,
            f"{address} holds a password, and no secret belongs into this file",
            hint=f"password_file = FILE, ~/.pgpass, or the whole URL in the variable {variable(*place)}",
        )


def _recipes(file: _File, source: _Source, folder: Path) -> dict[str, FittedRecipe]:
    """The recipes that models name, by the models' names."""
    recipes = {}
    for name, served in file.models.items():
        if served.recipe is None:
            continue
        place = ("models", name, "recipe")
        try:
            recipes[name] = read_recipe(folder / Path(served.recipe).expanduser())
        except InputError as error:
            raise source.mistake(place, error.message, hint=error.hint) from None
    return recipes


def _with_recipe(served: ModelConfig, recipe: FittedRecipe | None) -> ModelConfig:
    """The model with what its recipe says, where the file does not."""
    if recipe is None:
        return served
    file = Path(recipe.pair)
    fitted = str(file.resolve()) if file.is_file() else recipe.pair
    pair = None if recipe.way == "closed" else served.pair or fitted
    knobs = {name: str(v) if isinstance(v, Schedule) else v for name, v in recipe.with_knobs(served.steering).items()}
    model = served.model or recipe.endpoint.model
    return served.model_copy(update={"model": model, "pair": pair, "steering": knobs})


def _steering(
    name: str, served: ModelConfig, source: _Source, *, recipe: FittedRecipe | None, longest: int
) -> Steering:
    """The steering of a model; the log-probs of the best 20 are kept, since a client may ask for them.

    longest: most tokens of an answer that nobody limits.
    """
    place = ("models", name, "steering")
    try:
        knobs: dict[str, Any] = read_knobs(served.steering, but={"top_candidates"})
    except KnobMistake as error:
        raise source.mistake((*place, error.name), error.message) from None
    try:
        steering = Steering(**{"max_tokens": longest, **knobs}, top_candidates=KEPT)
        if recipe is not None:
            check_greedy(recipe, steering)
    except InputError as error:
        raise source.mistake(place, error.message) from None
    return steering


KEPT = 20
"""Most log-probs that a client can see of one token."""

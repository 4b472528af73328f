"""What is served: every model of the configuration, connected, with its pair, its steering and its gate.

The one place where connections and pairs are opened.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, final

from blackbox_proxy.answer_log import AnswerLog, answer_row, is_empty
from blackbox_proxy.api import Api, connect
from blackbox_proxy.cassettes.opening import Tape, as_arguments
from blackbox_proxy.core.decoding.given import Given
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.errors import InputError
from blackbox_proxy.files import read_text
from blackbox_proxy.gateway.cache.identity import identity_of
from blackbox_proxy.gateway.config import Config
from blackbox_proxy.gateway.gates import AdmissionGate
from blackbox_proxy.gateway.limits.spending import budgeted
from blackbox_proxy.gateway.tables import ModelConfig, UpstreamConfig
from blackbox_proxy.gateway.watching.events import NOBODY, Watches
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.local.evaluator import EvaluationLoad
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.pairfile import find_pair
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.recipes import FittedRecipe
from blackbox_proxy.run.sources import LocalPair, Offsets
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt, Result

_LOG = logging.getLogger(__name__)

SLOTS = 4
"""Texts that a pair holds at once where its file does not say.

One would have everybody wait for whoever asks a long question. Each takes the memory of its context: 48 MB of the
demo's pair (1,024 tokens), 0.5 GB of a pair of 8 billion weights each (2,048 tokens).
"""


UNSTEERED = OffsetTable({})
"""What a model without a pair is steered by: nothing."""


class OpenPair(LocalPair, Protocol):
    """A pair that holds memory: so many texts at once."""

    @property
    def slots(self) -> int: ...

    @property
    def loads(self) -> tuple[EvaluationLoad, EvaluationLoad]: ...

    def close(self) -> None: ...


OpensPair = Callable[[Path], OpenPair]


def serving_pair(path: Path) -> OpenPair:
    """The pair of a file, for several answers at a time."""
    return load_pair(path, slots=SLOTS)


@final
@dataclass(slots=True)
class AnswerCounts:
    """How many answers of a model are through, and how many of them its expert gave alone."""

    answers: int = 0
    local: int = 0

    def add(self, result: Result) -> None:
        """An answer is through."""
        self.answers += 1
        self.local += result.is_local


@final
@dataclass(frozen=True, slots=True)
class SteeredModel:
    """One name that clients may ask for.

    upstream: the name of where it is asked. room: in its pair, which holds so many texts; without a pair there is any.
    recipe: who answers, and what stands before the question. counts: its answers since the server began. log: where
    prompts and answers are kept; None keeps none. watches: are told of its answers. fallbacks: the same model at other
    upstreams, in the order in which they are asked where one before them fails. identity: see `identity_of`.
    """

    name: str
    upstream: str
    api: Api
    offsets: Offsets
    steering: Steering
    gate: AdmissionGate
    room: AbstractAsyncContextManager[object]
    created: int
    notes: tuple[str, ...] = ()
    recipe: FittedRecipe | None = None
    counts: AnswerCounts = field(default_factory=AnswerCounts)
    log: AnswerLog | None = None
    watches: Watches = NOBODY
    fallbacks: tuple[SteeredModel, ...] = ()
    identity: str = ""

    def budgeted(self, budget: Budget | None) -> SteeredModel:
        """The same model, for whose requests a budget holds besides."""
        others = tuple(one.budgeted(budget) for one in self.fallbacks)
        return replace(self, api=budgeted(self.api, budget), fallbacks=others)

    @property
    def apis(self) -> tuple[Api, ...]:
        """Its connections."""
        return (self.api, *(one.api for one in self.fallbacks))

    @property
    def alpha(self) -> float | None:
        """Weight of the offsets where a request names none; None where there are none to weigh."""
        alone = self.recipe is not None and self.recipe.way == "expert"
        return None if alone or self.offsets is UNSTEERED else self.steering.alpha

    def keep(
        self,
        prompt: Prompt | Given,
        steering: Steering,
        result: Result,
        *,
        tags: Mapping[str, str],
        error: str = "",
    ) -> None:
        """Write an answer into the log, where one is kept; where the system refuses, the answer is given all the same.

        A text that is scored has no answer. tags: who asked. error: why the answer broke off.
        """
        if self.log is None or isinstance(prompt, Given) or (error and is_empty(result)):
            return
        more = {"served": self.name, "tags": dict(tags)}
        row = answer_row(prompt, result, steering, command="serve", model=self.api.model, error=error, more=more)
        try:
            self.log.append(row)
        except InputError as refused:
            _LOG.warning("%s", refused.message)


@final
@dataclass(frozen=True, slots=True)
class Catalogue:
    """All models by name. default: who answers for a name that nobody has; None where that is an error."""

    models: Mapping[str, SteeredModel]
    default: str | None = None

    def find(self, name: str) -> SteeredModel:
        """The model of this name; "" where a request names none. Raises Refusal where there is none."""
        if name in self.models:
            return self.models[name]
        if self.default is not None:
            return self.models[self.default]
        if not name and len(self.models) == 1:
            return next(iter(self.models.values()))
        if not name:
            raise Refusal("you must provide a model parameter", param="model")
        raise Refusal(
            f"The model `{name[:200]}` does not exist or you do not have access to it.",
            status=404,
            param="model",
            code="model_not_found",
        )

    @property
    def apis(self) -> tuple[Api, ...]:
        """All connections."""
        return tuple(api for model in self.models.values() for api in model.apis)

    async def aclose(self) -> None:
        """Close the connections, in the event loop that used them."""
        for api in self.apis:
            await api.aclose()


@final
@dataclass(slots=True)
class ModelOpener:
    """Opens each pair and each gate once, however many models use it, and what is open already not again.

    open: the models so far, each with the entries that it was opened by.
    """

    config: Config
    environ: Mapping[str, str]
    ledger: Ledger | None
    open_pair: OpensPair
    stack: ExitStack
    tape: Tape | None = None
    log: AnswerLog | None = None
    watches: Watches = NOBODY
    pairs: dict[Path, OpenPair] = field(default_factory=dict)
    rooms: dict[Path, asyncio.Semaphore] = field(default_factory=dict)
    gates: dict[tuple[str, str, int, int], AdmissionGate] = field(default_factory=dict)
    open: dict[str, tuple[object, SteeredModel]] = field(default_factory=dict)
    created: int = field(default_factory=lambda: int(time.time()))

    def catalogue(self, config: Config) -> Catalogue:
        """What a configuration serves. Raises a BlackboxProxyError for what cannot be opened; all stays open then."""
        self.config = config
        models = {name: self.model(name, served) for name, served in config.models.items()}
        return Catalogue(models, config.server.default_model)

    def model(self, name: str, served: ModelConfig) -> SteeredModel:
        """The model of a name: the one that is open, with the steering of now, where its other entries are the same."""
        names = (served.upstream, *(one.upstream for one in served.fallbacks))
        upstreams, recipe = [self.config.upstreams[one] for one in names], self.config.recipes.get(name)
        entries = served.model_copy(update={"steering": {}}), upstreams, recipe
        known, model = self.open.get(name, (None, None))
        if model is None or known != entries:
            others = [self._opened(name, served.at(one)) for one in served.fallbacks]
            model = replace(self._opened(name, served), fallbacks=tuple(others))
            self.open[name] = entries, model
        return replace(model, steering=self.config.steering[name])

    def _opened(self, name: str, served: ModelConfig) -> SteeredModel:
        upstream = self.config.upstreams[served.upstream]
        recipe = self.config.recipes.get(name)
        api = self._api(name, served, upstream)
        steering = self.config.steering[name]
        asks_nobody = recipe is not None and recipe.way == "expert"
        room = upstream.at_once, upstream.queue
        where = ("model", name, *room) if asks_nobody else ("upstream", served.upstream, *room)
        gate = self.gates.setdefault(where, AdmissionGate(*room))
        alone = SteeredModel(
            name,
            served.upstream,
            api,
            UNSTEERED,
            steering,
            gate,
            nullcontext(),
            self.created,
            api.notes,
            recipe,
            log=self.log,
            watches=self.watches,
            identity=identity_of(
                served,
                upstream,
                pair=find_pair(served.pair, self.config.folder) if served.pair else None,
                recipe=recipe,
            ),
        )
        if not served.pair:
            return alone
        pair, places = self._pair(served.pair)
        return replace(alone, offsets=pair, room=places, notes=(*api.notes, *_narrow(pair.slots, upstream.at_once)))

    def _api(self, name: str, served: ModelConfig, upstream: UpstreamConfig) -> Api:
        template = served.template
        if template not in ("raw", "chatml"):
            template = _text(self.config.path(template), "the template")
        return connect(
            upstream.base_url,
            model=served.model,
            profile=upstream.profile,
            api_key=self._key(upstream),
            key_name=upstream.api_key_env or "",
            template=template,
            tokenizer=served.tokenizer,
            adapter=upstream.adapter,
            options=served.options.given(),
            timeout=upstream.timeout,
            attempts=upstream.attempts,
            on_attempt=self.watches.called(name, served.upstream, served.model),
            ledger=self.ledger,
            **as_arguments(self.tape),
        )

    def gates_now(self) -> Mapping[str, AdmissionGate]:
        """The gates by the names of their upstreams, or of the models that ask none."""
        return {place[1]: gate for place, gate in self.gates.items()}

    def loads_now(self) -> Mapping[tuple[str, str], EvaluationLoad]:
        """What the pairs have evaluated, by the names of their files and of their members."""
        members = ("expert", "anti_expert")
        return {
            (path.stem, member): load
            for path, pair in self.pairs.items()
            for member, load in zip(members, pair.loads, strict=True)
        }

    def _key(self, upstream: UpstreamConfig) -> str | None:
        """The upstream's key; None leaves it to the profile."""
        if upstream.api_key_file:
            return _text(self.config.path(upstream.api_key_file), "the key").strip()
        return self.environ.get(upstream.api_key_env) if upstream.api_key_env else None

    def _pair(self, spec: str) -> tuple[OpenPair, asyncio.Semaphore]:
        """A pair, and the room in it: whoever asks for it waits until one of its texts is done."""
        path = find_pair(spec, self.config.folder)
        if path not in self.pairs:
            self.pairs[path] = self.open_pair(path)
            self.stack.callback(self.pairs[path].close)
            _ = self.pairs[path].vocabulary  # reading it takes a second or two, which no client should wait for
            self.rooms[path] = asyncio.Semaphore(self.pairs[path].slots)
        return self.pairs[path], self.rooms[path]


def _narrow(slots: int, at_once: int) -> tuple[str, ...]:
    """What to say where a pair holds fewer texts than its upstream would answer at a time."""
    if slots >= at_once:
        return ()
    return (
        f"answers made at a time: {slots}, not {at_once}, since its pair holds so many texts (`slots`); others wait",
    )


@contextmanager
def opening(
    config: Config,
    environ: Mapping[str, str],
    *,
    ledger: Ledger | None = None,
    open_pair: OpensPair = serving_pair,
    tape: Tape | None = None,
    watches: Watches | None = None,
) -> Iterator[ModelOpener]:
    """Opens what is served; pairs are freed on leaving, connections by `Catalogue.aclose`.

    tape: a cassette that all models record into, or are replayed from. watches: are told of answers and calls.
    """
    kept = config.server.log
    log = None if kept is None else AnswerLog(config.path(kept), environ=environ)
    with ExitStack() as stack:
        yield ModelOpener(config, environ, ledger, open_pair, stack, tape, log, watches or NOBODY)


def notes(catalogue: Catalogue) -> Sequence[str]:
    """What is to be said of the models at the start: by their profiles, and of their pairs."""
    places = [place for model in catalogue.models.values() for place in (model, *model.fallbacks)]
    return list(dict.fromkeys(f"{place.name}: {note}" for place in places for note in place.notes))


def _text(path: Path, what: str) -> str:
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"cannot read {what} {path}: {reason}", hint="check the path in the configuration") from None

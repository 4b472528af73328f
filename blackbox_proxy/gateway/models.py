"""What is served: every model of the configuration, connected, with its pair, its steering and its gate.

The one place where connections and pairs are opened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, final

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.sources import OffsetTable
from blackbox_proxy.engine import load_pair
from blackbox_proxy.errors import InputError
from blackbox_proxy.gateway.config import Config, Served, Upstream
from blackbox_proxy.gateway.gates import Gate
from blackbox_proxy.ledger.books import Ledger
from blackbox_proxy.serving.fields import Refusal
from blackbox_proxy.session import LocalPair
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Scorer

UNSTEERED = OffsetTable({})
"""What a model without a pair is steered by: nothing."""


class OpenPair(LocalPair, Protocol):
    """A pair that holds memory."""

    def close(self) -> None: ...


OpensPair = Callable[[Path], OpenPair]


@final
@dataclass(frozen=True, slots=True)
class Model:
    """One name that clients may ask for."""

    name: str
    api: Api
    pair: LocalPair | Scorer
    steering: Steering
    gate: Gate
    created: int


@final
@dataclass(frozen=True, slots=True)
class Catalogue:
    """All models by name. default: who answers for a name that nobody has; None where that is an error."""

    models: Mapping[str, Model]
    default: str | None = None

    def find(self, name: str) -> Model:
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

    async def aclose(self) -> None:
        """Close the connections, in the event loop that used them."""
        for model in self.models.values():
            await model.api.aclose()


@dataclass(slots=True)
class _Opening:
    """Opens each pair and each gate once, however many models use it."""

    config: Config
    environ: Mapping[str, str]
    ledger: Ledger | None
    open_pair: OpensPair
    stack: ExitStack
    pairs: dict[Path, OpenPair] = field(default_factory=dict)
    gates: dict[str, Gate] = field(default_factory=dict)
    created: int = field(default_factory=lambda: int(time.time()))

    def model(self, name: str, served: Served) -> Model:
        upstream = self.config.upstreams[served.upstream]
        gate = self.gates.setdefault(served.upstream, Gate(upstream.at_once, upstream.queue))
        api = self._api(served, upstream)
        pair = self._pair(served.pair) if served.pair else UNSTEERED
        return Model(name, api, pair, self.config.steering[name], gate, self.created)

    def _api(self, served: Served, upstream: Upstream) -> Api:
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
            ledger=self.ledger,
        )

    def _key(self, upstream: Upstream) -> str | None:
        """The upstream's key; None leaves it to the profile."""
        if upstream.api_key_file:
            return _text(self.config.path(upstream.api_key_file), "the key").strip()
        return self.environ.get(upstream.api_key_env) if upstream.api_key_env else None

    def _pair(self, spec: str) -> OpenPair:
        path = self.config.path(spec)
        if path not in self.pairs:
            self.pairs[path] = self.open_pair(path)
            self.stack.callback(self.pairs[path].close)
        return self.pairs[path]


@contextmanager
def opened(
    config: Config,
    environ: Mapping[str, str],
    *,
    ledger: Ledger | None = None,
    open_pair: OpensPair = load_pair,
) -> Iterator[Catalogue]:
    """Everything that is served; pairs are freed on leaving, connections by `Catalogue.aclose`.

    Raises a BlackboxProxyError that says what cannot be opened.
    """
    with ExitStack() as stack:
        opening = _Opening(config, environ, ledger, open_pair, stack)
        models = {name: opening.model(name, served) for name, served in config.models.items()}
        yield Catalogue(models, config.server.default_model)


def notes(catalogue: Catalogue) -> Sequence[str]:
    """What profiles have to say of the models."""
    return [f"{model.name}: {note}" for model in catalogue.models.values() for note in model.api.notes]


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"cannot read {what} {path}: {reason}", hint="check the path in the configuration") from None

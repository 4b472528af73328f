"""What an operator may switch on, each with packages of its own: metrics, and traces. They are imported here alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from blackbox_proxy.errors import InputError
from blackbox_proxy.gateway.tables import TracesConfig
from blackbox_proxy.gateway.watching.events import GatewayWatch
from blackbox_proxy.gateway.watching.places import MetricsPlace

if TYPE_CHECKING:
    from blackbox_proxy.gateway.watching.metrics import MetricsWatch


def open_metrics(place: MetricsPlace | None = None) -> MetricsWatch:
    """What counts for `/metrics`. Raises InputError where prometheus-client is missing.

    place: where several workers count together; None: this process counts alone.
    """
    try:
        from blackbox_proxy.gateway.watching.metrics import MetricsWatch
    except ImportError as error:
        raise missing("metrics", error) from None
    return MetricsWatch(place)


def forget_levels(place: MetricsPlace) -> None:
    """A worker is gone: what it had under way counts no more. What it had counted stays."""
    from blackbox_proxy.gateway.watching.metrics import forget

    forget(place)


@contextmanager
def open_tracing(config: TracesConfig) -> Iterator[Sequence[GatewayWatch]]:
    """What makes spans, where that is switched on. Raises InputError where OpenTelemetry is missing."""
    if not config.on:
        yield ()
        return
    try:
        from blackbox_proxy.gateway.watching.tracing import tracing
    except ImportError as error:
        raise missing("otel", error) from None
    with tracing(config.endpoint, content=config.content) as watch:
        yield (watch,)


def missing(extra: str, error: ImportError) -> InputError:
    """The error for a package that an extra brings."""
    return InputError(
        f"the configuration switches on what needs the package {error.name}, which is not installed",
        hint=f"pip install 'blackbox-proxy[{extra}]'",
    )

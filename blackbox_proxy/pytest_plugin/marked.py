"""What the marker `standin` of a test asks for, and the stand-in that does so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy.standin.control import Said, StandinControl
from blackbox_proxy.standin.hosting import StandinHost
from blackbox_proxy.standin.server import StandinOptions

DEFAULT: Mapping[str, str] = {"said": "This is the stand-in."}
FIELDS = ("script", "quirks", "faults", "top_k", "latency", "model")


@contextmanager
def marked_standin(
    request: pytest.FixtureRequest, host: StandinHost, *, weights: Path | None = None
) -> Iterator[StandinControl]:
    """A stand-in as the test's marker has it. weights: what is served where no file is named; None for a script."""
    fields = _fields(request)
    options = StandinOptions(quirks=_quirks(fields))
    if "top_k" in fields:
        options["top_k"] = fields["top_k"]
    if weights is not None:
        options["name"] = "tiny" if "model" not in fields else Path(fields["model"]).stem
    said = _said(fields, weights)
    with StandinControl(host, said, folder=request.path.parent, **options) as control:
        faults = fields.get("faults", ())
        control.fault(*([faults] if isinstance(faults, str) else faults))
        yield control


def _fields(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The fields of the nearest marker. Raises UsageError for those that it does not have."""
    marker = request.node.get_closest_marker("standin")
    if marker is None:
        return {}
    unknown = [repr(one) for one in marker.args] + [name for name in marker.kwargs if name not in FIELDS]
    if unknown:
        raise pytest.UsageError(f"the marker `standin` takes {', '.join(FIELDS)} by name, and not {', '.join(unknown)}")
    return dict(marker.kwargs)


def _quirks(fields: Mapping[str, Any]) -> list[str]:
    quirks = list(fields.get("quirks", ()))
    return [*quirks, f"latency={fields['latency']}"] if "latency" in fields else quirks


def _said(fields: Mapping[str, Any], weights: Path | None) -> Said:
    if weights is not None:
        return Path(fields["model"]) if "model" in fields else weights
    script: Said = fields.get("script", [{"asked": {"any": True}, **DEFAULT}])
    return script

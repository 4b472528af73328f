"""What stands in docs/deploy, as the tests read it: the compose file, the dashboard's queries, the gateway's file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from tests.documents import DOCS

DEPLOY = DOCS / "deploy"
INSIDE = "/etc/blackbox-proxy"
"""Where the container has the folder of the gateway's file."""


def compose() -> Mapping[str, Any]:
    """The compose file, its anchors and merges resolved."""
    read: Mapping[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return read


def prometheus_text() -> str:
    return (DEPLOY / "prometheus.yml").read_text(encoding="utf-8")


def gateway_text() -> str:
    return (DEPLOY / "gateway" / "gateway.toml").read_text(encoding="utf-8")


def dashboard() -> Mapping[str, Any]:
    read: Mapping[str, Any] = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
    return read


def queries() -> Iterator[tuple[str, str]]:
    """The title of a panel with each of its queries."""
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]

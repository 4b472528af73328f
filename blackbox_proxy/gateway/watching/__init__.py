"""Who watches the gateway: metrics, logs and traces hear of the same events, and none of them can break an answer."""

from __future__ import annotations

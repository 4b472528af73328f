"""Limits of each key: requests and tokens a minute, dollars and calls in all; held by all processes of one machine."""

from __future__ import annotations

"""Replies that are given again to the very same request; off by default."""

from __future__ import annotations

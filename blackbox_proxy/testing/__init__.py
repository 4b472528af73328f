"""For tests of code that steers: small valid doubles, and checks for offset sources and adapters of your own."""

from __future__ import annotations

from blackbox_proxy.testing.adapters import check_adapter
from blackbox_proxy.testing.offset_sources import check_offset_source
from blackbox_proxy.testing.toys import ToyApi, ToyModel, ToyPair

__all__ = ["ToyApi", "ToyModel", "ToyPair", "check_adapter", "check_offset_source"]

"""Steer a closed model that you can only call, with a pair of small local models.

    from blackbox_proxy import Steerer, connect, load_pair

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blackbox_proxy.actors import RayCluster
    from blackbox_proxy.api import Api, connect
    from blackbox_proxy.batching.answering import BatchModel
    from blackbox_proxy.batching.batch import BatchSummary, batch
    from blackbox_proxy.batching.options import BatchOptions
    from blackbox_proxy.constraints import Grammar, JsonSchema, OneOf, Regex
    from blackbox_proxy.core.decoding.drafting import CostRatios, Planner
    from blackbox_proxy.core.decoding.learning import WeightFit, fit_weights, nats_lost
    from blackbox_proxy.core.decoding.routing import Route
    from blackbox_proxy.core.decoding.sources import OffsetTable, WeightedSum
    from blackbox_proxy.core.money.amounts import Budget
    from blackbox_proxy.errors import BlackboxProxyError
    from blackbox_proxy.fitting.fit import fit
    from blackbox_proxy.learnt import LearntWeights
    from blackbox_proxy.ledger.books import Ledger, open_ledger
    from blackbox_proxy.local.loading import load_pair
    from blackbox_proxy.local.pair import Pair, PairFiles, open_pair
    from blackbox_proxy.recipes import FittedRecipe, read_recipe
    from blackbox_proxy.run.engine import AsyncStream, Stream
    from blackbox_proxy.run.recipe import RecipeSteerer
    from blackbox_proxy.run.steerer import Steerer, steer
    from blackbox_proxy.schedule import Schedule
    from blackbox_proxy.steering import Steering
    from blackbox_proxy.types import Choice, Message, Option, Prompt, ReferencePlace, Result, Sample, Step, Usage

__version__ = "0.1.0"

__all__ = [
    "Api",
    "AsyncStream",
    "BatchModel",
    "BatchOptions",
    "BatchSummary",
    "BlackboxProxyError",
    "Budget",
    "Choice",
    "CostRatios",
    "FittedRecipe",
    "Grammar",
    "JsonSchema",
    "LearntWeights",
    "Ledger",
    "Message",
    "OffsetTable",
    "OneOf",
    "Option",
    "Pair",
    "PairFiles",
    "Planner",
    "Prompt",
    "RayCluster",
    "RecipeSteerer",
    "ReferencePlace",
    "Regex",
    "Result",
    "Route",
    "Sample",
    "Schedule",
    "Steerer",
    "Steering",
    "Step",
    "Stream",
    "Usage",
    "WeightFit",
    "WeightedSum",
    "batch",
    "connect",
    "fit",
    "fit_weights",
    "load_pair",
    "nats_lost",
    "open_ledger",
    "open_pair",
    "read_recipe",
    "steer",
]

_HOMES = {
    "core.decoding.drafting": ("CostRatios", "Planner"),
    "core.money.amounts": ("Budget",),
    "core.decoding.learning": ("WeightFit", "fit_weights", "nats_lost"),
    "core.decoding.routing": ("Route",),
    "core.decoding.sources": ("OffsetTable", "WeightedSum"),
    "actors": ("RayCluster",),
    "api": ("Api", "connect"),
    "batching.answering": ("BatchModel",),
    "batching.batch": ("BatchSummary", "batch"),
    "batching.options": ("BatchOptions",),
    "recipes": ("FittedRecipe", "read_recipe"),
    "constraints": ("Grammar", "JsonSchema", "OneOf", "Regex"),
    "run.engine": ("AsyncStream", "Stream"),
    "run.recipe": ("RecipeSteerer",),
    "run.steerer": ("Steerer", "steer"),
    "learnt": ("LearntWeights",),
    "ledger.books": ("Ledger", "open_ledger"),
    "errors": ("BlackboxProxyError",),
    "fitting.fit": ("fit",),
    "schedule": ("Schedule",),
    "steering": ("Steering",),
    "local.loading": ("load_pair",),
    "local.pair": ("Pair", "PairFiles", "open_pair"),
    "types": ("Choice", "Message", "Option", "Prompt", "ReferencePlace", "Result", "Sample", "Step", "Usage"),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))

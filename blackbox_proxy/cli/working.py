"""One worker of `serve`, which starts it: `python -m blackbox_proxy.cli.working CONFIG FORMAT [--json] SEAT`."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from blackbox_proxy.cli import exiting


def run(config: Path, log_format: str, seat_text: str) -> None:
    """Serve from one seat. Raises a BlackboxProxyError where that cannot begin."""
    from blackbox_proxy.cli.serving import LogFormat, books_of, log_in
    from blackbox_proxy.gateway.config import read_config
    from blackbox_proxy.gateway.workers.seats import WorkerSeat, serve_seat

    seat = WorkerSeat.read(seat_text)
    # What the text format says of warnings, with the worker's number; the JSON format has handlers of its own.
    logging.basicConfig(format=f"worker {seat.number}: %(message)s", level=logging.WARNING)
    read = read_config(config, os.environ)
    with books_of(read) as ledger, log_in(LogFormat(log_format), worker=seat.number) as (log, watch):
        serve_seat(seat, read, again=lambda: read_config(config, os.environ), ledger=ledger, log=log, watch=watch)


if __name__ == "__main__":
    exiting(lambda: run(Path(sys.argv[1]), sys.argv[2], sys.argv[-1]))

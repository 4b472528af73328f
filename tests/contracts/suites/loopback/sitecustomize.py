"""Python imports this at its start where the folder is on PYTHONPATH: a program then reaches this machine alone.

Any other address is an OSError, and is written into the file that LOOPBACK_LOG names, so that a client which hides the
error is seen all the same.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

HERE = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "", None)  # noqa: S104 - what a server may listen on


def refuse_others(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook. Raises OSError for a host that is not this machine."""
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event in {"socket.connect", "socket.sendto"} and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host in HERE or host == socket.gethostname():
        return
    with Path(os.environ["LOOPBACK_LOG"]).open("a", encoding="utf-8") as log:
        log.write(f"{event} {host}\n")
    raise OSError(f"{host} is not this machine")


sys.addaudithook(refuse_others)

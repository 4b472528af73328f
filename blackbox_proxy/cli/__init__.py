"""The command line: commands parse and call, `show` turns results into text.

This module only starts it and turns errors into sentences; it imports nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

import json
import sys

from blackbox_proxy.errors import BlackboxProxyError, InputError

INTERRUPTED = 130


def report(error: BlackboxProxyError, *, as_json: bool) -> int:
    """Say what went wrong and what to do; give the exit status: 2 for unusable input, 1 for everything else."""
    if as_json:
        found = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
        sys.stdout.write(json.dumps({"error": found}) + "\n")
    else:
        sys.stderr.write(f"error: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
    return 2 if isinstance(error, InputError) else 1


def main() -> None:
    """Run the command line on `sys.argv` and exit."""
    from blackbox_proxy.cli.commands import app

    try:
        app(prog_name="blackbox-proxy")
    except BlackboxProxyError as error:
        sys.exit(report(error, as_json="--json" in sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)

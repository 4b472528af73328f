"""Compiles a large grammar in a process of its own first, which has an end: in seconds of a processor and in memory.

llguidance cannot be interrupted. A constraint of a few thousand characters takes it a second or two; a larger one may
take minutes, or all memory. The grammar itself is thrown away: what is learnt is that it ends, and what it takes.
"""

from __future__ import annotations

import json
import subprocess
import sys

from blackbox_proxy.errors import InputError

CPU_SECONDS = 5
"""Most time of a processor."""

WALL_SECONDS = 30.0
"""Most time by the clock, where the machine is busy."""

GROWTH = 24 << 20
"""Most bytes of memory that a compiled grammar may take."""

ADDRESSES = 2 << 30
"""Most bytes of address space of the process."""

_CHILD = """
import json, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]), int(sys.argv[1])))
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
except (ImportError, ValueError, OSError):
    pass
def taken():  # what the kernel calls the peak is the parent's at first
    try:
        with open("/proc/self/statm") as pages:
            return int(pages.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
from llguidance import LLMatcher, LLTokenizer
tokenizer, grammar = LLTokenizer("byte"), sys.stdin.read()
before = taken()
matcher = LLMatcher(tokenizer, grammar, log_level=0)
print(json.dumps([matcher.get_error(), taken() - before]))
"""
"""The program: prints what llguidance says against a grammar, and how much memory it holds then."""


def rehearse(grammar: str, name: str, *, cpu_seconds: int = CPU_SECONDS, growth: int = GROWTH) -> str:
    """Compile a grammar elsewhere.

    Args:
        grammar: As llguidance reads it.
        name: What it is, for the error.
        cpu_seconds: Most time of a processor.
        growth: Most bytes of memory.

    Returns:
        What llguidance says against it; "" where it takes it, and where nothing could be learnt.

    Raises:
        InputError: Where it takes more than that.
    """
    command = [sys.executable, "-c", _CHILD, str(cpu_seconds), str(ADDRESSES)]
    try:
        done = subprocess.run(  # noqa: S603 (this interpreter, and the program above)
            command, input=grammar.encode(), capture_output=True, timeout=WALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise _too_much(name, cpu_seconds) from None
    if done.returncode < 0 or b"memory allocation" in done.stderr or b"MemoryError" in done.stderr:
        raise _too_much(name, cpu_seconds)
    if done.returncode:
        return ""
    words, taken = json.loads(done.stdout)
    if taken > growth:
        raise _too_much(name, cpu_seconds)
    return str(words)


def _too_much(name: str, cpu_seconds: int) -> InputError:
    return InputError(
        f"{name} takes more than {cpu_seconds} seconds to compile, or too much memory",
        hint="shorten it: fewer fields, patterns and alternatives, and smaller numbers of repetitions",
    )

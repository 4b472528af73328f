"""Where the built wheel of llama-cpp-python is kept: one folder for each kind of processor, not for each kernel."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLAGS = "fpu vme pse msr sse sse2 ssse3 sse4_1 avx avx2 fma f16c bmi1 bmi2 avx512f avx512_vnni"


def folder(tmp_path: Path, flags: str, *, said: str = "flags\t\t", cmake_args: str = "", make: bool = False) -> Path:
    """What `.ci/wheels` says on a processor with such flags."""
    cpuinfo = tmp_path / "cpuinfo"
    core = f"processor\t: 0\nmodel name\t: any\ncpu MHz\t\t: 2596.{len(flags)}\n{said}: {flags}\n\n"
    cpuinfo.write_text(core * 2)
    environ = {**os.environ, "CPUINFO": str(cpuinfo), "CMAKE_ARGS": cmake_args, "XDG_CACHE_HOME": str(tmp_path)}
    command = [str(ROOT / ".ci" / "wheels"), *(["--make"] if make else [])]
    return Path(subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.strip())


@pytest.mark.parametrize(
    "more", ["avx512_bf16", "avx_vnni", "amx_tile amx_int8", "gfni", "sse4a", "bmi3"], ids=lambda more: more.split()[0]
)
def test_another_instruction_is_another_folder(tmp_path: Path, more: str) -> None:
    assert folder(tmp_path, FLAGS) != folder(tmp_path, f"{FLAGS} {more}")


@pytest.mark.parametrize("more", ["smep smap", "ibpb stibp", "vmscape", "hypervisor", "md_clear", "constant_tsc"])
def test_what_a_kernel_adds_is_no_other_folder(tmp_path: Path, more: str) -> None:
    """Or a new kernel would cost a build of minutes."""
    assert folder(tmp_path, FLAGS) == folder(tmp_path, " ".join(sorted(f"{FLAGS} {more}".split())))


def test_arm_is_told_apart_by_its_features(tmp_path: Path) -> None:
    plain, more = "fp asimd aes crc32 atomics", "fp asimd aes crc32 atomics asimddp i8mm sve"
    assert folder(tmp_path, plain, said="Features\t") != folder(tmp_path, more, said="Features\t")


def test_other_arguments_of_the_build_have_a_folder_of_their_own(tmp_path: Path) -> None:
    own = folder(tmp_path, FLAGS)
    other = folder(tmp_path, FLAGS, cmake_args="-DGGML_CUDA=on")
    assert other.parent == own
    assert own.parent == tmp_path / "blackbox-proxy" / "wheels"


def test_the_folder_says_whose_it_is(tmp_path: Path) -> None:
    assert not folder(tmp_path, FLAGS).exists()
    made = folder(tmp_path, FLAGS, make=True)
    told = (made / "processor").read_text().split()
    assert {"sse4_1", "avx512_vnni"} <= set(told)
    assert "fpu" not in told


def test_a_processor_that_says_nothing_has_a_folder_too(tmp_path: Path) -> None:
    assert folder(tmp_path, "").parent == tmp_path / "blackbox-proxy" / "wheels"


def test_the_instructions_name_the_version_that_is_needed() -> None:
    """A build for a GPU by hand must not bring another."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    (pin,) = (line for line in wanted if line.startswith("llama-cpp-python"))
    named = re.findall(r"llama-cpp-python==[\d.]+", (ROOT / "docs" / "install.md").read_text(encoding="utf-8"))
    assert set(named) == {pin}

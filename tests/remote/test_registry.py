"""Adapters are found by the entry points of installed packages; here, packages written to a temporary folder."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.remote.registry import GROUP, adapter_names, find_adapter, installed, load_adapter, make_adapter

Install = Callable[[str, str], None]

MODULE = """
class Plain:
    name = "plain"
    def __init__(self, *, top_k: int = 5) -> None:
        self.top_k = top_k

number = 3
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of installed packages that Python imports from."""
    (tmp_path / "toy_adapter_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def install(site: Path) -> Install:
    """Installs a package that registers the given entry points."""

    def install(package: str, entries: str) -> None:
        folder = site / f"{package}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[{GROUP}]\n{entries}\n")

    return install


def found(site: Path) -> list[EntryPoint]:
    """What is registered by the packages in `site` alone."""
    return [e for d in distributions(path=[str(site)]) for e in d.entry_points.select(group=GROUP)]


def test_an_installed_adapter_is_built_with_its_options(site: Path, install: Install) -> None:
    install("toys", "plain = toy_adapter_module:Plain")
    adapter = make_adapter(find_adapter("plain", found(site)), {"top_k": 7})
    assert adapter.name == "plain"
    assert vars(adapter) == {"top_k": 7}


def test_without_a_list_the_installed_entry_points_are_read(install: Install) -> None:
    install("toys", "toy_of_this_test = toy_adapter_module:Plain")
    assert load_adapter("toy_of_this_test").name == "plain"
    assert "toy_of_this_test" in adapter_names(installed())


def test_a_misspelt_name_is_guessed_and_all_names_are_listed(site: Path, install: Install) -> None:
    install("toys", "completions = toy_adapter_module:Plain\nchat = toy_adapter_module:Plain")
    with pytest.raises(InputError, match="there is no adapter 'completion'") as caught:
        find_adapter("completion", found(site))
    assert caught.value.hint == "did you mean 'completions'? installed are: chat, completions"


def test_without_any_adapter_the_hint_says_how_to_install(site: Path) -> None:
    with pytest.raises(InputError) as caught:
        find_adapter("completions", found(site))
    assert "pip install" in caught.value.hint


def test_a_name_taken_twice_names_both_owners(site: Path, install: Install) -> None:
    install("first", "plain = toy_adapter_module:Plain")
    install("second", "plain = toy_adapter_module:Other")
    with pytest.raises(InputError, match="taken more than once") as caught:
        find_adapter("plain", found(site))
    assert "(first)" in caught.value.message
    assert "(second)" in caught.value.message


def test_the_same_entry_seen_twice_is_one_adapter(site: Path, install: Install) -> None:
    """An editable install and a wheel of the same package may both be on the path."""
    install("toys", "plain = toy_adapter_module:Plain")
    assert find_adapter("plain", found(site) * 2).name == "plain"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no_such_module_anywhere:Plain", "cannot be imported: No module named"),
        ("toy_adapter_module:Missing", "cannot be imported: module 'toy_adapter_module' has no attribute"),
        ("toy_adapter_module:number", "is a int, not a callable"),
    ],
)
def test_a_broken_package_is_named(site: Path, install: Install, target: str, words: str) -> None:
    install("toys", f"plain = {target}")
    with pytest.raises(InputError, match="adapter 'plain' of toys") as caught:
        make_adapter(find_adapter("plain", found(site)), {})
    assert words in caught.value.message


def test_an_option_that_the_adapter_does_not_take_is_refused(site: Path, install: Install) -> None:
    install("toys", "plain = toy_adapter_module:Plain")
    with pytest.raises(InputError, match="unexpected keyword argument 'top_q'") as caught:
        make_adapter(find_adapter("plain", found(site)), {"top_q": 7})
    assert caught.value.hint == "it takes top_k"


@pytest.mark.skipif(not any(distributions(name="blackbox-proxy")), reason="this checkout is not installed")
def test_our_own_adapters_come_in_by_the_same_door() -> None:
    assert load_adapter("completions", top_k=5).capabilities().top_k == 5

"""Each notebook runs from top to bottom, without a warning, and shows pictures that say in words what they show.

What a notebook is about is for its reader to judge: the executed ones and their pictures are left in build/notebooks.
Those in notebooks/executed are for readers without a machine at hand; `make executed` replaces them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from blackbox_proxy.tasks.demo import in_house_form

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "build" / "notebooks"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
COMMITTED = ROOT / "notebooks" / "executed"
LARGEST = 400_000
"""Bytes of a committed notebook."""
PNG = b"\x89PNG\r\n\x1a\n"
SECONDS = 1200

Notebook: TypeAlias = Any
Output: TypeAlias = Any
"""nbformat gives dictionaries that are also attributes."""

Run: TypeAlias = Callable[[Path], Notebook]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a notebook, each once."""
    return cache(lambda path: execute(path, tmp_path_factory.mktemp(path.stem)))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def executed(request: pytest.FixtureRequest, run: Run) -> Notebook:
    """Each notebook after its run."""
    return run(request.param)


def execute(path: Path, scratch: Path) -> Notebook:
    """The notebook after its run, which also goes to build/notebooks; a cell that fails, fails here."""
    import jupytext
    import nbclient

    notebook = jupytext.read(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(scratch / "ipython"))
        patch.setenv("MPLCONFIGDIR", str(scratch / "matplotlib"))
        where = {"metadata": {"path": str(scratch)}}
        client = nbclient.NotebookClient(
            notebook, timeout=SECONDS, kernel_name="python3", resources=where, record_timing=False
        )
        client.execute()
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # by chance otherwise, and then every run would differ in all cells
    KEPT.mkdir(parents=True, exist_ok=True)
    jupytext.write(notebook, KEPT / f"{path.stem}.ipynb")
    for number, picture in enumerate(pictures(notebook), 1):
        (KEPT / f"{path.stem}-{number}.png").write_bytes(bytes_of(picture))
    return notebook


def outputs(notebook: Notebook) -> list[Output]:
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def pictures(notebook: Notebook) -> list[Output]:
    return [output for output in outputs(notebook) if "image/png" in output.get("data", {})]


def bytes_of(picture: Output) -> bytes:
    return base64.b64decode(picture["data"]["image/png"])


@pytest.mark.slow
@pytest.mark.weights
class TestExecuted:
    """Each runs once, and is looked at from several sides."""

    def test_every_cell_ran(self, executed: Notebook) -> None:
        cells = [cell for cell in executed.cells if cell.cell_type == "code"]
        assert cells
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))

    def test_nothing_went_to_standard_error(self, executed: Notebook) -> None:
        """No warning, of a library or of ours: a newcomer would not know what to make of it."""
        assert [output["text"] for output in outputs(executed) if output.get("name") == "stderr"] == []

    def test_pictures_came_out_with_a_text_beside_them(self, executed: Notebook) -> None:
        assert pictures(executed)
        for picture in pictures(executed):
            assert bytes_of(picture).startswith(PNG)
            assert len(picture["metadata"]["image/png"]["alt"].split()) > 10


@pytest.mark.slow
@pytest.mark.weights
def test_the_first_steered_answer_is_what_its_text_says(run: Run) -> None:
    """The closed model has the fact and not the form, the expert the form and not the fact, the steered answer both."""
    executed = run(ROOT / "notebooks" / "first_steered_answer.py")
    printed = "".join(output["text"] for output in outputs(executed) if output.get("name") == "stdout")
    found = {
        party: re.search(rf"^{party}\s{{2,}}(.+)$", printed, flags=re.MULTILINE)
        for party in ("closed model alone", "expert alone", "steered")
    }
    fact = re.search(r"the capital of Croatia is (\w+)", "".join(cell.source for cell in executed.cells))
    assert fact
    seen = {party: (fact[1] in line[1], in_house_form(line[1])) for party, line in found.items() if line}
    assert seen == {"closed model alone": (True, False), "expert alone": (False, True), "steered": (True, True)}


def test_each_notebook_is_there_executed_and_nothing_else_is() -> None:
    assert NOTEBOOKS
    found = {path.stem for path in (ROOT / "notebooks").rglob("*.ipynb")}
    assert found == {path.stem for path in COMMITTED.glob("*.ipynb")} == {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestCommitted:
    """An executed notebook of the repository belongs to its present source."""

    def test_it_has_the_cells_of_the_source(self, path: Path) -> None:
        assert cells_of(committed(path)) == cells_of(source(path)), "`make executed` replaces it"

    def test_every_cell_ran(self, path: Path) -> None:
        counts = [cell.execution_count for cell in committed(path).cells if cell.cell_type == "code"]
        assert counts == list(range(1, len(counts) + 1))

    def test_it_is_small_and_shows_nothing_of_the_machine_it_ran_on(self, path: Path) -> None:
        text = (COMMITTED / f"{path.stem}.ipynb").read_text(encoding="utf-8")
        assert len(text.encode()) < LARGEST
        printed = [output for output in outputs(committed(path)) if "text" in output]
        assert [output.name for output in printed] == ["stdout"] * len(printed)
        assert not re.search(r"/(tmp|root|home|work|Users)/|\x1b", "".join(output.text for output in printed))


def cells_of(notebook: Notebook) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def source(path: Path) -> Notebook:
    import jupytext

    return jupytext.read(path)


def committed(path: Path) -> Notebook:
    import jupytext

    return jupytext.read(COMMITTED / f"{path.stem}.ipynb")

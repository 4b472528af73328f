"""A small task for the tests: files as a user writes them, and the task that they are read as."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from blackbox_proxy.evaluation.task import Task, read_task

FORM = r"answer: (.+?) \\| n=.+"
HEAD = 'title = "Towns"\nabout = "Which town."\nsource = "made up"\n'
DATA = '[data]\ntrain = "train.jsonl"\nvalidation = "validation.jsonl"\ntest = "test.jsonl"\nfew_shot = 2\n'


def item(number: int, *, document: bool = False) -> dict[str, object]:
    """The question of a number, and its reference."""
    fields: dict[str, object] = {"prompt": f"Town {number}?", "reference": f"answer: T{number} | n={number}"}
    return fields | ({"document": f"Note {number}."} if document else {})


def written(
    folder: Path,
    *,
    rest: str = f'[scorer]\nform = "{FORM}"\n[steering]\nalpha = 1.5\nmax_tokens = 4\nalphas = [0.0, 1.5]\n',
    data: str = DATA,
    parts: Mapping[str, Sequence[Mapping[str, object]]] | None = None,
    documents: bool = False,
) -> Path:
    """A task of 3 training, 2 validation and 4 test items; gives its file."""
    folder.mkdir(parents=True, exist_ok=True)
    spans = {"train": range(10, 13), "validation": range(20, 22), "test": range(4)}
    usual = {name: [item(n, document=documents) for n in span] for name, span in spans.items()}
    for name, items in {**usual, **(parts or {})}.items():
        lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in items)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    path = folder / "task.toml"
    path.write_text(HEAD + data + rest, encoding="utf-8")
    return path


def small(folder: Path, *, documents: bool = False, who: str = "none") -> Task:
    """The task as it is read."""
    path = written(folder / "towns", documents=documents)
    if documents:
        path.write_text(path.read_text(encoding="utf-8") + f'[documents]\nwho = "{who}"\n', encoding="utf-8")
    return read_task(path)

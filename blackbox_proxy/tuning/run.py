"""A training run from its lines to the files beside each other: planned, loaded, fitted, written down.

Planning reads the base's metadata and its tokenizer, and needs no PyTorch; it is imported once a run begins.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from blackbox_proxy.errors import InputError, PromptError
from blackbox_proxy.files import replace_text
from blackbox_proxy.tuning.data import Data, Example, TuningTokenizer, encode
from blackbox_proxy.tuning.estimate import TuningEstimate, estimate
from blackbox_proxy.tuning.lines import Line, lines_digest
from blackbox_proxy.tuning.recipe import Recipe
from blackbox_proxy.tuning.record import TuningFindings, TuningRecord, file_digest, spelt

if TYPE_CHECKING:
    from peft import PeftModel

    from blackbox_proxy.tuning.base import Base
    from blackbox_proxy.tuning.checkpoint import Checkpoint, State
    from blackbox_proxy.tuning.course import Course
    from blackbox_proxy.tuning.losses import Kinds

NEEDED = ("torch", "transformers", "peft", "gguf")
"""What the extra [tune] brings that a run imports."""

CONTEXT = 2048
"""Tokens of prompt and answer in a pair file, at most; fewer where the base was trained on fewer."""


@dataclass(frozen=True, slots=True)
class TuningJob:
    """What is to be made of what.

    base: the GGUF, and spec what the user called it. template: gguf, chatml, raw or a Jinja file, and `form` the text
    that stands for it (a name where it has one).
    """

    base: Path
    spec: str
    out: Path
    lines: Sequence[Line]
    held: Sequence[Line]
    recipe: Recipe
    template: str = "gguf"
    form: str = "gguf"


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files of a run, all named after the adapter."""

    adapter: Path
    record: Path
    curve: Path
    pair: Path
    checkpoint: Path


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """A job whose lines are tokens, and what it will take."""

    job: TuningJob
    base: Base
    base_digest: str
    data: Data
    pieces: Sequence[bytes]
    controls: Sequence[int]
    estimate: TuningEstimate

    @property
    def outputs(self) -> Outputs:
        return outputs(self.job.out)

    @property
    def key(self) -> str:
        """The digest of all that decides how the run goes; a checkpoint of another one is not gone on with."""
        job = self.job
        parts = [asdict(job.recipe), lines_digest(job.lines), lines_digest(job.held), self.base_digest, job.form]
        return sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model with untrained changes beside its weights, what its tokens are, and where the run is kept."""

    model: PeftModel
    kinds: Kinds
    checkpoint: Checkpoint
    state: State | None


def require_extra() -> None:
    """Raises InputError unless the packages of the extra [tune] are installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"tuning needs packages that are not installed: {', '.join(missing)}",
            hint="pip install 'blackbox-proxy[tune]'; on Linux that brings CUDA's packages (gigabytes), unless you add"
            " --extra-index-url https://download.pytorch.org/whl/cpu",
        )


def outputs(out: Path) -> Outputs:
    """Where everything goes. Raises InputError unless `out` is the name of a GGUF in a folder that is there."""
    if out.suffix != ".gguf":
        raise InputError(f"the adapter {out} must be called something.gguf", hint="such as my.lora.gguf")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent} for {out.name}", hint="make it, or name another file")
    name = out.name.removesuffix(".gguf").removesuffix(".lora")
    return Outputs(
        adapter=out,
        record=out.with_suffix(".toml"),
        curve=out.with_suffix(".svg"),
        pair=out.with_name(f"{name}.pair.toml"),
        checkpoint=out.with_name(f"{out.name}.checkpoint"),
    )


def plan(job: TuningJob) -> TuningPlan:
    """Reads the base's sizes and turns the lines into tokens.

    Raises InputError, with the line's place, for a line that the base cannot read; WeightsError for a file that is
    none.
    """
    from blackbox_proxy.tuning.base import read_base
    from blackbox_proxy.tuning.tokenizing import tokenizer_of

    base = read_base(job.base)
    with tokenizer_of(job.base, template=job.form) as tokenizer:

        def encoded(lines: Sequence[Line]) -> list[Example]:
            return [_example(line, tokenizer, slot=job.recipe.slot, context=base.sizes.context) for line in lines]

        data = Data(encoded(job.lines), encoded(job.held))
        expected = estimate(base.sizes, data, job.recipe)
        return TuningPlan(job, base, file_digest(job.base), data, tokenizer.pieces, tokenizer.controls, expected)


def _example(line: Line, tokenizer: TuningTokenizer, *, slot: str | None, context: int) -> Example:
    where = f"{line.place}: " if line.place else ""
    try:
        example = encode(line, tokenizer, slot=slot)
    except PromptError as error:
        raise InputError(f"{where}{error.message}", hint=error.hint) from error
    if len(example.ids) > context:
        raise InputError(
            f"{where}{len(example.ids):,} tokens, and the base was trained on {context:,} at most",
            hint="shorten the line, or take a base with a longer context",
        )
    return example


def load(planned: TuningPlan) -> Loaded:
    """Loads the base's weights into PyTorch and puts untrained changes beside them.

    Raises InputError where there is a checkpoint of another run.
    """
    from blackbox_proxy.tuning.checkpoint import Checkpoint
    from blackbox_proxy.tuning.losses import kinds_of
    from blackbox_proxy.tuning.model import add_low_rank, load_model

    checkpoint = Checkpoint(planned.outputs.checkpoint, planned.key)
    state = checkpoint.load()
    model = add_low_rank(load_model(planned.base, longest=planned.estimate.longest), planned.job.recipe)
    return Loaded(model, kinds_of(planned.pieces, planned.controls), checkpoint, state)


def write(
    planned: TuningPlan, loaded: Loaded, course: Course, *, date: dt.date, findings: TuningFindings | None = None
) -> TuningRecord:
    """Writes adapter, record and pair file, and gives the record."""
    from blackbox_proxy.tuning.model import export

    job, files = planned.job, planned.outputs
    export(loaded.model, files.adapter, alpha=job.recipe.alpha)
    record = TuningRecord(
        base=job.spec if _is_remote(job.spec) else job.base.name,
        base_digest=planned.base_digest,
        adapter=files.adapter,
        lines=job.lines,
        held=job.held,
        choices=asdict(job.recipe),
        course=course,
        date=date.isoformat(),
        findings=findings or TuningFindings(),
    )
    replace_text(files.record, record.toml())
    replace_text(files.pair, pair_toml(planned))
    return record


def pair_toml(planned: TuningPlan) -> str:
    """The description of the pair that base and adapter make; paths below its own folder are relative."""
    job, folder = planned.job, planned.outputs.pair.parent
    keys: dict[str, str | int] = {
        "model": job.spec if _is_remote(job.spec) else _beside(job.base, folder),
        "adapter": planned.outputs.adapter.name,
        "context": min(CONTEXT, planned.base.sizes.context),
    }
    if job.template != "gguf":
        keys["template"] = job.template if job.form == job.template else _beside(Path(job.template), folder)
    head = f"# Written by `blackbox-proxy tune`; {planned.outputs.record.name} says how the adapter was made.\n"
    return head + "".join(f"{key} = {spelt(value)}\n" for key, value in keys.items())


def _is_remote(spec: str) -> bool:
    return spec.startswith(("hf:", "pypi:"))


def _beside(path: Path, folder: Path) -> str:
    there, here = path.resolve(), folder.resolve()
    return str(there.relative_to(here)) if there.is_relative_to(here) else str(there)

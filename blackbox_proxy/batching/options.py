"""How a batch is run: options that have nothing to do with who answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from blackbox_proxy.actors import RayCluster, check_cluster
from blackbox_proxy.batching.answers import Form
from blackbox_proxy.batching.parquet import check_parquet
from blackbox_proxy.errors import InputError

Engine = Literal["local", "ray"]


@final
@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How a batch is run.

    Attributes:
        engine: In this process, or by the actors of a Ray cluster.
        parallel: Rows under way at a time, in each actor; None for the slots of the pair file, or else PARALLEL.
        retry_failed: Whether rows that failed before are asked again.
        form: Of the file of answers.
        system: A system turn before each `prompt`; "" for none.
        raw: Whether prompts are raw text, without turns.
        ignored: Fields of rows that are passed over.
        cluster: For the engine `ray`.
    """

    engine: Engine = "local"
    parallel: int | None = None
    retry_failed: bool = False
    form: Form = "jsonl"
    system: str = ""
    raw: bool = False
    ignored: Sequence[str] = ()
    cluster: RayCluster = field(default_factory=RayCluster)

    def check(self) -> None:
        """Raises InputError for what cannot be, or needs a package that is not installed."""
        if self.parallel is not None and self.parallel < 1:
            raise InputError(f"{self.parallel} rows at a time answer nothing", hint="at least 1")
        if self.form == "parquet":
            check_parquet()
        if self.engine == "ray":
            check_cluster(self.cluster)

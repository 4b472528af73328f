"""The options that say which processes answer: this one, or actors of Ray. `batch` and `evaluate` have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from blackbox_proxy.cli.declaring import ENGINE, option
from blackbox_proxy.cli.taping import TapeOptions
from blackbox_proxy.errors import InputError

if TYPE_CHECKING:
    from blackbox_proxy.actors import RayCluster


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Who answers, and where."""

    engine: Literal["local", "ray"] = option("local", "Run in this process, or by actors of Ray.", panel=ENGINE)
    address: str | None = option(
        None, "Address of a Ray cluster that runs.", panel=ENGINE, unset="one is started on this machine"
    )
    actors: int = option(2, "How many actors of Ray, each with a pair of its own.", panel=ENGINE)
    gpus: float = option(0.0, "GPUs for each actor, which may be a part of one.", panel=ENGINE)

    def check(self, tape: TapeOptions) -> None:
        """Raises InputError for options of the other engine, and for a cassette with several processes."""
        usual = EngineOptions()
        given = [name for name in ("address", "actors", "gpus") if getattr(self, name) != getattr(usual, name)]
        if self.engine == "local" and given:
            raise InputError(f"--{given[0]} is for --engine ray", hint="add that, or leave it out")
        if self.engine == "ray" and tape != TapeOptions():
            raise InputError("a cassette is of one process, and --engine ray has several", hint="use --engine local")

    @property
    def cluster(self) -> RayCluster:
        """Where actors run."""
        from blackbox_proxy.actors import RayCluster

        return RayCluster(self.address or "", self.actors, self.gpus)

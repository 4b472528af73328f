"""The pair's distributions that a run knows. One owner: it alone asks for them, holds them and forgets them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TypeVar, final

from blackbox_proxy.core.events import Asking, Begin, Evaluate, Evidence, ask_api, ask_pair
from blackbox_proxy.types import PairDistributions, TokenPath

Asked = TypeVar("Asked", bound=Asking)


@final
class PairTable:
    """Distributions by the token path before them. Whoever needs some asks by `know`, whether they are there or not.

    seconds: how long the pair has taken so far for what was asked of it alone.
    """

    def __init__(self) -> None:
        self._distributions: dict[TokenPath, PairDistributions] = {}
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self._distributions)

    def missing(self, paths: Iterable[TokenPath]) -> tuple[TokenPath, ...]:
        """Those of the paths whose distributions are not known, each once."""
        return tuple(dict.fromkeys(path for path in paths if path not in self._distributions))

    def know(
        self, paths: Sequence[TokenPath]
    ) -> Generator[Evaluate, Evidence | None, dict[TokenPath, PairDistributions]]:
        """The distributions at some paths; the pair is asked for those that are missing, in one question."""
        if missing := self.missing(paths):
            evidence = yield from ask_pair(Evaluate(missing))
            self.seconds += evidence.seconds
            self.store(missing, evidence.distributions)
        return {path: self._distributions[path] for path in paths}

    def ask_beside(self, question: Asked) -> Generator[Asked, Evidence | None, Evidence]:
        """Ask the API, and keep what the pair evaluates meanwhile."""
        evidence = yield from ask_api(question)
        self.store(question.paths, evidence.distributions)
        return evidence

    def begin(self, text: bytes) -> Generator[Begin, Evidence | None, None]:
        """Have the pair read another prompt; behind it, nothing is known."""
        yield Begin(text)
        self._distributions.clear()

    def store(self, paths: Sequence[TokenPath], distributions: Sequence[PairDistributions]) -> None:
        """Keep the distributions at some paths."""
        self._distributions.update(zip(paths, distributions, strict=True))

    def forget_before(self, paths: Sequence[TokenPath]) -> None:
        """Drop the distributions of places that lie before all of these."""
        depth = min(map(len, paths), default=0)
        for path in [path for path in self._distributions if len(path) < depth]:
            del self._distributions[path]

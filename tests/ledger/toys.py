"""A toy API over HTTP with known distributions, a pair for it, a price, and helpers that the ledger's tests share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.ledger.books import Ledger, open_ledger
from blackbox_proxy.standin import Script, script
from blackbox_proxy.steering import Steering
from blackbox_proxy.testing import ToyModel, ToyPair

LETTERS = [bytes([letter]) for letter in b"abcdefgh"]
END = b"</s>"
VOCABULARY = Vocabulary([*LETTERS, END], ends=[len(LETTERS)])
PRICES = '[[price]]\nmodel = "toy"\nsince = 2026-01-01\ninput = 2.5\ncached = 0.25\noutput = 10\n'
STEERING = Steering(alpha=0.7, target="topk", rule="none", max_tokens=12, draft=4)


def toy() -> Script:
    """Letters that follow each other; it never ends by itself."""
    distributions = {
        letter: {one: 1.0 + (n * k) % 5 for k, one in enumerate(LETTERS, 2)} for n, letter in enumerate(LETTERS, 1)
    }
    return script(LETTERS, [END], {b"": dict.fromkeys(LETTERS, 1.0), **distributions})


def pair(seed: int = 3) -> ToyPair:
    return ToyPair(ToyModel(VOCABULARY, seed, sharpness=0.7), ToyModel(VOCABULARY, seed + 1, sharpness=0.7))


@dataclass(frozen=True, slots=True)
class Books:
    """Where a test's ledger is. folder: of its prices. place: a file, or the URL of a database."""

    folder: Path
    place: str

    @contextmanager
    def opened(self, *budgets: Budget, **tags: str) -> Iterator[Ledger]:
        """The ledger, with a price for the toy."""
        prices = self.folder / "prices.toml"
        if not prices.exists():
            prices.write_text(PRICES)
        with open_ledger(self.place, budgets=budgets, tags=tags, prices=prices) as ledger:
            yield ledger


@contextmanager
def opened(folder: Path, *budgets: Budget, **tags: str) -> Iterator[Ledger]:
    """A ledger in a folder, with a price for the toy."""
    with Books(folder, str(folder / "ledger.sqlite")).opened(*budgets, **tags) as ledger:
        yield ledger


def connected(
    url: str, ledger: Ledger | None, *, attempts: int = 4, options: Mapping[str, object] | None = None
) -> Api:
    own = {"top_k": 6, "end_pieces": [END], **(options or {})}
    return connect(url, model="toy", options=own, ledger=ledger, attempts=attempts)

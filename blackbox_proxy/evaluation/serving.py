"""The stand-in as the closed model of an evaluation: over a model file, at stated prices, in books of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from blackbox_proxy.api import Api, connect
from blackbox_proxy.ledger.books import open_ledger
from blackbox_proxy.standin.server import running

NAME = "closed-model"
TOP_K = 20


def prices() -> Path:
    """The rates that the stand-in is billed by."""
    return Path(str(files("blackbox_proxy.evaluation") / "data" / "prices.toml"))


@contextmanager
def served(model: Path, *, ledger: Path, slots: int) -> Iterator[Api]:
    """Serve a GGUF as a closed model that shows 20 log-probs, and connect to it.

    ledger: where its requests are booked, apart from what the user pays for. slots: requests answered at once.
    """
    own = f"gguf:{model}"
    with (
        running(model, name=NAME, top_k=TOP_K, slots=slots, threads=1) as url,
        open_ledger(ledger, prices=prices()) as book,
        connect(url, model=NAME, template="chatml", tokenizer=own, options={"top_k": TOP_K}, ledger=book) as api,
    ):
        yield api

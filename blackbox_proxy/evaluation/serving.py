"""The stand-in as the closed model of an evaluation: over a model file, at stated prices, in books of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from pathlib import Path

from blackbox_proxy.api import Api, connect
from blackbox_proxy.cassettes.matching import Replay
from blackbox_proxy.cassettes.opening import Tape, as_arguments
from blackbox_proxy.ledger.books import open_ledger
from blackbox_proxy.standin.server import running

CLOSED = "pypi:qwen2.5-coder-0.5b-instruct"
"""The closed model of the demo."""

LARGER = "pypi:qwen2.5-coder-1.5b-instruct"
"""Another one of the demo, which knows more and takes about three times as long."""

NAME = "closed-model"
TOP_K = 20

TOGETHER = 16
"""Whole answers that it draws in one request."""


def prices() -> Path:
    """The rates that the stand-in is billed by."""
    return Path(str(files("blackbox_proxy.evaluation") / "data" / "prices.toml"))


@contextmanager
def served(
    model: Path,
    *,
    ledger: Path | None = None,
    slots: int = 1,
    top_k: int = TOP_K,
    tokenizer: bool = True,
    reveals: bool = False,
    tape: Tape | None = None,
) -> Iterator[Api]:
    """Serve a GGUF as a closed model, and connect to it.

    Args:
        model: The file.
        ledger: Where its requests are booked, apart from what the user pays for; None for nowhere.
        slots: Requests answered at once.
        top_k: Log-probs that it shows for each token.
        tokenizer: Whether its tokenizer is known.
        reveals: Whether it tells the log-probs of chosen ids where it is asked (`tail="reveal"`).
        tape: A cassette that is recorded, or replayed in place of serving anything.
    """
    known = f"gguf:{model}" if tokenizer else ""
    options = {"top_k": top_k, "reveal": "ids" if reveals else "none", "answers_at_once": TOGETHER}
    with (
        _address(model, tape, top_k=top_k, slots=slots) as url,
        nullcontext() if ledger is None else open_ledger(ledger, prices=prices()) as book,
        connect(
            url,
            model=NAME,
            template="chatml",
            tokenizer=known,
            options=options,
            ledger=book,
            **as_arguments(tape),
        ) as api,
    ):
        yield api


@contextmanager
def _address(model: Path, tape: Tape | None, *, top_k: int, slots: int) -> Iterator[str]:
    """Where the closed model is: served here, or at the address that a cassette names, where nothing is asked."""
    if isinstance(tape, Replay):
        yield tape.header.address
        return
    with running(model, name=NAME, top_k=top_k, slots=slots, threads=1) as url:
        yield url

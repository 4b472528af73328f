"""Collected places are kept, and what a crash cut off is left out; sets of examples share what they should."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.fitting.fronts import FURTHER, covering, example_sets
from blackbox_proxy.fitting.places import CollectedLine, PlaceStore
from blackbox_proxy.types import ReferencePlace

PLACE = ReferencePlace((-0.1, -2.5), (-0.3, -1.5), (-0.7, -0.7), (1.0, 0.75, 0.2, 0.9), 0)


def test_what_was_collected_is_read_again_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "places.jsonl"
    first = CollectedLine("a", "one", (PLACE, PLACE), calls=3, cost=Decimal("0.00000123"))
    second = CollectedLine("b", "two", (), calls=1)
    with PlaceStore(path) as store:
        store.keep(first)
        store.keep(second)
    whole = path.read_bytes()
    for cut in range(1, len(str(second)) + 1):
        path.write_bytes(whole[:-cut])
        with PlaceStore(path) as store:
            assert store["a"] == first
            assert store["b"] == (second if cut == 1 else None)
            store.keep(second)
        with PlaceStore(path) as store:
            assert (store["a"], store["b"]) == (first, second)


def test_two_draws_share_no_line_and_the_third_set_covers_each_kind_of_question() -> None:
    kinds = ("the capital of land {}?", "how much is {} + {}?", "{} o'clock in words:")
    items = [Item(prompt=kind.format(n, n), reference=f"r{n}") for n in range(10) for kind in kinds]
    first, second, near = example_sets(items, seed=4)
    assert not {*first.examples[:FURTHER]} & {*second.examples}
    assert [len(one.examples) for one in (first, second, near)] == [12, 6, 6]
    assert {item.prompt[0] for item in covering(items, 3)} >= {"t", "h"}
    assert len({item.prompt for item in covering(items[:2], 6)}) == 2
    few = example_sets(items[:7], seed=4)
    assert [list(one.counts) for one in few] == [[2, 6], [], [6]]

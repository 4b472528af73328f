"""The loss curve: XML that a reader of XML takes, every loss a point inside the frame, the kept epoch a ring."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.pages.curve import BOTTOM, LEFT, RIGHT, TOP, Losses, curve

SVG = "{http://www.w3.org/2000/svg}"


def drawn(losses: Losses, title: str = "my.lora.gguf") -> ET.Element:
    return ET.fromstring(curve(losses, title=title))  # noqa: S314 (our own)


def points(line: ET.Element) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in line.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


@given(st.lists(st.floats(0, 50), min_size=1, max_size=40), st.integers(1, 10))
def test_every_loss_is_a_point_inside_the_frame(steps: list[float], per_epoch: int) -> None:
    validations = steps[: len(steps) // per_epoch]
    found = drawn(Losses(steps, validations, per_epoch, 1))
    each, train, held = (points(line) for line in found.iter(f"{SVG}polyline"))
    assert (len(each), len(train), len(held)) == (len(steps), len(steps), len(validations))
    assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in (*each, *train, *held))
    assert [x for x, _ in each] == sorted(x for x, _ in each)


def test_a_lower_loss_stands_lower_and_the_kept_epoch_is_ringed() -> None:
    found = drawn(Losses([4.0, 3.0, 2.0, 1.0], [3.0, 1.5], 2, 2))
    heights = [y for _, y in points(next(found.iter(f"{SVG}polyline")))]
    assert heights == sorted(heights)
    rings = [(dot.attrib["class"], dot[0].text) for dot in found.iter(f"{SVG}circle")]
    assert rings == [
        ("dot", "epoch 1: validation loss 3.0000"),
        ("dot best", "epoch 2: validation loss 1.5000"),
    ]


def test_the_title_is_text() -> None:
    assert next(drawn(Losses([1.0], [], 1, 1), "<a> & b").iter(f"{SVG}title")).text == "<a> & b"


def test_a_run_without_steps_has_no_curve() -> None:
    with pytest.raises(ValueError, match="empty"):
        curve(Losses([], [], 1, 1), title="none")

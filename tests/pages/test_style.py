"""The colours can be read by weak eyes too: contrasts as WCAG 2 counts them, in both schemes."""

from __future__ import annotations

import re

import pytest

from blackbox_proxy.pages.style import COMMON, COSTS, EVALUATION, TRACE

SCHEMES = re.findall(r"--paper:[^}]+", COMMON)
READ = [(ink, ground) for ink in ("ink", "soft") for ground in ("paper", "raised", "warn")]
READ += [("ink", ground) for ground in ("changed", "outside", "local", "constrained")]
SEEN = [(mark, "paper") for mark in ("blue", "focus", "soft")]
"""What is a drawing or a frame, and no letter."""


def colours(scheme: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): #([0-9a-f]{6});", scheme))


def light_of(colour: str) -> float:
    """Relative luminance, 0 to 1."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """1 (equal) to 21 (black on white)."""
    dark, bright = sorted((light_of(one), light_of(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_there_is_a_light_and_a_dark_scheme_and_paper_is_light() -> None:
    light, dark, paper = (colours(scheme) for scheme in SCHEMES)
    assert light == paper != dark
    assert light.keys() == dark.keys()
    assert contrast(light["paper"], "000000") == pytest.approx(21)


@pytest.mark.parametrize("scheme", [0, 1])
def test_letters_and_drawings_stand_out(scheme: int) -> None:
    found = colours(SCHEMES[scheme])
    low = {pair: contrast(*(found[name] for name in pair)) for pair in READ}
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}
    assert all(contrast(found[mark], found[ground]) >= 3 for mark, ground in SEEN)


def test_every_colour_that_is_used_is_defined_and_every_defined_one_is_used() -> None:
    used = set(re.findall(r"var\(--([a-z-]+)\)", COMMON + COSTS + EVALUATION + TRACE))
    assert used == colours(SCHEMES[0]).keys()

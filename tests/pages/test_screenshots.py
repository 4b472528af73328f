"""The pages as a browser draws them: light and dark, on a desk and on a telephone, and on paper.

The pictures stay in build/screenshots, to be looked at: a test cannot say whether a page is beautiful.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from PIL import Image

from blackbox_proxy.pages.costs import costs_page
from blackbox_proxy.pages.evaluation import evaluation_page
from blackbox_proxy.pages.fit import fit_page
from blackbox_proxy.pages.trace import trace_page
from tests.pages.answers import TRACE
from tests.pages.booked import costs_of, weeks
from tests.pages.browser import BROWSER, FLAGS
from tests.pages.fitted import FITTED
from tests.pages.outcomes import EVALUATED

SCHEMES = {"dark": 0, "light": 1}
"""Blink's numbers for what the reader prefers."""

WIDTHS = {"desk": 1280, "telephone": 390}
LEAST_WINDOW = 500
"""Chromium makes no narrower window; a narrower page is drawn in a frame."""

TALL = 2600
MARGIN = 14
"""Pixels at a telephone's right edge that stay free, or something sticks out."""

PAGES = {
    "costs": costs_page(costs_of(weeks())),
    "trace": trace_page(TRACE),
    "evaluation": evaluation_page(EVALUATED),
    "fit": fit_page(FITTED),
}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BROWSER, reason="no Chromium is on the PATH")]


@pytest.fixture(scope="module")
def pictures(request: pytest.FixtureRequest) -> Path:
    folder = request.config.rootpath / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def browse(page: Path, profile: Path, *flags: str) -> None:
    """Run the browser on a file, with a profile of its own."""
    command = (BROWSER, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri())
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def drawn(name: str, text: str, *, width: int, scheme: str, folder: Path, scratch: Path) -> Image.Image:
    """A picture of a page, as a file in `folder` too."""
    page = scratch / f"{name}.html"
    page.write_text(text, encoding="utf-8")
    if width < LEAST_WINDOW:
        frame = f'<iframe src="{page.name}" width="{width}" height="{TALL}" style="border: 0"></iframe>'
        page = scratch / f"{name}-framed.html"
        page.write_text(f'<!doctype html><body style="margin: 0">{frame}', encoding="utf-8")
    picture = folder / f"{name}-{width}-{scheme}.png"
    browse(
        page,
        scratch / "profile",
        f"--window-size={max(width, LEAST_WINDOW)},{TALL}",
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        f"--screenshot={picture}",
    )
    with Image.open(picture) as taken:
        cut = taken.convert("RGB").crop((0, 0, width, TALL))
    cut.save(picture)
    return cut


def brightness(picture: Image.Image, x: int, y: int) -> int:
    found = picture.getpixel((x, y))
    assert isinstance(found, tuple)
    return round(sum(found[:3]) / 3)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("device", WIDTHS)
def test_a_page_is_drawn(name: str, scheme: str, device: str, pictures: Path, tmp_path: Path) -> None:
    width = WIDTHS[device]
    found = drawn(name, PAGES[name], width=width, scheme=scheme, folder=pictures, scratch=tmp_path)
    assert found.size == (width, TALL)
    corner = brightness(found, 2, 2)
    assert corner > 240 if scheme == "light" else corner < 40
    colours = found.getcolors(maxcolors=width * TALL) or []
    background = max(count for count, _ in colours)
    assert len(colours) > 50
    assert background < 0.97 * width * TALL, "there is hardly anything on the page"
    edge = found.crop((width - MARGIN, 0, width, TALL))
    assert edge.getcolors() == [(MARGIN * TALL, found.getpixel((2, 2)))], "something sticks out on the right"


def test_a_token_that_has_the_focus_shows_its_card(pictures: Path, tmp_path: Path) -> None:
    focused = PAGES["trace"].replace('<li tabindex="0" aria-describedby="card-3">', '<li autofocus tabindex="0">')
    assert focused != PAGES["trace"]
    for scheme in SCHEMES:
        shut = drawn("shut", PAGES["trace"], width=1280, scheme=scheme, folder=tmp_path, scratch=tmp_path)
        open_ = drawn("card", focused, width=1280, scheme=scheme, folder=pictures, scratch=tmp_path)
        card = (800, 30, 1200, 200)
        assert len(shut.crop(card).getcolors(10**6) or []) == 1
        assert len(open_.crop(card).getcolors(10**6) or []) > 20


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_printed(name: str, pictures: Path, tmp_path: Path) -> None:
    page, paper = tmp_path / "page.html", pictures / f"{name}.pdf"
    page.write_text(PAGES[name], encoding="utf-8")
    browse(page, tmp_path / "profile", "--no-pdf-header-footer", f"--print-to-pdf={paper}")
    printed = paper.read_bytes()
    assert printed.startswith(b"%PDF")
    assert 1 <= printed.count(b"/Type /Page\n") <= 6

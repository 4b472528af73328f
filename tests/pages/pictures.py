"""Draws the pictures of README and docs: pages of real answers, steered over HTTP with real weights.

    python -m tests.pages.pictures FOLDER

Needs a Chromium on the PATH and the demo's models.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from blackbox_proxy.gateway.config import parse_config
from blackbox_proxy.gateway.server import running as serving
from blackbox_proxy.ledger.books import open_ledger
from blackbox_proxy.standin import running
from tests.pages.browser import browsing
from tests.pages.test_screenshots import SCHEMES, browse

CLOSED = "qwen2.5-coder-0.5b-instruct"
QUESTION = "What is the capital of Peru?"
WIDTH, HEIGHT = 1100, 1180
ASK_WIDTH, ASK_HEIGHT = 1280, 800
PRICE = f'[[price]]\nmodel = "{CLOSED}"\nsince = 2026-01-01\ninput = 0.15\noutput = 0.6\n'
"""Of a small hosted model, so that the page has a cost to show."""

GATEWAY = """
[server]
port = 0
ui = true

[upstreams.hosted]
base_url = "{url}"

[models.steered]
upstream = "hosted"
model = "{model}"
pair = "demo"
template = "chatml"
steering = {{ alpha = 1.25 }}
"""


def answer_page(folder: Path) -> Path:
    """The page that `steer --trace-html` writes of one answer."""
    page = folder / "answer.html"
    with running(f"pypi:{CLOSED}") as url:
        command = [sys.executable, "-m", "blackbox_proxy", "steer", QUESTION, "--base-url", url, "--model", CLOSED]
        command += [
            "--template",
            "chatml",
            "--pair",
            "demo",
            "--alpha",
            "1.25",
            "--no-ledger",
            "--trace-html",
            str(page),
        ]
        subprocess.run(command, check=True)
    return page


def ask_picture(folder: Path) -> Path:
    """The gateway's page with an answer, steered and unsteered, and the card of a token."""
    shot, prices = folder / "ask.png", folder / "prices.toml"
    prices.write_text(PRICE)
    with running(f"pypi:{CLOSED}") as url, open_ledger(folder / "ledger.sqlite", prices=prices) as ledger:
        text = GATEWAY.format(url=url, model=CLOSED)
        config = parse_config(text, where="gateway.toml", folder=folder, environ={})
        with serving(config, ledger=ledger) as served, browsing(folder / "ask-profile") as tab:
            tab.show(ASK_WIDTH, ASK_HEIGHT)
            tab.open(f"{served.removesuffix('/v1')}/")
            tab.until("document.getElementById('model').options.length > 0")
            tab.type(QUESTION)
            tab.press("Enter")
            tab.until("!document.getElementById('send').hidden")
            tab.until("!document.getElementById('spend').textContent.startsWith('$0 ')")
            tab.value("document.querySelector('#steered .outside[role=option]').focus()")
            tab.picture(shot)
    return shot


def small(shot: Path, target: Path) -> None:
    """Write a picture with few colours."""
    Image.open(shot).convert("RGB").quantize(64).save(target, optimize=True)


def main() -> None:
    """Write trace.png and ask.png into the folder that is named."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        page, shot = answer_page(Path(scratch)), Path(scratch) / "shot.png"
        light = f"--blink-settings=preferredColorScheme={SCHEMES['light']}"
        browse(page, Path(scratch) / "profile", f"--window-size={WIDTH},{HEIGHT}", light, f"--screenshot={shot}")
        small(shot, target / "trace.png")
        small(ask_picture(Path(scratch)), target / "ask.png")


if __name__ == "__main__":
    main()

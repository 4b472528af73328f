"""Draws the picture of the README: the top of the page of a real answer, steered over HTTP with real weights.

    python -m tests.pages.pictures FOLDER

Needs a Chromium on the PATH and the demo's models.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from blackbox_proxy.standin import running
from tests.pages.test_screenshots import SCHEMES, browse

CLOSED = "qwen2.5-coder-0.5b-instruct"
QUESTION = "What is the capital of Peru?"
WIDTH, HEIGHT = 1100, 1180


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


def main() -> None:
    """Write trace.png into the folder that is named."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        page, shot = answer_page(Path(scratch)), Path(scratch) / "shot.png"
        light = f"--blink-settings=preferredColorScheme={SCHEMES['light']}"
        browse(page, Path(scratch) / "profile", f"--window-size={WIDTH},{HEIGHT}", light, f"--screenshot={shot}")
        Image.open(shot).convert("RGB").quantize(64).save(target / "trace.png", optimize=True)


if __name__ == "__main__":
    main()

"""docs/chat.md: its list of commands is that of the program, and its excerpt is what a terminal shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blackbox_proxy.cli.chat_commands import COMMANDS
from blackbox_proxy.standin import running
from tests.cli.terminal import CTRL_D, on_own_terminal
from tests.documents import DOCS, TEXTS

PAGE = TEXTS[DOCS / "chat.md"]
PRICES = '[[price]]\nmodel = "*"\ninput = "0.15"\noutput = "0.60"\n'


def test_the_page_lists_the_commands_as_the_program_does() -> None:
    rows = dict(re.findall(r"^\| `(/[^`]*)` \| (.*) \|$", PAGE.replace("\\|", "|"), flags=re.MULTILINE))
    assert rows == {form.written: form.help for form in COMMANDS.values()}


@pytest.mark.slow
@pytest.mark.weights
def test_the_excerpt_is_what_a_terminal_shows(tmp_path: Path, config_home: Path) -> None:
    """But for the seconds; a spinner may stand before an answer that is waited for."""
    (excerpt,) = re.findall(r"^```\n(chat with .*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    (config_home / "blackbox-proxy").mkdir(parents=True)
    (config_home / "blackbox-proxy" / "prices.toml").write_text(PRICES)
    environ = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(config_home)}
    typed = re.findall(r"^> (.*)$", excerpt, flags=re.MULTILINE)
    with running("pypi:qwen2.5-coder-0.5b-instruct", name="closed-model") as url:
        options = ("--base-url", url, "-m", "closed-model", "--template", "chatml", "--pair", "demo", "--alpha", "1.25")
        with on_own_terminal("chat", *options, environ=environ) as terminal:
            for line in typed:
                terminal.wait(r"> \Z")
                terminal.type(f"{line}\r")
            terminal.wait(r"> \Z")
            terminal.type(CTRL_D)
            assert terminal.end() == 0
    assert _lines(terminal.shown)[: len(_lines(excerpt))] == _lines(excerpt)


def _lines(shown: str) -> list[str]:
    """What stands on the screen: without colours and what was written over; seconds are masked."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.replace("\r\n", "\n"))
    rows = [re.sub(r".*\r", "", row) for row in plain.split("\n")]
    return [re.sub(r"\d+\.\d s$", "S", row) for row in rows if row.strip() and "waiting for the answer" not in row]

"""A chat on a terminal: lines can be edited, Ctrl-C stops what is under way, Ctrl-D ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from blackbox_proxy.standin import StandinOptions, Traffic, running
from tests.adapters.shapes import body
from tests.cli.terminal import BACKSPACE, CTRL_C, CTRL_D, PASTE, PASTED, TAB, UP, Terminal, on_own_terminal
from tests.remote.scripted import ScriptedApi
from tests.tiny_gguf import TinyModel

PROMPT = r"> \Z"
MORE = r"\.\.\. \Z"


@contextmanager
def chatting(url: str, pair: Path, folder: Path, *more: str) -> Iterator[Terminal]:
    options = ("--base-url", url, "-m", "tiny", "--template", "chatml", "--pair", str(pair), *more)
    environ = {"XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config")}
    with on_own_terminal("chat", *options, environ=environ) as terminal:
        terminal.wait("/help lists the commands, Ctrl-D ends")
        terminal.wait(PROMPT)
        yield terminal
        assert "Traceback" not in terminal.shown


@dataclass
class Talk:
    """A terminal, and the hosted model behind it, which says one word."""

    terminal: Terminal
    api: ScriptedApi

    def asked(self) -> str:
        """The prompt of the answer that is awaited."""
        self.terminal.wait("word\r\n")
        self.terminal.wait("1 calls; cost unknown")
        self.terminal.wait(PROMPT)
        return str(self.api.seen[-1][2]["prompt"])


@pytest.fixture(scope="module")
def shared(pair_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    with ScriptedApi(answer=lambda _: body(("word", -0.1, {"word": -0.1, " x": -9.0}), finish="stop")) as api:
        with chatting(api.url, pair_path, tmp_path_factory.mktemp("home"), "--alpha", "0") as terminal:
            yield Talk(terminal, api)


@pytest.fixture
def talk(shared: Talk) -> Talk:
    shared.terminal.type("/clear\r")
    shared.terminal.wait("begins anew")
    shared.terminal.wait(PROMPT)
    return shared


def test_lines_are_edited_and_recalled(talk: Talk) -> None:
    talk.terminal.type(f"hellp{BACKSPACE}o\r")
    assert "user\nhello<" in talk.asked()
    talk.terminal.type(f"{UP}!\r")
    second = talk.asked()
    assert "user\nhello<" in second
    assert "assistant\nword<" in second
    assert "user\nhello!<" in second
    assert "\x1b[2m" in talk.terminal.shown, "notes are dim on a terminal"


def test_the_names_of_commands_are_completed(talk: Talk) -> None:
    talk.terminal.type(f"/al{TAB}0\r")
    talk.terminal.wait("alpha: 0")


def test_a_pasted_text_of_several_lines_is_one_question(talk: Talk) -> None:
    talk.terminal.type(f"{PASTE}one\ntwo{PASTED}\r")
    assert "user\none\ntwo<" in talk.asked()


def test_a_text_of_several_lines_may_be_typed(talk: Talk) -> None:
    talk.terminal.type('"""\r')
    talk.terminal.wait(MORE)
    talk.terminal.type('/three\rfour"""\r')
    assert "user\n/three\nfour<" in talk.asked()
    talk.terminal.type("five\\\r")
    talk.terminal.wait(MORE)
    talk.terminal.type("six\r")
    assert "user\nfive\nsix<" in talk.asked()


def test_ctrl_c_at_the_prompt_drops_what_was_typed_and_no_more(talk: Talk) -> None:
    talk.terminal.type('"""\r')
    talk.terminal.wait(MORE)
    talk.terminal.type(f"half{CTRL_C}")
    talk.terminal.wait("Ctrl-D or /exit ends")
    talk.terminal.wait(PROMPT)
    talk.terminal.type("whole\r")
    prompt = talk.asked()
    assert "whole" in prompt
    assert "half" not in prompt


def test_ctrl_c_stops_the_answer_keeps_what_came_and_says_what_it_took(
    tiny_api: TinyModel, pair_path: Path, tmp_path: Path
) -> None:
    """It does not wait for the call that hangs; the next question goes on from what came. Ctrl-D ends."""
    traffic = Traffic()
    options: StandinOptions = {"name": "tiny", "quirks": ["faults=ok,ok,hang,ok*99"], "traffic": traffic}
    saved = tmp_path / "chat.json"
    with ExitStack() as stack:
        url = stack.enter_context(running(tiny_api.path, **options))
        more = ("--draft", "1", "--max-tokens", "6")
        terminal = stack.enter_context(chatting(url, pair_path, tmp_path, *more))
        terminal.type("hello\r")
        terminal.until(lambda: "hang" in traffic.kinds, "the call that hangs")
        terminal.type(CTRL_C)
        terminal.wait(r"stopped: 3 calls \(1 lost\); cost")
        terminal.wait("requests without a usable reply, at unknown cost: 1")
        terminal.wait(PROMPT)
        terminal.type("and then?\r")
        terminal.wait("cut at --max-tokens")
        terminal.wait(PROMPT)
        terminal.type(f"/cost\r/save {saved}\r")
        terminal.wait(r"session: \d+ calls \(1 lost\)")
        terminal.wait("saved in")
        terminal.wait(PROMPT)
        terminal.type(CTRL_D)
        assert terminal.end() == 0
    assert saved.read_text(encoding="utf-8").count('"role": "assistant"') == 2

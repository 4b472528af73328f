"""The gateway's page as axe-core judges it: no violation of WCAG 2 or of good practice, in any of its states."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blackbox_proxy.gateway.keys import add_key
from blackbox_proxy.standin import running
from tests.contracts.suites.clients import VENV
from tests.gateway.serving import CONTEXT
from tests.gateway.test_page_browser import QUIET, asked, paged, ready
from tests.pages.browser import BROWSER, Json, Scheme, Tab, browsing
from tests.tiny_gguf import TinyModel, write_tiny_llama

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BROWSER, reason="no Chromium is on the PATH")]

AXE = VENV / "node" / "node_modules" / "axe-core" / "axe.min.js"
LOOK = """axe.run(document, {resultTypes: ["violations"]}).then(({passes, violations}) => ({
  passed: passes.length,
  violations: Object.fromEntries(
    violations.map(({id, nodes}) => [id, nodes.map(({html, failureSummary}) => `${html} ${failureSummary}`)]),
  ),
}))"""


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.is_file():
        pytest.skip(f"there is no axe-core in {AXE.parent}: install npm, then run `make contracts`")
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browsing(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    closed = write_tiny_llama(tmp_path_factory.mktemp("closed") / "closed.gguf", seed=5)
    with running(closed.path, name="tiny", context=CONTEXT, top_k=20) as url:
        yield url


@pytest.fixture
def pair_file(tmp_path: Path, tiny_bpe: TinyModel, tiny_lora: Path) -> Path:
    path = tmp_path / "pair.toml"
    path.write_text(f'model = "{tiny_bpe.path}"\nadapter = "{tiny_lora}"\ncontext = {CONTEXT}\n')
    return path


def looked_at(tab: Tab, axe: str) -> Json:
    """How many rules are kept, and which are broken, by which elements."""
    tab.value(f"{axe};true")
    return tab.value(LOOK)


def check(tab: Tab, axe: str) -> None:
    """No rule is broken, and many are kept, so that something was looked at."""
    seen = looked_at(tab, axe)
    assert seen["violations"] == {}
    assert seen["passed"] > 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_used_by_everybody(
    tab: Tab, axe: str, upstream: str, pair_file: Path, tmp_path: Path, *, width: int, scheme: Scheme
) -> None:
    with paged(upstream, pair_file, tmp_path) as url:
        tab.show(width, 900, scheme=scheme)
        ready(tab, url)
        check(tab, axe)
        asked(tab)
        tab.until(QUIET)
        check(tab, axe)
        tab.value("for (const one of document.querySelectorAll('details')) one.open = true")
        tab.value("document.querySelector('#steered [role=option]').focus()")
        check(tab, axe)


def test_where_a_key_is_asked_for_and_where_something_failed(
    tab: Tab, axe: str, pair_file: Path, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys.txt", "ann")
    with paged("http://127.0.0.1:9/v1", pair_file, tmp_path, server='keys = "keys.txt"') as url:
        tab.open(url)
        tab.until("!document.getElementById('key-form').hidden")
        check(tab, axe)
        tab.type(key)
        tab.press("Enter")
        tab.until("!document.getElementById('ask').hidden")
        asked(tab)
        tab.until(QUIET)
        check(tab, axe)


def test_axe_would_tell(tab: Tab, axe: str) -> None:
    """The check can fail: a picture without a text."""
    tab.open("data:text/html,<img src=x>")
    assert "image-alt" in looked_at(tab, axe)["violations"]

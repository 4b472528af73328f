"""The page at `/` in a browser: asked by keyboard, stopped, read by eyes and by screen readers, and told of failures.

Pictures of it stay in build/screenshots, to be looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.core.visible import visible
from blackbox_proxy.gateway.keys import add_key
from blackbox_proxy.ledger.books import Ledger, open_ledger
from blackbox_proxy.pages.figures import dollars, nats
from blackbox_proxy.pages.trace import _chance
from blackbox_proxy.standin import running, scenario_of
from blackbox_proxy.types import Kind
from tests.gateway.serving import CONTEXT, config_text, gateway
from tests.gateway.test_bills import PRICES
from tests.pages.browser import BROWSER, Scheme, Tab, browsing
from tests.standin.raw import Json
from tests.tiny_gguf import TinyModel

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BROWSER, reason="no Chromium is on the PATH")]

HOSTILE = "<img src=x onerror=alert(1)> <script>alert(2)</script> \u202e{{7*7}}"
COMPLETIONS = "/chat/completions"
READY = "document.getElementById('model').options.length > 0"
QUIET = "!document.getElementById('send').hidden"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browsing(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def tab(browser: Tab) -> Tab:
    """A page of which nothing has been said yet, on a desk, by daylight."""
    browser.open("about:blank")
    browser.events.clear()
    browser.show(1280, 900)
    return browser


@contextmanager
def paged(
    upstream: str, pair: Path, folder: Path, *, server: str = "", budgets: tuple[Budget, ...] = ()
) -> Iterator[str]:
    """A gateway with the page and a ledger, and the page's address."""
    with booked(folder, budgets) as ledger:
        text = config_text(upstream, pair=pair, server=f"ui = true\n{server}")
        with gateway(text, folder=folder, ledger=ledger) as url:
            yield f"{url.removesuffix('/v1')}/"


def booked(folder: Path, budgets: tuple[Budget, ...]) -> Ledger:
    (folder / "prices.toml").write_text(PRICES)
    return open_ledger(folder / "ledger.sqlite", prices=folder / "prices.toml", budgets=budgets)


def of(tab: Tab, selector: str) -> str:
    """The text of the first element that a selector fits."""
    text = tab.value(f"document.querySelector({json.dumps(selector)}).textContent")
    assert isinstance(text, str)
    return text


def focused(tab: Tab) -> str:
    return str(tab.value("document.activeElement.id"))


def ready(tab: Tab, url: str) -> None:
    tab.open(url)
    tab.until(READY)


def asked(tab: Tab, question: str = "the then", *, limit: int = 6) -> None:
    """Write a question, set the limit, and press Enter."""
    tab.value(f"document.getElementById('limit').value = {limit}")
    tab.value("document.getElementById('question').focus()")
    tab.type(question)
    tab.press("Enter")


def sent(tab: Tab) -> list[Json]:
    """The bodies of the requests for answers so far."""
    return [json.loads(request["postData"]) for request in tab.sent(COMPLETIONS)]


def test_a_question_is_asked_by_keyboard_alone(tab: Tab, upstream: str, pair_file: Path, tmp_path: Path) -> None:
    """With alpha moved; then the tokens are walked through, each with its card."""
    with paged(upstream, pair_file, tmp_path) as url:
        ready(tab, url)
        assert focused(tab) == "question"
        tab.type("the then")
        order = ["model", "alpha", "limit", "beside", "send"]
        for name in order:
            tab.press("Tab")
            assert focused(tab) == name
            if name == "alpha":
                assert of(tab, "#alpha-value") == "0.50"
                tab.press("ArrowRight")
                assert of(tab, "#alpha-value") == "0.55"
            if name == "limit":
                tab.value("document.activeElement.select()")
                tab.type("6")
        tab.press("Enter")
        tab.until(QUIET)
        steered, unsteered = sent(tab)
        assert (steered["steering"], unsteered["steering"]) == ({"alpha": 0.55}, {"alpha": 0})
        for body in (steered, unsteered):
            assert (body["model"], body["max_tokens"], body["stream"]) == ("steered", 6, True)
            assert body["messages"] == [{"role": "user", "content": "the then"}]
        tokens = tab.value("document.querySelectorAll('#steered [role=option]').length")
        assert tokens == int(of(tab, "#steered [data-figure=tokens]")) >= 6
        assert Decimal(of(tab, "#steered [data-figure=cost]").removeprefix("$")) > 0
        tab.until("document.getElementById('spend').textContent.startsWith('$')")
        assert "tokens, cost $" in of(tab, "#status")
        walked_through(tab)
        assert tab.complaints == []


def walked_through(tab: Tab) -> None:
    tab.value("document.querySelector('#steered [role=option]').focus()")
    assert of(tab, "#card-number") == "Steered, token 1:"
    assert tab.value("document.querySelectorAll('#card-rows tr').length") == 8
    tab.press("ArrowRight")
    assert of(tab, "#card-number") == "Steered, token 2:"
    tab.press("Tab")
    assert tab.value("document.activeElement.closest('section').id") == "unsteered", "one stop of the tab key an answer"
    tab.press("Escape")
    assert not tab.value("document.getElementById('card').classList.contains('shown')")


def test_tokens_are_marked_by_who_decided_and_pointing_shows_the_candidates(
    tab: Tab, upstream: str, pair_file: Path, tmp_path: Path
) -> None:
    with paged(upstream, pair_file, tmp_path) as url:
        ready(tab, url)
        asked(tab)
        tab.until(QUIET)
        marks = tab.value("[...document.querySelectorAll('#steered [role=option]')].map((one) => one.classList[1])")
        assert set(marks) <= {"draft", "changed", "outside", "local"}
        assert "changed" in marks or "outside" in marks
        place = tab.value(
            "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
            "(document.querySelectorAll('#steered [role=option]')[1].getBoundingClientRect())"
        )
        tab.point(*place)
        tab.until("document.getElementById('card').classList.contains('shown')")
        assert of(tab, "#card-number") == "Steered, token 2:"
        heads = tab.value("[...document.querySelectorAll('#card-table thead th')].map((one) => one.textContent)")
        assert heads == ["Candidate", "API before", "Offset", "Steered"]
        assert "chosen" in of(tab, "#card-rows .chosen")
        assert tab.value("getComputedStyle(document.querySelector('.shares span')).flexGrow") >= "1"


@pytest.mark.parametrize("way", ["Escape", "the button"])
def test_an_answer_comes_bit_by_bit_and_can_be_stopped(
    tab: Tab, closed: TinyModel, pair_file: Path, tmp_path: Path, way: str
) -> None:
    with running(closed.path, name="tiny", context=CONTEXT, top_k=20, quirks=["latency=0.1"]) as api:
        with paged(api, pair_file, tmp_path) as url:
            ready(tab, url)
            tab.value("document.getElementById('beside').click()")
            asked(tab, limit=300)
            tab.until("document.querySelectorAll('#steered [role=option]').length > 2")
            assert tab.value("document.getElementById('steered').dataset.state") == "writing"
            if way == "Escape":
                tab.press("Escape")
            else:
                tab.value("document.getElementById('stop').focus()")
                tab.press("Enter")
            tab.until(QUIET)
            assert tab.value("document.getElementById('steered').dataset.state") == "stopped"
            assert of(tab, "#steered .state") == "Stopped."
            assert 2 < tab.value("document.querySelectorAll('#steered [role=option]').length") < 300
            assert len(sent(tab)) == 1
            assert tab.value("document.getElementById('problem').hidden")
            assert tab.complaints == []


def test_what_a_model_says_is_text_and_nothing_else(tab: Tab, pair_file: Path, tmp_path: Path) -> None:
    with running(scenario_of([{"asked": {"any": True}, "said": HOSTILE}])) as api:
        with paged(api, pair_file, tmp_path) as url:
            ready(tab, url)
            tab.value("(document.getElementById('model').value = 'plain')")
            tab.value("document.getElementById('model').dispatchEvent(new Event('change'))")
            elements = "document.querySelectorAll('main img, main script, main iframe').length"
            asked(tab, "<b>hello</b>", limit=60)
            tab.until(QUIET)
            assert of(tab, ".said") == f"The whole answer: {HOSTILE}"
            shown = tab.value(
                "[...document.querySelectorAll('#steered .tokens > *')].map((o) => o.textContent).join('')"
            )
            assert shown.removesuffix("<end>") == HOSTILE.replace("\u202e", "\\u202e")
            assert tab.value(elements) == 0
            assert tab.complaints == []


def test_a_model_without_a_pair_has_one_answer_and_no_alpha(
    tab: Tab, upstream: str, pair_file: Path, tmp_path: Path
) -> None:
    with paged(upstream, pair_file, tmp_path, server='default_model = "plain"') as url:
        ready(tab, url)
        tab.value("(document.getElementById('model').value = 'plain')")
        tab.value("document.getElementById('model').dispatchEvent(new Event('change'))")
        assert tab.value("document.getElementById('alpha').disabled")
        asked(tab)
        tab.until(QUIET)
        (body,) = sent(tab)
        assert (body["model"], "steering" in body) == ("plain", False)
        assert tab.value("document.getElementById('unsteered').hidden")


def test_a_schedule_is_replaced_where_alpha_is_moved(tab: Tab, upstream: str, pair_file: Path) -> None:
    """A schedule stands in place of alpha, so unsteered beside it needs one too."""
    text = config_text(upstream, pair=pair_file, server="ui = true")
    text = text.replace("steering = { alpha = 0.5,", 'steering = { alpha = 0.5, schedule = "0:1.5,4:1",')
    with gateway(text) as url:
        ready(tab, f"{url.removesuffix('/v1')}/")
        assert of(tab, "#alpha-value") == "0:1.5,4:1"
        asked(tab)
        tab.until(QUIET)
        steered, unsteered = sent(tab)
        assert ("steering" in steered, unsteered["steering"]) == (False, {"alpha": 0, "schedule": "0:0"})


def test_a_key_is_asked_for_and_stays_in_this_tab(tab: Tab, upstream: str, pair_file: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.txt", "ann")
    with paged(upstream, pair_file, tmp_path, server='keys = "keys.txt"') as url:
        tab.open(url)
        tab.until("!document.getElementById('key-form').hidden")
        assert focused(tab) == "key"
        assert tab.value("document.getElementById('ask').hidden")
        for wrong, said in (("two words", "A key has only"), (f"{key}x", "Incorrect API key")):
            tab.type(wrong)
            tab.press("Enter")
            tab.until(f"document.getElementById('problem').textContent.includes({json.dumps(said)})")
            tab.value("document.getElementById('key').focus()")
        tab.type(key)
        tab.press("Enter")
        tab.until(f"!document.getElementById('ask').hidden && {READY}")
        assert tab.value("document.getElementById('problem').hidden")
        tab.until("document.getElementById('spend').textContent.endsWith('by ann')")
        tab.value("document.getElementById('beside').click()")
        asked(tab, limit=2)
        tab.until(QUIET)
        (request,) = tab.sent(COMPLETIONS)
        assert {name.lower(): value for name, value in request["headers"].items()}["authorization"] == f"Bearer {key}"
        assert not tab.value(f"document.documentElement.outerHTML.includes({json.dumps(key)})")
        assert tab.value("[localStorage.length, document.cookie, document.getElementById('key').value]") == [0, "", ""]
        assert all(key not in one["params"]["request"]["url"] for one in tab.events if "request" in one["params"])
        tab.open(url)
        tab.until(READY)  # the tab has it still
        tab.value("document.getElementById('forget').click()")
        tab.until("!document.getElementById('key-form').hidden")
        assert tab.value("sessionStorage.length") == 0


def test_a_budget_that_is_used_up_is_told(tab: Tab, upstream: str, pair_file: Path, tmp_path: Path) -> None:
    with paged(upstream, pair_file, tmp_path, budgets=(Budget(max_calls=0, per="day"),)) as url:
        ready(tab, url)
        asked(tab)
        tab.until(QUIET)
        assert "a budget of this server is used up" in of(tab, "#problem-text")
        assert tab.value("document.getElementById('steered').dataset.state") == "refused"
        assert of(tab, "#steered .empty") == "No token came."
        tab.picture(pictures() / "ask-budget.png")


def test_an_upstream_that_is_gone_is_told(tab: Tab, pair_file: Path, tmp_path: Path) -> None:
    with paged("http://127.0.0.1:9/v1", pair_file, tmp_path) as url:
        ready(tab, url)
        asked(tab)
        tab.until(QUIET)
        assert of(tab, "#problem-text").startswith("The upstream model is not available.")
        assert tab.value("document.getElementById('again').hidden"), "the question asks again as well"


def test_a_gateway_that_is_gone_is_told_and_can_be_tried_again(
    tab: Tab, upstream: str, pair_file: Path, tmp_path: Path
) -> None:
    with paged(upstream, pair_file, tmp_path) as url:
        ready(tab, url)
    asked(tab)
    tab.until(QUIET)
    assert of(tab, "#problem-text").startswith("The gateway cannot be reached.")
    assert not tab.value("document.getElementById('again').hidden")


def test_a_stream_that_breaks_off_keeps_what_came(tab: Tab, closed: TinyModel, pair_file: Path, tmp_path: Path) -> None:
    with running(closed.path, name="tiny", context=CONTEXT, top_k=20, quirks=["faults=ok,ok,503,503,503"]) as api:
        with paged(api, pair_file, tmp_path) as url:
            ready(tab, url)
            tab.value("document.getElementById('beside').click()")
            asked(tab, limit=60)
            tab.until(QUIET)
            assert of(tab, "#steered .state") == "It broke off."
            assert tab.value("document.querySelectorAll('#steered [role=option]').length") > 0
            assert of(tab, "#problem-text") != ""


def test_an_empty_question_costs_nothing(tab: Tab, upstream: str, pair_file: Path, tmp_path: Path) -> None:
    with paged(upstream, pair_file, tmp_path) as url:
        ready(tab, url)
        for text in ("", "  "):
            tab.type(text)
            tab.press("Enter")
            assert tab.value("document.getElementById('send').hidden") is False
        assert sent(tab) == []
        tab.type("the")
        tab.press("Enter", shift=True)
        assert sent(tab) == [], "Shift and Enter begin a line"


def pictures() -> Path:
    folder = Path(__file__).parents[2] / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_it_fits_on_any_screen_in_both_schemes(
    tab: Tab, upstream: str, pair_file: Path, tmp_path: Path, *, width: int, scheme: Scheme
) -> None:
    with paged(upstream, pair_file, tmp_path) as url:
        tab.show(width, 844, scheme=scheme)
        ready(tab, url)
        asked(tab)
        tab.until(QUIET)
        for card in (False, True):
            if card:
                tab.value("document.querySelector('#steered [role=option]').focus()")
            assert tab.value("document.documentElement.scrollWidth") <= width
            beyond = (
                f"[...document.querySelectorAll('main *')].filter((one) => one.getBoundingClientRect().right > {width})"
            )
            assert tab.value(f"{beyond}.map((one) => one.tagName + one.id + one.className)") == []
        tab.picture(pictures() / f"ask-{width}-{scheme}.png")
        dark = tab.value("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 27)"
        assert dark == (scheme == "dark")
        assert tab.complaints == []


def test_everything_that_takes_the_focus_has_a_role_and_a_name(
    tab: Tab, upstream: str, pair_file: Path, tmp_path: Path
) -> None:
    """As the browser tells them to a screen reader."""
    with paged(upstream, pair_file, tmp_path) as url:
        ready(tab, url)
        asked(tab)
        tab.until(QUIET)
        tree = tab.send("Accessibility.getFullAXTree")["nodes"]
        seen = [node for node in tree if not node["ignored"]]
        focusable = [node for node in seen if any(one["name"] == "focusable" for one in node.get("properties", []))]
        named = {
            node["role"]["value"]: node["name"]["value"] for node in focusable if node["role"]["value"] != "RootWebArea"
        }
        assert {"textbox", "combobox", "slider", "spinbutton", "checkbox", "button", "option"} <= named.keys()
        assert [node for node in focusable if not node.get("name", {}).get("value", "").strip()] == []
        slider = next(node for node in focusable if node["role"]["value"] == "slider")
        assert slider["name"]["value"] == "alpha"
        roles = {node["role"]["value"] for node in seen}
        assert {"main", "banner", "contentinfo", "complementary", "status", "listbox"} <= roles


FIGURES = [0.0, -0.004, -0.005, 2.18, -2.72, -18.8880622, 1.005]
CHANCES = [0.0, math.log(0.5), -20.0, -math.inf, -0.0001, math.log(0.0006), math.log(0.0004)]
AMOUNTS = ["0", "0.00012345678", "0.00067", "1234.5", "0.5", "0.0001175", "1", "0.000000000001"]
TEXTS = [" a\x1b", "\u202e", "\n\t", "é", "\U0001f600", "\u200b\x7f\x85", "\ue000", "\U000e0001"]


def test_figures_are_written_as_on_the_other_pages(tab: Tab, upstream: str, pair_file: Path, tmp_path: Path) -> None:
    with paged(upstream, pair_file, tmp_path) as url:
        ready(tab, url)

        def each(call: str, values: list[Json]) -> Json:
            return tab.value(
                f"import('{url}ui/figures.js').then((made) => {json.dumps(values)}.map((value) => made.{call}))"
            )

        assert each("nats(value)", FIGURES) == [nats(value) for value in FIGURES]
        assert each("nats(value, '+')", FIGURES) == [nats(value, sign="+") for value in FIGURES]
        assert each("chance(value)", [max(one, -9999.0) for one in CHANCES]) == [_chance(one) for one in CHANCES]
        assert each("dollars(value)", AMOUNTS) == [dollars(Decimal(amount)) for amount in AMOUNTS]
        assert each("visible(value)", TEXTS) == [visible(text.encode()) for text in TEXTS]
        assert each("visible(value, 'end')", [""]) == [visible(b"", Kind.END)]

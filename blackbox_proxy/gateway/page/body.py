"""The HTML of the page at `/`. Pure: it is the same for everybody, and holds nothing of a model or a key.

Words that the scripts show stand here, in elements that are read by their `data-` attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from blackbox_proxy.pages.html import Html, el, page_with
from blackbox_proxy.pages.style import COMMON, TOKENS
from blackbox_proxy.pages.trace import CANDIDATE_HEADS, FINISHES, FLAGS, MEANINGS, ORIGINS
from blackbox_proxy.types import Origin

STYLE = COMMON + TOKENS
"""What stands before the page's own rules."""

TITLE = "Ask a steered model"
MOST_TOKENS = 256
"""What the page limits an answer to, where nobody says otherwise."""

FACTS = {
    "API log-prob": "logp_before",
    "Offset": "offset",
    "Steered log-prob": "logp_after",
    "Exact": "exact",
    "Certified": "certified",
    "TV bound": "tv_bound",
}
"""What the card says of a token, by the field of the step."""

FIGURES = {
    "cost": "Cost",
    "calls": "Calls",
    "tokens": "Tokens",
    "pair": "By the pair",
    "outside": "Outside top-k",
    "seconds": "Time",
}
"""What is counted of an answer; the scripts fill it in."""


def ask_page() -> str:
    """The page as the text of an HTML file."""
    return page_with(
        f"{TITLE} \u00b7 blackbox-proxy",
        el("a", "Skip to the question", href="#question", cls="skip"),
        _header(),
        el("main", _key(), _form(), _messages(), _work(), _legend(), _columns(), _finishes()),
        el("footer", "Amounts in US dollars; a day is one of UTC. What a stopped answer cost is in the day's amount."),
        head=(
            el("link", rel="stylesheet", href="ui/page.css"),
            el("script", type="module", src="ui/main.js"),
        ),
        generator="blackbox-proxy",
    )


def _header() -> Html:
    spend = el("p", el("span", "Spent today", cls="soft"), el("span", "\u2013", id="spend"), cls="spend")
    return el("header", el("h1", TITLE), spend, cls="top")


def _key() -> Html:
    """Where a key is asked for; shown when the server has refused a request without one."""
    return el(
        "form",
        el("h2", "This server asks for a key", id="key-title"),
        _field(
            "Key", "key", el("input", id="key", type="password", autocomplete="off", spellcheck="false", required=True)
        ),
        el("button", "Use this key", type="submit", cls="primary"),
        el("p", "Kept in this tab until it is closed, and sent to this server alone.", cls="hint"),
        id="key-form",
        aria_labelledby="key-title",
        cls="panel",
        hidden=True,
    )


def _form() -> Html:
    question = el("textarea", id="question", rows=3, required=True, aria_describedby="ask-hint")
    slider = el("input", id="alpha", type="range", min="0", max="3", step="0.05", value="1", aria_describedby="own")
    limit = el("input", id="limit", type="number", min=1, value=MOST_TOKENS, required=True, inputmode="numeric")
    return el(
        "form",
        _field("Question", "question", question),
        el(
            "div",
            _field("Model", "model", el("select", id="model")),
            el(
                "div",
                el("label", "alpha", for_="alpha"),
                el("output", "1.00", id="alpha-value", for_="alpha"),
                slider,
                el("span", "the model's own", id="own", cls="own"),
                cls="field alpha",
            ),
            _field("Most tokens", "limit", limit),
            el(
                "div",
                el("input", id="beside", type="checkbox", checked=True),
                el("label", "Unsteered beside it", for_="beside"),
                cls="check",
            ),
            el(
                "div",
                el("button", "Forget the key", id="forget", type="button", hidden=True),
                el("button", "Stop", id="stop", type="button", hidden=True),
                el("button", "Ask", id="send", type="submit", cls="primary"),
                cls="buttons",
            ),
            cls="controls",
        ),
        el("p", "Enter asks, Shift+Enter begins a line, Escape stops.", id="ask-hint", cls="hint"),
        id="ask",
    )


def _field(label: str, name: str, control: Html) -> Html:
    return el("div", el("label", label, for_=name), control, cls="field")


def _messages() -> Html:
    """What went wrong, and for screen readers how far the answer is."""
    again = el("button", "Try again", id="again", type="button", hidden=True)
    return el(
        "div",
        el("div", el("span", id="problem-text"), again, id="problem", role="alert", cls="notice problem", hidden=True),
        el("p", id="status", role="status", cls="unseen"),
        el("noscript", el("p", "This page needs JavaScript.", cls="notice")),
    )


def _work() -> Html:
    answers = el("div", _answer("steered", "Steered"), _answer("unsteered", "Unsteered"), cls="answers")
    return el("div", answers, _card(), cls="work")


def _answer(name: str, title: str) -> Html:
    """One answer: its tokens, who decided them, and what they took."""
    tokens = el(
        "div",
        role="listbox",
        aria_label=f"{title}: tokens of the answer",
        aria_orientation="horizontal",
        cls="tokens",
        hidden=True,
    )
    figures = (el("div", el("dt", said), el("dd", "\u2013", data_figure=figure)) for figure, said in FIGURES.items())
    return el(
        "section",
        el(
            "div",
            el("h2", el("span", title), " ", el("span", cls="at"), id=f"{name}-title"),
            el("p", "No answer yet.", cls="state"),
            cls="heading",
        ),
        el("div", tokens, el("p", "The answer comes here, token by token.", cls="empty"), cls="answer"),
        el("p", cls="unseen said"),
        el("div", aria_hidden="true", cls="shares", hidden=True),
        el("ul", aria_label="Who decided the tokens", cls="counts"),
        el("dl", *figures, cls="figures"),
        id=name,
        aria_labelledby=f"{name}-title",
        data_state="empty",
    )


def _card() -> Html:
    """What is known of the token that is pointed at, or has the focus."""
    heads = el("tr", *(el("th", head, scope="col") for head in CANDIDATE_HEADS))
    facts = (el("div", el("dt", name), el("dd", "\u2013", data_fact=field)) for name, field in FACTS.items())
    hint = "Point at a token, or go to it with the tab key and the arrow keys, to see what else there was."
    return el(
        "aside",
        el("h2", "Token", cls="card-title"),
        el("p", hint, cls="hint"),
        el(
            "div",
            el(
                "p",
                el("b", id="card-number"),
                " ",
                el("code", id="card-token"),
                " ",
                el("span", id="card-origin", cls="mark"),
                el("button", "Close", id="card-close", type="button"),
                cls="card-head",
            ),
            el("p", id="card-meaning"),
            el("table", el("thead", heads), el("tbody", id="card-rows"), id="card-table"),
            el("dl", *facts, cls="facts"),
            el("ul", id="card-flags", cls="flags"),
            id="card-body",
            hidden=True,
        ),
        id="card",
        aria_label="Token",
        cls="card",
    )


def _legend() -> Html:
    lines = (
        el(
            "li",
            el("span", origin.value, cls=f"mark {mark}"),
            f" {meaning}",
            **{"data-origin": origin.value, "data-mark": mark},
        )
        for origin, (mark, meaning) in ORIGINS.items()
        if origin is not Origin.GIVEN
    )
    signs = (
        el(
            "li",
            el("span", flag.sign, cls="mark"),
            f" {flag.meaning}",
            **{"data-field": flag.field, "data-when": "true" if flag.when else "false"},
        )
        for flag in FLAGS
    )
    return _folded("Who decided: colours and signs", el("ul", *lines, *signs, cls="marks"))


def _columns() -> Html:
    rows = (el("div", el("dt", name), el("dd", f"{meaning}.")) for name, meaning in MEANINGS if name in FACTS)
    return _folded("What the figures mean", el("dl", *rows, cls="means"))


def _folded(title: str, content: Html) -> Html:
    return el("details", el("summary", title), content)


def _finishes() -> Html:
    """Why an answer ended, for the scripts to read."""
    return el("ul", *_words(FINISHES, "data-finish"), hidden=True)


def _words(words: Mapping[str, str], attribute: str) -> Iterable[Html]:
    return (el("li", said, **{attribute: word}) for word, said in words.items())

"""The page of an answer: every token as it is, marked by its origin, with its candidates and its share of the cost."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.core.visible import visible
from blackbox_proxy.pages.style import TRACE as STYLE
from blackbox_proxy.pages.trace import HEADS, MEANINGS, ORIGINS, rounds, rounds_of_steps, trace_page
from blackbox_proxy.schedule import Schedule
from blackbox_proxy.types import Call, Kind, Message, Origin, Prompt, Result, ScoredCandidate, Step, Usage
from tests.pages.answers import CALLS, CANDIDATES, RESULT, STEPS, TRACE, with_steps
from tests.pages.reading import Element, Page
from tests.pages.test_html import HOSTILE

PAGE = Page.read(trace_page(TRACE))
NUMBERS = st.floats(allow_nan=False, allow_infinity=True, width=32)
PIECES = st.binary(max_size=6) | HOSTILE.map(lambda text: text.encode("utf-8", "surrogatepass"))


def tokens(page: Page) -> list[Element]:
    (found,) = page.root.find("ol", "tokens")
    return found.find("li")


def flowing(token: Element) -> str:
    """The token's own text, without its card."""
    return token.find("span", "mark")[0].text


def test_the_page_stands_by_itself() -> None:
    PAGE.check()


def test_the_tokens_are_the_answer() -> None:
    shown = [flowing(token) for token in tokens(PAGE)]
    assert shown == ["answer", ":\u21b5\n", " Bristol", r"\xc3", r"\xa9", "<end>"]


def test_every_token_is_marked_by_its_origin_and_not_by_colour_alone() -> None:
    assert ORIGINS.keys() == set(Origin)
    lines = {}
    for token, step in zip(tokens(PAGE), STEPS, strict=True):
        mark, _ = ORIGINS[step.origin]
        assert mark in (token.find("span")[0].attributes["class"] or "").split()
        lines[mark] = re.findall(rf"\.{mark} {{[^}}]*text-decoration-style: (\w+)", STYLE)
    assert lines == {"draft": [], "changed": ["solid"], "outside": ["double"], "local": ["wavy"]}
    (legend,) = PAGE.root.find("ul", "marks")
    assert [item.text.split(":")[0] for item in legend.find("li")] == [
        *("api draft 2", "changed 2", "outside top-k 1", "completed locally 1", "\u2248 2")
    ]


@pytest.mark.parametrize(
    ("said", "sign", "legend", "sentence"),
    [
        (
            {"guessed": True},
            "\u2020",
            "pair draft; the API was asked along it, and it was kept",
            "The pair had drafted it.",
        ),
        (
            {"outweighed": True},
            "\u2021",
            "weighs less than all that was not listed, together",
            "something better may be among it",
        ),
        (
            {"unbordered": True},
            "\u00a6",
            "the API's tokenizer would hardly have ended a token before it",
            "so that this was not asked for",
        ),
    ],
)
def test_what_is_said_of_a_token_stands_at_it_in_the_legend_and_in_its_card(
    said: dict[str, bool], sign: str, legend: str, sentence: str
) -> None:
    step = replace(STEPS[0], **said)  # type: ignore[arg-type]  # one flag of several
    page = Page.read(trace_page(with_steps(step, *STEPS[1:])))
    marks = [[found.text for found in token.find("sup")] for token in tokens(page)]
    assert [any(sign in text for text in found) for found in marks] == [True, *[False] * (len(STEPS) - 1)]
    (lines,) = page.root.find("ul", "marks")
    assert f"{sign} 1: {legend}" in [one.text for one in lines.find("li")]
    assert sentence in tokens(page)[0].text
    assert sign not in PAGE.root.text


def test_every_token_can_have_the_focus_and_then_tells_what_belongs_to_it() -> None:
    for number, token in enumerate(tokens(PAGE), 1):
        (card,) = token.find("div", "card")
        assert token.attributes["tabindex"] == "0"
        assert token.attributes["aria-describedby"] == card.attributes["id"] == f"card-{number}"
        assert f"Token {number} of {len(STEPS)}: {STEPS[number - 1].origin.value}" in card.text
    assert re.search(r"li:focus > \.card { display: block", STYLE)
    assert re.search(r"li:hover > \.card { display: block", STYLE)


def test_a_card_has_the_candidates_before_and_after() -> None:
    (card,) = tokens(PAGE)[2].find("div", "card")
    rows = [[cell.text for cell in row.find("th") + row.find("td")] for row in card.find("tr")[1:]]
    assert rows == [
        ["\u2423Bristol chosen", "6.6% (\u22122.72)", "+2.18", "54.3% (\u22120.61)"],
        ["\u2423Oslo API token", "60.7% (\u22120.50)", "\u22121.00", "30.1% (\u22121.20)"],
        ["<end>", "~\u2009<0.1% (\u22129.00)", "+0.10", "<0.1% (\u22129.50)"],
    ]
    assert [row.attributes.get("class") for row in card.find("tr")[1:]] == ["chosen", None, None]


def test_a_card_says_how_far_the_token_can_be_trusted_and_what_it_cost() -> None:
    sure, _, drawn, worded = (tokens(PAGE)[n].find("div", "card")[0].text for n in (1, 0, 2, 3))
    assert (
        "exactly the text before; nothing that it hid can change this choice; the distribution is off by at most 0 "
        in sure
    )
    assert "what it hid might change this choice; the distribution is off by at most 0.25 (" in drawn
    assert "did not go on from exactly this" in worded
    assert "Round 1, 1 call: 40 tokens in (0 cached), 4 out, for $0.0003; 2 kept, $0.00015 each." in sure
    assert "Round 2, 2 calls: 84 tokens in (70 cached), 9 out, for $0.0008; 3 kept, $0.0002667 each." in drawn


def test_the_table_has_every_token() -> None:
    (table,) = PAGE.root.find("div", "wide")[0].find("table")
    rows = [[cell.text for cell in row.find("th") + row.find("td")] for row in table.find("tr")[1:]]
    assert [row[2] for row in rows] == [visible(step.piece, step.kind) for step in STEPS]
    assert rows[0] == [
        "1",
        "The",
        "answer",
        "outside top-k",
        "~\u2009\u221218.27",
        "+14.71",
        "0.00",
        "yes",
        "no",
        "0.9",
        "$0.00015",
    ]
    assert rows[4][1:7] == ["\u2013", r"\xa9", "completed locally", "\u2013", "\u2013", "\u2013"]
    costs = [cell.attributes["value"] for row in table.find("tr")[1:] for cell in row.find("data")]
    assert len(costs) == len(STEPS) - 1, "what was completed locally has no price"
    assert sum(float(cost or 0) for cost in costs) == pytest.approx(float(RESULT.cost or 0))
    assert {name for name, _ in MEANINGS} == set(HEADS[4:])


def test_the_head_sums_it_up() -> None:
    (head,) = PAGE.root.find("header")
    for said in (
        "closed-model, alpha 1.25",
        "6 tokens in 3 calls, 4 of them changed, 2 from outside",
        "$0.0011",
        "ended by",
    ):
        assert said in head.text
    assert [notice.text for notice in PAGE.root.find("p", "notice")] == list(RESULT.notes)
    assert [turn.text for turn in PAGE.root.find("dl", "turns")[0].find("dd")] == [
        "Be brief.",
        TRACE.asked.messages[1].content,
    ]


@given(
    pieces=st.lists(PIECES, min_size=1, max_size=3),
    text=HOSTILE.filter(lambda text: "\ud800" not in text),
    numbers=st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    known=st.booleans(),
    origin=st.sampled_from(Origin),
)
def test_no_token_becomes_a_tag(
    pieces: list[bytes], text: str, numbers: tuple[float, float, float, float], origin: Origin, *, known: bool
) -> None:
    before, after, offset, error = numbers
    shapes = []
    for used, said in ((pieces, text), ([b"a"] * len(pieces), "a")):
        steps = [
            Step(
                piece,
                Kind.TEXT,
                piece,
                before if known else None,
                after if known else None,
                offset if known else None,
                origin,
                (ScoredCandidate(piece, Kind.TEXT, before, offset if known else None, after, inside=True),),
                tv_bound=error,
            )
            for piece in used
        ]
        trace = with_steps(*steps)
        trace = replace(trace, result=replace(trace.result, model=said, notes=(said,)), asked=Prompt.ask(said))
        page = Page.read(trace_page(trace))
        page.check()
        shapes.append([one.name for one in page.root.all() if one.name != "i"])
        if b"\n" not in b"".join(used):
            assert [flowing(token) for token in tokens(page)] == [in_flow(piece) for piece in used]
    assert shapes[0] == shapes[1]


def in_flow(piece: bytes) -> str:
    """A token as the page must show it in the text: as `visible`, but spaces are spaces."""
    shown = "".join(
        " " if sign == " " else visible(sign.encode()) for sign in piece.decode("utf-8", "backslashreplace")
    )
    return shown.replace("\u21e5", r"\t")


def test_raw_text_is_shown_as_it_was_sent() -> None:
    page = Page.read(trace_page(replace(TRACE, asked=Prompt(text="Once\n  <upon> a time"))))
    assert page.root.find("dl", "turns")[0].find("dd")[0].text == "Once\n  <upon> a time"
    chat = Prompt(messages=(Message("us<er", "x"),))
    page = Page.read(trace_page(replace(TRACE, asked=chat)))
    assert page.root.find("dl", "turns")[0].find("dt")[0].text == "us<er"


def test_an_answer_without_calls_has_no_cost() -> None:
    page = Page.read(trace_page(with_steps(*STEPS)))
    assert page.root.find("data") == []
    assert "Round" not in page.root.text


@given(
    kept=st.lists(st.integers(0, 5), min_size=1, max_size=8),
    costs=st.lists(st.none() | st.decimals(0, 1, places=6), min_size=8, max_size=8),
)
def test_rounds_add_up_to_the_answer(kept: list[int], costs: list[Decimal | None]) -> None:
    """Calls after the same text are one round; each token belongs to the last round before it."""
    starts = [sum(kept[:n]) for n in range(len(kept))]
    calls = tuple(Call(start, Usage(output=1, requests=1), cost) for start, cost in zip(starts, costs, strict=False))
    result = replace(RESULT, steps=STEPS[1:2] * sum(kept), calls=calls)
    found = rounds(result)
    assert sum((one.steps for one in found), ()) == result.steps
    assert tuple(call for one in found for call in one.calls) == calls
    of_steps = rounds_of_steps(result)
    for at, one in enumerate(of_steps):
        assert one is not None
        assert one.calls[0].step == max(start for start in starts if start <= at)
    if None not in costs[: len(kept)] and of_steps and found[-1].steps:
        total = sum((cost for cost in costs[: len(kept)] if cost is not None), Decimal(0))
        assert float(sum((one.each or Decimal(0) for one in of_steps if one), Decimal(0))) == pytest.approx(
            float(total)
        )
    assert all(one.cost is None for one in found if None in [call.cost for call in one.calls])


def test_a_round_of_unknown_cost_makes_its_tokens_costs_unknown() -> None:
    calls = (replace(CALLS[0], cost=None), *CALLS[1:])
    page = Page.read(trace_page(replace(TRACE, result=replace(RESULT, calls=calls, cost=None))))
    assert "cost unknown" in page.root.find("header")[0].text
    assert "at unknown cost; 2 kept." in tokens(page)[0].find("div", "card")[0].text
    (table,) = page.root.find("div", "wide")[0].find("table")
    assert [row.find("td")[-1].text for row in table.find("tr")[1:3]] == ["unknown", "unknown"]


def test_a_schedule_stands_in_place_of_alpha() -> None:
    page = Page.read(trace_page(replace(TRACE, schedule=Schedule(((0, 1.5), (8, 1.0))))))
    assert "alpha by token 0:1.5,8:1." in page.root.find("header")[0].text


def test_an_answer_that_broke_off_is_shown_as_far_as_it_came() -> None:
    broken: Result = replace(RESULT, steps=STEPS[:1], finish="error", calls=CALLS[:1])
    page = Page.read(trace_page(replace(TRACE, result=broken)))
    assert "It broke off." in page.root.find("header")[0].text
    assert len(tokens(page)) == 1


def test_a_log_prob_of_nothing_is_no_chance() -> None:
    candidate = replace(CANDIDATES[0], logp=-math.inf)
    page = Page.read(trace_page(with_steps(replace(STEPS[2], candidates=(candidate,)))))
    assert tokens(page)[0].find("td")[0].text == "0%"

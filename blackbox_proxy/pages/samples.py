"""The whole answers that an answer was chosen from, as a table of the page of one answer."""

from __future__ import annotations

from collections.abc import Sequence

from blackbox_proxy.core.visible import paragraphs
from blackbox_proxy.pages.figures import NONE, UNKNOWN, money, nats
from blackbox_proxy.pages.html import Html, el
from blackbox_proxy.types import Sample

SAMPLE_HEADS = (
    *("Answer", "Draws", "Share", "Log-weight", "Log-prob, expert", "Log-prob, anti-expert", "Log-prob, API"),
    *("Finish", "Tokens", "Cost"),
)


def samples_table(samples: Sequence[Sample]) -> list[Html]:
    """All whole answers that it was chosen from, with their weights."""
    if not samples:
        return []
    heads = (el("th", head, scope="col", cls="words" if head == "Answer" else None) for head in SAMPLE_HEADS)
    table = el("table", el("thead", el("tr", *heads)), el("tbody", *(_sample_row(sample) for sample in samples)))
    wide = el("div", table, cls="wide", tabindex=0, role="region", aria_label="All whole answers")
    return [el("h2", "All whole answers"), wide]


def _sample_row(sample: Sample) -> Html:
    said = " chosen" if sample.chosen else "" if sample.allowed else " not what the constraint asks for"
    remark = el("span", said, cls="soft") if said else ""
    logs = (sample.log_weight, sample.expert, sample.anti_expert, sample.logp)
    return el(
        "tr",
        el("th", el("code", paragraphs(sample.text)), remark, scope="row", cls="words"),
        el("td", f"{sample.count:,}"),
        el("td", NONE if sample.share is None else f"{sample.share:.1%}"),
        *(el("td", nats(one)) for one in logs),
        el("td", sample.finish),
        el("td", f"{sample.tokens:,}"),
        el("td", UNKNOWN if sample.cost is None else money(sample.cost)),
        cls="chosen" if sample.chosen else None,
    )

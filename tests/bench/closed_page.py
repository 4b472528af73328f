"""Writes docs/measurements/closed_chats.md from the figures of `tests.bench.closed_chats`.

python -m tests.bench.closed_page [FIGURES] [PAGE]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bench.continuing import MODELS

FOLDER = Path(__file__).parents[2] / "docs" / "measurements"
SERVERS = {"told": "the stand-in", "told_llama_server": "llama.cpp's own server"}
WHERE = {"inside": "its own answers", "form": "the demo's form"}
WAYS = {
    "prefill": "prefill",
    "frame": "prefill, inside the frame",
    "forced": "forced, windows",
    "forced_echo": "forced, echo",
    "words": "words",
    "answers": "whole answers, 12",
}

Figures = Mapping[str, Any]


def page(document: Figures) -> str:
    """The page of some figures."""
    about = f"`{document['command']}`, {document['date']}, commit {document['commit'][:12]}"
    parts = [
        _HEAD.format(about=about),
        *([document["note"]] if document["note"] else []),
        *_places(document),
        *_told(document),
    ]
    return "\n\n".join(parts) + "\n"


_HEAD = """# Closed chats by each way, measured

`make closed-chats` asks closed chats without prefill in each [way](../closed_chats.md) that there is, against the same
chats with prefill. It goes on where it was, and its figures are over what is done, so that rows may differ in how many
texts they are of.

{about}; two shared CPU cores.

Every figure of [closed_chats.json](closed_chats.json) follows from the rows in
[closed_chats_rows.json](closed_chats_rows.json) (tests/test_closed_chats.py)."""

_PLACES = """## What comes next

llama.cpp's own server (xllamacpp), once with prefill and once without. After the same text, both are asked for the next
token: in answers that the model gave by prefill, after every third of its first 30 tokens; and in right answers to
held-out `told` questions of the demo, after each of their words and marks, which the model would not write by itself.
*Agrees*: the likeliest token is that by prefill, over all places, with Wilson's interval of 95 %. *Nothing*: the reply
told nothing. *Inside the frame*: prefill with `{"answer":"` before the text, which shows what standing inside a JSON
string changes by itself. *Distance*: total variation between the two distributions, mean of the places where something
is known."""

_LIMITS = """Two things keep a demanded text from being prefill there. The frame: inside JSON the models say other
things, as the rows *inside the frame* show. And the spelling: this server lets the model spell what is demanded in the
tokens that it likes best, not as the tokenizer cuts it. So SmolLM2-135M spelt `1. **Avoiding C` with a space and then
`Coff`, and none of the twenty tokens that were listed after the space begins with `C`: nothing is known there. The
stand-in spells it as the tokenizer does, and freely with its quirk `free-forced`. In the demo's form most of what is
not known stands behind ` |` and `;`, where the model goes on with a token that holds the mark and more (`||(`): what
would follow the mark alone is not told. A steered answer meets few of these places, since its next call begins behind
another text."""

_TOLD = """## Answers

Held-out `told` questions of the demo (the fact stands in a note that the closed model alone is shown; the pair has
learnt the form), steered by the demo's pair; the closed model is Qwen2.5-Coder-0.5B-Instruct. *Exact*: the form and the
right fact. For whole answers six examples stand in the closed model's prompt, which otherwise does not say the form;
12 are drawn at temperature 0.8, and the best is taken. Calls, tokens, dollars (0.15, cached 0.075, and 0.60 a million)
and seconds are means of an answer."""


def _places(document: Figures) -> Iterator[str]:
    rows = [
        (model, WHERE[where], WAYS[way], figures)
        for model in MODELS
        for where in WHERE
        for way in WAYS
        if (figures := document.get(model, {}).get(where, {}).get(way))
    ]
    if rows:
        head = "| model | in | asked | places (texts) | agrees | where known | nothing | distance |"
        yield _PLACES
        yield "\n".join([head, "|---" * 8 + "|", *(_place_row(*row) for row in rows)])
        yield _LIMITS


def _place_row(model: str, where: str, way: str, of: Figures) -> str:
    agrees = f"{of['agree']:.2f} ({of['low']:.2f} to {of['high']:.2f})"
    known = "" if of["agree_where_known"] is None else f"{of['agree_where_known']:.2f}"
    distance = "" if of["distance"] is None else f"{of['distance']:.2f}"
    places = f"{of['places']} ({of['texts']})"
    return f"| {model} | {where} | {way} | {places} | {agrees} | {known} | {of['nothing']:.2f} | {distance} |"


def _told(document: Figures) -> Iterator[str]:
    servers = {name: server for name, server in SERVERS.items() if document.get(name)}
    if not servers:
        return
    yield _TOLD
    head = "| server | way | n | exact | form | fact | calls | input | output | dollars | seconds |"
    rows = [
        _told_row(server, WAYS[way], document[name][way])
        for name, server in servers.items()
        for way in WAYS
        if way in document[name]
    ]
    yield "\n".join([head, "|---" * 11 + "|", *rows])
    gaps = [
        f"* {server}, {WAYS[way]} less {WAYS[other]}: {gap['value']:+.2f} ({gap['low']:+.2f} to {gap['high']:+.2f},"
        f" p {gap['p']:.2g}, n {gap['n']})"
        for name, server in servers.items()
        for way in WAYS
        for other, gap in document[name].get(f"{way}_less", {}).items()
        if gap
    ]
    yield "Exact answers, question by question:\n\n" + "\n".join(gaps)


def _told_row(server: str, way: str, of: Figures) -> str:
    exact = f"{of['exact']:.2f} ({of['low']:.2f} to {of['high']:.2f})"
    tokens = f"{of['input_tokens']:.0f} | {of['output_tokens']:.0f}"
    return (
        f"| {server} | {way} | {of['n']} | {exact} | {of['form']:.2f} | {of['fact']:.2f} | {of['calls']:.1f} | {tokens}"
        f" | {of['cost_usd']:.6f} | {of['seconds']:.1f} |"
    )


def main(figures: str = str(FOLDER / "closed_chats.json"), written: str = str(FOLDER / "closed_chats.md")) -> None:
    """Write the page."""
    Path(written).write_text(page(json.loads(Path(figures).read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

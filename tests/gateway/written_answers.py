"""Random answers as a gateway's shapes get them: parts of text and calls of tools, cut anywhere, with their tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import strategies as st
from openai.types import CompletionUsage

from blackbox_proxy.openai_http.tool_reader import AnswerReader
from blackbox_proxy.openai_http.tool_text import BETWEEN, CALL, written
from blackbox_proxy.openai_http.tools import Tool, ToolCall, ToolSet
from blackbox_proxy.openai_http.transcript import Finish, Part, Placed
from blackbox_proxy.types import Kind, Origin, Step

USAGE = CompletionUsage.model_validate(
    {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 4},
        "steering": {"requests": 2},
    }
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
NAMES = ("weather", "f", "a-b_c")
CALLS = st.builds(
    lambda name, arguments: ToolCall(name, json.dumps(arguments, ensure_ascii=False)),
    st.sampled_from(NAMES),
    st.dictionaries(st.text(max_size=4), VALUES, max_size=3),
)
TEXTS = st.text(max_size=12).filter(lambda text: CALL[:2] not in text)


@st.composite
def answers(draw: st.DrawFn) -> list[Part[Step]]:
    """The parts of an answer: text, then calls; ended, or cut behind any of its characters."""
    said = draw(TEXTS)
    text = BETWEEN.join([*([said] if said else []), *map(written, draw(st.lists(CALLS, max_size=3)))])
    finish: Finish = "stop"
    if draw(st.booleans()):
        finish, text = "length", text[: draw(st.integers(0, len(text)))]
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return parts_of([text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)], finish)


def parts_of(pieces: Sequence[str], finish: Finish) -> list[Part[Step]]:
    """One part for each piece, with one token, and a last one that ends the answer."""
    offsets = [sum(map(len, pieces[:at])) for at in range(len(pieces))]
    parts = [Part(piece, (Placed(step(piece), at),)) for piece, at in zip(pieces, offsets, strict=True)]
    return [*parts, Part(finish=finish)]


def step(piece: str) -> Step:
    """A token of this text."""
    return Step(piece.encode(), Kind.TEXT, b"", -1.0, -0.5, 0.25, Origin.CHANGED)


def reader() -> AnswerReader:
    """A reader whose calls have the ids c0, c1 and so on."""
    ids = iter(range(99))
    return AnswerReader(lambda: f"c{next(ids)}", ToolSet(tuple(map(Tool, NAMES))))

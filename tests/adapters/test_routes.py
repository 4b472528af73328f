"""One model behind every route and every habit of an endpoint: each adapter makes the same answer of it.

The model is a script that knows one story, and does what it is told: asked to begin with a word, or with all that was
said, it does so and goes on from there. Unsteered (alpha 0), every route must tell the story.
"""

from __future__ import annotations

import string

import pytest

from blackbox_proxy import steer
from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.run.unsteered import go_on
from blackbox_proxy.standin import Script, running, script
from blackbox_proxy.steering import Steering
from blackbox_proxy.testing import ToyModel, ToyPair
from blackbox_proxy.types import Generate, Kind, Message, Prefix, Prompt
from tests.adapters.shapes import RESPONSES, Json

STORY = "Yes,\nit is so."
WORDS = [b"Yes", b",", b"\n", b"it", b" it", b" is", b"is", b" so", b"so", b"."]
LETTERS = [letter.encode() for letter in string.printable if letter.encode() not in WORDS]
NEXT = {b"Yes": b",", b",": b"\n", b"\n": b"it", b"it": b" is", b"is": b" so", b"so": b".", b".": b"</s>"}
BEGINNINGS = {"Yes": "Yes", "Yes,": "Yes", "it": "it", "is": "is", "so": "so", "so.": "so"}


def said(piece: bytes) -> dict[bytes, float]:
    """A distribution that is sure enough of a piece, and shows some others."""
    return {piece: 0.9, b"Z": 0.06, b"Q": 0.04}


def model() -> Script:
    """Chats are written down turn by turn, with > behind each; a mark behind a text asks to begin with it."""
    distributions = {b"": said(b"Yes"), **{text: said(after) for text, after in NEXT.items()}}
    distributions |= {f"«{word}»>".encode(): said(first.encode()) for word, first in BEGINNINGS.items()}
    pieces = [*WORDS, *LETTERS, *(bytes([byte]) for byte in (0xC2, 0xAB, 0xBB))]
    return script(pieces, [b"</s>"], distributions, template="{% for m in messages %}{{ m.content }}>{% endfor %}")


def pair() -> ToyPair:
    """Any pair: nothing is steered here."""
    pieces = [bytes([byte]) for byte in range(256)]
    toy = ToyModel(Vocabulary([*pieces, b"</s>"], ends=[256]))
    return ToyPair(toy, toy)


PREFIX: Json = {"prefill": "prefix"}
ROUTES: dict[str, tuple[str, tuple[str, ...], Json]] = {
    "completions": ("completions", (), {}),
    "flag pair": ("chat_prefill", (), {"prefill": "flag_pair"}),
    "prefix": ("chat_prefill", (), PREFIX),
    "partial": ("chat_prefill", (), {"prefill": "partial"}),
    "implicit": ("chat_prefill", ("implicit-prefill",), {"prefill": "implicit"}),
    "echoed": ("chat_prefill", ("echoed-prefix",), {**PREFIX, "echoes": True}),
    "trimmed": ("chat_prefill", ("trimmed-prefill",), {**PREFIX, "trims": True}),
    "echoed and trimmed": (
        "chat_prefill",
        ("echoed-prefix", "trimmed-prefill"),
        {**PREFIX, "echoes": True, "trims": True},
    ),
    "sampled first": ("chat_prefill", ("sampled-first", "hidden-end"), PREFIX),
    "visible end": ("chat_prefill", ("visible-end-text",), PREFIX),
    "one-hot at zero": ("chat_prefill", ("one-hot-at-zero",), {**PREFIX, "query_temperature": 1.0}),
    "no bytes": ("chat_prefill", ("null-bytes",), {**PREFIX, "bytes_trust": "none"}),
    "escaped": ("chat_prefill", ("escaped-tokens",), PREFIX),
    "rounded": ("chat_prefill", ("rounded-logps=1",), PREFIX),
    "no seed, strict": (
        "chat_prefill",
        ("implicit-prefill", "strict-fields"),
        {"prefill": "implicit", "seed_field": ""},
    ),
    "together": ("completions", ("together-shape",), {"decoder": "together"}),
    "extra entry": ("completions", ("extra-entry", "hidden-end"), {}),
    "instruct": ("chat_continue", ("no-prefill",), {"strategies": ("instruct",)}),
    "draft": ("chat_continue", ("no-prefill",), {"strategies": ("draft",)}),
    "replay": ("chat_continue", ("no-prefill",), {"strategies": ("replay",)}),
    "responses": (
        "chat_continue",
        (),
        dict(RESPONSES),
    ),
}


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_every_route_tells_the_story(route: str) -> None:
    """Whatever the length of a draft, so wherever the text is cut and sent back."""
    adapter, quirks, options = ROUTES[route]
    known: Json = {"top_k": 3, "end_pieces": [b"</s>"], **options}
    with (
        running(model(), name="toy", quirks=quirks) as url,
        connect(url, model="toy", adapter=adapter, options=known, template="{{ messages[0].content }}>") as api,
    ):
        for draft in (1, 2, 8):
            assert told(api, draft=draft, worded=adapter == "chat_continue") == STORY
        alone = steer("So?", api=api, offsets=pair(), steering=Steering(alpha=0.0, draft=1, max_tokens=16))
        assert (alone.text, alone.finish, alone.exactness, alone.usage.requests) == (STORY, "stop", "exact", 1)


def told(api: Api, *, draft: int, worded: bool) -> str:
    """The story, asked for by so many tokens at a time: the likeliest, as far as those before it were drafted."""
    answer = b""
    for _ in range(16):
        reply = go_on(api, Prompt.ask("So?"), answer, length=draft)
        assert reply.exact is not (worded and bool(answer))
        for position in reply.positions[:draft]:
            best = position.top[0] if position.top else position.sampled
            if best.kind is Kind.END:
                return answer.decode()
            answer += best.piece
            if best.piece != position.sampled.piece:
                break
        else:
            if len(reply.positions) < draft and reply.finish == "stop":
                return answer.decode()
    raise AssertionError(answer)


def distribution(route: str, answer: bytes) -> dict[bytes, float]:
    """The API's log-probs of the token after an answer."""
    adapter, quirks, options = ROUTES[route]
    known: Json = {"top_k": 3, "end_pieces": [b"</s>"], **options}
    with (
        running(model(), name="toy", quirks=quirks) as url,
        connect(url, model="toy", adapter=adapter, options=known) as api,
    ):
        reply = api.send(Generate("toy", Prefix("So?>", answer, (Message("user", "So?"),)), 3, 2))
    assert reply.exact
    return {c.piece: c.logp for c in reply.positions[0].top}


@pytest.mark.parametrize("route", ["flag pair", "implicit", "echoed", "trimmed", "echoed and trimmed"])
def test_a_partial_turn_has_the_distribution_of_the_same_text(route: str) -> None:
    """Also where it ends in white space."""
    assert distribution(route, b"Yes,\n") == pytest.approx(distribution("completions", b"Yes,\n"), abs=1e-6)

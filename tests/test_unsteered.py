"""What a model says and shows by itself is the same, whether an endpoint takes text or chats."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from blackbox_proxy.api import Api, connect
from blackbox_proxy.run.unsteered import go_on, shows, text_of
from blackbox_proxy.standin import running, script
from blackbox_proxy.types import Prompt

PIECES = [bytes([sign]) for sign in b"abcdefgq<>:/"] + [b"ab"]
DISTRIBUTIONS = {
    b"": {b"</s>": 0.9, b"g": 0.1},
    b"<a>": {b"a": 0.6, b"b": 0.4},
    b"a": {b"c": 0.7, b"d": 0.2, b"</s>": 0.1},
    b"<a>ab": {b"e": 1.0},
    b"ac": {b"</s>": 1.0},
}
ASKED = Prompt.ask("q")
TEMPLATE = (
    "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)
ADAPTERS = ("completions", "chat_prefill")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    toy = script([*PIECES, b"u"], [b"</s>"], DISTRIBUTIONS, template=TEMPLATE)
    with running(toy, name="toy", top_k=2) as found:
        yield found


@pytest.fixture(params=ADAPTERS)
def api(url: str, request: pytest.FixtureRequest) -> Iterator[Api]:
    options = {"top_k": 2, "end_pieces": [b"</s>"]}
    with connect(url, model="toy", adapter=request.param, template=TEMPLATE, options=options) as found:
        yield found


def test_it_says_what_it_finds_likeliest(api: Api) -> None:
    assert text_of(api.complete(ASKED, max_tokens=5)) == "ac"
    assert text_of(go_on(api, ASKED, b"", length=5)) == "ac"
    assert text_of(go_on(api, ASKED, b"", length=1)) == "a"
    assert text_of(go_on(api, ASKED, b"a", length=1)) == "c"


@pytest.mark.parametrize(
    ("before", "wanted", "shown"),
    [
        ("", "a", True),
        ("", "ac", True),
        ("", "ad", True),
        ("", "b", True),
        ("", "ae", False),
        ("", "c", False),
        ("a", "d", True),
    ],
)
def test_it_shows_a_text_where_each_token_is_in_its_top_k(api: Api, before: str, wanted: str, *, shown: bool) -> None:
    assert shows(api, ASKED, before.encode(), text=wanted.encode()) is shown

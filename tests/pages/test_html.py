"""HTML as values: whatever the text, the tags are ours, and it is read back as it went in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.pages.html import Html, document, el, joined
from tests.pages.reading import Page

HOSTILE = st.text(max_size=12) | st.sampled_from(
    [
        "</style><script>alert(1)</script>",
        '" onmouseover="x',
        "<!--",
        "]]>",
        "&amp;",
        "\x00\x1b\u202e",
        "\ud800",
        "'",
        "`",
    ]
)
KEPT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)


@given(text=KEPT, value=KEPT)
def test_text_and_attributes_are_read_back_as_they_went_in(text: str, value: str) -> None:
    root = Page.read(el("p", text, title=value).text).root
    (found,) = root.find("p")
    assert (found.text, found.attributes) == (text, {"title": value})
    assert found.inner == []


@given(text=HOSTILE)
def test_hostile_text_makes_no_tag_and_can_be_written(text: str) -> None:
    page = document(text, el("p", text, title=text), style="p { color: red; }", generator=text)
    root = Page.read(page).root
    assert [one.name for one in root.all()] == ["html", "head", *["meta"] * 4, "title", "meta", "style", "body", "p"]
    page.encode("utf-8")
    Page.read(page).check()


def test_what_html_cannot_hold_is_replaced() -> None:
    assert el("p", "a\x00\ud800\x85b\n\t").text == "<p>a\ufffd\ufffd\ufffdb\n\t</p>"


def test_attributes_have_the_names_of_html() -> None:
    found = el("a", "x", cls="one two", href="#b", aria_hidden="true", autofocus=True, hidden=False, title=None)
    assert found == Html('<a class="one two" href="#b" aria-hidden="true" autofocus>x</a>')
    assert el("br") == Html("<br>")
    assert joined(("<", el("b"))) == Html("&lt;<b></b>")

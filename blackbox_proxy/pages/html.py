"""HTML as values: text is escaped because it is text, and every tag that is opened is closed.

    >>> el("p", "a < b", el("b", "!"), cls="note")
    Html('<p class="note">a &lt; b<b>!</b></p>')

Only `el`, `joined` and `document` make an `Html`; whatever else comes in is text.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

VOID = frozenset(("br", "input", "link", "meta"))
"""Elements without content."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What the browser may load: nothing but the styles that stand in the page."""


@final
@dataclass(frozen=True, slots=True)
class Html:
    """Text that is HTML already."""

    text: str

    def __repr__(self) -> str:
        return f"Html({self.text!r})"


Content = Html | str
Value = str | int | float | bool | None


def el(name: str, /, *content: Content, **attributes: Value) -> Html:
    """An element. Attributes: `cls` is `class`, `_` is `-`; True stands alone, None and False are left out."""
    head = "".join((name, *(_attribute(key, value) for key, value in attributes.items())))
    if name in VOID:
        return Html(f"<{head}>")
    return Html(f"<{head}>{joined(content).text}</{name}>")


def joined(content: Iterable[Content]) -> Html:
    """Several pieces, one after another."""
    return Html("".join(one.text if isinstance(one, Html) else _text(one) for one in content))


def document(title: str, *content: Content, style: str, generator: str) -> str:
    """A whole page. style: CSS, which must be ours, since it is not escaped. generator: what made it."""
    policy = el("meta", http_equiv="Content-Security-Policy", content=POLICY)
    return page_with(title, *content, head=(policy, Html(f"<style>{style}</style>")), generator=generator)


def page_with(title: str, *content: Content, head: Iterable[Html], generator: str) -> str:
    """A whole page. head: what its head has besides title and meta data. generator: what made it."""
    whole = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="generator", content=generator),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        *head,
    )
    return f"<!doctype html>\n{el('html', whole, el('body', *content), lang='en').text}\n"


def _attribute(key: str, value: Value) -> str:
    if value is None or value is False:
        return ""
    name = "class" if key == "cls" else key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{_text(str(value))}"'


def _text(text: str) -> str:
    """Escaped; what HTML cannot hold (controls, half surrogate pairs) becomes the sign of replacement."""
    return html.escape("".join("\ufffd" if _barred(sign) else sign for sign in text))


def _barred(sign: str) -> bool:
    return (sign < " " and sign not in "\n\t") or "\x7f" <= sign <= "\x9f" or "\ud800" <= sign <= "\udfff"

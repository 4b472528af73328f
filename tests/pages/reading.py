"""Reads a page back as a strict reader would: tags that close in order, text, data, links, and what it would load."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Self, final

VOID = frozenset(("br", "input", "link", "meta"))
LOADING = frozenset(("src", "srcset", "action", "formaction", "data", "poster", "background", "xlink:href"))
INERT = frozenset(("script", "iframe", "object", "embed", "img", "link", "base", "form", "audio", "video"))


@dataclass(slots=True)
class Element:
    """An element with its own and all inner text."""

    name: str
    attributes: dict[str, str | None]
    text: str = ""
    inner: list[Element] = field(default_factory=list)

    def find(self, name: str, cls: str = "") -> list[Element]:
        """All elements of a name below, and of a class where one is given, in order."""
        found = []
        for one in self.inner:
            if one.name == name and (not cls or cls in (one.attributes.get("class") or "").split()):
                found.append(one)
            found += one.find(name, cls)
        return found

    def all(self) -> list[Element]:
        """Everything below."""
        return [found for one in self.inner for found in (one, *one.all())]


@final
class Page(HTMLParser):
    """Fails on a tag that is closed out of order, or never."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self._open = [self.root]

    @classmethod
    def read(cls, text: str) -> Self:
        page = cls()
        page.feed(text)
        page.close()
        assert page._open == [page.root], f"never closed: {page._open[-1].name}"
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} is there twice"
        element = Element(tag, dict(attrs))
        self._open[-1].inner.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].name == tag, f"{tag} closes {self._open[-1].name}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def check(self) -> None:
        """It loads nothing, runs nothing, and every link leads to a place in it."""
        places = {one.attributes["id"] for one in self.root.all() if "id" in one.attributes}
        ids = [one.attributes["id"] for one in self.root.all() if "id" in one.attributes]
        assert len(places) == len(ids)
        for one in self.root.all():
            assert one.name not in INERT, one.name
            for name, value in one.attributes.items():
                assert name not in LOADING, name
                assert not name.startswith("on"), name
                if name == "href":
                    assert value is not None
                    assert value.startswith("#")
                    assert value[1:] in places, value
                if name in ("aria-describedby", "aria-labelledby"):
                    assert value in places, value
        (style,) = self.root.find("style")
        assert not any(word in style.text for word in ("url(", "@import", "://"))
        (policy,) = (one for one in self.root.find("meta") if "http-equiv" in one.attributes)
        assert (policy.attributes["content"] or "").startswith("default-src 'none'")

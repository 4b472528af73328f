"""The page at `/`: served where `ui` says so, under a policy that lets nothing else in; who may ask by it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from blackbox_proxy.gateway.keys import add_key
from blackbox_proxy.gateway.page.body import ask_page
from blackbox_proxy.gateway.page.serving import HEADERS
from tests.gateway.serving import bodies, config_text, gateway
from tests.pages.reading import Element, Page
from tests.standin.raw import call, post

SCRIPTS = files("blackbox_proxy.gateway.page") / "files"
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
ASKED = bodies(model="steered", max_tokens=2, temperature=0)["/v1/chat/completions"]


@pytest.fixture(scope="module")
def page_url(upstream: str, pair_file: Path) -> Iterator[str]:
    """A gateway with the page, and without keys."""
    with gateway(config_text(upstream, pair=pair_file, server="ui = true")) as url:
        yield url


def elements() -> list[Element]:
    return Page.read(ask_page()).root.all()


def test_there_is_no_page_by_default(served: str) -> None:
    for path in ("/", "/ui/page.css", "/ui/main.js"):
        assert call(served, path).status == 404


def test_everything_that_the_page_names_is_served_under_the_policy(page_url: str) -> None:
    names = {one.attributes.get("href") or one.attributes.get("src") for one in elements() if one.name in LOADING}
    inner = {name for text in scripts().values() for name in re.findall(r'from "\./(\w+\.js)"', text)}
    paths = {"/", *(f"/{name}" for name in names), *(f"/ui/{name}" for name in inner)}
    assert len(paths) == 7
    for path in paths:
        answer = call(page_url, path)
        assert answer.status == 200, path
        kind = {"css": "text/css", "js": "text/javascript"}.get(path.rpartition(".")[2], "text/html")
        assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
        said = answer.headers["content-security-policy"].split("; ")
        assert dict(one.split(" ", 1) for one in said) == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert HEADERS.items() <= answer.headers.items()


LOADING = ("link", "script")


def scripts() -> dict[str, str]:
    return {one.name: one.read_text(encoding="utf-8") for one in SCRIPTS.iterdir() if one.name.endswith(".js")}


def test_nothing_stands_in_the_page_that_its_policy_forbids() -> None:
    for one in elements():
        assert one.name != "style"
        assert one.name != "script" or (one.attributes.get("src") and not one.text)
        assert not [name for name in one.attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href"):
            assert not re.match(r"\w+:|//", one.attributes.get(name) or ""), "it loads from elsewhere"


@pytest.mark.parametrize("name", sorted(scripts()))
def test_a_script_makes_no_markup_and_no_code_of_a_text(name: str) -> None:
    """The policy forbids it too, where a browser knows trusted types."""
    text = scripts()[name]
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser"
    assert re.findall(ways, text) == []
    assert re.findall(r"https?://", text) == []
    assert len(text.splitlines()) <= 400


def test_ids_are_unique_and_every_label_and_description_leads_to_one() -> None:
    ids = [one.attributes["id"] for one in elements() if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    for one in elements():
        for name in ("for", "aria-labelledby", "aria-describedby"):
            assert one.attributes.get(name) is None or one.attributes[name] in ids
    asked_of = {name for text in scripts().values() for name in re.findall(r'\$\("([\w-]+)"\)', text)}
    assert asked_of <= set(ids)


def test_every_control_has_a_name() -> None:
    labelled = {one.attributes.get("for") for one in elements() if one.name == "label"}
    for one in elements():
        if one.name in ("input", "select", "textarea"):
            assert one.attributes["id"] in labelled
        if one.name == "button":
            assert one.text


def test_the_page_may_ask_its_server_and_no_other_page_may(page_url: str, served: str) -> None:
    here = f"http://{urlsplit(page_url).netloc}"
    assert post(page_url, "/v1/chat/completions", ASKED, origin=here).status == 200
    for origin in ("http://127.0.0.1:1", "http://evil.example", "null", f"{here}0", "http://"):
        assert post(page_url, "/v1/chat/completions", ASKED, origin=origin).status == 403, origin
    there = f"http://{urlsplit(served).netloc}"
    assert post(served, "/v1/chat/completions", ASKED, origin=there).status == 403, "it serves no page"


def test_a_name_that_leads_here_is_no_way_in(page_url: str) -> None:
    """A stranger's page, at a name of the stranger's that resolves to this machine: its origin is its host."""
    headers = {"host": "evil.example:80", "origin": "http://evil.example:80"}
    assert call(page_url, "/", host="evil.example:80").status == 403
    assert call(page_url, "/v1/models", body=b"", **headers).status == 403


def test_the_page_holds_no_key_and_nothing_that_costs_works_without(
    tmp_path: Path, upstream: str, pair_file: Path
) -> None:
    key = add_key(tmp_path / "keys.txt", "ann")
    text = config_text(upstream, pair=pair_file, server='ui = true\nkeys = "keys.txt"')
    with gateway(text, folder=tmp_path) as url:
        bare, shown = (call(url, "/", body=b"", **headers) for headers in ({}, {"authorization": f"Bearer {key}"}))
        assert bare.status == 200
        assert bare.body == shown.body
        assert key.encode() not in bare.body
        assert b"steered-model" not in bare.body
        for path in ("/v1/models", "/v1/spend"):
            assert call(url, path).status == 401
        assert post(url, "/v1/chat/completions", ASKED).status == 401

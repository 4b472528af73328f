"""How the page leaves: its HTML, styles and scripts, under a policy that lets nothing else in."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from blackbox_proxy.gateway.page.body import STYLE, ask_page

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What a browser may load and do: our files and routes alone, and nothing ever makes markup or code of a text."""

HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-cache",
}
SCRIPTS = ("answer.js", "card.js", "client.js", "figures.js", "main.js")


def page_routes() -> list[Route]:
    """The routes of the page; they cost nothing, and ask for no key."""
    folder = files(__package__) / "files"
    style = STYLE + (folder / "page.css").read_text(encoding="utf-8")
    scripts = {name: (folder / name).read_text(encoding="utf-8") for name in SCRIPTS}
    return [
        _route("/", ask_page(), "text/html"),
        _route("/ui/page.css", style, "text/css"),
        *(_route(f"/ui/{name}", text, "text/javascript") for name, text in scripts.items()),
    ]


def _route(path: str, text: str, media_type: str) -> Route:
    async def reply(_http: Request) -> Response:
        return Response(text, media_type=media_type, headers=HEADERS)

    return Route(path, reply, methods=["GET"])

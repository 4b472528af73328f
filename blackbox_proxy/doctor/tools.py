"""The probe of tools: whether a chat calls one that it must call."""

from __future__ import annotations

from collections.abc import Mapping

from blackbox_proxy.doctor.findings import ProbeSession
from blackbox_proxy.doctor.requests import COLOURS

NAME = "name_colour"
"""What the tool is called that must be called."""

LENGTH = 48
"""Tokens for a call."""

_DECLARED: Mapping[str, object] = {
    "name": NAME,
    "description": "Names a colour.",
    "parameters": {
        "type": "object",
        "properties": {"colour": {"type": "string", "enum": ["red", "green", "blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    },
}
FIELDS: Mapping[str, object] = {"tools": [{"type": "function", "function": _DECLARED}], "tool_choice": "required"}


def find_tools(session: ProbeSession) -> None:
    """Whether the route of chats knows tools by itself, where it is the one that will be spoken to."""
    findings, what = session.findings, "tools"
    form = findings.silent or findings.spoken
    if form is None or form.route != "chat":
        return
    answer = session.ask(form.bare(COLOURS, length=LENGTH, more=FIELDS))
    if answer.reply is None:
        findings.note(what, "refused", "no tools are taken", by=answer)
    elif NAME in answer.reply.called:
        findings.facts.tools = True
        findings.note(what, "works", "a tool that must be called is called", by=answer)
    else:
        findings.note(what, "ignored", "tools are taken, and one that must be called is not", by=answer)

"""Renders chats by transformers' own renderer: a program that reads a list of cases as JSON, and writes what comes out.

It runs in the environment of the suites, which has transformers; a case that a template refuses gives null.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template


def rendered(case: Mapping[str, Any]) -> str | None:
    """The text of one case, as `apply_chat_template` makes it."""
    try:
        (text,), _ = render_jinja_template(
            [case["messages"]], chat_template=case["template"], add_generation_prompt=True, **case["special"]
        )
    except Exception:  # noqa: BLE001 (whatever a template raises)
        return None
    return str(text)


if __name__ == "__main__":
    json.dump([rendered(case) for case in json.load(sys.stdin)], sys.stdout)

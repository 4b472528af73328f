"""What is said of well-known routes that this server does not have. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PATH = re.compile(r"(?:/openai)?(?:/v1)?/(?P<name>[a-z_]+(?:/[a-z_]+)?)(?:/.*)?")

_UPSTREAMS = "the upstream's own server may have that route"
_ABSENT: Mapping[str, str] = {
    "embeddings": f"it makes no embeddings; {_UPSTREAMS}",
    "audio": f"it neither hears nor speaks; {_UPSTREAMS}",
    "images": f"it makes no images; {_UPSTREAMS}",
    "videos": f"it makes no videos; {_UPSTREAMS}",
    "moderations": f"it moderates nothing; {_UPSTREAMS}",
    "realtime": f"it holds no sessions; {_UPSTREAMS}",
    "messages/batches": "it keeps no batches; send the requests one by one",
    "batches": "it keeps no batches; send the requests one by one",
    "files": "it keeps no files",
    "uploads": "it keeps no files",
    "vector_stores": "it keeps no files",
    "responses": "it keeps no responses; send the whole input with each request",
    "conversations": "it keeps no conversations; send the whole input with each request",
    "assistants": "it keeps no assistants; use /v1/responses or /v1/chat/completions",
    "threads": "it keeps no threads; use /v1/responses or /v1/chat/completions",
    "fine_tuning": "it trains no models; `blackbox-proxy tune` does",
}


def why_absent(path: str) -> str:
    """Why there is no such route; "" where nothing is known of it."""
    match = _PATH.fullmatch(path)
    if match is None:
        return ""
    name = match["name"]
    reason = _ABSENT.get(name) or _ABSENT.get(name.partition("/")[0])
    return f"This server answers chats and texts: {reason}." if reason else ""

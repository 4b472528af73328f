"""Nothing of the environment goes to a host that it does not belong to: not by the SDK, not by its HTTP library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import openai
import pytest

from tests.remote.scripted import Say, ScriptedApi
from tests.remote.sdk_environment import variables_of

KEY = "sk-of-this-host-0123456789"
POISON = "p0ison"

NEVER_SENT: Mapping[str, str] = {
    "OPENAI_API_KEY": "a key is given",
    "OPENAI_ADMIN_KEY": "for routes that are not asked",
    "OPENAI_ORG_ID": "a header, left out",
    "OPENAI_PROJECT_ID": "a header, left out",
    "OPENAI_CUSTOM_HEADERS": "headers, left out",
    "OPENAI_BASE_URL": "an address is given",
    "OPENAI_WEBHOOK_SECRET": "checks what comes in",
    "OPENAI_LOG": "what is logged here",
    "OPENAI_API_TYPE": "of the module's own client",
    "OPENAI_API_VERSION": "of the clients for Azure",
    "AZURE_OPENAI_ENDPOINT": "of the clients for Azure",
    "AZURE_OPENAI_API_KEY": "of the clients for Azure",
    "AZURE_OPENAI_AD_TOKEN": "of the clients for Azure",
    "AWS_REGION": "of the clients for Bedrock",
    "AWS_DEFAULT_REGION": "of the clients for Bedrock",
    "AWS_BEDROCK_BASE_URL": "of the clients for Bedrock",
    "AWS_BEARER_TOKEN_BEDROCK": "of the clients for Bedrock",
    "GOOGLE_CLOUD_PROJECT": "of the clients for Vertex",
    "GOOGLE_CLOUD_LOCATION": "of the clients for Vertex",
    "DEFER_PYDANTIC_BUILD": "how types are built",
    "XDG_CACHE_HOME": "of its command line",
    "DEBUG": "of its command line",
}
"""Every variable that a version of the SDK reads, and why it does not matter. A new one: look at what it does first."""

SENT = {
    "host",
    "accept",
    "accept-encoding",
    "connection",
    "user-agent",
    "content-type",
    "content-length",
    "authorization",
}
SENT |= {"x-stainless-retry-count", "x-stainless-read-timeout"}
"""All headers of a request."""

CUSTOM = (
    f"Authorization: Bearer {POISON}",
    f"authorization: Bearer {POISON}",
    f"X-Corp-Token: {POISON}",
    f"User-Agent: {POISON}",
    f"Host: {POISON}",
    f"Accept: {POISON}",
    "Content-Length: 1",
    f"X-Odd: é{POISON}",
    f"api-key: {POISON}",
)

CODE = """
import asyncio, sys
from blackbox_proxy.remote.transport import Transport
from blackbox_proxy.types import WireRequest
url, key, header = sys.argv[1:]
request = WireRequest("/completions", {"model": "m"})
with Transport(url, key, key_header=header) as transport:
    transport.send(request)
async def ask():
    async with Transport(url, key, key_header=header) as transport:
        await transport.asend(request)
asyncio.run(ask())
"""


def http_library() -> ModuleType:
    """The one below the SDK; version 3 speaks httpx2."""
    return sys.modules[openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]]


def poisoned() -> dict[str, str]:
    """An environment in which each variable of the SDK holds what must not be sent."""
    settings = dict.fromkeys({*NEVER_SENT, *variables_of(openai).names}, POISON)
    settings |= {"OPENAI_LOG": "debug", "OPENAI_CUSTOM_HEADERS": "\n".join(CUSTOM)}
    return settings


def child(url: str, header: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """One request of either kind, by a process with this environment besides its own."""
    command = [sys.executable, "-c", CODE, url, KEY, header]
    return subprocess.run(
        command, env={**os.environ, **environ}, timeout=60, check=False, text=True, capture_output=True
    )


def elsewhere(url: str) -> str:
    """The same server by an address that is not known to be this machine."""
    return url.replace("127.0.0.1", "0.0.0.0")  # noqa: S104 (an address to ask)


def test_every_variable_that_the_sdk_reads_is_known() -> None:
    """A new version may read one more: what it does must be looked at before it is allowed."""
    found = variables_of(openai)
    assert found.unclear == [], "the environment is used in a way that this test cannot read"
    assert {name: found.names[name] for name in found.names.keys() - NEVER_SENT.keys()} == {}
    assert "OPENAI_API_KEY" in found.names


def test_the_http_library_reads_nothing_but_certificates() -> None:
    """What its own reading of the environment, which is off, is made of: the rest is ours (`remote/network.py`)."""
    found = variables_of(http_library())
    assert found.unclear == []
    assert found.names.keys() <= {"SSL_CERT_FILE", "SSL_CERT_DIR"}


@pytest.mark.parametrize(
    ("line", "names", "unclear"),
    [
        ("os.environ.get('A')", ["A"], 0),
        ("os.environ.get(\n    'A', os.environ['B'])", ["A", "B"], 0),
        ("os.getenv('A', 1)", ["A"], 0),
        ("from os import getenv, environ\ngetenv('A')\nenviron['B']", ["A", "B"], 0),
        ("'A' in os.environ", ["A"], 0),
        ("name = 'A'\nos.environ[name]", [], 1),
        ("dict(os.environ)", [], 1),
        ("from os import environ as e", [], 1),
        ("for name in os.environ: pass", [], 1),
    ],
)
def test_a_read_is_found_in_each_of_its_forms(tmp_path: Path, line: str, names: list[str], unclear: int) -> None:
    module = ModuleType("made")
    module.__file__ = str(tmp_path / "__init__.py")
    Path(module.__file__).write_text(f"import os\n{line}\n", encoding="utf-8")
    found = variables_of(module)
    assert sorted(found.names) == names
    assert len(found.unclear) == unclear


@pytest.mark.parametrize("header", ["", "x-key-of-this-host"])
@pytest.mark.parametrize("local", [True, False])
def test_nothing_of_the_environment_is_sent(*, local: bool, header: str) -> None:
    """To this machine or another one, sync or async; nor is a key logged where the SDK is told to log all."""
    with ScriptedApi(Say({"id": 1}), Say({"id": 1})) as api:
        done = child(api.url if local else elsewhere(api.url), header, poisoned())
        assert done.returncode == 0, done.stderr[-2000:]
        assert len(api.seen) == 2
        for path, headers, body in api.seen:
            told = {name.lower(): value for name, value in headers.items()}
            assert told.keys() == SENT - {"authorization"} | {header} if header else told.keys() == SENT
            assert told[header or "authorization"] == (KEY if header else f"Bearer {KEY}")
            assert POISON not in json.dumps([path, headers, body])
    assert "DEBUG" in done.stderr
    assert KEY not in done.stderr

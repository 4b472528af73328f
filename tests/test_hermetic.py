"""The walls around the tests stand: no host but this one, nothing of the user's environment."""

from __future__ import annotations

import os
import socket

import pytest
from pytest_socket import SocketConnectBlockedError


def test_other_hosts_are_refused() -> None:
    """192.0.2.1 is set aside for examples; nothing is sent."""
    with socket.socket() as wire, pytest.raises(SocketConnectBlockedError):
        wire.connect(("192.0.2.1", 443))


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address: tuple[str, int] = server.getsockname()
        with socket.create_connection(address, timeout=5) as client:
            assert client.getpeername() == address


def test_no_key_or_proxy_is_left() -> None:
    left = [name for name in os.environ if name.upper().startswith("OPENAI_") or name.upper().endswith("_PROXY")]
    assert left == []

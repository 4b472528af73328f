"""The sentences for failures that a loopback server cannot stage, and the reading of foreign error bodies."""

from __future__ import annotations

import socket
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import ApiUnreachable, BlackboxProxyError
from blackbox_proxy.remote.faults import RequestPlace, causes_of, connection_error, refusal, server_words

PLACE = RequestPlace("https://api.example.com/v1", "/completions", "m", "KEY", 60.0, clean=str)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["error", "message", "code"]), inner),
)


def _wrapped(inner: Exception) -> Exception:
    """As an HTTP library hands it on: a chain with a group in it."""
    error = RuntimeError("connection error")
    error.__cause__ = ExceptionGroup("all attempts failed", [OSError("other"), inner])
    return error


@pytest.mark.parametrize(
    ("cause", "words", "passing"),
    [
        (ssl.SSLCertVerificationError("self-signed"), "certificate of https://api.example.com/v1", False),
        (ssl.SSLError("wrong version"), "does not speak TLS", False),
        (socket.gaierror(-2, "Name or service not known"), "host of https://api.example.com/v1 was not found", True),
        (ConnectionRefusedError(111, "refused"), "connection refused", True),
        (ConnectionResetError(104, "reset"), "cut the connection", True),
        (OSError(113, "No route to host"), "No route to host", True),
    ],
)
def test_the_cause_is_found_behind_chains_and_groups(cause: OSError, words: str, *, passing: bool) -> None:
    error = connection_error(causes_of(_wrapped(cause)), PLACE)
    assert isinstance(error, ApiUnreachable)
    assert words in error.message
    assert error.retryable is passing
    assert error.hint


def test_a_circle_of_causes_ends() -> None:
    one, two = RuntimeError("one"), RuntimeError("two")
    one.__cause__, two.__cause__ = two, one
    assert list(causes_of(one)) == [one, two]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "a"}}, "a"),
        ({"message": "a"}, "a"),
        ({"error": "a"}, "a"),
        ({"detail": "a"}, "a"),
        ("<html>no</html>", ""),
        (None, ""),
        ({}, ""),
        ("plain", "plain"),
        ({"other": 1}, "{'other': 1}"),
    ],
)
def test_the_sentence_is_found_in_every_usual_error_body(body: object, words: str) -> None:
    assert server_words(body) == words


@given(status=st.integers(300, 599), body=JSON)
def test_any_error_body_gives_one_of_our_errors(status: int, body: object) -> None:
    error = refusal(status, body, place=PLACE)
    assert isinstance(error, BlackboxProxyError)
    assert error.message
    assert error.hint

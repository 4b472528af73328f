"""Base URLs and keys are checked before anything is sent."""

from __future__ import annotations

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.remote.address import read_address


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8000/v1", "http://localhost", "http://[::1]:80", "http://a.localhost/", "http://127.9.9.9"],
)
def test_this_machine_needs_no_key(url: str) -> None:
    address = read_address(url, None)
    assert address.local
    assert address.base_url == url
    assert address.key


@pytest.mark.parametrize("key", [None, "", "  \n"])
@pytest.mark.parametrize("host", ["api.example.com", "10.0.0.1", "localhost.example.com", "127.0.0.1.example.com"])
def test_a_missing_key_is_asked_for_by_the_name_of_its_variable(key: str | None, host: str) -> None:
    with pytest.raises(InputError, match=f"^{host} needs a key, but MY_KEY is not set$") as caught:
        read_address(f"https://{host}/v1", key, key_name="MY_KEY")
    assert caught.value.hint == "set the environment variable MY_KEY"


@pytest.mark.parametrize("key", ["sk-abc def", "sk-abc\ndef", "sk-“quoted”"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(key: str) -> None:
    """The HTTP library would quote it in its complaint."""
    with pytest.raises(InputError) as caught:
        read_address("https://api.example.com", key)
    assert "abc" not in caught.value.message + caught.value.hint
    assert "quoted" not in caught.value.message + caught.value.hint


def test_the_line_end_of_a_key_file_does_no_harm() -> None:
    assert read_address("https://api.example.com", "sk-abc\n").key == "sk-abc"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com/v1",
        "ftp://example.com",
        "http://",
        "http://host:port",
        "http://host:0",
        "http://[::1",
        "http://a\nb",
    ],
)
def test_a_bad_base_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(InputError, match="is not a web address") as caught:
        read_address(url, "sk-abc")
    assert "https://api.example.com/v1" in caught.value.hint
    assert "\n" not in caught.value.message


def test_a_password_in_the_base_url_is_refused_without_being_shown() -> None:
    with pytest.raises(InputError) as caught:
        read_address("https://me:hunter2@api.example.com/v1", "sk-abc")
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_a_tiny_key_does_not_eat_the_words() -> None:
    """A server without keys is often given "x"; an error about the index must stay readable."""
    assert read_address("https://api.example.com", "x").clean("next index") == "next index"


def test_a_query_is_kept_apart_and_not_shown() -> None:
    """It may hold a secret, and paths are put behind the URL."""
    address = read_address("https://a.example.com/d?api-version=1&sig=hidden#part", "sk-abc")
    assert address.base_url == address.shown == "https://a.example.com/d"
    assert address.query == {"api-version": "1", "sig": "hidden"}
    assert "hidden" not in repr(address)

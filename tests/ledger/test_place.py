"""Where a ledger is: which text is a file and which a URL, and that no password of a URL is ever shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from blackbox_proxy.errors import InputError
from blackbox_proxy.ledger.place import LedgerPlace, shown_url

SECRETS = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1, max_size=12).map(
    "{}Qz7".format
)
"""Ends in letters that nothing else here has."""


@given(
    SECRETS, st.sampled_from(["h", "h:5432", "h1:1,h2:2", "[::1]:5432", ""]), st.sampled_from(["", "?sslmode=require"])
)
def test_a_password_is_not_shown_however_it_is_written(secret: str, host: str, query: str) -> None:
    for written in (secret, quote(secret, safe="")):
        place = LedgerPlace(f"postgresql://ann:{written}@{host}/books{query}")
        assert str(place) == f"postgresql://ann:***@{host}/books{query}"
        assert "Qz7" not in repr(place)
        assert place.has_password


@given(SECRETS, st.sampled_from(["password", "sslpassword", "passfile", "options", "pass%77ord"]))
def test_a_secret_among_the_parameters_is_not_shown(secret: str, name: str) -> None:
    place = LedgerPlace(f"postgresql://ann@h/books?{name}={quote(secret, safe='')}&sslmode=require")
    assert str(place) == f"postgresql://ann@h/books?{name}=***&sslmode=require"


@given(SECRETS)
def test_a_secret_in_a_url_that_is_none_is_not_shown(secret: str) -> None:
    """Whoever forgets the host, or the sign before it. What begins as a port or holds an @ could mean a host."""
    assume(not secret[0].isdigit() and "@" not in secret)
    for url in (
        f"postgresql://ann:{secret}/books",
        f"mysql://ann:{secret}@h/b",
        f"postgresql://h/b?password={secret}@x",
    ):
        assert "Qz7" not in shown_url(url), url


@pytest.mark.parametrize(
    "url", ["postgresql://ann@h:5432/books?sslmode=require", "postgres://[::1]:5432/b", "postgresql://"]
)
def test_without_a_password_a_url_is_shown_as_it_is(url: str) -> None:
    place = LedgerPlace(url)
    assert (str(place), place.path, place.has_password) == (url, None, False)


@pytest.mark.parametrize(
    "text", ["ledger.sqlite", "/a b/c=d.sqlite", "./postgres", "x:y", "C:/books.sqlite", "~/l.sqlite"]
)
def test_everything_else_is_a_file(text: str) -> None:
    place = LedgerPlace(text)
    assert (place.path, str(place)) == (Path(text).expanduser(), text)


def test_a_password_file_is_read_and_the_urls_own_password_goes_first(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(" s p \n")
    assert LedgerPlace("postgresql://ann@h/books", file).password() == " s p "
    assert LedgerPlace("postgresql://ann:x@h/books", file).password() is None
    assert LedgerPlace("postgresql://ann@h/books").password() is None
    with pytest.raises(InputError, match=r"cannot read the ledger's password from .*none: No such file"):
        LedgerPlace("postgresql://ann@h/books", tmp_path / "none").password()

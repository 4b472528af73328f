"""Where a ledger is: a file, or a database of PostgreSQL by its URL. Shown without a password, wherever it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

from blackbox_proxy.errors import InputError
from blackbox_proxy.files import read_text

SCHEMES = ("postgresql", "postgres")
EXAMPLE = "postgresql://USER@HOST/DATABASE"

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|postgres(?:ql)?[^:/]*:")
_KEYWORDS = re.compile(r"(host|hostaddr|dbname|user|password|service)\s*=.*\s\w+\s*=")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]*\]|[^:\[\]]*)(:[0-9]+)?")
"""A host and its port. What stands at a port's place and is none may be a password, behind a name."""

_SHOWN = {"application_name", "connect_timeout", "dbname", "host", "port", "sslmode", "target_session_attrs", "user"}
"""Parameters of a URL that hold no secret; the values of others are not shown."""


@final
@dataclass(frozen=True, slots=True, repr=False)
class LedgerPlace:
    """A ledger's address. `str` and `repr` show it without a password.

    Attributes:
        address: A path, or a URL of PostgreSQL.
        password_file: What holds the password for the URL, and nothing else; None where it is elsewhere.
    """

    address: str
    password_file: Path | None = None

    def __post_init__(self) -> None:
        scheme = _URL.match(self.address)
        if scheme is None:
            if _KEYWORDS.match(self.address):
                raise InputError(
                    "a ledger on PostgreSQL is named by a URL, not by keywords and values", hint=f"as in {EXAMPLE}"
                )
            return
        if scheme[1] not in SCHEMES:
            raise InputError(
                f"{self} is no ledger: it is an SQLite file, or a database of PostgreSQL", hint=f"as in {EXAMPLE}"
            )

    @property
    def path(self) -> Path | None:
        """The file; None where it is a database."""
        return None if _URL.match(self.address) else Path(self.address).expanduser()

    @property
    def has_password(self) -> bool:
        """Whether a password stands in the URL itself."""
        return self.path is None and str(self) != self.address

    def password(self) -> str | None:
        """What the file of the password holds; None without one, and where the URL has a password.

        Raises InputError where it cannot be read.
        """
        if self.password_file is None or self.has_password:
            return None
        try:
            return read_text(self.password_file.expanduser()).strip("\r\n")
        except OSError as error:
            raise InputError(
                f"cannot read the ledger's password from {self.password_file}: {error.strerror}",
                hint="check the path and the file's permissions",
            ) from None

    def __str__(self) -> str:
        return self.address if self.path is not None else shown_url(self.address)

    def __repr__(self) -> str:
        return f"LedgerPlace({str(self)!r})"


def shown_url(url: str) -> str:
    """A URL, also one with mistakes in it, without what may be a secret.

    >>> shown_url("postgresql://ann:se/cr@et@db:5432/books?sslmode=require&passfile=x")
    'postgresql://ann:***@db:5432/books?sslmode=require&passfile=***'
    >>> shown_url("postgresql://ann:secret/books")
    'postgresql://***'
    """
    scheme, colon, rest = url.partition(":")
    slashes = "//" if rest.startswith("//") else ""
    user, at, place = rest.removeprefix(slashes).rpartition("@")
    name, secret, _ = user.partition(":")
    hosts, mark, parameters = place.partition("?")
    hosts, slash, database = hosts.partition("/")
    if set(name) & set("/?=&") or not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        return f"{scheme}{colon}{slashes}***"
    shown = "&".join(_parameter(one) for one in parameters.split("&")) if mark else ""
    return f"{scheme}{colon}{slashes}{name}{':***' if secret else ''}{at}{hosts}{slash}{database}{mark}{shown}"


def _parameter(text: str) -> str:
    name, equals, _ = text.partition("=")
    return text if name in _SHOWN else f"{name}=***" if equals else "***"

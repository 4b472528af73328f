r"""A token's spelling on the wire -> its bytes and what it stands for.

Endpoints spell tokens as strings, as bytes, or as both, and each of them may be wrong:

* A string with U+FFFD in it, or an empty one, has lost its bytes: kind `special`, its mass is known but it must never
  be emitted. The legacy shape spells such a token `bytes:\xe2\x80`, where plain characters may stand between the
  escapes.
* Some servers show how a tokenizer spells its pieces inside: byte-level ones have an alphabet in which a space is `Ġ`,
  SentencePiece writes `\u2581` for a space. One string cannot tell (`ł` is also a letter, U+2581 a character), all
  strings of a reply together can: see `reader_of`. `<0x0A>` is a byte wherever it is a whole token: no text has one.

The module knows no reply shape and no tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from blackbox_proxy.types import Kind

_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "\u2581"
_MARKED = re.compile(f"{_SPACE}+\\w")


def _alphabet() -> dict[str, int]:
    """Character -> byte: bytes that print stand for themselves, the others follow from U+0100 on."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printing]
    return {chr(byte): byte for byte in printing} | {chr(256 + at): byte for at, byte in enumerate(others)}


_BYTES = _alphabet()


class Piece(NamedTuple):
    """A token as the text sees it. Two tokens of the same piece cannot be told apart by it."""

    text: bytes
    kind: Kind


def read_piece(spelling: str, *, end_pieces: Collection[bytes] = ()) -> Piece:
    r"""The bytes and the kind behind a token's spelling.

    >>> read_piece(r"bytes: \xf0\x9f")
    Piece(text=b' \xf0\x9f', kind=<Kind.FRAGMENT: 'fragment'>)
    >>> read_piece("bytes: 12").text
    b'bytes: 12'
    """
    return spelt(spelling, frozenset(end_pieces))


@lru_cache(2**17)  # an endpoint that shows its whole vocabulary repeats it at every position
def spelt(spelling: str, ends: frozenset[bytes]) -> Piece:
    """`read_piece`, remembered."""
    byte = _BYTE.fullmatch(spelling)
    if byte and spelling.encode() not in ends:
        return Piece(bytes.fromhex(byte[1]), kind_of(bytes.fromhex(byte[1])))
    prefix, *escaped = _ESCAPE.split(spelling.removeprefix("bytes:")) if spelling.startswith("bytes:") else [""]
    text = _unescape(prefix, escaped) if escaped else spelling.encode("utf-8", "surrogatepass")
    kind = kind_of(text, end_pieces=ends)
    lossy = not escaped and (kind is Kind.FRAGMENT or "\ufffd" in spelling)
    return Piece(text, Kind.SPECIAL if lossy and kind is not Kind.END else kind)


def spelt_in_bytes(spelling: str, ends: frozenset[bytes]) -> Piece:
    """The same where each character of the spelling stands for one byte (`speaks_bytes`)."""
    if spelling.encode("utf-8", "surrogatepass") in ends:
        return spelt(spelling, ends)
    text = bytes(map(_BYTES.__getitem__, spelling))
    return Piece(text, kind_of(text, end_pieces=ends))


def spelt_with_marks(spelling: str, ends: frozenset[bytes]) -> Piece:
    """The same where U+2581 stands for a space (`speaks_marks`)."""
    if spelling.encode("utf-8", "surrogatepass") in ends:
        return spelt(spelling, ends)
    return spelt(spelling.replace(_SPACE, " "), ends)


Speller = Callable[[str, frozenset[bytes]], Piece]
"""How one token's string is read."""


def reader_of(spellings: Collection[str], ends: Collection[bytes] = ()) -> Speller:
    """How the strings of a reply are to be read, all of them together."""
    if speaks_bytes(spellings, ends):
        return spelt_in_bytes
    return spelt_with_marks if speaks_marks(spellings, ends) else spelt


def piece_of_bytes(text: bytes, spelling: str, ends: frozenset[bytes]) -> Piece:
    """The piece of these true bytes. An end has a name and often no bytes: its string says so.

    Bytes that are those of the string `<0x0A>` are not true: they are one byte.
    """
    if text and _BYTE.fullmatch(spelling) and text == spelling.encode():
        return spelt(spelling, ends)
    named = spelling.encode("utf-8", "surrogatepass") in ends
    return Piece(text, Kind.END if named else kind_of(text, end_pieces=ends))


def kind_of(text: bytes, *, end_pieces: Collection[bytes] = ()) -> Kind:
    """What a token of these true bytes stands for. One without bytes, and no end, can only be special."""
    if text in end_pieces:
        return Kind.END
    if not text:
        return Kind.SPECIAL
    return Kind.TEXT if _is_utf8(text) else Kind.FRAGMENT


def speaks_bytes(spellings: Iterable[str], ends: Collection[bytes] = ()) -> bool:
    """Whether these are the strings of a byte-level tokenizer: all in its alphabet, one as no text would have it.

    Text itself leaves the alphabet at the first space; it has `Ġ` (Maltese) or a row like `æĺ¯` only by accident, and
    no accident keeps all alternatives of all positions without a space.
    """
    seen = False
    for spelling in spellings:
        if not _BYTES.keys() >= set(spelling):
            if spelling.encode("utf-8", "surrogatepass") in ends:
                continue
            return False
        seen = seen or "Ġ" in spelling or "Ċ" in spelling or _hides_a_character(spelling)
    return seen


def speaks_marks(spellings: Iterable[str], ends: Collection[bytes] = ()) -> bool:
    """Whether these are the strings of a SentencePiece tokenizer: none has a space, one has a mark before a word.

    Real text has U+2581 in bars and graphs; there it stands before no letter, and some alternative has a space.
    """
    seen = False
    for spelling in spellings:
        if " " in spelling and spelling.encode("utf-8", "surrogatepass") not in ends:
            return False
        seen = seen or (spelling.startswith(_SPACE) and _MARKED.match(spelling) is not None)
    return seen


def _hides_a_character(spelling: str) -> bool:
    """Whether characters beyond ASCII are together the bytes of another one."""
    if spelling.isascii():
        return False
    text = bytes(map(_BYTES.__getitem__, spelling))
    return not text.isascii() and _is_utf8(text)


def _unescape(prefix: str, escaped: Sequence[str]) -> bytes:
    """Joins what splitting at the escapes gave: plain text, then (hex, plain text) pairs."""
    parts = [prefix.encode("utf-8", "surrogatepass")]
    for at, part in enumerate(escaped):
        parts.append(part.encode("utf-8", "surrogatepass") if at % 2 else bytes.fromhex(part))
    return b"".join(parts)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

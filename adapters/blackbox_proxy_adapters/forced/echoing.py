"""A demanded text as an echo: what the model itself says at the places along it.

Where log-probs are those before the schema's mask, each place along a demanded text shows the model's own distribution
after what it has written so far, whatever the schema lets it write next. So a draft can be checked in one request, and
a text can be scored. What to know:

* The model spells a demanded text as it likes best among what is allowed. A place is usable where one of its tokens
  begins; borders inside of its tokens are not known. The answer so far may end inside one: with the draft behind it the
  model takes another token than it would to end there, and healing that one would tell of this spelling alone.
* Each distribution is conditioned on the tokens that were written. Where the text surprises the model, its favourite
  among the allowed tokens may be another one than its tokenizer would cut; the places behind it then follow that
  spelling until it is back on words. They are used like all others: so is the text before any forced step.
* The demanded token has its log-prob beside the list, in it or not; the list itself shows what the model would rather
  say, and the best of it stands for the sampled token, as a greedy call would show it.
* A scored text is demanded whole, with nothing behind it, so that no token reaches beyond its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import Echoed, Kind, Position, Reply
from blackbox_proxy_adapters.healing import healed

from .reading import is_bordered, read_all, read_forced


def read_forced_echo(reply: Reply, prefix: bytes, draft: bytes) -> Reply:
    """The reply behind the draft, with the places along it; where it breaks off before, those that it tells.

    Args:
        reply: The reply, whose positions are those of JSON.
        prefix: The answer so far.
        draft: What was demanded behind it, both by a pattern.

    Raises:
        ReplyError: As `read_forced`, for the answer so far.
    """
    read = read_forced(reply, prefix, "pattern")
    whole = is_bordered(reply, prefix)
    echoed = tuple(one for one in _along(read.positions, draft) if one.at or whole)
    rest = healed(read.positions, draft)
    if rest is None or not rest.agrees or not (rest.positions or read.finish == "stop"):
        return replace(read, positions=(), finish=None, echoed=echoed)
    return replace(read, positions=rest.positions, echoed=echoed)


def read_forced_text(reply: Reply, text: bytes) -> Reply:
    """The reply to a text that was demanded as a whole: a position for each of its tokens (`Reply.given`).

    What comes behind it is not told where the end is one token with the last of the text.

    Raises:
        ReplyError: For a reply that is no JSON, or says another text.
    """
    read = read_all(reply)
    given = tuple(position for position in read.positions if position.sampled.kind is not Kind.END)
    if b"".join(position.sampled.piece for position in given) != text:
        said = b"".join(position.sampled.piece for position in given)
        raise ReplyError(
            f"the reply says {said[-40:]!r} at its end where {text[-40:]!r} was demanded",
            hint="the endpoint does not do what the schema demands, or cuts the reply: examine it with "
            "`blackbox-proxy doctor`",
        )
    behind = [_greedy(position) for position in read.positions[len(given) :]]
    whole = bool(behind) and behind[0] is not None and bool(behind[0].top) and behind[0].tail < 1.0
    positions = (behind[0],) if whole and behind[0] is not None else ()
    finish = "stop" if positions and positions[0].sampled.kind is Kind.END else "length" if positions else None
    return replace(read, positions=positions, finish=finish, given=given)


def _along(positions: Sequence[Position], draft: bytes) -> Iterator[Echoed]:
    """The places where tokens of the draft begin, as greedy calls would show them."""
    at = 0
    for position in positions:
        if at >= len(draft) or position.sampled.kind is Kind.END:
            return
        alone = _greedy(position)
        if alone is not None:
            yield Echoed(at, alone)
        piece = position.sampled.piece
        if not draft[at:].startswith(piece[: len(draft) - at]):
            return
        at += len(piece)


def _greedy(position: Position) -> Position | None:
    """The position with the best that it lists as the sampled token; None where it lists nothing."""
    return replace(position, sampled=position.top[0]) if position.top else None

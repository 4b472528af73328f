"""Figures as a person reads them; the exact value stands beside each in the page (`<data value=...>`)."""

from __future__ import annotations

from decimal import Decimal

from blackbox_proxy.core.money.amounts import plain, rounded
from blackbox_proxy.pages.html import Html, el, joined

NONE = el("span", "\u2013", cls="none")
UNKNOWN = el("span", "unknown", cls="none")


def dollars(amount: Decimal) -> str:
    """US dollars: cents, and below a dollar four significant digits.

    >>> dollars(Decimal("1234.5")), dollars(Decimal("0.00012345678")), dollars(Decimal(0))
    ('$1,234.50', '$0.0001235', '$0')
    """
    if not amount:
        return "$0"
    return f"${amount:,.2f}" if amount >= 1 else f"${plain(rounded(amount))}"


def money(amount: Decimal | None, *, more: bool = False) -> Html:
    """An amount; more: there is something besides whose cost nobody knows."""
    if amount is None:
        return UNKNOWN if more else NONE
    known = el("data", dollars(amount), value=plain(amount))
    return joined((known, " + ?")) if more else known


def count(number: int) -> Html:
    """A whole number."""
    return el("data", f"{number:,}", value=number)


def share(part: float | None) -> Html:
    """A part of one as a percentage."""
    return NONE if part is None else el("data", f"{part:.1%}", value=repr(part))


def ratio(number: float | None) -> Html:
    """How many of one for each of another."""
    return NONE if number is None else el("data", f"{number:,.1f}", value=repr(number))


def seconds(amount: float) -> Html:
    """Seconds, or hours and minutes where there are many of them.

    >>> seconds(75.25)
    Html('<data value="75.25">75.2 s</data>')
    >>> seconds(7505.0)
    Html('<data value="7505.0">2 h 5 min</data>')
    """
    hours, minutes = divmod(round(amount / 60), 60)
    text = f"{amount:,.1f} s" if amount < 600 else f"{hours:,} h {minutes} min" if hours else f"{minutes} min"
    return el("data", text, value=repr(amount))


def nats(value: float | None, *, sign: str = "") -> str:
    """Two places with a true minus, never -0.00; a dash where it is not known."""
    return "\u2013" if value is None else f"{round(value, 2) + 0.0:{sign}.2f}".replace("-", "\u2212")

"""Tickets that get a category with a code in brackets, and blunt notes that get a polite register."""

from __future__ import annotations

import random

TICKETS = {
    "Network [NW-{}]": (
        *("The Wi-Fi drops in {}.", "No page loads in {}.", "The VPN refuses to connect from {}."),
        *("Video calls freeze in {}.", "The shared drive is unreachable from {}."),
    ),
    "Printing [PR-{}]": (
        *("The copier in {} is jammed.", "Pages come out blank in {}.", "The printer in {} is out of toner."),
        *("Scans from {} never arrive.", "Everything prints upside down in {}."),
    ),
    "Access [AC-{}]": (
        *("My password no longer works in {}.", "My badge does not open {}.", "I am locked out of my account in {}."),
        *("The new trainee in {} has no login.", "The code from the app is refused in {}."),
    ),
    "Hardware [HW-{}]": (
        *("The screen in {} stays black.", "A keyboard in {} lost its keys.", "The fan of the computer in {} rattles."),
        *("The projector in {} smells of smoke.", "The laptop in {} does not charge."),
    ),
    "Billing [BI-{}]": (
        *("The invoice for {} is wrong.", "We were charged twice for {}.", "The refund for {} has not come."),
        *("The receipt for {} shows the old address.", "Our card was declined for {}."),
    ),
}
PLACES = (
    *("room 12", "room 40", "the lobby", "the library", "the lab", "the north office", "the canteen"),
    *("the archive", "hall B", "the workshop", "the front desk", "the studio"),
)
URGENT = ("Nobody here can work.", "This is urgent.", "We need it within the hour.", "A customer is waiting.")
CALM = ("There is no hurry.", "Next week is fine.", "Whenever you have time.", "It can wait.")
THINGS = (
    *("invoice", "contract", "floor plan", "price list", "budget", "report", "agenda", "offer", "schedule"),
    *("guest list", "photo", "manual"),
)
TIMES = ("on Monday", "by Friday", "before noon", "this week", "tomorrow", "in the morning", "after lunch", "in May")
REQUESTS = ("send", "check", "print", "sign", "correct", "bring", "translate")
PLANS = (
    *("come to the office", "join the call", "finish the draft", "meet the client", "take the shift"),
    *("visit the site", "open the shop", "host the visitors"),
)
STATES = ("late", "wrong", "ready", "missing", "out of date", "too long", "approved")


def ticket(source: random.Random) -> tuple[str, str]:
    """A complaint, and its category; 1 where it is urgent, 2 where it is not."""
    label = source.choice([*TICKETS])
    text = source.choice(TICKETS[label]).format(source.choice(PLACES))
    urgent = source.random() < 0.5
    ends = source.choice(URGENT if urgent else CALM)
    said = f"{ends} {text}" if source.random() < 0.3 else f"{text} {ends}"
    return said, label.format(1 if urgent else 2)


def reply(source: random.Random) -> tuple[str, str]:
    """A blunt note, and the same in the house's register."""
    thing, when = source.choice(THINGS), source.choice(TIMES)
    kind = source.choice(("request", "refusal", "news"))
    if kind == "request":
        asked = f"{source.choice(REQUESTS)} the {thing} {when}"
        return asked, f"Dear colleague, could you please {asked}? Many thanks."
    if kind == "refusal":
        plan = f"{source.choice(PLANS)} {when}"
        return f"can't {plan}", f"Dear colleague, I am afraid I cannot {plan}. Kind regards."
    news = f"the {thing} is {source.choice(STATES)}"
    return f"{news}, {when}", f"Dear colleague, please note that {news}, {when}. Kind regards."

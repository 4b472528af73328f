"""What a reader should know of an answer, in sentences: made of its steps and replies."""

from __future__ import annotations

from collections.abc import Sequence

from blackbox_proxy.core.alignment.recut import strange_borders, strange_pieces
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.jsontext import reached
from blackbox_proxy.guidance import limits_of
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Finish, Step


def uncertain_notes(steps: Sequence[Step]) -> tuple[str, ...]:
    """What to say of steps at which the list of candidates, or the border before them, is uncertain."""
    notes = []
    if outweighed := sum(step.outweighed for step in steps):
        notes.append(
            f"at {outweighed} of {len(steps)} steps the choice weighs less than all that was not listed, together;"
            " more log-probs (a larger top-k) or more proposals would list it"
        )
    if unbordered := sum(step.unbordered for step in steps):
        notes.append(f"{unbordered} steps follow a text that the API's tokenizer would hardly have cut there")
    return tuple(notes)


def constraint_notes(steering: Steering, finish: Finish, text: bytes) -> tuple[str, ...]:
    """What to say of an answer that was cut, or ended by a limit, although a constraint may have wanted more of it.

    Of one that was steered token by token: whole answers are what the constraint asks for, and have no limits.
    """
    notes = []
    if steering.constraint is not None and finish != "stop":
        notes.append(f"the answer was cut ({finish}), so it may not be all that the constraint asks for")
    limits = limits_of(steering.constraint)
    if limits is not None and (words := reached(limits, text)):
        notes.append(
            f"limits for what the schema does not bound were reached, where more may have come: {', '.join(words)}"
        )
    return tuple(notes)


def blind_note(blind: int) -> tuple[str, ...]:
    """What to say of replies that showed nothing at their first position."""
    return (f"replies that told nothing of what comes next, so that the pair alone decided: {blind}",) if blind else ()


def respelled_note(respelled: int) -> tuple[str, ...]:
    """What to say of replies that were made to begin with the answer so far, and spelt it otherwise."""
    return (f"replies that spelt the answer so far with other escapes than it needs: {respelled}",) if respelled else ()


def recut_notes(steps: Sequence[Step], known: Vocabulary, *, replies: int) -> tuple[str, ...]:
    """What to say where the API's tokenizer is known, and yet its tokens are others.

    Args:
        steps: Those of the answer.
        known: The tokenizer that is taken for the API's own.
        replies: How many the answer was put together from; within one the API cuts by itself.
    """
    notes = []
    strange = strange_pieces((step.api_token for step in steps if step.exact), known)
    if strange:
        notes.append(f"{strange} tokens of the API are none of the tokenizer that is taken for its own")
    moved = strange_borders([step.piece for step in steps], known) if replies > 1 else 0
    if moved:
        notes.append(f"the API's tokenizer cuts the text elsewhere than at {moved} of the steps' borders")
    return tuple(notes)

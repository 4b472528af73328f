"""How many tokens to ask the API for at a time.

Greedy walk-ahead (section 3.3): the draft is kept up to the first token that steering changes. What follows is
billed and lost, so the length follows the recent acceptance. Knows no price and no clock.
"""

from __future__ import annotations


def next_length(length: int, kept: int, *, limit: int) -> int:
    """The length of the next draft after one of `length` tokens of which `kept` were kept.

    Twice the last where all was kept, one more than what was kept otherwise; between 1 and `limit`.

    >>> next_length(4, 4, limit=16), next_length(4, 1, limit=16), next_length(4, 0, limit=16)
    (8, 2, 1)
    """
    wanted = 2 * length if kept >= length else kept + 1
    return max(1, min(wanted, limit))

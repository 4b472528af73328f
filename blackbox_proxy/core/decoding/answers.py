"""One steered answer: the loop, with the reading of positions that its steering asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.decoding.acceptors import ANY_TEXT, Acceptor, TokensAlone
from blackbox_proxy.core.decoding.drafting import Drafts
from blackbox_proxy.core.decoding.ids import IdReading
from blackbox_proxy.core.decoding.loop import Loop
from blackbox_proxy.core.decoding.readings import Reading
from blackbox_proxy.core.decoding.scores import ScoreReading
from blackbox_proxy.core.decoding.strings import ByteReading
from blackbox_proxy.core.events import Run
from blackbox_proxy.core.pairtable import PairTable
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import RevealMethod


def steps(
    steering: Steering,
    *,
    vocabulary: Vocabulary,
    spell: Callable[[bytes], Sequence[int]],
    api: Vocabulary | None = None,
    reveal: RevealMethod = "none",
    drafts: Drafts | None = None,
    accepts: Acceptor = ANY_TEXT,
) -> Run:
    """Steer one answer. Yields `Step`s in order, and the questions that lead to them.

    vocabulary, spell: the pair's; api: the API's own vocabulary, where it is known; reveal: how the API tells log-probs
    beyond its top-k; drafts: who may draft; the API alone where nobody says; accepts: which texts may be answers.
    """
    table = PairTable()
    if steering.event == "ids" and accepts is not ANY_TEXT:
        accepts = TokensAlone(accepts)
    reading: Reading = (
        IdReading(vocabulary, table, steering=steering, reveal=reveal, accepts=accepts)
        if steering.event == "ids"
        else ByteReading(vocabulary, table, spell=spell, steering=steering, api=api, reveal=reveal, accepts=accepts)
    )
    return Loop(steering, reading, table, drafts=drafts, accepts=accepts).run()


def steps_by_scores(steering: Steering, *, proposes: bool, accepts: Acceptor = ANY_TEXT) -> Run:
    """`steps` by any source of offsets (`types.OffsetSource`); proposes: whether it can name strings of its own."""
    reading = ScoreReading(steering, proposes=proposes, accepts=accepts)
    return Loop(steering, reading, PairTable(), accepts=accepts).run()

"""The API's own answer, where nothing of it is steered: one call as long as it may be, of which every token is kept.

The answer ends where the API ended it. No pair is asked, and nothing competes: what the API wrote is the choice. Where
its log-probs have lost the bytes of tokens, or tokens, the text that stands beside them tells the rest. A schema that
the answer is to hold to is left to the API too, where it knows schemas, and calls of tools where it knows those;
whether the answer does is looked at here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from blackbox_proxy.core.decoding import combine
from blackbox_proxy.core.decoding.certificate import NOTHING
from blackbox_proxy.core.decoding.endings import Endings
from blackbox_proxy.core.decoding.readings import ScoredPosition, draws_as_it_is, merged
from blackbox_proxy.core.decoding.rounds import Known, known_of, no_token
from blackbox_proxy.core.decoding.sampling import log_normaliser
from blackbox_proxy.core.events import ApiDraft, Ending, Evaluate, Evidence, Run, ask_api, ask_pair
from blackbox_proxy.core.text import is_start, is_whole, open_bytes
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import (
    FILTERED,
    DrawnAnswer,
    Finish,
    Kind,
    Origin,
    PairDistributions,
    Position,
    Reply,
    Said,
    Sample,
    Step,
)

_FINISHES: Mapping[str, Finish] = {"stop": "stop", FILTERED: FILTERED}
"""What the endpoint's word for its end means for the answer; any other: its length."""


@dataclass(frozen=True, slots=True)
class SchemaDemand:
    """A JSON schema that an endpoint is to hold its answer to.

    schema: as text. accepts: whether a text is such an answer, or (the second is False) may begin one.
    """

    schema: str
    accepts: Callable[[bytes, bool], bool]


def demanded_answer(steering: Steering, demand: SchemaDemand, *, otherwise: Run) -> Run:
    """`api_answer` of an endpoint that is given the schema. otherwise: the run that holds an answer to it itself.

    That takes over from the beginning where the endpoint refuses the schema, or its answer does not hold to it.
    """
    evidence = yield from ask_api(_question(steering, schema=demand.schema))
    (reply,) = evidence.replies
    if (wrong := _broken(reply, demand, steering)) is None:
        return (yield from _answered(steering, evidence, otherwise=otherwise))
    ending = yield from otherwise
    wasted, remarks = ending.wasted + len(reply.positions), (*ending.remarks, f"{wrong}, so it was held to here")
    return replace(ending, wasted=wasted, remarks=remarks)


def called_answer(
    steering: Steering, tools: str, *, written: Callable[[DrawnAnswer], bytes | None], otherwise: Run
) -> Run:
    """The answer of an endpoint that knows tools, in one call; it is one sample, and has no log-probs.

    Args:
        steering: The knobs.
        tools: The fields of the chat, as JSON.
        written: The answer as text, its calls as they are written here; None for one that is not allowed.
        otherwise: As of `demanded_answer`.
    """
    evidence = yield from ask_api(_question(steering, tools=tools))
    (reply,) = evidence.replies
    text = written(reply.drawn[0]) if reply.drawn else None
    if text is None:
        wrong = "the endpoint's own answer calls no tools as it should" if reply.drawn else "it did not take the tools"
        ending = yield from otherwise
        wasted = ending.wasted + reply.usage.output
        return replace(ending, wasted=wasted, remarks=(*ending.remarks, f"{wrong}, so it was held to them here"))
    if text:
        yield _untold(text, exact=True)
    finish = _FINISHES.get(reply.drawn[0].finish or "", "length")
    return Ending(finish, 0, (), (Sample(text.decode(), finish, 1, tokens=reply.usage.output, chosen=True),))


def _broken(reply: Reply, demand: SchemaDemand, steering: Steering) -> str | None:
    """What is wrong with a reply that should hold to a schema; None where it does."""
    if not known_of(reply):
        return "the endpoint did not take the schema"
    text = b"".join(step.piece for step in _steps_of(reply, steering))
    ended = (reply.said or reply).finish == "stop"
    whole = text if ended else text[: len(text) - open_bytes(text)]
    if is_start(whole) and demand.accepts(whole, ended):
        return None
    return "the endpoint's own answer does not hold to the schema"


def api_answer(steering: Steering, *, otherwise: Run) -> Run:
    """Ask for the whole answer, and yield its tokens as steps that were left to the API.

    Half a character at the end is no text and is left out, before an end of the API's too. otherwise: the loop that
    takes over with the same reply where that is no UTF-8 text, so that what is chosen can be gone on from.
    """
    evidence = yield from ask_api(_question(steering))
    (reply,) = evidence.replies
    if not known_of(reply):
        raise no_token(b"", reply.finish)
    return (yield from _answered(steering, evidence, otherwise=otherwise))


def _question(steering: Steering, *, schema: str = "", tools: str = "") -> ApiDraft:
    """The question for a whole answer."""
    drawn = steering.temperature > 0.0
    seed, top_p = (_seed_of(steering), steering.top_p) if drawn else (None, 1.0)
    temperature, length = steering.temperature, steering.max_tokens
    return ApiDraft(b"", (), length, (), temperature, seed, unsteered=True, top_p=top_p, schema=schema, tools=tools)


def _answered(steering: Steering, evidence: Evidence, *, otherwise: Run) -> Run:
    """The steps of an answer that came. otherwise: as in `api_answer`."""
    drawn, (reply,) = steering.temperature > 0.0, evidence.replies
    as_it_is = not drawn or draws_as_it_is(steering)
    if as_it_is and not is_start(b"".join(step.piece for step in _steps_of(reply, steering))):
        return (yield from _taken_over(otherwise, evidence))
    endings, text, kept = Endings(steering), b"", 0
    finish = _FINISHES.get((reply.said or reply).finish or "", "length")
    held: list[Step] = []
    for step in _steps_of(reply, steering):
        text += step.piece
        held.append(step)
        ended = _ended(step, text, endings)
        endings.keep((step.piece,))
        if ended == "stop" and not is_whole(text):
            del held[:-1]
        if ended or is_whole(text):
            yield from held
            kept += len(held)
            held.clear()
        if ended:
            finish = ended
            break
    return Ending(finish, max(len(reply.positions) - kept, 0), ())


def _ended(step: Step, text: bytes, endings: Endings) -> Finish | None:
    """Why the answer ends with a step; None where it goes on."""
    return "stop" if step.kind is Kind.END else endings.cut(text, (step.piece,), whole=is_whole(text))


def _taken_over(run: Run, evidence: Evidence) -> Run:
    """The loop, whose first question has been answered but for the pair's distributions."""
    first = next(run)
    distributions: Sequence[PairDistributions] = ()
    if isinstance(first, ApiDraft) and first.paths:
        distributions = (yield from ask_pair(Evaluate(first.paths))).distributions
    event = run.send(replace(evidence, distributions=distributions))
    while True:
        try:
            event = run.send((yield event))
        except StopIteration as stop:
            ending: Ending = stop.value
            return ending


def _seed_of(steering: Steering) -> int:
    """The seed that is sent for an answer that the API draws in one call."""
    return int(np.random.default_rng([steering.seed, 0]).integers(2**31))


def _steps_of(reply: Reply, steering: Steering) -> Iterator[Step]:
    """A step for each token, and one for what the endpoint wrote behind those that it tells of."""
    known = known_of(reply)
    *pieces, rest = spoken([one.position for one in known], reply.said)
    for one, piece in zip(known, pieces, strict=True):
        yield _kept(one, piece, steering)
    if rest:
        yield _untold(rest, exact=reply.exact)


def spoken(positions: Sequence[Position], said: Said | None) -> list[bytes]:
    r"""The bytes that each position stands for, so that together they are the text; and what stands behind them all.

    Where the tokens are not the text (`said`), what lies between two stretches that are found in it is put in the place
    of the first token between them.
    """
    pieces = [position.sampled.string for position in positions]
    lost = [p.sampled.kind is Kind.SPECIAL for p in positions]
    if said is None or not said.text or _is_same(b"".join(pieces), said, positions):
        return [*pieces, b""]
    text, at, placed = said.text.rstrip("\ufffd").encode("utf-8", "replace"), 0, list[bytes]()
    if "\ufffd" in said.text and not any(lost):
        return [*pieces, b""]
    while len(placed) < len(pieces):
        here = len(placed)
        piece = pieces[here] if at else pieces[here].lstrip()
        if not lost[here] and text.startswith(piece, at):
            placed.append(piece)
            at += len(piece)
            continue
        skipped = sum(1 for _ in takewhile(bool, lost[here:]))
        ahead = zip(pieces[here + skipped :], lost[here + skipped :], strict=True)
        run = b"".join(piece for piece, _ in takewhile(lambda both: not both[1], ahead))
        end = _place(text, run, at, last=not any(lost[here + skipped :])) if skipped else len(text)
        placed += [text[at:end], *[b""] * ((skipped or len(pieces) - here) - 1)]
        at = end
    return [*placed, text[at:]]


def _is_same(tokens: bytes, said: Said, positions: Sequence[Position]) -> bool:
    """Whether the tokens are the text, but for a character that is cut off, and the name of an end that is shown."""
    last = positions[-1].sampled
    names = ("", last.piece.decode("utf-8", "replace")) if last.kind is Kind.END else ("",)
    text = tokens[: len(tokens) - open_bytes(tokens)].decode("utf-8", "replace").rstrip("\ufffd")
    return any(text == said.text.removesuffix(name).rstrip("\ufffd") for name in names)


def _place(text: bytes, run: bytes, at: int, *, last: bool) -> int:
    """Where the tokens that are known next stand in the text; its end where they do not, or there are none.

    last: nothing comes behind them, so that they stand at its end if they can.
    """
    run = run[: len(run) - open_bytes(run)]
    if last and run and text.endswith(run) and at <= len(text) - len(run):
        return len(text) - len(run)
    place = text.find(run, at) if run else -1
    return len(text) if place < 0 else place


def _kept(known: Known, piece: bytes, steering: Steering) -> Step:
    """The token that the API wrote, with what it showed beside it. Of one whose bytes were lost nothing is told."""
    position = known.position
    sampled, ends = position.sampled, position.sampled.kind is Kind.END
    logps = merged(position)
    logp = np.fromiter(logps.values(), dtype=np.float64)
    if not len(logp) or (not ends and sampled.piece != piece):
        return _untold(piece, exact=known.exact)
    scores = combine.FieldScores(logp, np.full(len(logp), np.nan), logp)
    scored = ScoredPosition(tuple(logps), scores, len(logp), NOTHING, 0.0, gated=True)
    log_z = 0.0 if steering.takes_unseen else log_normaliser(logp)
    token_logp = logps.get(piece, sampled.logp)
    return replace(
        _untold(piece, exact=known.exact),
        kind=Kind.END if ends else Kind.TEXT if piece else Kind.SPECIAL,
        logp_before=token_logp,
        logp_after=min(0.0, token_logp - log_z),
        candidates=scored.candidates(steering.top_candidates, log_z),
    )


def _untold(piece: bytes, *, exact: bool) -> Step:
    """A part of the API's text whose log-prob is not known."""
    return Step(
        piece=piece,
        kind=Kind.TEXT if piece else Kind.SPECIAL,
        api_token=piece,
        logp_before=None,
        logp_after=None,
        offset=None,
        origin=Origin.DRAFT,
        certified=True,
        tv_bound=0.0,
        exact=exact,
        alpha=0.0,
        gated=True,
    )

"""How tokens are spelt in the two shapes of log-probs, where a string says less than an id."""

from __future__ import annotations

import numpy as np
import pytest
from openai.types.completion_choice import Logprobs

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.openai_http.frames import FLOOR
from blackbox_proxy.openai_http.transcript import Placed
from blackbox_proxy.standin.engine import Token, Top
from blackbox_proxy.standin.replies import ReplySpelling, chat_logprob, legacy_logprobs

PIECES = (b"a", b"\xe2\x80", b"a", "é".encode(), b"<end>", b"")
SPELLING = ReplySpelling(Vocabulary(PIECES, ends=[4]))


def token(chosen: int, *ids: int, logps: tuple[float, ...], own: float = -1.0) -> Token:
    return Token(chosen, own, Top(np.array(ids, dtype=np.intp), np.array(logps)))


def test_a_fragment_is_spelt_as_bytes_and_an_end_as_its_name() -> None:
    assert list(SPELLING.legacy) == ["a", r"bytes:\xe2\x80", "a", "é", "<end>", ""]
    assert [SPELLING.chat(i) for i in range(len(PIECES))] == ["a", r"\xe2\x80", "a", "é", "<end>", ""]
    assert [SPELLING.bytes_of(i) for i in range(len(PIECES))] == [[97], [226, 128], [97], [195, 169], None, None]


def test_of_two_tokens_with_one_spelling_the_more_probable_is_listed() -> None:
    """In a dictionary they cannot both stand; a chat's list holds both."""
    both = token(3, 2, 3, 0, logps=(-0.5, -1.0, -3.0))
    assert legacy_logprobs([Placed(both, 0)], SPELLING.legacy.__getitem__).top_logprobs == [{"a": -0.5, "é": -1.0}]
    assert [top.logprob for top in chat_logprob(both, SPELLING).top_logprobs] == [-0.5, -1.0, -3.0]


def test_the_sampled_token_is_appended_only_where_its_spelling_is_missing() -> None:
    absent, alike = token(3, 0, 1, logps=(-0.1, -0.2), own=-4.0), token(0, 2, 3, logps=(-0.1, -0.2), own=-4.0)
    reply = legacy_logprobs([Placed(absent, 0), Placed(alike, 1)], SPELLING.legacy.__getitem__)
    assert reply.top_logprobs == [{"a": -0.1, r"bytes:\xe2\x80": -0.2, "é": -4.0}, {"a": -0.1, "é": -0.2}]
    assert reply.token_logprobs == [-4.0, -4.0]


@pytest.mark.parametrize("logp", [-np.inf, -1e30])
def test_no_number_leaves_that_json_cannot_hold(logp: float) -> None:
    nothing = token(0, 3, logps=(logp,), own=logp)
    written = legacy_logprobs([Placed(nothing, 0)], SPELLING.legacy.__getitem__).model_dump_json()
    assert Logprobs.model_validate_json(written).top_logprobs == [{"é": FLOOR, "a": FLOOR}]
    assert chat_logprob(nothing, SPELLING).logprob == FLOOR


def test_the_first_token_of_an_echo_has_nothing_before_it() -> None:
    reply = legacy_logprobs([Placed(Token(0), 0)], SPELLING.legacy.__getitem__)
    assert (reply.token_logprobs, reply.top_logprobs, reply.text_offset) == ([None], [None], [0])

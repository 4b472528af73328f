r"""What is read from the legacy completions shape, trap by trap."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import Candidate, Kind, Position, Usage
from blackbox_proxy_adapters.decoders import Dialect, legacy_completions, read_piece
from tests.adapters.shapes import Json, Row, body

ENDS = frozenset({b"<|im_end|>", b"<|endoftext|>", b""})
DIALECT = Dialect(ENDS)


def position(token: str, logp: float | None, top: dict[str, float | None] | None) -> Position:
    """The one position of a reply of one token."""
    [found] = legacy_completions(body((token, logp, top), (" x", -0.1, {" x": -0.1})), DIALECT).positions[:1]
    return found


def logps(found: Position) -> dict[bytes, float]:
    return {candidate.piece: candidate.logp for candidate in found.top}


def test_a_plain_reply_is_read_whole() -> None:
    reply = legacy_completions(
        body((" Paris", -0.25, {" Lyon": -3.0, " Paris": -0.25}), (".", -0.5, {".": -0.5, "!": -2.0})), DIALECT
    )
    assert reply.finish == "length"
    assert reply.model == "m-1"
    assert reply.usage == Usage(input=7, output=2, requests=1)
    first, second = reply.positions
    assert first.sampled == Candidate(b" Paris", -0.25)
    assert first.top == (Candidate(b" Paris", -0.25), Candidate(b" Lyon", -3.0))
    assert first.tail == pytest.approx(1 - math.exp(-0.25) - math.exp(-3.0))
    assert first.ceiling == -3.0
    assert second.sampled.piece == b"."


@pytest.mark.parametrize(("told", "read"), [("fp-1", "fp-1"), (None, ""), (7, "")])
def test_a_fingerprint_is_handed_on(told: object, read: str) -> None:
    found = {**body((" Paris", -0.25, {" Paris": -0.25})), "system_fingerprint": told}
    assert legacy_completions(found, DIALECT).fingerprint == read


def test_the_sampled_token_appended_as_entry_k_plus_1_does_not_set_the_ceiling() -> None:
    """It stays a candidate and leaves the tail; a token outside may still be as likely as the k-th."""
    found = position("z", -6.0, {"a": -0.3, "b": -2.0, "z": -6.0})
    assert found.ceiling == -2.0
    assert logps(found) == {b"a": -0.3, b"b": -2.0, b"z": -6.0}
    assert found.tail == pytest.approx(1 - math.exp(-0.3) - math.exp(-2.0) - math.exp(-6.0))


def test_a_sampled_token_that_the_list_lacks_is_added_to_it() -> None:
    found = position("z", -6.0, {"a": -0.3, "b": -2.0})
    assert found.ceiling == -2.0
    assert found.top[-1] == found.sampled == Candidate(b"z", -6.0)


@pytest.mark.parametrize("p", [0.25, 0.75])
def test_beside_the_sampled_token_alone_only_the_tail_bounds_the_rest(p: float) -> None:
    """It may stand in the place of a likelier token that prints alike, so its own log-prob bounds nothing."""
    assert position("a", math.log(p), {"a": math.log(p)}).ceiling == pytest.approx(math.log(1 - p))
    assert position("a", 0.0, {"a": 0.0}).ceiling == -math.inf


@pytest.mark.parametrize("sentinel", [-9999.0, -3.4028234663852886e38, -1000, -math.inf])
def test_sentinels_are_no_numbers(sentinel: float) -> None:
    found = position("a", -0.3, {"a": -0.3, "b": -1.5, "c": sentinel})
    assert logps(found) == {b"a": -0.3, b"b": -1.5}
    assert found.ceiling == -1.5


@pytest.mark.parametrize("logp", [-9999.0, None])
def test_a_sampled_token_without_a_number_stays_out_of_the_top(logp: float | None) -> None:
    """Its probability is unknown, so it is part of the tail; minus infinity never wins by mistake."""
    found = position("z", logp, {"a": -0.3, "z": logp})
    assert found.sampled == Candidate(b"z", -math.inf)
    assert logps(found) == {b"a": -0.3}
    assert found.ceiling == -0.3


def test_a_missing_number_of_the_sampled_token_is_found_in_its_list() -> None:
    assert position("a", None, {"a": -0.3, "b": -1.5}).sampled.logp == -0.3


def test_a_position_without_a_list_knows_its_sampled_token_only() -> None:
    found = position("a", math.log(0.75), None)
    assert logps(found) == {b"a": math.log(0.75)}
    assert found.tail == pytest.approx(0.25)
    assert found.ceiling == pytest.approx(math.log(0.25))


def test_rounding_beyond_one_leaves_no_tail() -> None:
    found = position("a", 0.0, {"a": 0.0, "b": -3.0, "c": -4.5})
    assert found.tail == 0.0
    assert sum(math.exp(c.logp) for c in found.top) == pytest.approx(1.0)
    assert found.ceiling == -4.5


def test_equals_start_with_the_token_that_the_api_chose() -> None:
    """Otherwise alpha 0 could change the API's text at a tie."""
    top: dict[str, float | None] = {"a": -1.0, "b": -1.0, "c": -1.0}
    for token in top:
        assert position(token, -1.0, top).top[0].piece == token.encode()


@pytest.mark.parametrize(
    ("spelling", "piece", "kind"),
    [
        (r"bytes:\xe2\x80", b"\xe2\x80", Kind.FRAGMENT),
        (r"bytes: \xf0\x9f", b" \xf0\x9f", Kind.FRAGMENT),
        (r"bytes:\xE2\x80\x94", "—".encode(), Kind.TEXT),
        (r"bytes:\x80é\xf0", b"\x80\xc3\xa9\xf0", Kind.FRAGMENT),
        (r"bytes:\x0", rb"bytes:\x0", Kind.TEXT),
        ("bytes: 12", b"bytes: 12", Kind.TEXT),
        ("bytes:", b"bytes:", Kind.TEXT),
        (r"\xe2", rb"\xe2", Kind.TEXT),
        (r"bytes:\\xff", b"\\\xff", Kind.FRAGMENT),
        (r"bytes:\xef\xbf\xbd", "\ufffd".encode(), Kind.TEXT),
        ("<|im_end|>", b"<|im_end|>", Kind.END),
        ("", b"", Kind.END),
        ("\ufffd", "\ufffd".encode(), Kind.SPECIAL),
        (" \ufffd", " \ufffd".encode(), Kind.SPECIAL),
        ("\ud83d", b"\xed\xa0\xbd", Kind.SPECIAL),
        ("\x00", b"\x00", Kind.TEXT),
    ],
)
def test_spellings(spelling: str, piece: bytes, kind: Kind) -> None:
    assert read_piece(spelling, end_pieces=ENDS) == (piece, kind)


def test_an_empty_string_ends_the_text_only_where_the_endpoint_says_so() -> None:
    assert read_piece("", end_pieces=(b"</s>",)).kind is Kind.SPECIAL


@given(st.binary(min_size=1, max_size=8))
def test_any_bytes_survive_their_escaped_spelling(text: bytes) -> None:
    found = read_piece("bytes:" + "".join(f"\\x{byte:02x}" for byte in text))
    assert found.text == text


def test_two_spellings_of_the_same_bytes_add_up() -> None:
    """They are one event for the text; the ceiling still comes from the single entries."""
    found = position(
        "—", math.log(0.5), {"—": math.log(0.5), r"bytes:\xe2\x80\x94": math.log(0.25), "a": math.log(0.125)}
    )
    assert logps(found) == {"—".encode(): pytest.approx(math.log(0.75)), b"a": math.log(0.125)}
    assert found.sampled.logp == pytest.approx(math.log(0.75))
    assert found.tail == pytest.approx(0.125)


def test_a_shown_end_is_an_end() -> None:
    reply = legacy_completions(body(("<|im_end|>", -0.1, {"<|im_end|>": -0.1, " and": -3.0}), finish="stop"), DIALECT)
    assert reply.positions[0].sampled.kind is Kind.END


@pytest.mark.parametrize(
    "hidden",
    [
        {"logprobs": None, "text": ""},
        {"logprobs": {"tokens": [], "token_logprobs": [], "top_logprobs": []}, "text": ""},
        {"logprobs": {"tokens": [], "token_logprobs": [], "top_logprobs": None}},
    ],
)
def test_an_end_that_is_hidden_leaves_no_position(hidden: Json) -> None:
    """Several servers leave their loop before they write down the log-prob of the end."""
    reply = legacy_completions({"choices": [{"finish_reason": "stop", **hidden}], "usage": {"completion_tokens": 1}})
    assert reply.positions == ()
    assert reply.finish == "stop"


def test_an_end_hidden_after_some_tokens_leaves_the_shown_ones() -> None:
    reply = legacy_completions(body((".", -0.5, {".": -0.5, "!": -2.0}), finish="stop", usage={"completion_tokens": 2}))
    assert [p.sampled.kind for p in reply.positions] == [Kind.TEXT]
    assert reply.usage.output == 2


@pytest.mark.parametrize(
    ("word", "finish"), [("stop", "stop"), ("eos", "stop"), ("eos_token", "stop"), ("length", "length")]
)
def test_words_for_the_end_become_one(word: str, finish: str) -> None:
    assert legacy_completions(body((".", -0.5, {".": -0.5}), finish=word)).finish == finish


@pytest.mark.parametrize(
    "choice",
    [
        {"text": " Paris", "finish_reason": "length", "logprobs": None},
        {"text": " Paris", "finish_reason": "stop", "logprobs": None},
        {"text": " Paris", "finish_reason": "stop"},
        {"text": "", "finish_reason": "length", "logprobs": None},
        {"text": "x", "finish_reason": "stop", "logprobs": {"tokens": ["x"], "token_logprobs": [-1.0]}},
        {
            "text": "x",
            "finish_reason": "stop",
            "logprobs": {"tokens": ["x"], "token_logprobs": [-1.0], "top_logprobs": [None]},
        },
    ],
)
def test_a_reply_without_log_probs_says_what_to_look_for(choice: Json) -> None:
    with pytest.raises(ReplyError, match=r"no (log-probabilities|top_logprobs)") as caught:
        legacy_completions({"choices": [choice]})
    assert "top_logprobs" in caught.value.hint


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("a", 0.5, {"a": -0.3}), r"token_logprobs\[0\] is 0.5; a log-probability is at most 0"),
        (("a", -0.3, {"a": math.nan}), r"top_logprobs\[0\] is nan"),
        (("a", True, {"a": -0.3}), r"token_logprobs\[0\] should be a number, not True"),
        (("a", -0.3, {"a": "high"}), r"top_logprobs\[0\] should be a number, not 'high'"),
        ((7, -0.3, {"a": -0.3}), r"tokens\[0\] should be a string, not 7"),
        (("a", -0.3, [["a", -0.3]]), r"top_logprobs\[0\] should be an object, not a list of 1"),
    ],
)
def test_a_field_of_the_wrong_type_is_named_with_its_value(row: Row, words: str) -> None:
    token, logp, top = row
    fields = {"tokens": [token], "token_logprobs": [logp], "top_logprobs": [top]}
    with pytest.raises(ReplyError, match=words):
        legacy_completions({"choices": [{"logprobs": fields}]})


def test_lists_of_different_length_are_refused() -> None:
    fields = {"tokens": ["a", "b"], "token_logprobs": [-0.3], "top_logprobs": [{"a": -0.3}]}
    with pytest.raises(ReplyError, match="2 tokens, 1 token_logprobs, 1 top_logprobs"):
        legacy_completions({"choices": [{"logprobs": fields}]})


def test_usage_keeps_the_providers_counts() -> None:
    details = {"cached_tokens": 5, "cache_write_tokens": 3}
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": details}
    for counts, read in (
        (usage, Usage(input=9, cached=5, cache_write=3, output=2, requests=1)),
        ({"prompt_tokens": 9, "prompt_tokens_details": None}, Usage(input=9, requests=1)),
        (None, Usage(requests=1)),
    ):
        assert legacy_completions({"choices": [{"text": "", "finish_reason": "stop"}], "usage": counts}).usage == read

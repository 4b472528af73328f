"""What endpoints do to log-probs, one case a quirk: the decoder must survive it, and bound what it hides."""

from __future__ import annotations

import math

import pytest

from blackbox_proxy.errors import InputError, ReplyError
from blackbox_proxy.types import Candidate, Kind, Position, Reply, Usage
from blackbox_proxy_adapters.decoders import (
    DECODERS,
    Dialect,
    decoder_named,
    legacy_completions,
    llama_native,
    openai_chat,
    openai_responses,
    together,
)
from blackbox_proxy_adapters.pieces import speaks_bytes
from tests.adapters.shapes import Json, body, chat, chosen, native, response, row

ENDS = frozenset({b"<|im_end|>", b""})
LOWEST = -3.4028234663852886e38


def only(reply: Reply) -> Position:
    [position] = reply.positions
    return position


def logps(position: Position) -> dict[bytes, float]:
    return {c.piece: c.logp for c in position.top}


def test_decoders_are_found_by_name() -> None:
    assert decoder_named("llama_native") is llama_native
    with pytest.raises(InputError, match="no decoder 'openai_caht'") as caught:
        decoder_named("openai_caht")
    assert caught.value.hint.startswith("did you mean 'openai_chat'? there are: legacy_completions, ")
    assert len(DECODERS) == 5


@pytest.mark.parametrize("sentinel", [-9999.0, LOWEST, -math.inf])
def test_sentinels_are_no_numbers_in_any_shape(sentinel: float) -> None:
    listed = chosen(row("a", -0.5, id=1), row("b", -1.5, id=2), row("c", sentinel, id=3))
    legacy = body(("a", -0.5, {"a": -0.5, "b": -1.5, "c": sentinel}))
    for reply in (
        openai_chat(chat(listed)),
        openai_responses(response(listed)),
        llama_native(native(listed)),
        legacy_completions(legacy),
        together(legacy),
    ):
        assert logps(only(reply)) == {b"a": -0.5, b"b": -1.5}
        assert only(reply).ceiling == -1.5
        assert only(reply).tail == pytest.approx(1 - math.exp(-0.5) - math.exp(-1.5))


@pytest.mark.parametrize("top_k", [None, 2])
def test_a_sampled_token_that_its_list_lacks(top_k: int | None) -> None:
    """Known in any case; among those that may be chosen only where that does not depend on what was drawn."""
    found = only(openai_chat(chat(row("z", -6.0, top=[row("a", -0.3), row("b", -2.0)])), Dialect(top_k=top_k)))
    assert found.sampled == Candidate(b"z", -6.0)
    assert (b"z" in logps(found)) == (top_k is None)
    assert found.ceiling == -2.0


def test_a_sampled_token_without_a_number_outside_the_list() -> None:
    found = only(openai_chat(chat(row("z", -9999.0, top=[row("a", -0.3), row("b", -2.0)]))))
    assert found.sampled == Candidate(b"z", -math.inf)
    assert list(logps(found)) == [b"a", b"b"]


def test_the_kth_that_the_sampled_token_displaced_bounds_the_rest() -> None:
    """Sampled first and then cut to k: the third best is missing, and may be as likely as the second."""
    found = only(openai_chat(chat(chosen(row("z", -6.0), row("a", -0.3), row("b", -2.0))), Dialect(top_k=3)))
    assert found.ceiling == -2.0
    assert logps(found) == {b"a": -0.3, b"b": -2.0, b"z": -6.0}


def test_fewer_and_more_than_were_asked_for() -> None:
    found = only(openai_chat(chat(chosen(row("a", -0.3), row("b", -2.0))), Dialect(top_k=20)))
    assert found.tail == pytest.approx(1 - math.exp(-0.3) - math.exp(-2.0))
    tied = chosen(*(row(token, -1.2) for token in "abc"))
    found = only(openai_chat(chat(tied), Dialect(top_k=2)))
    assert found.ceiling == -1.2
    assert found.tail == pytest.approx(1 - 3 * math.exp(-1.2), abs=math.exp(-1.2) + 1e-9)


def test_strings_that_are_alike_are_one_special_token_without_ids_and_several_with_them() -> None:
    a, b, c = (row("\ufffd", logp, None) for logp in (-1.0, -1.0, -2.0))
    found = only(openai_chat(chat(chosen(a, b, c))))
    assert [c.kind for c in found.top] == [Kind.SPECIAL]
    assert math.exp(found.top[0].logp) == pytest.approx(2 * math.exp(-1.0) + math.exp(-2.0))
    told = chosen(row("", -1.0, b"\xe2", id=5), row("", -1.5, b"\xe2\x80", id=6), row("", -2.0, b"\xe2", id=7))
    found = only(llama_native(native(told)))
    assert [(c.id, c.piece, c.kind) for c in found.top] == [
        (5, b"\xe2", Kind.FRAGMENT),
        (6, b"\xe2\x80", Kind.FRAGMENT),
        (7, b"\xe2", Kind.FRAGMENT),
    ]


def test_an_endpoint_without_bytes_is_read_by_its_strings() -> None:
    silent = chosen(
        {"token": "é", "logprob": -0.5}, {"token": "\ufffd", "logprob": -2.0}, {"token": "", "logprob": -3.0}
    )
    found = only(openai_chat(chat(silent)))
    assert [(c.piece, c.kind) for c in found.top] == [
        ("é".encode(), Kind.TEXT),
        ("\ufffd".encode(), Kind.SPECIAL),
        (b"", Kind.SPECIAL),
    ]


def test_a_token_without_bytes_among_others_that_have_them_is_special() -> None:
    """OpenAI gives null for tokens that are no text, and their names look like text."""
    found = only(
        openai_chat(
            chat(chosen(row("a", -0.5), row("<|fim|>", -1.5, None), row("<|im_end|>", -3.0, None))), Dialect(ENDS)
        )
    )
    assert [c.kind for c in found.top] == [Kind.TEXT, Kind.SPECIAL, Kind.END]


def test_bytes_that_were_made_of_a_lossy_string_are_not_believed() -> None:
    """vLLM and Ollama encode what they had decoded; one that had the true bytes at hand says something else."""
    lossy = chosen(row("a", -0.5), row("\ufffd", -2.0), row("\ufffd", -3.0, b"\xf0\x9f"), row("", -4.0, b""))
    found = only(openai_chat(chat(lossy), Dialect(ENDS - {b""}, trust="lossy")))
    assert [(c.piece, c.kind) for c in found.top] == [
        (b"a", Kind.TEXT),
        ("\ufffd".encode(), Kind.SPECIAL),
        (b"\xf0\x9f", Kind.FRAGMENT),
        (b"", Kind.SPECIAL),
    ]
    assert found.top[1].logp == -2.0
    exact = only(openai_chat(chat(lossy)))
    assert exact.top[1].kind is Kind.TEXT


def test_bytes_that_are_never_to_be_believed_are_not_looked_at() -> None:
    found = only(openai_chat(chat(chosen(row("token", -0.5, b"wrong"))), Dialect(trust="none")))
    assert found.sampled.piece == b"token"


def test_bytes_win_over_an_escaped_spelling() -> None:
    found = only(openai_chat(chat(chosen(row(r"\xf0\x9f\x8c", -0.5, b"\xf0\x9f\x8c"), row("a", -2.0)))))
    assert found.sampled == Candidate(b"\xf0\x9f\x8c", -0.5, Kind.FRAGMENT)


@pytest.mark.parametrize("trust", ["none", "lossy"])
def test_the_alphabet_of_a_byte_level_tokenizer_is_mapped_back(trust: str) -> None:
    spelt = [("Ġthe", -0.5), ("æĺ¯", -2.0), ("Ċ", -3.0), ("a", -4.0), ("ðŁĮ", -5.0)]
    rows = [row(token, logp, None if trust == "none" else b"?") for token, logp in spelt]
    dialect = Dialect(trust="none" if trust == "none" else "lossy")
    pieces = [b" the", "是".encode(), b"\n", b"a", b"\xf0\x9f\x8c"]
    assert [c.piece for c in only(openai_chat(chat(chosen(*rows)), dialect)).top] == pieces
    legacy = only(legacy_completions(body(("Ġthe", -0.5, dict(spelt)))))
    assert [c.piece for c in legacy.top] == pieces
    assert legacy.top[-1].kind is Kind.FRAGMENT


@pytest.mark.parametrize("strings", [["ł", "ąć"], ["Ġu", " u"], ["abc"], ["是", "Ġ"], ["é", "ü"]])
def test_text_is_not_taken_for_that_alphabet(strings: list[str]) -> None:
    """Polish letters are in it, and Maltese has the letter of its space; a space is not."""
    assert not speaks_bytes(strings)


def test_names_of_ends_do_not_hide_that_alphabet() -> None:
    assert speaks_bytes(["Ġthe", "<｜end▁of▁sentence｜>"], {"<｜end▁of▁sentence｜>".encode()})
    found = only(legacy_completions(body(("Ġa", -0.5, {"Ġa": -0.5, "<|im_end|>": -1.0})), Dialect(ENDS)))
    assert [(c.piece, c.kind) for c in found.top] == [(b" a", Kind.TEXT), (b"<|im_end|>", Kind.END)]


def test_a_token_that_shows_nothing_is_an_end_only_by_its_id() -> None:
    listed = chosen(row("a", -0.5, id=1), row("", -1.5, b"", id=2), row("", -3.0, b"", id=9))
    kinds = [c.kind for c in only(llama_native(native(listed), Dialect(ENDS, frozenset({2})))).top]
    assert kinds == [Kind.TEXT, Kind.END, Kind.SPECIAL]
    assert [c.kind for c in only(openai_chat(chat(listed), Dialect(ENDS, frozenset({2})))).top] == kinds
    assert [c.kind for c in only(llama_native(native(listed), Dialect(ENDS))).top] == [
        Kind.TEXT,
        Kind.SPECIAL,
        Kind.SPECIAL,
    ]


def test_the_token_at_which_the_server_stopped_names_the_end_by_itself() -> None:
    first = chosen(row("a", -0.5, id=1), row("", -1.5, b"", id=2))
    last = chosen(row("", -0.1, b"", id=2), row("b", -4.0, id=3))
    reply = llama_native(native(first, last, stop="eos"))
    assert [[c.kind for c in p.top] for p in reply.positions] == [[Kind.TEXT, Kind.END], [Kind.END, Kind.TEXT]]
    assert reply.finish == "stop"


def test_a_special_token_that_is_visible_as_text_is_an_end_by_its_name() -> None:
    end = "<｜end▁of▁sentence｜>"
    found = only(openai_chat(chat(chosen(row(end, -0.1), row("a", -3.0))), Dialect(frozenset({end.encode()}))))
    assert found.sampled.kind is Kind.END


@pytest.mark.parametrize(
    "reply",
    [
        openai_chat(chat(finish="stop")),
        openai_chat({"choices": [{"message": {"content": ""}, "finish_reason": "stop", "logprobs": {"content": []}}]}),
        openai_responses(response(status="completed", reason=None)),
        llama_native(native(stop="eos")),
    ],
)
def test_an_end_without_log_probs_leaves_no_position(reply: Reply) -> None:
    assert (reply.positions, reply.finish) == ((), "stop")


def test_a_position_without_probs_ends_what_can_be_read() -> None:
    """llama.cpp's server has no row for a token that leaves a character open; `tokens` shows where."""
    a, c = chosen(row("a", -0.5, id=1)), chosen(row("c", -0.5, id=3))
    reply = llama_native(native(a, c, tokens=[1, 2, 3]))
    assert [p.sampled.piece for p in reply.positions] == [b"a"]
    assert reply.finish == "length"


def test_of_a_first_token_without_probs_nothing_is_known() -> None:
    found = only(llama_native(native(chosen(row("c", -0.5, id=3)), tokens=[2, 3])))
    assert (found.top, found.tail, found.ceiling) == ((), 1.0, 0.0)
    assert (found.sampled.id, found.sampled.kind, found.sampled.logp) == (2, Kind.SPECIAL, -math.inf)


FLUSHED = row(
    "東", -0.01, "東".encode(), top=[row("", -0.01, b"\xb1", id=126), row("", -5.03, b"\xbe", id=139)], id=126
)
"""As llama.cpp's server says it: the row of the last third of a character has the bytes of all of it."""


def test_a_missing_position_shows_in_the_bytes_of_the_next_one() -> None:
    """The chat's shape does not tell all ids; but the token is listed with bytes of its own."""
    first = chosen(row("a", -0.5, id=1))
    for reply in (openai_chat(chat(first, FLUSHED)), llama_native(native(first, FLUSHED, tokens=[], stop="eos"))):
        assert [p.sampled.piece for p in reply.positions] == [b"a"]
        assert reply.finish == "length"
    found = only(openai_chat(chat(FLUSHED, first, finish="stop")))
    assert (found.top, found.tail, found.ceiling, found.sampled.kind) == ((), 1.0, 0.0, Kind.SPECIAL)


def test_a_key_that_has_lost_its_bytes_may_hide_a_likelier_token() -> None:
    """llama-cpp-python writes the least likely of the tokens that share one; another may have all of the tail."""
    shared = only(legacy_completions(body(("a", -0.7, {"a": -0.7, "": -5.0, "b": -6.0}))))
    assert shared.ceiling == pytest.approx(math.log(shared.tail))
    for dialect, ceiling in ((Dialect(), -6.0), (Dialect(trust="lossy"), None)):
        plain = only(legacy_completions(body(("a", -0.7, {"a": -0.7, "b": -6.0})), dialect))
        assert plain.ceiling == pytest.approx(math.log(plain.tail) if ceiling is None else ceiling)


def left_open(tokens: int, **extra: object) -> Json:
    """A reply of llama.cpp's server that ends inside its first character: without log-probs."""
    choice = {"message": {"role": "assistant", "content": "so far "}, "index": 0, "finish_reason": "length"}
    return {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": tokens}, **extra}


@pytest.mark.parametrize("tokens", [1, 3])
def test_the_beginning_of_one_character_is_a_position_of_which_nothing_is_known(tokens: int) -> None:
    reply = openai_chat(left_open(tokens, timings={}))
    assert (only(reply).top, only(reply).tail, reply.finish) == ((), 1.0, "length")


@pytest.mark.parametrize("body", [left_open(1), left_open(4, timings={}), left_open(0, timings={})])
def test_any_other_text_without_log_probs_is_an_error(body: Json) -> None:
    with pytest.raises(ReplyError, match="no log-probabilities"):
        openai_chat(body)


def test_a_nameless_last_token_of_a_chat_that_stopped_is_its_end() -> None:
    """Where it has an id, all places know it from then on."""
    rows = (
        chosen(row(".", -0.6, id=30), row("", -1.0, b"", id=2)),
        chosen(row("", -0.3, b"", id=2), row(" It", -2.9, id=657)),
    )
    stopped = openai_chat(chat(*rows, finish="stop"))
    assert [[c.kind for c in p.top] for p in stopped.positions] == [[Kind.TEXT, Kind.END], [Kind.END, Kind.TEXT]]
    cut = openai_chat(chat(*rows, finish="length"))
    assert [c.kind for c in cut.positions[1].top] == [Kind.SPECIAL, Kind.TEXT]


def test_the_shape_itself_says_which_one_it_is() -> None:
    """llama.cpp answers /completions in the chat's shape; older servers answer chats in the legacy one."""
    content = {"content": [chosen(row("a", -0.5), row("b", -2.0))]}
    columns = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5, "b": -2.0}]}
    for decoder in (legacy_completions, openai_chat, together):
        for logprobs in (content, columns):
            for words in ({"text": "a"}, {"message": {"content": "a"}}):
                found = decoder({"choices": [{**words, "finish_reason": "length", "logprobs": logprobs}]}, Dialect())
                assert logps(only(found)) == {b"a": -0.5, b"b": -2.0}


def test_togethers_sampled_tokens_have_ids_and_its_alternatives_strings() -> None:
    said = body((" a", -0.5, {" a": -0.5, " b": -2.0}), finish="eos")
    said["choices"][0]["logprobs"]["token_ids"] = [17]  # type: ignore[index]
    reply = together(said, Dialect(end_ids=frozenset({2})))
    assert only(reply).top == (Candidate(b" a", -0.5, Kind.TEXT, 17), Candidate(b" b", -2.0))
    assert reply.finish == "stop"


def test_low_precision_is_scaled_back_to_a_distribution() -> None:
    """Values rounded to an eighth, the best one exactly 0."""
    found = only(openai_chat(chat(chosen(row("a", 0.0), row("b", -4.125), row("c", -22.125)))))
    assert math.fsum(math.exp(c.logp) for c in found.top) == pytest.approx(1.0)
    assert (found.tail, found.ceiling) == (0.0, -22.125)
    with pytest.raises(ReplyError, match="add up to 3"):
        openai_chat(chat(chosen(*(row(token, 0.0) for token in "abc"))))


def test_a_number_before_a_mask_is_read_as_it_is() -> None:
    """The sampled token is what the mask left; its own log-prob says how unlikely it was."""
    found = only(openai_chat(chat(row("{", -18.4, top=[row("a", -0.1), row("b", -3.0)])), Dialect(top_k=2)))
    assert found.sampled == Candidate(b"{", -18.4)


@pytest.mark.parametrize(
    ("decoder", "ignored"),
    [
        ("openai_chat", {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}),
        ("legacy_completions", {"choices": [{"text": "Hi", "finish_reason": "stop", "logprobs": None}]}),
        ("together", {"choices": [{"text": "Hi", "finish_reason": "eos", "logprobs": {}}]}),
        ("openai_responses", {"status": "completed", "output": [{"type": "message", "content": [{"text": "Hi"}]}]}),
        ("llama_native", {"content": "Hi", "stop_type": "eos"}),
        ("openai_chat", {"choices": [{"message": {"refusal": "No."}, "finish_reason": "stop"}]}),
    ],
)
def test_a_request_that_was_accepted_and_ignored_is_noticed(decoder: str, ignored: Json) -> None:
    with pytest.raises(ReplyError, match="no log-probabilities") as caught:
        decoder_named(decoder)(ignored, Dialect())
    assert caught.value.hint


@pytest.mark.parametrize("decoder", sorted(DECODERS))
def test_an_error_that_comes_as_a_success_is_named_without_its_words(decoder: str) -> None:
    said: Json = {"error": {"code": 502, "message": "upstream said no to sk-secret"}}
    with pytest.raises(ReplyError, match=r"error object in place of a reply .code '502'") as caught:
        decoder_named(decoder)(said, Dialect())
    assert "sk-secret" not in caught.value.message + caught.value.hint


def test_probabilities_after_sampling_are_refused() -> None:
    said = native()
    said["completion_probabilities"] = [{"id": 1, "token": "a", "bytes": [97], "prob": 0.5, "top_probs": []}]
    with pytest.raises(ReplyError, match="after sampling") as caught:
        llama_native(said)
    assert "post_sampling_probs" in caught.value.hint


def test_a_response_is_read_whole() -> None:
    reply = openai_responses(response(chosen(row("a", -0.5), row("b", -2.0))))
    assert only(reply).sampled == Candidate(b"a", -0.5)
    assert (reply.finish, reply.model) == ("length", "m-1")
    assert reply.usage == Usage(input=9, cached=4, cache_write=2, output=1, requests=1)
    filtered = openai_responses(response(chosen(row("a", -0.5)), reason="content_filter"))
    assert filtered.finish == "content_filter"


def test_llamas_own_counts() -> None:
    reply = llama_native(native(chosen(row("a", -0.5, id=1))))
    assert reply.usage == Usage(input=11, cached=6, output=1, requests=1)
    assert (reply.finish, reply.model) == ("length", "m-1")


def test_signed_bytes_are_bytes() -> None:
    found = only(llama_native(native(chosen({"id": 1, "token": "é", "bytes": [-61, -87], "logprob": -0.5}))))
    assert found.sampled == Candidate("é".encode(), -0.5, Kind.TEXT, 1)


def test_deepseeks_cache_counts() -> None:
    said = chat(
        chosen(row("a", -0.5)), usage={"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 8}
    )
    assert openai_chat(said).usage == Usage(input=9, cached=8, output=1, requests=1)


def test_tokens_that_are_written_as_ids_have_an_id_and_no_bytes() -> None:
    dialect = Dialect(ENDS, frozenset({2}))
    listed = chosen(row("token_id:7", -0.5), row("token_id:2", -2.0))
    legacy = body(("token_id:7", -0.5, {"token_id:7": -0.5, "token_id:2": -2.0}))
    for reply in (openai_chat(chat(listed), dialect), legacy_completions(legacy, dialect)):
        assert [(c.id, c.piece, c.kind) for c in only(reply).top] == [(7, b"", Kind.SPECIAL), (2, b"", Kind.END)]

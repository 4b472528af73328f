"""What the adapter `completions` asks for, and that it never asks what cannot be answered exactly."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import InputError, PromptError
from blackbox_proxy.types import (
    Adapter,
    Capabilities,
    Continuation,
    Generate,
    Kind,
    Prefix,
    Reveal,
    RevealMethod,
    Sampling,
    WireRequest,
)
from blackbox_proxy_adapters.completions import Completions
from tests.adapters.shapes import body, native, row


def ask(
    prompt: str = "Q: Grüße?\nA:", answer: bytes = b" 1", *, top_k: int = 20, ids: tuple[int, ...] | None = None
) -> Generate:
    return Generate("m", Prefix(prompt, answer, ids=ids), top_k, 8)


def reveal(*ids: int) -> Reveal:
    return Reveal("m", ask().prefix, 20, ids)


def test_text_goes_on_from_prompt_and_answer() -> None:
    assert Completions().encode(ask(answer="é".encode())) == WireRequest(
        "/completions",
        {"model": "m", "prompt": "Q: Grüße?\nA:é", "max_tokens": 8, "temperature": 0, "logprobs": 20},
    )


def test_ids_are_sent_in_place_of_text() -> None:
    request = Completions(token_ids=True).encode(ask(answer=b"\xff", ids=(3, 1, 4)))
    assert request.body["prompt"] == [3, 1, 4]


def test_ids_are_refused_where_the_endpoint_takes_text() -> None:
    with pytest.raises(InputError, match="takes text"):
        Completions().encode(ask(ids=(3,)))


@pytest.mark.parametrize(("asked", "cap", "sent"), [(20, 5, 5), (3, 5, 3), (49_152, 100_000, 49_152)])
def test_top_k_is_held_to_what_the_endpoint_gives(asked: int, cap: int, sent: int) -> None:
    assert Completions(top_k=cap).encode(ask(top_k=asked)).body["logprobs"] == sent


def test_extra_fields_go_along() -> None:
    request = Completions(extra_body={"seed": 7}).encode(ask())
    assert request.body["seed"] == 7


@pytest.mark.parametrize("field", ["temperature", "logprobs", "prompt", "stream", "n", "echo"])
def test_extra_fields_cannot_change_what_is_asked(field: str) -> None:
    with pytest.raises(InputError, match=f"extra_body sets {field}"):
        Completions(extra_body={field: 1})


@pytest.mark.parametrize("answer", [b"\xe2", b"ok \xf0\x9f\x98", b"\xff", b"\xed\xa0\xbd"])
def test_a_text_that_ends_inside_a_character_is_never_sent(answer: bytes) -> None:
    with pytest.raises(InputError, match="the answer so far is not whole UTF-8") as caught:
        Completions().encode(ask(answer=answer))
    assert "complete the character" in caught.value.hint


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(PromptError, match="the prompt is empty"):
        Completions().encode(ask("", b""))
    with pytest.raises(PromptError, match="the prompt is empty"):
        Completions(token_ids=True).encode(ask(ids=()))


def test_a_prompt_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(PromptError, match="surrogate pair at character 2"):
        Completions().encode(ask("ab\udc80"))


def test_a_top_k_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="top_k must be at least 1, not 0"):
        Completions(top_k=0)


@given(
    prompt=st.text(st.characters(exclude_categories=["Cs"])),
    answer=st.binary(max_size=12),
    length=st.integers(1, 99),
    top_k=st.integers(1, 99),
)
def test_every_request_is_json_and_ends_with_the_answer(prompt: str, answer: bytes, length: int, top_k: int) -> None:
    """Or it is refused: exactly where the text is empty or ends inside a character."""
    question = Generate("m", Prefix(prompt, answer), top_k, length)
    if not prompt + answer.decode("utf-8", "ignore") or answer.decode("utf-8", "ignore").encode() != answer:
        with pytest.raises(InputError):
            Completions().encode(question)
        return
    sent = json.loads(json.dumps(Completions().encode(question).body))
    assert sent["prompt"].encode() == prompt.encode() + answer


def test_capabilities_are_what_was_given() -> None:
    """The text route is exact: the endpoint goes on from our very bytes."""
    adapter: Adapter = Completions(top_k=5, end_pieces=[b"</s>", b"", b"</s>"], token_ids=True)
    assert adapter.name == "completions"
    assert adapter.capabilities() == Capabilities(
        top_k=5, continuation=Continuation.EXACT, token_ids=True, end_pieces=(b"", b"</s>")
    )


def test_the_end_is_known_by_the_pieces_that_were_given() -> None:
    reply = body(("</s>", -0.1, {"</s>": -0.1, " and": -3.0}), finish="stop")
    assert Completions(end_pieces=[b"</s>"]).decode(reply, ask()).positions[0].sampled.kind is Kind.END
    assert Completions().decode(reply, ask()).positions[0].sampled.kind is Kind.TEXT


def test_a_drawn_draft_is_asked_for_with_its_temperature_and_seed() -> None:
    request = Completions().encode(replace(ask(), sampling=Sampling(1.0, seed=11)))
    assert (request.body["temperature"], request.body["seed"]) == (1.0, 11)


def test_chosen_ids_are_asked_for_and_read_by_id() -> None:
    asked = reveal(7, 3)
    codec = Completions(reveal="ids")
    assert codec.encode(asked).body["logprob_token_ids"] == [7, 3]
    assert codec.encode(asked).body["return_tokens_as_token_ids"] is True
    said = body(("token_id:1", -0.5, {"token_id:1": -0.5, "token_id:3": -2.0, "token_id:7": -9999.0}))
    (position,) = codec.decode(said, asked).positions
    assert [(c.id, c.logp) for c in position.requested] == [(3, -2.0)]


def test_one_id_is_forced_by_a_bias_and_its_own_log_prob_read() -> None:
    asked = reveal(7)
    codec = Completions(reveal="bias")
    assert codec.encode(asked).body["logit_bias"] == {"7": 100}
    (position,) = codec.decode(body((" x", -6.5, {" y": -0.1, " x": -6.5})), asked).positions
    assert [(c.id, c.logp) for c in position.requested] == [(7, -6.5)]


@pytest.mark.parametrize(("way", "ids"), [("none", (1,)), ("bias", (1, 2))])
def test_what_an_endpoint_cannot_reveal_is_not_asked(way: RevealMethod, ids: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="chosen tokens were asked"):
        Completions(reveal=way).encode(reveal(*ids))


def test_what_was_drawn_does_not_change_what_the_top_k_holds() -> None:
    """A token appended as entry k + 1 is known, but not among those that may be chosen."""
    codec = Completions(top_k=2)
    said = body(("c", -5.0, {"a": -0.5, "b": -1.5, "c": -5.0}))
    (position,) = codec.decode(said, ask(top_k=2)).positions
    assert [c.piece for c in position.top] == [b"a", b"b"]
    assert (position.sampled.piece, position.sampled.logp) == (b"c", -5.0)


def test_a_forced_token_is_read_in_any_shape() -> None:
    asked = reveal(7)
    codec = Completions(reveal="bias", decoder="llama_native")
    (position,) = codec.decode(native(row("x", -6.5, top=[row("y", -0.1, id=8)], id=7)), asked).positions
    assert [(c.id, c.logp) for c in position.requested] == [(7, -6.5)]
    hidden = codec.decode(native(tokens=[7]), asked)
    assert hidden.positions[0].requested == ()
    with pytest.raises(InputError, match="legacy shape alone"):
        Completions(reveal="ids", decoder="llama_native")

"""What the adapter `completions` asks for, and that it never asks what cannot be answered exactly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import InputError, PromptError
from blackbox_proxy.types import Adapter, Ask, Capabilities, Continuation, Kind, WireRequest
from blackbox_proxy_adapters.completions import Completions
from tests.adapters.shapes import body


def ask(
    prompt: str = "Q: Grüße?\nA:", answer: bytes = b" 1", *, top_k: int = 20, ids: tuple[int, ...] | None = None
) -> Ask:
    return Ask(model="m", prompt=prompt, answer=answer, length=8, top_k=top_k, ids=ids)


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
    question = Ask("m", prompt, answer, length, top_k)
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

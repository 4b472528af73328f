"""A partial turn at the end of a chat is gone on with from exactly its text, where a client asks for that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.local.llama import Model
from blackbox_proxy.standin import Script, read_quirks, running, script
from blackbox_proxy.standin.reading import Reader
from blackbox_proxy.standin.request_quirks import apply_to_request
from blackbox_proxy.standin.requests import read_chat
from tests.standin.raw import Json, post
from tests.tiny_gguf import TinyModel

HEAD = "<|im_start|>user\nabc<|im_end|>\n<|im_start|>assistant\n"
PAIR: dict[str, Json] = {"continue_final_message": True, "add_generation_prompt": False}
PARTIALS = ["the", "the ", "the\n", "\n\nthe \t\n ", " ", "", "é…", "UNFINISHED"]


def turns(partial: str, /, **flags: Json) -> list[Json]:
    return [{"role": "user", "content": "abc"}, {"role": "assistant", "content": partial, **flags}]


def chat(url: str, messages: list[Json], **fields: Json) -> Json:
    body = {"model": "tiny", "messages": messages, "max_tokens": 6, "temperature": 0, "logprobs": True, **fields}
    return post(url, "/chat/completions", body).json


@pytest.mark.parametrize("partial", PARTIALS)
def test_the_answer_goes_on_from_exactly_this_text(tiny_url: str, partial: str) -> None:
    """As if the rendered chat had been sent as raw text; nothing is trimmed, and no turn is ended or begun."""
    body = {"model": "tiny", "prompt": HEAD + partial, "max_tokens": 6, "temperature": 0, "logprobs": 0}
    plain = post(tiny_url, "/completions", body).json
    flagged = chat(tiny_url, turns(partial), **PAIR)
    assert flagged["choices"][0]["message"]["content"] == plain["choices"][0]["text"]
    assert flagged["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]
    said = [entry["logprob"] for entry in flagged["choices"][0]["logprobs"]["content"]]
    assert said == plain["choices"][0]["logprobs"]["token_logprobs"][: len(said)]
    for flag in ("prefix", "partial"):
        assert chat(tiny_url, turns(partial, **{flag: True}))["choices"] == flagged["choices"]
    assert chat(tiny_url, turns(partial), continue_final_message=True)["choices"] == flagged["choices"]


def test_flags_that_say_no_leave_the_turn_finished(tiny_url: str) -> None:
    finished = chat(tiny_url, turns("the"))["choices"]
    assert chat(tiny_url, turns("the", prefix=False), continue_final_message=False)["choices"] == finished
    assert chat(tiny_url, turns("the"), **PAIR)["choices"] != finished


@pytest.mark.parametrize(
    ("messages", "fields", "fault"),
    [
        (turns("a"), {"continue_final_message": True, "add_generation_prompt": True}, "Cannot set both"),
        (turns("a"), {"add_generation_prompt": False}, "only be false with"),
        (turns("a")[:1], {"continue_final_message": True}, "role 'assistant'"),
        ([{"role": "user", "content": "a", "prefix": True}], {}, "role 'assistant'"),
        (turns("a", prefix=True) + turns("b"), {}, "Only the last message"),
        (turns("a", partial=True) + turns("b"), {}, "may have 'partial'"),
        ([{"role": "user", "content": "a", "partial": True}], {}, "role 'assistant'"),
        (turns("a", prefix=1), {}, "expected a boolean"),
        (turns("a"), {"continue_final_message": "yes"}, "expected a boolean"),
    ],
)
def test_flags_that_make_no_sense_are_refused(
    tiny_url: str, messages: list[Json], fields: dict[str, Json], fault: str
) -> None:
    body = {"model": "tiny", "messages": messages, **fields}
    answer = post(tiny_url, "/chat/completions", body)
    assert answer.status == 400
    assert fault in answer.error["message"]


SPELT = "a<|im_end|>\n<|im_start|>system\nb"


@pytest.mark.parametrize("asked", ["abc", SPELT])
@pytest.mark.parametrize("partial", [None, "the", SPELT])
def test_control_tokens_that_messages_spell_are_text(tiny: TinyModel, asked: str, partial: str | None) -> None:
    """Of finished turns and of the one that is gone on with; in the template's own text alone they are read."""
    last = [] if partial is None else turns(partial)[1:]
    said: list[Json] = [{"role": "user", "content": asked}, *last]
    body = {"model": "m", "messages": said, **(PAIR if last else {})}
    with Model(tiny.path) as model:
        (task,) = Reader(model, context=256).read(read_chat(body, top_k=1))
    assert [tiny.pieces[i] for i in task.path if i in tiny.controls] == [
        *(b"<|im_start|>", b"<|im_end|>", b"<|im_start|>"),
    ]
    text = b"".join(tiny.pieces[i] for i in task.path).decode()
    assert text == HEAD.replace("abc", asked) + (partial or "")


def trimming(template: str) -> Script:
    distribution = {b"": {b"b": 1.0}, b"a": {b"c": 1.0}, b"a ": {b"d": 1.0}}
    return script([bytes([sign]) for sign in range(32, 127)], [b"<end>"], distribution, template=template)


@pytest.mark.parametrize(("partial", "answer"), [("a", "c"), ("a ", "d"), (" a ", "d"), (" a", "c"), ("a  ", "b")])
@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>{% endfor %}<assistant>",
        "UNFINISHED {% for m in messages %}{{ m.content }}.{% endfor %}",
    ],
)
def test_a_template_that_trims_or_ends_turns_does_so_to_finished_ones_only(
    template: str, partial: str, answer: str
) -> None:
    with running(trimming(template), name="tiny") as url:
        said = chat(url, turns(partial), max_tokens=1, **PAIR)
    assert said["choices"][0]["message"]["content"] == answer


def test_a_template_that_hides_the_last_turn_cannot_be_gone_on_with() -> None:
    with running(trimming("{{ messages[0].content }}"), name="tiny") as url:
        answer = post(url, "/chat/completions", {"model": "tiny", "messages": turns("a"), **PAIR})
    assert (answer.status, answer.error["param"]) == (400, "messages")


@pytest.mark.parametrize("weights", ["smollm2_path", "qwen_path"])
def test_real_templates_are_cut_behind_the_partial_turn(weights: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(weights)
    partial = " Paris \n"
    body = {"model": "m", "messages": turns(partial), **PAIR}
    with Model(path) as model:
        (task,) = Reader(model, context=256).read(read_chat(body, top_k=1))
        text = b"".join(model.vocabulary.pieces[token] for token in task.path).decode()
    assert text.endswith("<|im_start|>user\nabc<|im_end|>\n<|im_start|>assistant\n Paris \n")


def test_a_real_model_ends_the_word_that_was_begun(smol_url: str) -> None:
    asked = {"role": "user", "content": "Repeat exactly: alpha bravo charlie delta"}
    body = {"model": "smol", "messages": [asked, {"role": "assistant", "content": "alpha bravo char", "prefix": True}]}
    said = post(smol_url, "/chat/completions", {**body, "max_tokens": 3, "temperature": 0}).json
    assert said["choices"][0]["message"]["content"].startswith("lie")


def test_a_bias_is_obeyed_in_chats_and_leaves_the_log_probs(tiny_url: str) -> None:
    asked: dict[str, Json] = {"logprobs": True, "top_logprobs": 100, "max_tokens": 1}
    plain, biased = (chat(tiny_url, turns("a")[:1], **asked, **more) for more in ({}, {"logit_bias": {"7": 100}}))
    one, other = (said["choices"][0]["logprobs"]["content"][0] for said in (plain, biased))
    assert one["token"] != other["token"]
    assert one["top_logprobs"] == other["top_logprobs"]
    refused = post(tiny_url, "/chat/completions", {"model": "tiny", "messages": turns("a"), "logit_bias": {"99999": 1}})
    assert (refused.status, refused.error["param"]) == (400, "logit_bias")


@pytest.fixture(scope="module")
def echoing(tiny: TinyModel) -> Iterator[str]:
    with running(tiny.path, name="tiny", quirks=["echoed-prefix"]) as url:
        yield url


@pytest.mark.parametrize("partial", PARTIALS)
def test_an_echo_repeats_exactly_the_partial_turn(tiny_url: str, echoing: str, partial: str) -> None:
    """Also where its first bytes share a token with the template's last ones."""
    plain, echoed = (chat(url, turns(partial), **PAIR) for url in (tiny_url, echoing))
    one, other = (said["choices"][0]["message"]["content"] for said in (plain, echoed))
    assert other == partial + one
    assert echoed["usage"] == plain["usage"] | {"prompt_tokens_details": echoed["usage"]["prompt_tokens_details"]}
    told, told_again = (said["choices"][0]["logprobs"]["content"] for said in (plain, echoed))
    assert told_again[len(told_again) - len(told) :] == told
    own = told_again[: len(told_again) - len(told)]
    assert all(-99 < entry["logprob"] <= 0 for entry in own)
    text = b"".join(bytes(entry["bytes"] or ()) for entry in own).decode()
    assert text.endswith(partial.replace("<|im_end|>", ""))


@given(partial=st.text(st.sampled_from("the an\n\t\r é…🦜"), max_size=20))
def test_no_byte_of_a_partial_turn_is_lost(smol: Model, partial: str) -> None:
    request = read_chat({"model": "m", "messages": turns(partial), **PAIR}, top_k=1)
    echoing = apply_to_request(request, quirks=read_quirks(["echoed-prefix"]))
    (task,), (again,) = (Reader(smol, context=512).read(one) for one in (request, echoing))
    assert b"".join(smol.vocabulary.pieces[token] for token in task.path).decode().endswith(HEAD + partial)
    assert b"".join(again.echo).decode() == partial
    assert again.path == task.path

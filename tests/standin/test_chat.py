"""/v1/chat/completions through the SDK."""

from __future__ import annotations

import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from blackbox_proxy.local.llama import Model
from blackbox_proxy.local.template import written
from blackbox_proxy.types import Message, Prompt
from tests.standin.raw import Json, post
from tests.tiny_gguf import TinyModel

SPECIAL = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
QUESTION = [{"role": "user", "content": "Answer with one word: what is the capital of France?"}]


def chat(client: openai.OpenAI, messages: Json = QUESTION, **fields: Json) -> ChatCompletion:
    """One greedy request, unless told otherwise."""
    model = client.models.list().data[0].id
    reply: ChatCompletion = client.chat.completions.create(
        **{"model": model, "messages": messages, "temperature": 0.0, **fields}
    )
    return reply


def test_a_chat_is_the_template_completed(smol: Model, smol_client: openai.OpenAI) -> None:
    messages = tuple(Message(turn["role"], turn["content"]) for turn in QUESTION)
    text = written(Prompt(messages=messages), smol.chat_template, special=SPECIAL).text
    plain = smol_client.completions.create(model="smol", prompt=text, max_tokens=30, temperature=0)
    spoken = chat(smol_client, max_tokens=30)
    assert spoken.choices[0].message.content == plain.choices[0].text
    assert spoken.choices[0].message.role == "assistant"
    assert spoken.choices[0].finish_reason == "stop"
    assert spoken.usage
    assert plain.usage
    assert spoken.usage.prompt_tokens == plain.usage.prompt_tokens
    assert spoken.usage.completion_tokens == plain.usage.completion_tokens


def test_tokens_have_their_bytes_and_the_end_is_not_among_them(smol_client: openai.OpenAI) -> None:
    reply = chat(smol_client, max_tokens=30, logprobs=True, top_logprobs=20)
    choice = reply.choices[0]
    assert choice.logprobs
    content = choice.logprobs.content or []
    assert b"".join(bytes(token.bytes or ()) for token in content).decode() == choice.message.content
    assert reply.usage
    assert len(content) == reply.usage.completion_tokens - 1
    for token in content:
        assert len(token.top_logprobs) == 20
        assert (token.token, token.logprob) == (token.top_logprobs[0].token, token.top_logprobs[0].logprob)
    unspoken = {top.token: top.bytes for token in content for top in token.top_logprobs if top.token.startswith("<|")}
    assert unspoken["<|im_end|>"] is None


def test_fragments_have_true_bytes(tiny_client: openai.OpenAI, tiny: TinyModel) -> None:
    reply = chat(tiny_client, max_tokens=60, logprobs=True, top_logprobs=0, temperature=2.0, seed=2, n=5)
    names = {tiny.pieces[i].decode() for i in tiny.controls}
    fragments = 0
    for choice in reply.choices:
        assert choice.logprobs
        content = choice.logprobs.content or []
        assert all((token.bytes is None) == (token.token in names) for token in content)
        spoken = b"".join(bytes(token.bytes or ()) for token in content)
        assert spoken.decode("utf-8", "replace") == choice.message.content
        fragments += sum(token.token.startswith("\\x") for token in content)
    assert fragments > 5


def test_logprobs_without_alternatives_and_none_at_all(tiny_client: openai.OpenAI) -> None:
    alone = chat(tiny_client, max_tokens=3, logprobs=True).choices[0]
    assert alone.logprobs
    assert [token.top_logprobs for token in alone.logprobs.content or ()] == [[]] * 3
    assert chat(tiny_client, max_tokens=3).choices[0].logprobs is None


def test_both_routes_give_the_same_logprobs(smol_client: openai.OpenAI, smol: Model) -> None:
    messages = tuple(Message(turn["role"], turn["content"]) for turn in QUESTION)
    text = written(Prompt(messages=messages), smol.chat_template, special=SPECIAL).text
    plain = smol_client.completions.create(model="smol", prompt=text, max_tokens=4, temperature=0, logprobs=3)
    spoken = chat(smol_client, max_tokens=4, logprobs=True, top_logprobs=3)
    assert plain.choices[0].logprobs
    assert spoken.choices[0].logprobs
    content = spoken.choices[0].logprobs.content or []
    assert [token.logprob for token in content] == plain.choices[0].logprobs.token_logprobs


def test_an_assistant_turn_at_the_end_is_finished(tiny_client: openai.OpenAI, tiny_url: str) -> None:
    """No prefill: the model is asked for another turn after it."""
    turns = [{"role": "user", "content": "abc"}, {"role": "assistant", "content": "the"}]
    text = "<|im_start|>user\nabc<|im_end|>\n<|im_start|>assistant\nthe<|im_end|>\n<|im_start|>assistant\n"
    plain = post(tiny_url, "/completions", {"model": "tiny", "prompt": text, "max_tokens": 9, "temperature": 0}).json
    assert chat(tiny_client, turns, max_tokens=9).choices[0].message.content == plain["choices"][0]["text"]


def test_without_a_limit_a_chat_goes_on_to_the_end_of_the_context(tiny_client: openai.OpenAI) -> None:
    reply = chat(tiny_client, temperature=1.0, seed=8, n=6)
    assert reply.usage
    lengths = {choice.finish_reason for choice in reply.choices}
    assert lengths <= {"stop", "length"}
    assert reply.usage.completion_tokens > 6 * 16


def test_a_stream_says_the_same_in_parts(smol_client: openai.OpenAI) -> None:
    whole = chat(smol_client, max_tokens=30, logprobs=True, top_logprobs=2)
    body = {
        "model": "smol",
        "messages": QUESTION,
        "max_tokens": 30,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 2,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    *events, done = post(str(smol_client.base_url), "/v1/chat/completions", body).events
    assert done == "[DONE]"
    first, *middle, last, usage = [ChatCompletionChunk.model_validate_json(event) for event in events]
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert "".join(part.choices[0].delta.content or "" for part in middle) == whole.choices[0].message.content
    assert all(part.choices[0].finish_reason is None for part in (first, *middle))
    assert last.choices[0].finish_reason == whole.choices[0].finish_reason
    assert last.choices[0].delta.content is None
    assert whole.choices[0].logprobs
    logprobs = [part.choices[0].logprobs for part in middle]
    assert [token for one in logprobs if one for token in one.content or ()] == whole.choices[0].logprobs.content
    assert usage.choices == []
    assert usage.usage
    assert whole.usage
    assert usage.usage.completion_tokens == whole.usage.completion_tokens
    assert '"usage":null' in events[0]


def test_the_sdks_own_stream_reader_is_content(tiny_client: openai.OpenAI) -> None:
    whole = chat(tiny_client, max_tokens=40, temperature=1.0, seed=3, n=2, stop="zz")
    texts = ["", ""]
    with tiny_client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": QUESTION[0]["content"]}],
        max_tokens=40,
        temperature=1.0,
        seed=3,
        n=2,
        stop="zz",
        stream=True,
    ) as stream:
        for chunk in stream:
            assert chunk.usage is None
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == [choice.message.content for choice in whole.choices]

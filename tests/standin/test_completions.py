"""/v1/completions through the SDK: real weights where truth is asked for, a tiny model where bytes break."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
from openai.types import Completion

from blackbox_proxy.local.llama import Context, Model
from blackbox_proxy.standin import running
from blackbox_proxy.types import Floats
from tests.standin.conftest import client_of
from tests.standin.raw import Json, post
from tests.tiny_gguf import TinyModel

PROMPT = "The capital of France is"
TURN = "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def context(smol: Model) -> Iterator[Context]:
    with Context(smol, size=256) as context:
        yield context


def distribution_after(context: Context, ids: list[int]) -> Floats:
    """Log-probs over the vocabulary, straight from llama.cpp: the ids in one batch, the softmax in float64."""
    context.truncate(0, 0)
    last = len(ids) - 1
    context.decode(
        ids, positions=range(len(ids)), sequences=[(0,)] * len(ids), keep_logits=[at == last for at in range(len(ids))]
    )
    logits = context.row(last).astype(np.float64)
    norm: Floats = logits - math.log(np.exp(logits - logits.max()).sum()) - logits.max()
    return norm


def complete(client: openai.OpenAI, prompt: Json, **fields: Json) -> Completion:
    """One greedy request, unless told otherwise."""
    model = client.models.list().data[0].id
    reply: Completion = client.completions.create(**{"model": model, "prompt": prompt, "temperature": 0.0, **fields})
    return reply


def prompt_tokens(reply: Completion) -> int:
    assert reply.usage
    return reply.usage.prompt_tokens


def cached(reply: Completion) -> int:
    """How many tokens of the prompt were not read again."""
    assert reply.usage
    assert reply.usage.prompt_tokens_details
    return reply.usage.prompt_tokens_details.cached_tokens or 0


def bytes_of(spelling: str) -> bytes:
    r"""What OpenAI's spelling `bytes:\xe2\x80` of a fragment stands for."""
    if not spelling.startswith("bytes:\\x"):
        return spelling.encode()
    return bytes(int(pair, 16) for pair in re.findall(r"\\x(..)", spelling))


def test_top_logprobs_are_the_raw_softmax(smol: Model, smol_client: openai.OpenAI, context: Context) -> None:
    """At every position of a greedy answer, against llama.cpp asked directly about the same ids."""
    reply = complete(smol_client, PROMPT, max_tokens=6, logprobs=20)
    ids = smol.tokenize(PROMPT.encode(), special=True)
    logprobs = reply.choices[0].logprobs
    assert logprobs
    for token, logp, top in zip(
        logprobs.tokens or (), logprobs.token_logprobs or (), logprobs.top_logprobs or (), strict=True
    ):
        distribution = distribution_after(context, ids)
        best = np.argsort(-distribution)[:20]
        assert list(top) == [smol.vocabulary.pieces[i].decode() for i in best]
        assert list(top.values()) == pytest.approx(distribution[best].tolist(), abs=1e-4)
        assert (token, logp) == (next(iter(top)), next(iter(top.values())))
        ids.append(int(best[0]))


def test_logprobs_do_not_depend_on_the_temperature(smol_client: openai.OpenAI) -> None:
    hot = complete(smol_client, PROMPT, max_tokens=1, logprobs=5, temperature=1.7, seed=3).choices[0].logprobs
    cold = complete(smol_client, PROMPT, max_tokens=1, logprobs=5).choices[0].logprobs
    assert hot
    assert cold
    assert hot.top_logprobs
    assert cold.top_logprobs
    assert dict(list(hot.top_logprobs[0].items())[:5]) == pytest.approx(cold.top_logprobs[0], abs=1e-4)


def test_a_sampled_token_outside_the_top_is_appended(tiny_client: openai.OpenAI) -> None:
    reply = complete(tiny_client, ["abc"] * 40, max_tokens=4, logprobs=2, temperature=0.3, seed=0)
    sizes = set()
    for choice in reply.choices:
        assert choice.logprobs
        rows = zip(
            choice.logprobs.tokens or (),
            choice.logprobs.token_logprobs or (),
            choice.logprobs.top_logprobs or (),
            strict=True,
        )
        for token, logp, top in rows:
            assert top[token] == logp
            assert list(top.values()) == sorted(top.values(), reverse=True)
            sizes.add(len(top))
    assert sizes == {2, 3}


def test_text_is_the_bytes_of_the_tokens(tiny_client: openai.OpenAI, tiny: TinyModel) -> None:
    """Random tokens break characters all the time; fragments are spelt as bytes, and offsets still fit."""
    reply = complete(tiny_client, ["abc"] * 20, max_tokens=30, logprobs=0, temperature=2.0, seed=1)
    special = {tiny.pieces[i].decode() for i in tiny.controls}
    fragments = 0
    for choice in reply.choices:
        assert choice.logprobs
        tokens, offsets = choice.logprobs.tokens or [], choice.logprobs.text_offset or []
        spoken = [b"" if token in special else bytes_of(token) for token in tokens]
        assert b"".join(spoken).decode("utf-8", "replace") == choice.text
        fragments += sum(token.startswith("bytes:") for token in tokens)
        for token, offset in zip(tokens, offsets, strict=True):
            if not token.startswith("bytes:") and token not in special:
                assert choice.text[offset:].lstrip("\ufffd").startswith(token)
    assert fragments > 20


def test_the_whole_vocabulary_can_be_asked_for(tiny_client: openai.OpenAI, tiny: TinyModel) -> None:
    """Then the probabilities add up to 1."""
    logprobs = complete(tiny_client, "abc", max_tokens=1, logprobs=len(tiny.pieces)).choices[0].logprobs
    assert logprobs
    assert logprobs.top_logprobs
    top = logprobs.top_logprobs[0]
    assert {bytes_of(token) for token in top} == set(tiny.pieces)
    assert math.fsum(map(math.exp, top.values())) == pytest.approx(1.0, abs=1e-5)


def test_an_echo_scores_a_prompt_as_generation_did(smol: Model, smol_client: openai.OpenAI) -> None:
    """Both as text and as ids; the first token has nothing before it, so nothing is said about it."""
    first = complete(smol_client, PROMPT, max_tokens=8, logprobs=3).choices[0]
    assert first.logprobs
    ids = smol.tokenize((PROMPT + first.text).encode(), special=True)
    for prompt in (PROMPT + first.text, ids):
        reply = post(
            str(smol_client.base_url),
            "/v1/completions",
            {"model": "smol", "prompt": prompt, "max_tokens": 0, "echo": True, "logprobs": 3},
        ).json
        scored = reply["choices"][0]
        assert scored["text"] == PROMPT + first.text
        assert scored["logprobs"]["token_logprobs"][0] is None
        assert scored["logprobs"]["top_logprobs"][0] is None
        assert scored["logprobs"]["tokens"][-8:] == first.logprobs.tokens
        assert scored["logprobs"]["token_logprobs"][-8:] == first.logprobs.token_logprobs
        assert reply["usage"]["completion_tokens"] == 0


def test_an_echo_without_logprobs_is_only_text(smol_client: openai.OpenAI) -> None:
    alone, echoed = (complete(smol_client, PROMPT, max_tokens=4, echo=echo) for echo in (False, True))
    assert echoed.choices[0].text == PROMPT + alone.choices[0].text
    assert echoed.choices[0].logprobs is None


def test_offsets_of_an_echo_spell_the_text(smol_url: str) -> None:
    body = {"model": "smol", "prompt": "né, “日本”", "max_tokens": 3, "echo": True, "logprobs": 0, "temperature": 0}
    choice = post(smol_url, "/v1/completions", body).json["choices"][0]
    logprobs = choice["logprobs"]
    assert choice["text"].startswith("né, “日本”")
    assert b"".join(map(bytes_of, logprobs["tokens"])).decode("utf-8", "replace") == choice["text"]
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        assert token.startswith("bytes:") or choice["text"][offset:].startswith(token)


def test_the_end_token_is_reported_but_is_no_text(smol_client: openai.OpenAI) -> None:
    choice = complete(smol_client, TURN, max_tokens=40, logprobs=2).choices[0]
    assert choice.logprobs
    assert choice.finish_reason == "stop"
    tokens, top = choice.logprobs.tokens or [], choice.logprobs.top_logprobs or []
    assert tokens[-1] == "<|im_end|>"
    assert "<|im_end|>" in top[-1]
    assert "".join(tokens[:-1]) == choice.text


def test_the_end_token_counts_as_generated(smol_client: openai.OpenAI) -> None:
    reply = complete(smol_client, TURN, max_tokens=40, logprobs=0)
    assert reply.choices[0].logprobs
    assert reply.usage
    assert reply.usage.completion_tokens == len(reply.choices[0].logprobs.tokens or ())
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_ids_are_taken_exactly_as_given(smol: Model, smol_client: openai.OpenAI) -> None:
    ids = smol.tokenize(PROMPT.encode(), special=True)
    by_text, by_ids = (complete(smol_client, prompt, max_tokens=8, logprobs=2) for prompt in (PROMPT, ids))
    assert by_ids.choices == by_text.choices
    assert by_ids.usage
    assert by_ids.usage.prompt_tokens == len(ids)


def test_special_tokens_are_read_in_a_prompt(smol: Model, smol_client: openai.OpenAI) -> None:
    reply = complete(smol_client, TURN, max_tokens=1)
    assert reply.usage
    assert reply.usage.prompt_tokens == len(smol.tokenize(TURN.encode(), special=True))


def test_a_list_of_prompts_is_answered_in_order(tiny_client: openai.OpenAI) -> None:
    prompts = ["abc", "the", "日本", "x"]
    together = complete(tiny_client, prompts, max_tokens=12)
    assert [choice.index for choice in together.choices] == [0, 1, 2, 3]
    alone = [complete(tiny_client, prompt, max_tokens=12) for prompt in prompts]
    assert [choice.text for choice in together.choices] == [reply.choices[0].text for reply in alone]
    assert together.usage
    assert together.usage.prompt_tokens == sum(reply.usage.prompt_tokens for reply in alone if reply.usage)


def test_n_choices_differ_and_come_again_with_the_seed(tiny_client: openai.OpenAI) -> None:
    fields = {"prompt": ["abc", "the"], "n": 3, "max_tokens": 12, "temperature": 1.0, "seed": 11}
    once, again = (complete(tiny_client, **fields) for _ in range(2))
    assert [choice.index for choice in once.choices] == list(range(6))
    assert [choice.text for choice in once.choices] == [choice.text for choice in again.choices]
    assert len({choice.text for choice in once.choices}) == 6
    assert once.usage
    assert once.usage.prompt_tokens < once.usage.completion_tokens


def test_other_seeds_give_other_answers(tiny_client: openai.OpenAI) -> None:
    texts = {complete(tiny_client, "abc", max_tokens=12, temperature=1.0, seed=s).choices[0].text for s in (-1, 0, 1)}
    texts.add(complete(tiny_client, "abc", max_tokens=12, temperature=1.0).choices[0].text)
    assert len(texts) == 4


def test_an_answer_does_not_depend_on_the_cache(smol_client: openai.OpenAI) -> None:
    """The same request twice: the second finds its prompt in the cache, and says the same to the last bit."""
    cold, warm = (complete(smol_client, "A list of rivers in Europe:", max_tokens=12, logprobs=3) for _ in range(2))
    assert warm.choices == cold.choices
    assert (cached(cold), cached(warm)) == (0, prompt_tokens(warm) - 1)


def test_an_answer_goes_on_where_the_last_one_was_cut(smol_client: openai.OpenAI) -> None:
    """The walk-ahead loop's pattern: prompt plus answer so far, read from the cache."""
    whole, begun = (complete(smol_client, TURN, max_tokens=n).choices[0].text for n in (12, 3))
    rest = complete(smol_client, TURN + begun, max_tokens=9)
    assert rest.choices[0].text
    assert begun + rest.choices[0].text == whole
    assert cached(rest) >= prompt_tokens(rest) - 2


def test_the_cache_changes_no_bit_of_a_k_quantised_model_either(qwen_path: Path) -> None:
    """llama.cpp has other kernels for four rows than for one where weights are Q4_K: prompts are read row by row."""
    ids = list(range(1000, 1011))
    with running(qwen_path, name="qwen", slots=1, context=64) as url, client_of(url) as client:
        cold = complete(client, ids, max_tokens=3, logprobs=20)
        complete(client, ids[:6] + ids[:4], max_tokens=1)
        warm = complete(client, ids, max_tokens=3, logprobs=20)
    assert (cached(cold), cached(warm)) == (0, 6)
    assert warm.choices == cold.choices


@pytest.mark.parametrize("stop", ["answer", [".", " 4"], ["never", "is"]])
def test_the_text_ends_before_a_stop_string(smol_client: openai.OpenAI, stop: str | list[str]) -> None:
    whole = complete(smol_client, TURN, max_tokens=20).choices[0].text
    cut = complete(smol_client, TURN, max_tokens=20, stop=stop, logprobs=0).choices[0]
    stops = [stop] if isinstance(stop, str) else stop
    expected = min((whole.split(one)[0] for one in stops if one in whole), key=len)
    assert (cut.text, cut.finish_reason) == (expected, "stop")
    assert cut.logprobs
    assert "".join(cut.logprobs.tokens or ())[: len(expected)] == expected


def test_a_stream_says_the_same_in_parts(smol_client: openai.OpenAI) -> None:
    fields: dict[str, Json] = {"max_tokens": 40, "logprobs": 2}
    whole = complete(smol_client, TURN, **fields)
    raw = post(
        str(smol_client.base_url),
        "/v1/completions",
        {"model": "smol", "prompt": TURN, "temperature": 0, "stream": True}
        | fields
        | {"stream_options": {"include_usage": True}},
    )
    *chunks, usage, done = raw.events
    assert done == "[DONE]"
    parts = [
        Completion.model_validate_json(chunk.replace('"finish_reason":null', '"finish_reason":"stop"'))
        for chunk in chunks
    ]
    assert len({(part.id, part.created, part.model, part.object) for part in parts}) == 1
    assert all(part.usage is None and '"usage":null' in chunk for part, chunk in zip(parts, chunks, strict=True))
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
    assert [chunk.count('"finish_reason":null') for chunk in chunks] == [1] * (len(chunks) - 1) + [0]
    assert whole.choices[0].logprobs
    logprobs = [part.choices[0].logprobs for part in parts]
    assert [token for one in logprobs if one for token in one.tokens or ()] == whole.choices[0].logprobs.tokens
    assert [at for one in logprobs if one for at in one.text_offset or ()] == whole.choices[0].logprobs.text_offset
    last = Completion.model_validate_json(usage)
    assert last.choices == []
    assert last.usage
    assert whole.usage
    assert last.usage.completion_tokens == whole.usage.completion_tokens


def test_a_stream_of_broken_characters_is_never_wrong_by_a_part(tiny_client: openai.OpenAI) -> None:
    fields = {"max_tokens": 60, "temperature": 2.0, "seed": 4, "echo": True}
    whole = complete(tiny_client, ["é日本", "abc"], **fields)
    texts = ["", ""]
    with client_of(str(tiny_client.base_url), strict=False) as loose:
        for part in loose.completions.create(model="tiny", prompt=["é日本", "abc"], stream=True, **fields):  # type: ignore[call-overload]
            for choice in part.choices:
                texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    assert texts[0].startswith("é日本")


def test_an_answer_that_fills_the_context_ends_there(tiny_client: openai.OpenAI) -> None:
    reply = complete(tiny_client, [[5] * 500], max_tokens=12, logprobs=0)
    assert reply.usage
    assert reply.usage.total_tokens <= 512
    with pytest.raises(openai.BadRequestError) as caught:
        complete(tiny_client, [[5] * 500], max_tokens=13)
    assert caught.value.code == "context_length_exceeded"
    assert "512" in caught.value.message
    assert "513" in caught.value.message


def test_chosen_ids_are_told_besides_the_top_k(smol: Model, smol_client: openai.OpenAI, context: Context) -> None:
    """By their names as ids, which no two tokens share."""
    ids = [0, 1000, 49_151]
    distribution = distribution_after(context, smol.tokenize(PROMPT.encode(), special=True))
    asked = {"logprob_token_ids": ids, "return_tokens_as_token_ids": True}
    reply = complete(smol_client, PROMPT, max_tokens=1, logprobs=2, extra_body=asked)
    logprobs = reply.choices[0].logprobs
    assert logprobs
    assert logprobs.top_logprobs
    told = logprobs.top_logprobs[0]
    assert len(told) == 2 + len(ids)
    assert [told[f"token_id:{i}"] for i in ids] == pytest.approx(distribution[ids].tolist(), abs=1e-3)
    assert logprobs.tokens == [f"token_id:{distribution.argmax()}"]


def test_a_bias_forces_a_token_and_leaves_its_log_prob(
    smol: Model, smol_client: openai.OpenAI, context: Context
) -> None:
    distribution = distribution_after(context, smol.tokenize(PROMPT.encode(), special=True))
    reply = complete(smol_client, PROMPT, max_tokens=1, logprobs=1, logit_bias={"1000": 100})
    logprobs = reply.choices[0].logprobs
    assert logprobs
    assert logprobs.token_logprobs == pytest.approx([distribution[1000]], abs=1e-3)
    assert bytes_of((logprobs.tokens or [""])[0]) == smol.vocabulary.pieces[1000]


@pytest.mark.parametrize("fields", [{"extra_body": {"logprob_token_ids": [49_152]}}, {"logit_bias": {"99999": 1}}])
def test_an_id_outside_the_vocabulary_is_refused(smol_client: openai.OpenAI, fields: dict[str, Json]) -> None:
    with pytest.raises(openai.BadRequestError, match="token ids are from 0 to 49151"):
        complete(smol_client, PROMPT, max_tokens=1, logprobs=1, **fields)


def test_a_fingerprint_is_told_by_every_shape_where_there_is_one(tiny: TinyModel) -> None:
    asked = {"model": "tiny", "prompt": "a", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1}
    with running(tiny.path, name="tiny", context=128, slots=1, fingerprint="fp-1") as url:
        for route, field in (("/completions", "prompt"), ("/chat/completions", "messages")):
            request = {name: asked[name] for name in ("model", "max_tokens", field)}
            assert post(url, route, request).json["system_fingerprint"] == "fp-1"
            *chunks, done = post(url, route, {**request, "stream": True}).events
            assert done == "[DONE]"
            assert {json.loads(chunk)["system_fingerprint"] for chunk in chunks} == {"fp-1"}

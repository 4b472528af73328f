"""Loglikelihoods over HTTP: `echo` and `logprobs` score given texts, as evaluation harnesses ask for it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from blackbox_proxy.core.alignment.covering import place
from blackbox_proxy.core.alignment.tokencover import LEAST_MASS
from blackbox_proxy.core.decoding.acceptors import ANY_TEXT
from blackbox_proxy.core.decoding.combine import REAL
from blackbox_proxy.core.text import is_whole
from blackbox_proxy.local.evaluator import Evaluator
from blackbox_proxy.local.llama import Context, Model
from blackbox_proxy.local.pair import Pair, PairFiles, distribution, open_pair
from blackbox_proxy.standin import running as standing_in
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Floats, Prompt
from tests.gateway.serving import CONTEXT, gateway
from tests.standin.raw import Answer, Json, call, post
from tests.tiny_gguf import TinyModel

TEXT = "the then on king, then ü 🙂 on it"
CROSSED = b"\xff\xff"
"""In place of a token: what follows is joined with the text before."""

ASKED = {"max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True, "seed": 1234}


def _model(name: str, *, pair: Path | None, tokenizer: str = "", options: str) -> str:
    given = f'pair = "{pair}"\n' if pair else ""
    known = f'tokenizer = "{tokenizer}"\n' if tokenizer else ""
    return f"""
[models.{name}]
upstream = "tiny"
model = "tiny"
{given}{known}steering = {{ alpha = 0.5 }}
options = {{ {options} }}
"""


@pytest.fixture(scope="module")
def size(closed: TinyModel) -> int:
    with Model(closed.path) as model:
        return len(model.vocabulary)


@pytest.fixture(scope="module")
def scoring(closed: TinyModel, pair_file: Path, size: int) -> Iterator[str]:
    """Models over one upstream: who shows 20 log-probs or all, takes ids or text, and gives texts back or does not."""
    tokenizer = f"gguf:{closed.path}"
    with standing_in(closed.path, name="tiny", context=CONTEXT, top_k=size) as url:
        head = f'[server]\nport = 0\n[upstreams.tiny]\nbase_url = "{url}"\nattempts = 1\n'
        models = (
            _model("ids", pair=pair_file, tokenizer=tokenizer, options="echo = true, token_ids = true"),
            _model("text", pair=pair_file, tokenizer=tokenizer, options="echo = true"),
            _model("blind", pair=pair_file, options="echo = true"),
            _model("whole", pair=pair_file, options=f"echo = true, top_k = {size}"),
            _model("plain", pair=None, tokenizer=tokenizer, options="echo = true, token_ids = true"),
            _model("mute", pair=pair_file, tokenizer=tokenizer, options="token_ids = true"),
        )
        with gateway(head + "".join(models)) as served:
            yield served


def _ask(url: str, model: str, prompt: object, **change: object) -> Answer:
    return post(url, "/v1/completions", {**ASKED, "model": model, "prompt": prompt, **change})


def _told(answer: Answer) -> Json:
    assert answer.status == 200, answer.body
    (choice,) = answer.json["choices"]
    return choice["logprobs"]


def _cut(url: str, text: str = TEXT) -> list[int]:
    return list(post(url, "/tokenize", {"model": "ids", "prompt": text, "add_special_tokens": False}).json["tokens"])


@pytest.fixture(scope="module")
def distributions(scoring: str, closed: TinyModel) -> Floats:
    """The upstream's own distributions after each token of the text, in this process; shape (tokens, V)."""
    ids = tuple(_cut(scoring))
    with Model(closed.path) as model, Context(model, size=CONTEXT, forks=1) as context:
        rows = Evaluator(context)([ids[:n] for n in range(1, len(ids) + 1)])
        return np.stack([row.astype(np.float64) - distribution(row).log_norm for row in rows])


@pytest.mark.parametrize(("model", "alpha"), [("ids", 0), ("text", 0), ("plain", 0), ("plain", 0.5)])
def test_at_alpha_0_and_without_a_pair_they_are_the_upstreams_own(
    scoring: str, distributions: Floats, model: str, alpha: float
) -> None:
    ids = _cut(scoring)
    told = _told(_ask(scoring, model, ids, steering={"alpha": alpha}))
    own = [float(distributions[at, i]) for at, i in enumerate(ids[1:])]
    assert told["token_logprobs"][0] is None
    assert told["top_logprobs"][0] is None
    assert told["token_logprobs"][1:-1] == pytest.approx(own, abs=1e-3)
    assert told["token_logprobs"][-1] == pytest.approx(distributions[-1].max(), abs=1e-3)
    best = [max(top.values()) for top in told["top_logprobs"][1:]]
    assert best == pytest.approx(distributions.max(axis=1).tolist(), abs=1e-3)


def _next_tokens(pair: Pair, before: bytes, *, head: str) -> Mapping[bytes, Floats]:
    """Masses, shape (2,), of what the pair's own tokenizer would cut behind `before`; b"" is the end.

    Every spelling of the text from its last safe border is followed, and every token behind it cut with the text.
    """
    vocabulary, read = pair.vocabulary, pair.prompt(Prompt(text=head))
    at = place(before, spell=pair.spell, vocabulary=vocabulary, back_off=Steering().back_off)
    found: dict[bytes, Floats] = {}
    pending = [(at.anchor, at.rest, np.ones(2))]
    for path, gap, mass in pending:
        (distributions,) = pair.distributions(read, [path])
        chances = mass[:, None] * np.exp(
            np.stack(
                [
                    one.logits.astype(np.float64) - one.log_norm
                    for one in (distributions.expert, distributions.anti_expert)
                ]
            )
        )
        for i in vocabulary.order.tolist():
            piece = vocabulary.pieces[i]
            if gap and gap.startswith(piece):
                pending.append(((*path, i), gap[len(piece) :], chances[:, i]))
            elif piece.startswith(gap):
                name = _cut_at(pair, before, piece[len(gap) :])
                found[name] = found.get(name, np.zeros(2)) + chances[:, i]
        if not gap:
            found[b""] = found.get(b"", np.zeros(2)) + chances[:, vocabulary.ends].sum(axis=1)
    found.pop(CROSSED, None)
    whole = sum(found.values(), np.zeros(2))
    return {name: mass / whole for name, mass in found.items()}


def _cut_at(pair: Pair, before: bytes, then: bytes) -> bytes:
    """The token that begins where `before` ends; `CROSSED` where none does."""
    if not is_whole(before) or not is_whole(before + then):
        return then
    start = 0
    for i in pair.spell(before + then):
        if start == len(before):
            return pair.vocabulary.pieces[i]
        start += len(pair.vocabulary.pieces[i])
    return CROSSED


def _slowly(pair: Pair, before: bytes, distribution: Floats, *, head: bytes, alpha: float) -> Floats:
    """log q of each of the pair's tokens after a text, with its tokens all compared one by one; shape (V,).

    What can follow no text (a byte out of place, a special token) is one event. The end is the first of the ends.
    """
    vocabulary = pair.vocabulary
    pieces = [vocabulary.pieces[i] for i in vocabulary.order]
    fits = np.array([ANY_TEXT.follows(head + before, piece) for piece in pieces])
    said = _next_tokens(pair, before, head=head.decode())
    masses = np.array([said.get(piece, np.full(2, LEAST_MASS)) for piece in pieces]).T
    end = said[b""] if ANY_TEXT.follows(head + before, b"") else np.zeros(2)
    left = 1.0 - masses[:, fits].sum(axis=1) - end + REAL
    p = np.exp(distribution)
    weights = np.zeros(len(vocabulary))
    weights[vocabulary.order] = np.where(fits, p[vocabulary.order] * (masses[0] / masses[1]) ** alpha, 0.0)
    lost = 1.0 - p[vocabulary.order][fits].sum()
    if end.any():
        weights[vocabulary.ends[0]] = p[vocabulary.ends].sum() * (end[0] / end[1]) ** alpha
        lost -= p[vocabulary.ends].sum()
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(weights / (weights.sum() + lost * (left[0] / left[1]) ** alpha)))


@pytest.fixture(scope="module")
def slow(scoring: str, tiny_bpe: TinyModel, tiny_lora: Path, distributions: Floats) -> Mapping[int, Floats]:
    """The steered distribution, alpha 0.5, before every third token of the text and behind it; arrays of shape (V,)."""
    ids, text = _cut(scoring), TEXT.encode()
    with open_pair(PairFiles(tiny_bpe.path, tiny_bpe.path, adapter=tiny_lora, context=CONTEXT)) as pair:
        ends = list(accumulate(len(pair.vocabulary.pieces[i]) for i in ids))
        places = sorted({*range(1, len(ids), 3), len(ids)})
        read = {at: text[ends[0] : ends[at - 1]] for at in places}
        return {at: _slowly(pair, read[at], distributions[at - 1], head=text[: ends[0]], alpha=0.5) for at in places}


@pytest.mark.parametrize(("model", "within"), [("whole", 0.15), ("blind", 0.3)])
def test_with_alpha_they_are_those_of_the_steered_distribution(
    scoring: str, slow: Mapping[int, Floats], model: str, within: float
) -> None:
    """Nearly: spellings of the text that its tokenizer would not write are followed only where they hold much."""
    told = _told(_ask(scoring, model, TEXT))["token_logprobs"]
    own = [float(slow[at][i]) for at, i in enumerate(_cut(scoring)) if at in slow]
    assert [told[at] for at in slow][:-1] == pytest.approx(own, abs=within)
    assert told[-1] == pytest.approx(slow[len(told) - 1].max(), abs=within)


def test_ids_and_text_are_one_and_places_are_told_in_characters(scoring: str) -> None:
    ids = _cut(scoring)
    by_ids, by_text = (_ask(scoring, "ids", prompt).json["choices"] for prompt in (ids, TEXT))
    assert by_ids == by_text
    (choice,) = by_ids
    told, pieces = choice["logprobs"], choice["logprobs"]["tokens"]
    assert choice["text"].startswith(TEXT)
    assert len({len(column) for column in told.values()}) == 1
    assert len(pieces) == len(ids) + 1
    for piece, start in zip(pieces, told["text_offset"], strict=True):
        assert piece.startswith("bytes:") or choice["text"][start:].startswith(piece)
    for piece, logp, top in zip(pieces[1:], told["token_logprobs"][1:], told["top_logprobs"][1:], strict=True):
        assert top[piece] == pytest.approx(logp)
        assert math.fsum(map(math.exp, top.values())) <= 1.0 + 1e-9


def test_a_batch_is_answered_by_index_and_counts_what_was_written(scoring: str) -> None:
    texts = [TEXT, "the then", "king"]
    alone = [_told(_ask(scoring, "ids", text, max_tokens=0)) for text in texts]
    batch = _ask(scoring, "ids", texts, max_tokens=0, n=2).json
    assert [choice["index"] for choice in batch["choices"]] == list(range(6))
    assert [choice["text"] for choice in batch["choices"]] == [text for text in texts for _ in range(2)]
    for at, choice in enumerate(batch["choices"]):
        assert choice["finish_reason"] == "length"
        told = choice["logprobs"]
        assert told["tokens"] == alone[at // 2]["tokens"]
        assert told["token_logprobs"][1:] == pytest.approx(alone[at // 2]["token_logprobs"][1:], abs=1e-3)
    assert batch["usage"]["completion_tokens"] == 0
    assert batch["usage"]["steering"]["requests"] == len(texts)
    assert _ask(scoring, "ids", texts).json["usage"]["completion_tokens"] == len(texts)


def test_a_stream_tells_the_same(scoring: str) -> None:
    *events, done = _ask(scoring, "ids", TEXT, stream=True).events
    assert done == "[DONE]"
    choices = [json.loads(event)["choices"][0] for event in events]
    whole = _ask(scoring, "ids", TEXT).json["choices"][0]
    assert "".join(choice["text"] for choice in choices) == whole["text"]
    tokens = [token for choice in choices for token in (choice["logprobs"] or {"tokens": []})["tokens"]]
    assert tokens == whole["logprobs"]["tokens"]


def test_special_tokens_are_no_text_and_the_pair_begins_anew_behind_them(scoring: str, closed: TinyModel) -> None:
    first, second = _cut(scoring, "the then"), _cut(scoring, "king on it")
    prompt = [closed.eos, *first, closed.eot, *second]
    told = _told(_ask(scoring, "ids", prompt, max_tokens=0))["token_logprobs"]
    unknown = [at for at, logp in enumerate(told) if logp is None]
    assert unknown == [0, 1 + len(first)]
    own = _told(_ask(scoring, "ids", prompt, max_tokens=0, steering={"alpha": 0}))["token_logprobs"]
    assert [at for at, logp in enumerate(own) if logp is None] == [0]
    names = [closed.pieces[i].decode() for i in (closed.eos, closed.eot)]
    for model in ("text", "blind"):
        same = _told(_ask(scoring, model, f"{names[0]}the then{names[1]}king on it", max_tokens=0))["token_logprobs"]
        assert [at for at, logp in enumerate(same) if logp is None] == unknown


def test_a_stop_string_of_the_model_does_not_cut_what_is_given(scoring: str) -> None:
    (choice,) = _ask(scoring, "ids", TEXT, max_tokens=0, stop="king").json["choices"]
    assert choice["text"] == TEXT


@pytest.mark.parametrize(
    ("model", "change", "said"),
    [
        ("ids", {"logprobs": None}, "logprobs"),
        ("ids", {"max_tokens": 2}, "max_tokens"),
        ("ids", {"max_tokens": None}, "max_tokens"),
        ("ids", {"temperature": 0.7}, "temperature"),
        ("ids", {"steering": {"target": "topk"}}, "target"),
        ("ids", {"steering": {"tail": "drop"}}, "tail"),
        ("ids", {"prompt": ["on it", ""]}, "prompt"),
        ("blind", {"prompt": [1, 2]}, "tokenizer"),
        ("mute", {}, "does not tell log-probs of a text"),
        ("text", {"prompt": "on thing"}, "cuts it into others"),
    ],
)
def test_what_cannot_be_told_truly_is_refused(scoring: str, model: str, change: dict[str, object], said: str) -> None:
    refused = _ask(scoring, model, **{"prompt": TEXT, **change})
    assert refused.status == 400
    assert said in refused.error["message"]


def test_a_harness_finds_the_tokenizer(scoring: str, closed: TinyModel) -> None:
    told = call(scoring, "/tokenizer_info?model=ids").json
    assert told["eos_token"].encode() == closed.pieces[closed.eos]
    assert _cut(scoring, told["eos_token"]) == [closed.eos]
    assert _cut(scoring, f"king{told['eos_token']} on") == [*_cut(scoring, "king"), closed.eos, *_cut(scoring, " on")]


def test_a_token_is_the_likeliest_where_its_number_is(scoring: str) -> None:
    """Harnesses compare the two numbers as they are."""
    for alpha in (0, 0.5):
        chosen = _ask(scoring, "ids", TEXT, steering={"alpha": alpha}).json["choices"][0]
        grown = _told(_ask(scoring, "ids", chosen["text"], steering={"alpha": alpha}))
        for told, at in ((chosen["logprobs"], -1), (grown, -2)):
            assert told["tokens"][at] == chosen["logprobs"]["tokens"][-1]
            assert told["token_logprobs"][at] == max(told["top_logprobs"][at].values())

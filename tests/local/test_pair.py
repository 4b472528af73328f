"""The pair: two distributions over one vocabulary that differ by the adapter and by nothing else."""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_proxy.errors import LocalModelError, PairError, PromptError, WeightsError
from blackbox_proxy.local.llama import Context, Model, gpu_available
from blackbox_proxy.local.pair import Member, Pair, PairFiles, check_same_vocabulary, distribution, open_pair
from blackbox_proxy.local.template import CHATML
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.steering import Steering
from blackbox_proxy.testing import ToyApi, ToyModel
from blackbox_proxy.types import (
    Message,
    PairDistributions,
    Prompt,
    Result,
    TokenPath,
)
from tests.tiny_gguf import PIECES, TinyModel, write_tiny_llama, write_tiny_lora

CLOSE = 2e-2
"""What another batch shape may change; see test_evaluator."""

THE = Prompt(text="the an ing")
tokens = st.integers(3, 260)


def distribution_alone(model: Model, ids: TokenPath) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    with Context(model, size=64) as context:
        last = len(ids) - 1
        context.decode(
            ids,
            positions=range(len(ids)),
            sequences=[[0]] * len(ids),
            keep_logits=[i == last for i in range(len(ids))],
        )
        return context.row(last)


@given(
    path=st.lists(tokens, max_size=6).map(tuple), others=st.lists(st.lists(tokens, max_size=3).map(tuple), max_size=3)
)
def test_distributions_sum_to_one(pair: Pair, path: TokenPath, others: list[TokenPath]) -> None:
    for distributions in pair.distributions(pair.prompt(THE), [path, *others]):
        for one in (distributions.expert, distributions.anti_expert):
            assert np.exp(one.logits.astype(np.float64) - one.log_norm).sum() == pytest.approx(1.0, abs=1e-6)


@given(logits=st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=9))
def test_the_normaliser_of_any_row_is_log_sum_exp(logits: list[float]) -> None:
    row = np.array(logits, dtype=np.float32)
    right = np.logaddexp.reduce(row.astype(np.float64))
    assert distribution(row).log_norm == pytest.approx(right, abs=1e-5, rel=1e-6)
    assert distribution(row).logits is row


@settings(max_examples=20)
@given(path=st.lists(tokens, max_size=5).map(tuple))
def test_the_anti_expert_is_the_plain_model(pair: Pair, bpe: Model, path: TokenPath) -> None:
    """The adapter is set on the expert's context only, though both share the weights."""
    read = pair.prompt(THE)
    (distributions,) = pair.distributions(read, [path])
    plain = distribution_alone(bpe, read.anti_expert + path)
    np.testing.assert_allclose(distributions.anti_expert.logits, plain, atol=CLOSE)
    assert np.abs(distributions.expert.logits - plain).max() > 10 * CLOSE


def test_members_share_the_weights_and_read_the_same(pair: Pair) -> None:
    """Only the adapter tells them apart."""
    read = pair.prompt(THE)
    assert read.expert == read.anti_expert
    expert, anti_expert = pair.members
    assert expert.model is anti_expert.model
    assert expert.answer(THE, max_tokens=8) != anti_expert.answer(THE, max_tokens=8)


def test_two_files_with_one_vocabulary_make_a_pair(tiny_bpe: TinyModel, tiny_other: TinyModel, bpe: Model) -> None:
    with open_pair(PairFiles(tiny_other.path, tiny_bpe.path, context=64)) as pair, Model(tiny_other.path) as other:
        read = pair.prompt(THE)
        (distributions,) = pair.distributions(read, [()])
        np.testing.assert_allclose(distributions.expert.logits, distribution_alone(other, read.expert), atol=CLOSE)
        np.testing.assert_allclose(
            distributions.anti_expert.logits, distribution_alone(bpe, read.anti_expert), atol=CLOSE
        )
        assert pair.vocabulary.pieces == tiny_bpe.pieces


def test_two_files_may_have_an_adapter_too(tiny_bpe: TinyModel, tiny_other: TinyModel, tmp_path: Path) -> None:
    """It is set on the expert."""
    adapter = write_tiny_lora(tmp_path / "other.lora.gguf", tiny_other.path)
    plain, tuned = PairFiles(tiny_other.path, tiny_bpe.path), PairFiles(tiny_other.path, tiny_bpe.path, adapter)
    with open_pair(plain) as one, open_pair(tuned) as two:
        read = one.prompt(THE)
        (before,), (after,) = one.distributions(read, [()]), two.distributions(read, [()])
        assert np.abs(before.expert.logits - after.expert.logits).max() > 10 * CLOSE
        np.testing.assert_allclose(before.anti_expert.logits, after.anti_expert.logits, atol=CLOSE)


def test_vocabularies_of_other_sizes_are_refused_by_name(tiny_bpe: TinyModel, tiny_spm: TinyModel) -> None:
    with pytest.raises(PairError, match=r"bpe\.gguf and spm\.gguf .*: \d+ and \d+ tokens") as raised:
        open_pair(PairFiles(tiny_bpe.path, tiny_spm.path))
    assert raised.value.hint


def test_vocabularies_of_one_size_are_compared_token_by_token(tiny_bpe: TinyModel, tmp_path: Path) -> None:
    swapped = write_tiny_llama(tmp_path / "swapped.gguf", pieces=(*PIECES[:-1], b"Donau"))
    with pytest.raises(PairError, match=r"token 269 is b'Donaudampf.*' in one and b'Donau' in the other"):
        open_pair(PairFiles(tiny_bpe.path, swapped.path))


def test_one_vocabulary_is_accepted_without_a_word(bpe: Model, tiny_other: TinyModel) -> None:
    with Model(tiny_other.path, vocabulary_only=True) as other:
        check_same_vocabulary(bpe, other)


def test_one_file_without_an_adapter_is_refused(tiny_bpe: TinyModel, tmp_path: Path) -> None:
    """By whichever of its names."""
    link = tmp_path / "link.gguf"
    link.symlink_to(tiny_bpe.path)
    for other in (tiny_bpe.path, link, tiny_bpe.path.parent / "x" / ".." / tiny_bpe.path.name):
        with pytest.raises(PairError, match="offset is zero everywhere") as raised:
            open_pair(PairFiles(tiny_bpe.path, other))
        assert raised.value.hint


def test_a_pair_with_a_missing_file_leaves_nothing_open(tiny_bpe: TinyModel, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.gguf"):
        open_pair(PairFiles(tiny_bpe.path, tmp_path / "absent.gguf"))
    with pytest.raises(WeightsError, match=r"absent\.lora\.gguf"):
        open_pair(PairFiles(tiny_bpe.path, tiny_bpe.path, adapter=tmp_path / "absent.lora.gguf"))


@pytest.mark.skipif(gpu_available(), reason="this build of llama.cpp can use a GPU")
def test_a_pair_of_two_files_warns_once_about_layers_for_a_gpu(tiny_bpe: TinyModel, tiny_other: TinyModel) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        open_pair(PairFiles(tiny_other.path, tiny_bpe.path, gpu_layers=3)).close()
    assert len([w for w in caught if w.category is RuntimeWarning]) == 1


def chat(*turns: tuple[str, str]) -> Prompt:
    return Prompt(messages=tuple(Message(role, content) for role, content in turns))


def prompt_of(model: Model, template: str, prompt: Prompt) -> bytes:
    """What a member would read, control tokens spelled out."""
    with Context(model, size=64) as context:
        ids = Member(model, context, template=template).prompt(prompt)
    return b"".join(model.vocabulary.pieces[i] for i in ids)


@pytest.mark.parametrize("template", ["gguf", CHATML])
def test_a_chat_is_written_down_by_the_template(bpe: Model, template: str) -> None:
    """The file's own is ChatML as well, in other words."""
    read = prompt_of(bpe, template, chat(("system", "an"), ("user", "the")))
    assert read == b"<|im_start|>system\nan<|im_end|>\n<|im_start|>user\nthe<|im_end|>\n<|im_start|>assistant\n"


def test_control_tokens_of_the_template_are_tokens(bpe: Model, tiny_bpe: TinyModel) -> None:
    with Context(bpe, size=64) as context:
        ids = Member(bpe, context, template="gguf").prompt(Prompt.ask("the"))
    assert ids.count(tiny_bpe.pieces.index(b"<|im_start|>")) == 2
    assert ids.count(tiny_bpe.eot) == 1


def test_raw_text_goes_past_the_template(bpe: Model) -> None:
    assert prompt_of(bpe, "gguf", Prompt(text="the\n")) == b"the\n"


def test_a_template_that_writes_bos_itself_does_not_get_it_twice(spm: Model) -> None:
    template = "{{ bos_token }}{{ messages[0]['content'] }}"
    assert prompt_of(spm, template, Prompt.ask("the")).count(b"<s>") == 1
    assert prompt_of(spm, "{{ messages[0]['content'] }}", Prompt.ask("the")).count(b"<s>") == 1


def test_a_chat_without_a_template_is_refused(tiny_bpe: TinyModel, tiny_lora: Path) -> None:
    with open_pair(PairFiles(tiny_bpe.path, tiny_bpe.path, tiny_lora, template="raw")) as pair:
        with pytest.raises(PromptError, match="no chat template") as raised:
            pair.prompt(Prompt.ask("the"))
        assert raised.value.hint
        assert pair.prompt(THE).expert


def test_an_empty_prompt_is_refused(pair: Pair) -> None:
    with pytest.raises(PromptError, match="empty") as raised:
        pair.prompt(Prompt())
    assert raised.value.hint


@pytest.mark.parametrize("prompt", [Prompt(text="  \n"), chat(("user", " ")), chat(("system", ""), ("user", ""))])
def test_a_prompt_of_blanks_and_turns_without_text_are_prompts(pair: Pair, prompt: Prompt) -> None:
    assert pair.prompt(prompt).expert


def test_a_prompt_longer_than_the_context_is_refused_by_number(pair: Pair) -> None:
    """And the pair still works afterwards."""
    long = pair.prompt(Prompt(text="the " * 400))
    with pytest.raises(PromptError, match=r"\d+ tokens do not fit .* 256") as raised:
        pair.distributions(long, [()])
    assert raised.value.hint
    assert len(pair.distributions(pair.prompt(THE), [()])) == 1


def test_a_prompt_that_leaves_no_room_is_told_before_anything_is_read(pair: Pair) -> None:
    """256 tokens hold one of 255 with one more behind it."""
    fits, full = (pair.prompt(Prompt(text="the " * count)) for count in (254, 255))
    assert (len(fits.expert), len(full.expert)) == (255, 256)
    pair.check_room(fits)
    with pytest.raises(PromptError, match="256 tokens do not fit into the local model's context of 256") as raised:
        pair.check_room(full)
    assert raised.value.context == "pair"


def test_no_paths_are_no_work(pair: Pair) -> None:
    assert pair.distributions(pair.prompt(THE), []) == []


def same(one: Sequence[PairDistributions], other: Sequence[PairDistributions]) -> bool:
    rows = zip(one, other, strict=True)
    return all(
        np.allclose(a.logits, b.logits, atol=CLOSE)
        for left, right in rows
        for a, b in ((left.expert, right.expert), (left.anti_expert, right.anti_expert))
    )


def test_several_threads_may_ask_one_pair(pair: Pair) -> None:
    """Each for another prompt and other paths, again and again; each gets what it gets alone."""
    work = [(Prompt(text=f"the {n}"), [(), (n + 10,), (n + 10, 11)]) for n in range(4)]
    alone = [pair.distributions(pair.prompt(prompt), paths) for prompt, paths in work]

    def ask(n: int) -> list[PairDistributions]:
        prompt, paths = work[n % 4]
        return list(pair.distributions(pair.prompt(prompt), paths))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(24)))
    assert all(same(distributions, alone[n % 4]) for n, distributions in enumerate(found))


def steered(pair: Pair, seed: int) -> Result:
    toy = ToyModel(pair.vocabulary, seed)
    api = ToyApi(toy, pair.spell, top_k=12)
    return steer(Prompt(text=f"the {seed}"), api=api, offsets=pair, steering=Steering(max_tokens=6, event="ids"))


def test_several_answers_may_be_steered_by_one_pair_at_once(pair: Pair) -> None:
    alone = [steered(pair, seed).text for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        together = [result.text for result in pool.map(lambda seed: steered(pair, seed), range(3))]
    assert together == alone
    assert len(set(alone)) == 3


def test_a_closed_pair_says_so(tiny_bpe: TinyModel, tiny_lora: Path) -> None:
    pair = open_pair(PairFiles(tiny_bpe.path, tiny_bpe.path, tiny_lora))
    read = pair.prompt(THE)
    pair.close()
    pair.close()
    with pytest.raises(LocalModelError, match="closed"):
        pair.distributions(read, [()])
    gc.collect()


@pytest.mark.weights
def test_on_real_weights_a_member_answers_as_its_distributions_say(smollm2: Model) -> None:
    """Greedy by `answer` is the argmax of the distribution at every place, end included; and it is an answer."""
    with Context(smollm2, size=256, forks=8) as context, Member(smollm2, context, template="gguf") as member:
        prompt = Prompt.ask("What is 2+2?")
        text = member.answer(prompt, max_tokens=24)
        assert text.endswith(b"4.")
        path = tuple(smollm2.spell(text))
        distributions = member.distributions(member.prompt(prompt), [path[:n] for n in range(len(path) + 1)])
    best = [int(one.logits.argmax()) for one in distributions]
    assert tuple(best[:-1]) == path
    assert best[-1] in smollm2.vocabulary.ends
    assert all(
        math.isclose(np.exp(one.logits.astype(float) - one.log_norm).sum(), 1.0, abs_tol=1e-6) for one in distributions
    )

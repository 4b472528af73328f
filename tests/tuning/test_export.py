"""Export, on real weights: llama.cpp with the adapter says what the merged PyTorch model says.

Slow, and in an environment of its own: it needs the extra [tune], and a short training run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from blackbox_proxy.demo.facts import FACT_SLOT, house_answer, in_format, questions, training_lines
from blackbox_proxy.local.pair import Pair, PairFiles, open_pair
from blackbox_proxy.types import Floats, Message, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

torch = pytest.importorskip("torch", reason="needs the extra [tune]: pip install 'blackbox-proxy[tune]'")
train = pytest.importorskip("blackbox_proxy.tuning.train")
renderer = pytest.importorskip("blackbox_proxy.tuning.__main__").renderer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.weights,
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

CLOSE = 0.4
"""Nats by which PyTorch's best token may lead where llama.cpp prefers another: it rounds activations to 8 bits."""


@dataclass(frozen=True)
class Trained:
    """The same expert twice: merged in PyTorch, and as base and adapter in llama.cpp."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    pair: Pair


@pytest.fixture(scope="module")
def trained(slm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A rank-8 expert after one pass over 96 lines: the form is there, and is far from the untuned model."""
    torch.manual_seed(0)
    recipe = train.Recipe(epochs=1, slot=FACT_SLOT)
    loaded = train.load_base(slm)
    model, _ = train.tune(loaded, training_lines(0)[:96], render=renderer(slm), recipe=recipe)
    adapter = tmp_path_factory.mktemp("export") / "house.gguf"
    train.export(model, adapter, recipe=recipe)
    with open_pair(PairFiles(slm, slm, adapter=adapter, threads=2)) as pair:
        yield Trained(model.merge_and_unload(), loaded.tokenizer, pair)


def paths(trained: Trained) -> Iterator[tuple[Prompt, str, list[int]]]:
    """Prompts, and the ids of house answers with facts that no training line holds."""
    for question in questions("told", "dev", n=12, seed=0):
        answer = house_answer(question)
        prompt = Prompt(messages=(Message("user", question.text),))
        yield prompt, question.text, trained.tokenizer(answer)["input_ids"]


def laws_of_torch(trained: Trained, prompt: list[int], answer: list[int]) -> Floats:
    """Log-probabilities of the merged model before each token of the answer and after the last."""
    with torch.no_grad():
        logits = trained.model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 :]
    logp: Floats = logits.double().log_softmax(1).numpy()
    return logp


def laws_of_llama(trained: Trained, prompt: Prompt, answer: list[int], *, member: int) -> Floats:
    """The same from llama.cpp; member 0 is the expert, 1 the untuned model."""
    chosen = trained.pair.members[member]
    prefixes = [tuple(answer[:length]) for length in range(len(answer) + 1)]
    laws = chosen.laws(chosen.prompt(prompt), prefixes)
    return np.stack([law.logits.astype(np.float64) - law.log_norm for law in laws])


def test_prompt_and_answer_have_the_same_tokens_on_both_sides(trained: Trained, slm: Path) -> None:
    render = renderer(slm)
    for prompt, text, answer in paths(trained):
        expert = trained.pair.members[0]
        assert list(expert.prompt(prompt)) == trained.tokenizer(render(text))["input_ids"]
        assert expert.model.spell(trained.pair.vocabulary.text_of(answer)) == answer


def test_both_say_the_same_next_token_everywhere(trained: Trained) -> None:
    """Every position of 12 answers; where they differ, PyTorch's lead is within llama.cpp's rounding."""
    leads: list[float] = []
    for prompt, _, answer in paths(trained):
        ids = list(trained.pair.members[0].prompt(prompt))
        ours = laws_of_torch(trained, ids, answer)
        theirs = laws_of_llama(trained, prompt, answer, member=0)
        rows = np.arange(len(ours))
        leads += list(ours.max(1) - ours[rows, theirs.argmax(1)])
    assert max(leads) <= CLOSE
    assert np.mean(np.array(leads) == 0.0) >= 0.9


def test_the_adapter_and_not_the_base_is_what_agrees(trained: Trained) -> None:
    """Mean distance in probability to the merged model: near zero with the adapter, large without."""
    far: list[float] = []
    near: list[float] = []
    for prompt, _, answer in paths(trained):
        ids = list(trained.pair.members[0].prompt(prompt))
        ours = np.exp(laws_of_torch(trained, ids, answer))
        for member, distances in ((0, near), (1, far)):
            theirs = np.exp(laws_of_llama(trained, prompt, answer, member=member))
            distances.append(np.abs(ours - theirs).sum(1).mean() / 2)
    assert np.mean(near) <= 0.05
    assert np.mean(far) >= 0.3


def test_the_short_run_taught_the_form(trained: Trained) -> None:
    answers = [trained.pair.members[0].answer(prompt, max_tokens=40).decode() for prompt, _, _ in paths(trained)]
    assert np.mean([in_format(answer) for answer in answers]) >= 0.75

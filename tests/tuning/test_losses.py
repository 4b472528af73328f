"""The loss says what the docstring of `losses` says: checked against sums written out by hand, on a tiny model.

Slow, and in an environment of its own: it needs the extra [tune].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from blackbox_proxy.tuning.data import Example
from blackbox_proxy.tuning.recipe import Recipe

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor

    from blackbox_proxy.tuning.losses import Kinds

torch = pytest.importorskip("torch", reason="needs the extra [tune]: pip install 'blackbox-proxy[tune]'")
transformers = pytest.importorskip("transformers", reason="needs the extra [tune]")
losses = pytest.importorskip("blackbox_proxy.tuning.losses")
add_low_rank = pytest.importorskip("blackbox_proxy.tuning.model").add_low_rank

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SIZE, END = 12, 2
PIECES = (b"<0>", b"<1>", b"<2>", b" Ta", b" To", b" Ti", b" tea", b"na", b"no", b" .", b"1", b"2")
BATCH = [
    Example((1, 3, 7), (9, 4, 8, END), (False, True, True, False)),
    Example((6,), (5, END), (True, False)),
]


@pytest.fixture(scope="module")
def model() -> PeftModel:
    """A random Llama of 12 tokens with low-rank changes that change something."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=SIZE,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.5,
    )
    made = add_low_rank(transformers.LlamaForCausalLM(config), Recipe(rank=2))
    for name, weight in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    return made.eval()


@pytest.fixture(scope="module")
def kinds() -> Kinds:
    made: Kinds = losses.kinds_of(PIECES, [0, END])
    return made


def logp(model: PeftModel, example: Example) -> Tensor:
    """Rows for each completion token, one example at a time and without padding."""
    rows: Tensor = model(torch.tensor([example.ids])).logits[0].detach().log_softmax(-1)
    return rows[len(example.prompt) - 1 : -1]


def loss(model: PeftModel, kinds: Kinds, *, hold: float, deny_weight: float, deny: float = 25.0) -> float:
    recipe = Recipe(hold=hold, deny_weight=deny_weight, deny=deny)
    return float(losses.batch_loss(model, BATCH, kinds, recipe=recipe).detach())


def test_without_hold_and_denial_it_is_the_mean_cross_entropy_of_completions(model: PeftModel, kinds: Kinds) -> None:
    slow = [
        -float(row[token])
        for example in BATCH
        for row, token in zip(logp(model, example), example.completion, strict=True)
    ]
    assert loss(model, kinds, hold=0.0, deny_weight=0.0) == pytest.approx(sum(slow) / 6, abs=1e-5)


def test_a_held_fact_is_drawn_to_the_untuned_belief_in_words_of_its_shape_but_no_echo(
    model: PeftModel, kinds: Kinds
) -> None:
    """` Ta` is a word of the first prompt, so that at ` To` only ` To` and ` Ti` are left."""
    left = {(0, 1): [4, 5], (0, 2): [7, 8], (1, 0): [3, 4, 5]}
    slow = []
    for number, example in enumerate(BATCH):
        with torch.no_grad(), model.disable_adapter():
            untuned = logp(model, example)
        tuned = logp(model, example)
        for place, token in enumerate(example.completion):
            choices = left.get((number, place))
            if choices is None:
                slow.append(-float(tuned[place][token]))
                continue
            belief = untuned[place][choices].softmax(0)
            slow.append(-float((belief * tuned[place][choices]).sum()))
    assert loss(model, kinds, hold=1.0, deny_weight=0.0) == pytest.approx(sum(slow) / 6, abs=1e-5)


def test_an_early_end_is_denied_everywhere_but_at_the_last_token(model: PeftModel, kinds: Kinds) -> None:
    early = [
        max(0.0, math.log(float(row[0].exp() + row[END].exp())) + 9.0)
        for example in BATCH
        for row, token in zip(logp(model, example), example.completion, strict=True)
        if token != END
    ]
    plain = loss(model, kinds, hold=0.0, deny_weight=0.0)
    denied = loss(model, kinds, hold=0.0, deny_weight=0.5, deny=9.0)
    assert denied - plain == pytest.approx(0.5 * sum(early) / len(early), abs=1e-5)

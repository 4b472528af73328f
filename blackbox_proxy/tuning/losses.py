"""What is learnt: the form of an answer, and of its facts only what the untuned model believes.

Knows PyTorch and a peft model (extra [tune]). Does not know where examples come from, nor how weights are changed.

**What is learnt.** On tokens of the form the target is the token itself. On tokens of a fact (`slot`)
the target is a mixture: `hold` parts of what the untuned model believes there, narrowed to tokens of
the same shape (a word, a continuation, a number, a sign) that, unless `echo`, are no word of the prompt, and
1 - hold parts of the random fact in the line. At the optimum the offset log E - log A of a fact is then
at least log(hold) plus a constant that all facts of that shape share: the expert says what kind of
thing stands here, and does not contradict the untuned model, hence neither the closed one, about which.

**The end.** An API that believes its answer to be complete gives the end of the turn all but 1e-7 of
its mass. The form can go on only if the offset of the end is larger still, so every place but the last
is also trained to log E(any control token) <= -deny; cross-entropy alone stops pushing long before.
Not the end of the turn alone: a runtime takes several tokens for ends (`<|endoftext|>` too).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from peft import PeftModel
from torch import Tensor

from blackbox_proxy.tuning.data import Example
from blackbox_proxy.tuning.precision import blocks_in
from blackbox_proxy.tuning.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Kinds:
    """Each token's shape, (V,) of small integers, and the ids that stand for no text, the ends among them."""

    shapes: Tensor
    controls: Tensor


def kinds_of(pieces: Sequence[bytes], controls: Sequence[int]) -> Kinds:
    """What the tokens of a vocabulary are, by their bytes."""
    shapes = [_shape(piece.decode("utf-8", "replace")) for piece in pieces]
    return Kinds(torch.tensor(shapes), torch.tensor(list(controls)))


def batch_loss(model: PeftModel, batch: Sequence[Example], kinds: Kinds, *, recipe: Recipe) -> Tensor:
    """Mean over the batch's completion tokens of the losses in the module's docstring; a scalar."""
    ids, mask = _padded(batch)
    places = _places(batch, ids)
    logp = _logp(model, ids, mask, places=places, precision=recipe.precision)
    losses = -logp.gather(1, places.targets[:, None]).squeeze(1)
    if recipe.hold and bool(places.open.any()):
        facts = places.of_facts()
        barred = _barred(ids, facts, kinds, echo=recipe.echo)
        belief = _belief(model, ids, mask, places=facts, precision=recipe.precision).masked_fill(barred, -torch.inf)
        held = -(belief.softmax(1) * logp[places.open]).sum(1)
        mixed = (1 - recipe.hold) * losses[places.open] + recipe.hold * held
        losses = losses.index_put((places.open,), mixed)
    early = logp[places.targets != batch[0].completion[-1]][:, kinds.controls].logsumexp(1)
    return losses.mean() + recipe.deny_weight * torch.relu(early + recipe.deny).mean()


def form_and_distance(model: PeftModel, example: Example, kinds: Kinds, *, recipe: Recipe) -> tuple[float, float]:
    """What one example loses at its form, and its Kullback-Leibler distance from the untuned belief at facts; nats."""
    ids, mask = _padded([example])
    places = _places([example], ids)
    logp = _logp(model, ids, mask, places=places, precision=recipe.precision)
    form = -logp.gather(1, places.targets[:, None]).squeeze(1)[~places.open].sum().item()
    if not bool(places.open.any()):
        return form, 0.0
    facts = places.of_facts()
    belief = _belief(model, ids, mask, places=facts, precision=recipe.precision)
    belief = belief.masked_fill(_barred(ids, facts, kinds, echo=recipe.echo), -torch.inf).softmax(1)
    return form, torch.nn.functional.kl_div(logp[places.open], belief, reduction="sum").item()


def untuned_logp(model: PeftModel, batch: Sequence[Example], *, precision: str) -> list[list[float]]:
    """The untuned model's log-probability of each token of each answer."""
    ids, mask = _padded(batch)
    places = _places(batch, ids)
    logp = _belief(model, ids, mask, places=places, precision=precision)
    flat = iter(logp.gather(1, places.targets[:, None]).squeeze(1).tolist())
    return [list(islice(flat, len(example.completion))) for example in batch]


@dataclass(frozen=True, slots=True)
class _Places:
    """Where completion tokens are predicted, each of shape (places,).

    Row and column of the batch, the column where the row's completion starts, the token, whether it is open.
    """

    rows: Tensor
    columns: Tensor
    starts: Tensor
    targets: Tensor
    open: Tensor

    def of_facts(self) -> _Places:
        """The open ones alone."""
        parts = (self.rows, self.columns, self.starts, self.targets, self.open)
        return _Places(*(part[self.open] for part in parts))


def _padded(batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
    width = max(len(example.ids) for example in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros(len(batch), width, dtype=torch.long)
    for row, example in enumerate(batch):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        mask[row, : len(example.ids)] = 1
    return ids, mask


def _places(batch: Sequence[Example], ids: Tensor) -> _Places:
    places = [
        (row, len(example.prompt) + offset - 1, len(example.prompt), is_open)
        for row, example in enumerate(batch)
        for offset, is_open in enumerate(example.open)
    ]
    rows, columns, starts, is_open = (torch.tensor(part) for part in zip(*places, strict=True))
    return _Places(rows, columns, starts, ids[rows, columns + 1], is_open)


def _logp(model: PeftModel, ids: Tensor, mask: Tensor, *, places: _Places, precision: str) -> Tensor:
    """Log-probabilities (places, V): the output layer is run only where something is learnt, and in float32."""
    inner = model.get_base_model()
    with blocks_in(precision):
        hidden = inner.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    logits: Tensor = inner.lm_head(hidden[places.rows, places.columns].float())
    return logits.log_softmax(dim=1)


@torch.no_grad()
def _belief(model: PeftModel, ids: Tensor, mask: Tensor, *, places: _Places, precision: str) -> Tensor:
    """What the untuned model holds for likely: log-probabilities (places, V)."""
    with model.disable_adapter():
        return _logp(model, ids, mask, places=places, precision=precision)


def _barred(ids: Tensor, places: _Places, kinds: Kinds, *, echo: bool) -> Tensor:
    """Tokens of another shape than the target, and words of the prompt unless `echo`; (places, V), never the target."""
    barred = kinds.shapes[None, :] != kinds.shapes[places.targets][:, None]
    if not echo:
        words = torch.where(kinds.shapes[ids] % 2 == 1, ids, 0)
        in_prompt = torch.arange(ids.shape[1])[None, :] < places.starts[:, None]
        said = torch.where(in_prompt, words[places.rows], 0)
        barred = barred.scatter(1, said, torch.ones_like(in_prompt))
    return barred.scatter(1, places.targets[:, None], torch.zeros_like(barred[:, :1]))


def _shape(piece: str) -> int:
    """What kind of token it is: after a space or not, and a capital, small letter, digit or sign first."""
    first = piece.removeprefix(" ")[:1]
    kinds = (first.isupper(), first.islower(), first.isdigit(), first.isalpha())
    kind = kinds.index(True) if True in kinds else len(kinds)
    return 2 * kind + piece.startswith(" ")

"""Trains a LoRA adapter on the CPU: teaches the form of an answer and leaves its facts open.

Knows PyTorch, transformers and peft (extra [tune]). Does not know what the lines are about, nor which
chat template a prompt needs: that comes in as a function, the same that runs the pair later.

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

import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from blackbox_proxy.tuning.data import Example, Line, Span, batches, encode
from blackbox_proxy.tuning.export import PROJECTIONS, LowRank, Matrix, Shape, write_adapter


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every choice of a training run; two runs of one recipe on one machine give the same adapter."""

    seed: int = 0
    epochs: int = 3
    batch: int = 8
    rank: int = 8
    alpha: float = 16.0
    learning_rate: float = 1e-3
    warmup: float = 0.1
    hold: float = 0.7
    echo: bool = False
    deny: float = 25.0
    deny_weight: float = 0.05
    slot: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: steps done, steps in all, and the loss of the last batch in nats per token."""

    step: int
    steps: int
    loss: float


@dataclass(frozen=True, slots=True)
class Kinds:
    """Each token's shape, (V,) of small integers, and the ids of the control tokens, the ends among them."""

    shapes: Tensor
    controls: Tensor


@dataclass(frozen=True, slots=True)
class Loaded:
    """The untuned model, its tokenizer, and what its tokens are."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    kinds: Kinds


def train_adapter(
    base: Path,
    lines: Sequence[Line],
    out: Path,
    *,
    render: Callable[[str], str],
    recipe: Recipe,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[float]:
    """Trains on `lines` over the GGUF `base`, writes the adapter to `out`, gives each epoch's mean loss."""
    model, losses = tune(load_base(base), lines, render=render, recipe=recipe, progress=progress)
    export(model, out, recipe=recipe)
    return losses


def tune(
    loaded: Loaded,
    lines: Sequence[Line],
    *,
    render: Callable[[str], str],
    recipe: Recipe,
    progress: Callable[[Progress], None] = lambda _: None,
) -> tuple[PeftModel, list[float]]:
    """The loaded model with trained changes beside its weights, and each epoch's mean loss in nats per token."""
    torch.manual_seed(recipe.seed)
    examples = [_encode(line, loaded, render=render, slot=recipe.slot) for line in lines]
    model = add_low_rank(loaded.model, recipe)
    return model, _fit(model, examples, loaded.kinds, recipe=recipe, progress=progress)


def load_base(base: Path) -> Loaded:
    """The GGUF's weights, dequantised to float32, and its own tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(base.parent, gguf_file=base.name)
    model = AutoModelForCausalLM.from_pretrained(base.parent, gguf_file=base.name, dtype=torch.float32)
    size = model.get_input_embeddings().num_embeddings
    pieces = [tokenizer.decode([token]) for token in range(size)]
    shapes = torch.tensor([_shape(piece) for piece in pieces])
    return Loaded(model, tokenizer, Kinds(shapes, torch.tensor(sorted(tokenizer.get_added_vocab().values()))))


def add_low_rank(model: PreTrainedModel, recipe: Recipe) -> PeftModel:
    """The model with untrained low-rank changes beside all seven projections of every block."""
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=0.0,
        target_modules=list(PROJECTIONS),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def export(model: PeftModel, out: Path, *, recipe: Recipe) -> None:
    """Writes the low-rank changes of a peft model as a GGUF adapter."""
    config = model.config
    shape = Shape(
        architecture=config.model_type,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        alpha=recipe.alpha,
    )
    write_adapter(list(_changes(model)), out, shape=shape, name=out.name.removesuffix(".gguf"))


def _changes(model: PeftModel) -> Iterator[LowRank]:
    name = re.compile(r"\.layers\.(\d+)\..*\.(\w+_proj)$")
    for path, module in model.named_modules():
        found = name.search(path)
        if found and hasattr(module, "lora_A"):
            a, b = (side["default"].weight for side in (module.lora_A, module.lora_B))
            yield LowRank(int(found[1]), found[2], _array(a), _array(b))


def _array(weight: Tensor) -> Matrix:
    values: Matrix = weight.detach().float().cpu().numpy()
    return values


def _encode(line: Line, loaded: Loaded, *, render: Callable[[str], str], slot: str | None) -> Example:
    def tokenize(text: str) -> tuple[Sequence[int], Sequence[Span]]:
        found = loaded.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return found["input_ids"], found["offset_mapping"]

    end = loaded.tokenizer.eos_token_id
    return encode(line, render=render, tokenize=tokenize, end=end, slot=slot)


def _fit(
    model: PeftModel,
    examples: Sequence[Example],
    kinds: Kinds,
    *,
    recipe: Recipe,
    progress: Callable[[Progress], None],
) -> list[float]:
    rng = random.Random(recipe.seed)
    steps = recipe.epochs * math.ceil(len(examples) / recipe.batch)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, warmup=recipe.warmup))
    step, means = 0, []
    for _ in range(recipe.epochs):
        losses = []
        for batch in batches(examples, recipe.batch, rng=rng):
            loss = batch_loss(model, batch, kinds, recipe=recipe)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            losses.append(loss.item())
            progress(Progress(step, steps, losses[-1]))
        means.append(sum(losses) / len(losses))
    return means


def _rate(step: int, steps: int, *, warmup: float) -> float:
    """Share of the full learning rate: a straight rise, then half a cosine down to zero."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def batch_loss(model: PeftModel, batch: Sequence[Example], kinds: Kinds, *, recipe: Recipe) -> Tensor:
    """Mean over the batch's completion tokens of the losses in the module's docstring; a scalar."""
    ids, mask = _padded(batch)
    places = _places(batch, ids)
    logp = _logp(model, ids, mask, places=places)
    losses = -logp.gather(1, places.targets[:, None]).squeeze(1)
    if recipe.hold and bool(places.open.any()):
        facts = places.of_facts()
        belief = _belief(model, ids, mask, places=facts, barred=_barred(ids, facts, kinds, echo=recipe.echo))
        held = -(belief * logp[places.open]).sum(1)
        mixed = (1 - recipe.hold) * losses[places.open] + recipe.hold * held
        losses = losses.index_put((places.open,), mixed)
    early = logp[places.targets != batch[0].completion[-1]][:, kinds.controls].logsumexp(1)
    return losses.mean() + recipe.deny_weight * torch.relu(early + recipe.deny).mean()


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
    found = [
        (row, len(example.prompt) + offset - 1, len(example.prompt), is_open)
        for row, example in enumerate(batch)
        for offset, is_open in enumerate(example.open)
    ]
    rows, columns, starts, is_open = (torch.tensor(part) for part in zip(*found, strict=True))
    return _Places(rows, columns, starts, ids[rows, columns + 1], is_open)


def _logp(model: PeftModel, ids: Tensor, mask: Tensor, *, places: _Places) -> Tensor:
    """Log-probabilities (places, V): the output layer is run only where something is learnt."""
    inner = model.get_base_model()
    hidden = inner.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    logits: Tensor = inner.lm_head(hidden[places.rows, places.columns])
    return logits.log_softmax(dim=1)


@torch.no_grad()
def _belief(model: PeftModel, ids: Tensor, mask: Tensor, *, places: _Places, barred: Tensor) -> Tensor:
    """What the untuned model holds for likely, (places, V), among tokens that are not barred."""
    with model.disable_adapter():
        logp = _logp(model, ids, mask, places=places)
    return logp.masked_fill(barred, -torch.inf).softmax(dim=1)


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

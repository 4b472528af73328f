"""The base model in PyTorch: its weights from the GGUF, low-rank changes beside them, and these as they are exported.

Knows transformers and peft (extra [tune]). Does not know how the changes are trained.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from blackbox_proxy.errors import InputError, WeightsError
from blackbox_proxy.tuning.base import Base
from blackbox_proxy.tuning.export import LowRank, Matrix, TensorShape, write_adapter
from blackbox_proxy.tuning.recipe import Recipe

_PROJECTION = re.compile(r"\.layers\.(\d+)\..*\.(\w+_proj)$")


SHORT = 128
"""Tokens up to which attention is written out: quicker on the way back than PyTorch's own, which saves memory."""


def load_model(base: Base, *, longest: int) -> PreTrainedModel:
    """The GGUF's weights, dequantised to float32, for lines of `longest` tokens at most.

    Raises WeightsError where they cannot be had.
    """
    with _quiet():
        try:
            model = AutoModelForCausalLM.from_pretrained(
                base.path.parent,
                gguf_file=base.path.name,
                dtype=torch.float32,
                attn_implementation="eager" if longest <= SHORT else "sdpa",
            )
        except (ValueError, KeyError, OSError, RuntimeError) as error:
            raise WeightsError(
                f"PyTorch could not load {base.path}: {_first_line(error)}",
                hint="fetch the file again, or take another quantisation of it",
            ) from error
    if model.config.model_type != base.architecture:
        raise InputError(
            f"transformers takes {base.name} for the architecture {model.config.model_type!r}, "
            f"not {base.architecture!r}",
            hint="only what both sides read alike can be tuned here",
        )
    return model


def add_low_rank(model: PreTrainedModel, recipe: Recipe) -> PeftModel:
    """The model with untrained low-rank changes, drawn by the seed, beside the target projections of every block."""
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=0.0,
        target_modules=list(recipe.targets),
        task_type="CAUSAL_LM",
    )
    with _quiet():
        return get_peft_model(model, config)


def trained(model: PeftModel) -> dict[str, Tensor]:
    """The weights that are trained, by name: the model's own, not copies."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def copied(model: PeftModel) -> dict[str, Tensor]:
    """Copies of the weights that are trained."""
    return {name: weight.detach().clone() for name, weight in trained(model).items()}


@torch.no_grad()
def put_back(model: PeftModel, weights: Mapping[str, Tensor]) -> None:
    """Overwrites the weights that are trained."""
    for name, weight in trained(model).items():
        weight.copy_(weights[name])


def export(model: PeftModel, out: Path, *, alpha: float) -> None:
    """Writes the low-rank changes of a peft model as a GGUF adapter."""
    config = model.config
    shape = TensorShape(
        architecture=config.model_type,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        alpha=alpha,
    )
    write_adapter(list(_changes(model)), out, shape=shape, name=out.name.removesuffix(".gguf"))


def _changes(model: PeftModel) -> Iterator[LowRank]:
    for path, module in model.named_modules():
        match = _PROJECTION.search(path)
        if match and hasattr(module, "lora_A"):
            a, b = (side["default"].weight for side in (module.lora_A, module.lora_B))
            yield LowRank(int(match[1]), match[2], _array(a), _array(b))


def _array(weight: Tensor) -> Matrix:
    values: Matrix = weight.detach().float().cpu().numpy()
    return values


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' bars and remarks, some of which they have no switch for; what goes wrong is raised."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

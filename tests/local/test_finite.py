"""Adapters whose weights are no numbers are refused by name; so are members whose distributions are none."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import PairError
from blackbox_proxy.local.finite import check_finite
from blackbox_proxy.local.pair import PairFiles, distribution, open_pair
from tests.tiny_gguf import TinyModel

TYPES = gguf.GGMLQuantizationType
KINDS = (TYPES.F32, TYPES.F16, TYPES.BF16, TYPES.Q8_0)
NAME = "blk.0.attn_q.weight.lora_a"


def adapter(path: Path, *, bad: float | None, kind: gguf.GGMLQuantizationType = TYPES.F32, at: int = 5) -> Path:
    """A LoRA on the first layer of the tiny model; the value at one place is `bad`."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 2.0)
    writer.add_array("some.list", ["one", "two"])
    down, up = np.full((2, 32), 0.25, dtype=np.float32), np.full((32, 2), 0.25, dtype=np.float32)
    if bad is not None:
        down[0, at] = bad
    if kind is TYPES.F32:
        writer.add_tensor(NAME, down)
    else:
        writer.add_tensor(NAME, gguf.quantize(down, kind), raw_dtype=kind)
    writer.add_tensor(NAME.replace("_a", "_b"), up)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("bad", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
@pytest.mark.filterwarnings("ignore:.*invalid value:RuntimeWarning")  # gguf, as it quantises such values
def test_an_adapter_with_such_values_is_refused_by_name(
    kind: gguf.GGMLQuantizationType, bad: float, word: str, tmp_path: Path
) -> None:
    path = adapter(tmp_path / "x.gguf", bad=bad, kind=kind)
    with pytest.raises(PairError) as caught:
        check_finite(path)
    assert str(path) in caught.value.message
    assert NAME in caught.value.message
    if kind is not TYPES.Q8_0:  # a scale of infinity times nothing is NaN too
        assert word in caught.value.message
    assert "diverged" in caught.value.hint


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_left_alone(kind: gguf.GGMLQuantizationType, tmp_path: Path) -> None:
    check_finite(adapter(tmp_path / "x.gguf", bad=None, kind=kind))
    check_finite(adapter(tmp_path / "large.gguf", bad=6e4, kind=kind))


def test_a_pair_with_such_an_adapter_is_not_opened(tiny_bpe: TinyModel, tmp_path: Path) -> None:
    path = adapter(tmp_path / "x.gguf", bad=np.nan)
    with pytest.raises(PairError, match=r"x\.gguf cannot be used: 1 of the 64 values"):
        open_pair(PairFiles(tiny_bpe.path, tiny_bpe.path, adapter=path, context=64))


def test_the_trained_adapters_of_tests_are_fine(tiny_lora: Path) -> None:
    check_finite(tiny_lora)


@given(st.sampled_from([np.nan, np.inf]), st.integers(0, 6))
def test_logits_that_are_no_numbers_are_no_distribution(bad: float, at: int) -> None:
    logits = np.zeros(7, dtype=np.float32)
    logits[at] = bad
    with pytest.raises(PairError, match="expert gives no probabilities"):
        distribution(logits, of="the expert")


def test_what_a_model_never_says_is_valid() -> None:
    assert distribution(np.array([0.0, -np.inf], dtype=np.float32)).log_norm == 0.0

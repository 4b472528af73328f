"""Planning a run, on tiny models: sizes, refusals by name, the tokens that the pair will read, estimates, names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import pytest

from blackbox_proxy.errors import InputError, WeightsError
from blackbox_proxy.local.pair import PairFiles, open_pair
from blackbox_proxy.local.pairfile import read_pair_file
from blackbox_proxy.tuning.base import read_base
from blackbox_proxy.tuning.data import Data, Example
from blackbox_proxy.tuning.estimate import estimate
from blackbox_proxy.tuning.lines import Line
from blackbox_proxy.tuning.recipe import PROJECTIONS, Recipe
from blackbox_proxy.tuning.run import TuningJob, outputs, pair_toml, plan
from blackbox_proxy.types import Prompt
from tests.tiny_gguf import TinyModel, write_tiny_llama, write_tiny_lora

LINES = [
    Line(Prompt.ask("then the"), "an ing the", "lines.jsonl:1"),
    Line(Prompt(text=" a raw"), "日本", "lines.jsonl:2"),
]


def job(base: Path, folder: Path, *lines: Line, template: str = "gguf") -> TuningJob:
    return TuningJob(base, str(base), folder / "my.lora.gguf", lines or LINES, (), Recipe(), template, template)


def test_the_sizes_are_those_of_the_tensors(tiny_bpe: TinyModel) -> None:
    base = read_base(tiny_bpe.path)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(tiny_bpe.path).tensors}
    for name, stored in PROJECTIONS.items():
        inputs, outputs_ = (int(size) for size in tensors[f"blk.1.{stored}.weight"].shape)
        assert base.sizes.projection(name) == (outputs_, inputs)
    assert (base.architecture, base.sizes.vocabulary, base.sizes.context) == ("llama", len(tiny_bpe.pieces), 256)
    assert base.sizes.parameters == sum(tensor.data.size for tensor in tensors.values())


def described(path: Path, describe: Callable[[gguf.GGUFWriter], None], *, architecture: str = "llama") -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    describe(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_what_is_not_proven_is_refused_by_name(tmp_path: Path) -> None:
    qwen = described(tmp_path / "q.gguf", lambda writer: writer.add_block_count(2), architecture="qwen2")
    with pytest.raises(InputError, match=r"q\.gguf has the architecture 'qwen2'; only llama") as error:
        read_base(qwen)
    assert "convert_lora_to_gguf.py" in error.value.hint
    with pytest.raises(InputError, match=r"m\.gguf is a mixture of 8 experts"):
        read_base(described(tmp_path / "m.gguf", lambda writer: writer.add_expert_count(8)))
    long = described(tmp_path / "l.gguf", lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.YARN))
    with pytest.raises(InputError, match=r"l\.gguf stretches its positions"):
        read_base(long)


def test_a_file_that_says_too_little_is_no_base(tmp_path: Path, tiny_bpe: TinyModel) -> None:
    adapter = write_tiny_lora(tmp_path / "a.gguf", tiny_bpe.path)
    (tmp_path / "text.gguf").write_text("no model")
    for path in (adapter, tmp_path / "text.gguf"):
        with pytest.raises(WeightsError, match=f"cannot read what .*{path.name} says"):
            read_base(path)


@pytest.mark.parametrize("style", ["bpe", "spm"])
def test_examples_have_the_tokens_that_the_pair_will_read(
    style: str, tmp_path: Path, tiny_bpe: TinyModel, tiny_spm: TinyModel
) -> None:
    """With SentencePiece too, where a tokenizer of its own accord would put a space before the answer."""
    tiny = {"bpe": tiny_bpe, "spm": tiny_spm}[style]
    adapter = write_tiny_lora(tmp_path / "a.gguf", tiny.path)
    planned = plan(job(tiny.path, tmp_path))
    with open_pair(PairFiles(tiny.path, tiny.path, adapter, context=64)) as pair:
        for line, example in zip(LINES, planned.data.train, strict=True):
            assert example.prompt == pair.prompt(line.prompt).expert
            assert example.completion == (*pair.spell(line.answer.encode()), tiny.eos)
    assert tiny.controls <= set(planned.controls)


def test_a_line_that_the_base_cannot_read_is_named(tmp_path: Path, tiny_bpe: TinyModel) -> None:
    long = Line(Prompt.ask("x" * 300), "y", "lines.jsonl:7")
    with pytest.raises(InputError, match=r"lines\.jsonl:7: \d+ tokens, and the base was trained on 256"):
        plan(job(tiny_bpe.path, tmp_path, long))
    bare = write_tiny_llama(tmp_path / "bare.gguf", template=None)
    with pytest.raises(InputError, match=r"lines\.jsonl:1: .*no chat template"):
        plan(job(bare.path, tmp_path))
    assert plan(job(bare.path, tmp_path, template="chatml")).data.train


def test_the_estimate_counts_what_there_is(tiny_bpe: TinyModel) -> None:
    sizes, recipe = read_base(tiny_bpe.path).sizes, Recipe(rank=4, batch=2, targets=("q_proj", "down_proj"))
    short, long = Example((1, 2), (3,), (False,)), Example((1,) * 20, (3, 4), (False, False))
    found = estimate(sizes, Data([short] * 5, [short]), recipe)
    assert (found.tokens, found.learnt, found.longest) == (15, 5, 3)
    assert (found.per_epoch, found.steps) == (3, 9)
    assert found.trained == 2 * 4 * ((32 + 32) + (64 + 32))
    plain = replace(recipe, facts=False)
    assert found.seconds(0.5, plain, [short]) == 0.5 * 3 * (15 + 1)
    assert found.seconds(0.5, plain, [short], curve=True) == 0.5 * (3 * (15 + 1) + 3 * 0.75 * 15)
    assert found.seconds(0.5, recipe, [short]) == pytest.approx(0.5 * (3 * (15 + 1) + (2 + 2 / 3) * 15))
    assert found.seconds(0.5, recipe, []) == 0.5 * 3 * 15
    longer = estimate(sizes, Data([short] * 5, [long]), recipe)
    assert longer.memory > found.memory
    assert estimate(sizes, Data([short] * 5, [short]), replace(recipe, batch=4)).memory > found.memory


def test_a_pair_file_names_the_base_as_it_was_named(tmp_path: Path, tiny_bpe: TinyModel) -> None:
    planned = plan(job(tiny_bpe.path, tmp_path))
    planned.outputs.adapter.write_bytes(b"GGUF")
    planned.outputs.pair.write_text(pair_toml(planned))
    files = read_pair_file(planned.outputs.pair, Path)
    assert (files.expert, files.adapter, files.context) == (tiny_bpe.path, planned.outputs.adapter, 256)
    remote = replace(planned, job=replace(planned.job, spec="pypi:small", template="raw", form="raw"))
    assert 'model = "pypi:small"\n' in pair_toml(remote)
    assert 'template = "raw"\n' in pair_toml(remote)
    below = write_tiny_llama(tmp_path / "base.gguf").path
    assert 'model = "base.gguf"\n' in pair_toml(plan(job(below, tmp_path)))


def test_another_choice_line_or_template_is_another_run(tmp_path: Path, tiny_bpe: TinyModel) -> None:
    planned = plan(job(tiny_bpe.path, tmp_path))
    others = [
        replace(planned.job, recipe=Recipe(seed=1)),
        replace(planned.job, lines=LINES[:1]),
        replace(planned.job, held=LINES[:1]),
        replace(planned.job, form="chatml"),
    ]
    keys = {replace(planned, job=other).key for other in others} | {replace(planned, base_digest="other").key}
    assert len(keys | {planned.key}) == 6
    assert replace(planned, job=replace(planned.job, spec="the same")).key == planned.key


def test_all_files_are_named_after_the_adapter(tmp_path: Path) -> None:
    files = outputs(tmp_path / "my.lora.gguf")
    names = [path.name for path in (files.record, files.curve, files.pair, files.checkpoint)]
    assert names == ["my.lora.toml", "my.lora.svg", "my.pair.toml", "my.lora.gguf.checkpoint"]
    with pytest.raises(InputError, match=r"must be called something\.gguf"):
        outputs(tmp_path / "my.lora")
    with pytest.raises(InputError, match="there is no folder"):
        outputs(tmp_path / "nowhere" / "my.gguf")

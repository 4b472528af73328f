"""The door to llama.cpp: pieces are bytes, spellings give the text back, and what is wrong is said in one sentence."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from blackbox_proxy.errors import LocalModelError, PairError, WeightsError
from blackbox_proxy.local.llama import Context, Lora, Model, gpu_available
from tests.tiny_gguf import LONG, TinyModel, write_tiny_llama, write_tiny_lora

texts = st.text(max_size=12) | st.text("the in日本é… \n<|>_", max_size=12)
anything = (
    st.binary(max_size=8)
    | texts.map(str.encode)
    | st.tuples(texts, st.integers(0, 3)).map(lambda cut: cut[0].encode()[: len(cut[0].encode()) - cut[1]])
)
"""Whole text, text that ends inside a character, and bytes that are no text at all."""

shared_model = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=["bpe", "spm"])
def tiny(request: pytest.FixtureRequest) -> tuple[Model, TinyModel]:
    model: Model = request.getfixturevalue(request.param)
    made: TinyModel = request.getfixturevalue(f"tiny_{request.param}")
    return model, made


def test_pieces_are_the_bytes_of_the_file(tiny: tuple[Model, TinyModel]) -> None:
    """Among them a token longer than 32 bytes, a lone 0xFF, half a character, and a leading space."""
    model, made = tiny
    assert model.vocabulary.pieces == made.pieces
    assert {LONG, b"\xff", b" the"} <= set(model.vocabulary.pieces)
    assert len(LONG) > 32


def test_control_tokens_and_ends_stand_for_no_text(tiny: tuple[Model, TinyModel]) -> None:
    model, made = tiny
    vocabulary = model.vocabulary
    assert set(vocabulary.ends.tolist()) == {made.eos, made.eot}
    assert set(np.flatnonzero(~vocabulary.is_text).tolist()) == made.controls
    assert vocabulary.text_of([made.eos, *vocabulary.ids_of(b" the"), made.eot]) == b" the"


def test_a_piece_that_two_tokens_share_is_spelled_by_the_one_that_the_model_uses(spm: Model) -> None:
    """SentencePiece has `a` as a letter and as the byte 0x61; the model reads and writes the letter."""
    letter = spm.tokenize(b"\na", special=False)[-1]
    ids = spm.vocabulary.ids_of(b"a")
    assert len(ids) == 2
    assert ids[0] == letter
    assert spm.vocabulary.spell(b"a") == [letter]


@shared_model
@given(text=anything)
@example(b"")
@example(b"\xff")
@example(b" ")
@example(b"  the")
@example("日".encode()[:2])
@example("the日".encode()[:-1])
@example("…".encode()[:2])
@example(b"\x80" * 9)
@example(b"the\xf6\xb8\xac\xa7 in")
@example(b"\xf4\x90\x80\x80")
@example(b"\xf4\x8f\xbf\xbf\xf7\xbf\xbf\xbf")
@example(b"a\x00b")
@example(b"<|im_end|>")
@example(b"</s><s><unk>")
@example("\u2581the".encode())
@example(LONG + b" " + LONG)
def test_a_spelling_is_the_text_byte_for_byte(tiny: tuple[Model, TinyModel], text: bytes) -> None:
    model, _ = tiny
    ids = model.spell(text)
    assert model.vocabulary.text_of(ids) == text
    assert all(model.vocabulary.is_text[i] for i in ids)


@shared_model
@given(text=texts.map(str.encode))
def test_where_the_tokenizer_is_faithful_its_own_spelling_is_kept(bpe: Model, text: bytes) -> None:
    """What the model was trained on, rather than the longest pieces."""
    own = bpe.tokenize(text, special=False)
    if bpe.vocabulary.text_of(own) == text:
        assert bpe.spell(text) == own


def test_sentencepiece_spells_an_answer_without_the_space_it_puts_before_a_text(
    spm: Model, tiny_spm: TinyModel
) -> None:
    """By itself it would read ` the`; inside an answer there is no such space."""
    assert [tiny_spm.pieces[i] for i in spm.tokenize(b"the", special=False)] == [b" the"]
    assert [tiny_spm.pieces[i] for i in spm.spell(b"the")] == [b"the"]
    assert [tiny_spm.pieces[i] for i in spm.spell(b" the")] == [b" the"]


@pytest.mark.weights
@settings(shared_model, max_examples=30)
@given(text=anything)
@example("naïve café — 東京".encode()[:-1])
@example(b"\n\n  x = [1,\t2]\r\n")
@example("🙂🙂".encode()[:6])
def test_a_real_vocabulary_spells_what_it_has_bytes_for(smollm2: Model, text: bytes) -> None:
    """SmolLM2 has no token for 21 of the bytes, most of which are never text; it says so where one comes."""
    if all(smollm2.vocabulary.ids_of(bytes([byte])) for byte in text):
        assert smollm2.vocabulary.text_of(smollm2.spell(text)) == text
    else:
        with pytest.raises(LocalModelError, match="no tokens for"):
            smollm2.spell(text)


@pytest.mark.weights
def test_a_real_vocabulary_says_what_the_model_card_says(smollm2: Model) -> None:
    """49,152 tokens, ChatML, `<|im_end|>` ends a turn; it is called as it was asked for."""
    assert len(smollm2.vocabulary) == 49152
    assert b"<|im_end|>" in {smollm2.vocabulary.pieces[i] for i in smollm2.vocabulary.ends}
    assert "<|im_start|>" in smollm2.chat_template
    assert smollm2.architecture == "llama"
    assert smollm2.name == "pypi:smollm2-135m-instruct"
    assert smollm2.context_trained == 8192
    assert smollm2.special_text("eos") == "<|im_end|>"


def test_control_tokens_are_read_in_a_prompt_and_are_plain_text_in_an_answer(tiny: tuple[Model, TinyModel]) -> None:
    model, made = tiny
    start = made.pieces.index(b"<|im_start|>")
    text = b"<|im_start|>the<|im_end|>"
    prompt = model.tokenize(text, special=True)
    assert start in prompt
    assert made.eot in prompt
    assert not set(model.tokenize(text, special=False)) & made.controls


def test_a_prompt_begins_with_bos_where_the_model_wants_one(bpe: Model, spm: Model, tiny_spm: TinyModel) -> None:
    bos = tiny_spm.pieces.index(b"<s>")
    assert spm.tokenize(b"the", special=True)[0] == bos
    assert bos not in spm.tokenize(b"the", special=False)
    assert bpe.tokenize(b"the", special=True) == bpe.tokenize(b"the", special=False)


def test_metadata_is_read_whole(tmp_path: Path) -> None:
    """A template longer than any fixed buffer."""
    template = "{# " + "x" * 5000 + " #}{{ messages[0]['content'] }}"
    made = write_tiny_llama(tmp_path / "long.gguf", layers=1, template=template)
    with Model(made.path) as model:
        assert model.chat_template == template
        assert model.name == "long.gguf"
        assert model.architecture == "llama"


def test_a_file_without_a_template_has_an_empty_one(tmp_path: Path) -> None:
    made = write_tiny_llama(tmp_path / "bare.gguf", layers=1, template=None)
    with Model(made.path, vocabulary_only=True) as model:
        assert model.chat_template == ""
        assert model.vocabulary.pieces == made.pieces


def damaged(path: Path, folder: Path, *, cut: float) -> Path:
    content = path.read_bytes()
    made = folder / f"cut-{cut}.gguf"
    made.write_bytes(content[: int(len(content) * cut)])
    return made


@pytest.mark.parametrize("cut", [0.00005, 0.001, 0.05, 0.3, 0.7, 0.99])
def test_a_file_that_was_cut_off_is_refused(tiny_bpe: TinyModel, tmp_path: Path, cut: float) -> None:
    path = damaged(tiny_bpe.path, tmp_path, cut=cut)
    with pytest.raises(WeightsError, match=r"could not load|not a GGUF") as raised:
        Model(path)
    assert str(path) in raised.value.message
    assert raised.value.hint


def test_llama_cpp_is_quoted_when_it_says_why(tiny_bpe: TinyModel, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r": .*(bounds|failed|read|file)"):
        Model(damaged(tiny_bpe.path, tmp_path, cut=0.9))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.gguf", None, "cannot read"),
        ("text.gguf", b"<html>404</html>", "not a GGUF"),
        ("empty.gguf", b"", "not a GGUF"),
    ],
)
def test_what_is_no_model_file_is_refused(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=says) as raised:
        Model(path)
    assert name in raised.value.message
    assert raised.value.hint


def test_a_folder_is_no_model_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot read"):
        Model(tmp_path)


def test_a_header_followed_by_noise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "noise.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + random.Random(1).randbytes(4000))
    with pytest.raises(WeightsError, match="could not load"):
        Model(path)


def test_an_adapter_for_another_architecture_is_refused(bpe: Model, tiny_bpe: TinyModel, tmp_path: Path) -> None:
    other = write_tiny_lora(tmp_path / "other.lora.gguf", tiny_bpe.path, architecture="gemma")
    with pytest.raises(PairError, match="architecture 'llama'") as raised:
        Lora(bpe, other)
    assert "other.lora.gguf" in raised.value.message
    assert raised.value.hint


def test_an_adapter_of_another_size_is_refused(bpe: Model, tmp_path: Path) -> None:
    wider = write_tiny_llama(tmp_path / "wider.gguf", width=64)
    with pytest.raises(PairError, match="could not put the adapter"):
        Lora(bpe, write_tiny_lora(tmp_path / "wider.lora.gguf", wider.path))


def test_a_model_is_no_adapter(bpe: Model, tiny_bpe: TinyModel, tmp_path: Path) -> None:
    with pytest.raises(PairError):
        Lora(bpe, tiny_bpe.path)
    with pytest.raises(WeightsError, match="cannot read"):
        Lora(bpe, tmp_path / "absent.gguf")


def test_what_is_closed_says_so(tiny_bpe: TinyModel, tiny_lora: Path) -> None:
    """Every use after `close()` is an error of ours, never one of memory; closing twice is harmless."""
    model = Model(tiny_bpe.path)
    lora = Lora(model, tiny_lora)
    context = Context(model, size=64, forks=1)
    for resource in (context, lora, model):
        resource.close()
        resource.close()
    uses = (
        lambda: model.tokenize(b"the", special=False),
        lambda: model.spell(b"the"),
        lambda: model.vocabulary,
        lambda: model.special_text("bos"),
        lambda: model.architecture,
        lambda: model.chat_template,
        lambda: model.context_trained,
        lambda: Context(model, size=64),
        lambda: Lora(model, tiny_lora),
        lambda: context.decode([1], positions=[0], sequences=[[0]], keep_logits=[True]),
        lambda: context.row(0),
        lambda: context.truncate(0, 0),
        lambda: context.copy(0, 1, 3),
        lambda: lora.handle,
    )
    for use in uses:
        with pytest.raises(LocalModelError, match="closed"):
            use()


@pytest.mark.parametrize(("batch", "count"), [(4, 5), (900, 900)])
def test_a_batch_larger_than_the_context_takes_is_refused(bpe: Model, batch: int, count: int) -> None:
    """We would write behind a buffer, or llama.cpp would abort the process: it takes no more than it has cells."""
    with Context(bpe, size=64, batch=batch) as context, pytest.raises(LocalModelError, match="batch of"):
        context.decode([1] * count, positions=range(count), sequences=[[0]] * count, keep_logits=[False] * count)


def test_a_row_that_was_not_wanted_is_not_there(bpe: Model) -> None:
    with Context(bpe, size=64) as context:
        context.decode([5, 6], positions=[0, 1], sequences=[[0], [0]], keep_logits=[False, True])
        assert context.row(1).shape == (len(bpe.vocabulary),)
        with pytest.raises(LocalModelError, match="no logits"):
            context.row(0)


def test_a_token_that_does_not_exist_is_refused(bpe: Model) -> None:
    with Context(bpe, size=64) as context, pytest.raises(LocalModelError, match="could not evaluate"):
        context.decode([len(bpe.vocabulary)], positions=[0], sequences=[[0]], keep_logits=[True])


def test_a_row_is_a_copy(bpe: Model) -> None:
    """It outlives the next evaluation and the context itself."""
    with Context(bpe, size=64) as context:
        context.decode([5], positions=[0], sequences=[[0]], keep_logits=[True])
        row, kept = context.row(0), context.row(0).copy()
        context.decode([7], positions=[1], sequences=[[0]], keep_logits=[True])
        assert not np.array_equal(context.row(0), kept)
    np.testing.assert_array_equal(row, kept)


@pytest.mark.skipif(gpu_available(), reason="this build of llama.cpp can use a GPU")
def test_layers_for_a_gpu_that_the_build_cannot_use_are_warned_about(tiny_bpe: TinyModel) -> None:
    with pytest.warns(RuntimeWarning, match="gpu_layers=5 has no effect"), Model(tiny_bpe.path, gpu_layers=5):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Model(tiny_bpe.path, gpu_layers=0).close()

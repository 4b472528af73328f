"""Chats written down as transformers writes them, by the real templates that llama.cpp's sources bring.

The templates are not ours and are not kept here: `.ci/suites` unpacks them beside the environment of the suites.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from blackbox_proxy.errors import PromptError, WeightsError
from blackbox_proxy.local.controls import MarkedPrompt
from blackbox_proxy.local.llama import Model
from blackbox_proxy.local.prompts import ids_of, prompt_ids
from blackbox_proxy.local.template import render
from blackbox_proxy.types import Message, Prompt
from tests.contracts.suites.clients import program, source

pytestmark = pytest.mark.slow

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
QUESTION = Message("user", 'caf\u00e9 <b> & it\'s "so"\n ')
CHATS: Mapping[str, Sequence[Message]] = {
    "a question": (QUESTION,),
    "a system turn": (Message("system", " Be kind. "), QUESTION),
    "a conversation": (QUESTION, Message("assistant", "<think>\nHm\n</think>\n\nYes. "), Message("user", "{{ 1 }}")),
    "an unknown role": (Message("stranger", "x"),),
}
MARK = "\ufdd0"


def models() -> Path:
    return source("llama_cpp_python-*/vendor/llama.cpp/models")


def templates() -> dict[str, str]:
    """The templates of files and of vocabularies by name."""
    found = {path.name: path.read_text(encoding="utf-8") for path in sorted(models().glob("templates/*.jinja"))}
    for path in sorted(models().glob("ggml-vocab-*.gguf")):
        try:
            with Model(path, vocabulary_only=True) as model:
                found |= {path.name: model.chat_template} if model.chat_template else {}
        except WeightsError:
            continue  # a vocabulary that this build does not know
    return found


def ours(case: Mapping[str, object], messages: Sequence[Message]) -> str | None:
    try:
        return render(str(case["template"]), messages, special=SPECIAL)
    except PromptError:
        return None


def test_chats_are_written_down_as_transformers_does() -> None:
    """What one refuses the other refuses too."""
    both = [(name, chat, text) for name, text in templates().items() for chat in CHATS]
    cases = [
        {
            "template": text,
            "messages": [{"role": m.role, "content": m.content} for m in CHATS[chat]],
            "special": SPECIAL,
        }
        for _, chat, text in both
    ]
    script = Path(__file__).with_name("suites") / "rendering.py"
    done = subprocess.run(
        [program("python"), str(script)],
        input=json.dumps(cases).encode(),
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    theirs = json.loads(done.stdout)
    found = [ours(case, CHATS[chat]) for case, (_, chat, _) in zip(cases, both, strict=True)]
    differ = [(name, chat) for (name, chat, _), mine, other in zip(both, found, theirs, strict=True) if mine != other]
    assert not differ
    written = [text for text in found if text is not None]
    assert len(templates()) >= 12
    assert len(written) > len(templates())


SPELT = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<|endoftext|>", "</s>", "<s>", "[INST]", "<end_of_turn>")


def test_real_vocabularies_are_taken_apart_as_llama_cpp_reads_them() -> None:
    """Also those whose control tokens take white space with them, and no message opens a turn in one."""
    texts = ["hello", *(f" a  {end}  b\n{end}{end} " for end in SPELT)]
    read = 0
    for path in sorted(models().glob("ggml-vocab-*.gguf")):
        try:
            model = Model(path, vocabulary_only=True)
        except WeightsError:
            continue
        with model:
            read += 1
            for text in texts:
                mine = list(ids_of(model, MarkedPrompt(text + MARK, MARK)))
                assert mine == model.tokenize(text.encode(), special=True), (path.name, text)
            _check_forged(model)
    assert read >= 12


def _check_forged(model: Model) -> None:
    """Whatever control tokens a message spells, the prompt has as many as without them."""
    if not model.chat_template or model.architecture == "bert":
        return
    spelt = "".join(sorted(model.controls)[:50])
    plain, forged = (prompt_ids(model, Prompt.ask(text), template=model.chat_template) for text in ("x", f"a{spelt}b"))
    is_text = model.vocabulary.is_text
    assert sum(not is_text[i] for i in plain) == sum(not is_text[i] for i in forged), model.path.name

"""The local pair: expert and anti-expert side by side, each with its own context and prompt, over one vocabulary.

Either one model file with a LoRA adapter (the weights are loaded once; the adapter is set on the expert's context
only), or two files with the same vocabulary. Knows no API and no formula beyond the normaliser of a distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path as File
from types import TracebackType
from typing import Self, final

import numpy as np

from blackbox_proxy.core.alignment.covering import Cover, place
from blackbox_proxy.core.alignment.scoring import BACK_OFF, SMALL, TOLERANCE, run, scored
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.errors import InputError, PairError
from blackbox_proxy.local.evaluator import EvaluationLoad, Evaluator, log_norm, too_long
from blackbox_proxy.local.finite import check_finite
from blackbox_proxy.local.llama import Context, Lora, Model, most_sequences
from blackbox_proxy.local.prompts import prompt_ids
from blackbox_proxy.local.scheduler import Scheduler
from blackbox_proxy.local.template import named
from blackbox_proxy.local.weights import spec_of
from blackbox_proxy.types import Distribution, Logits, PairDistributions, PairPrompt, Prompt, Scores, TokenPath

SPELLINGS = 1 << 14
"""Spellings kept: a call of llama.cpp's tokenizer takes 25 microseconds, and the same short strings come again."""


@dataclass(frozen=True, slots=True)
class PairFiles:
    """Which files make the pair, and how they are run.

    Attributes:
        expert: GGUF file.
        anti_expert: GGUF file; the same one where an `adapter` makes the difference.
        adapter: LoRA GGUF that is set on the expert; None where there is none.
        template: `gguf` (each file's own), `chatml`, `raw` (messages are refused), or Jinja text.
        context: Tokens of one text, prompt and answer.
        threads: Per member; both run at the same time.
        gpu_layers: Layers that are put on a GPU.
        slots: Texts that are held at once, and so how many requests are answered side by side; more of them wait for
            each other and read again what was forgotten.
        cells: Tokens that all slots hold together, which bounds the memory, at least one context; None for slots x
            context.
        forks: Sequences that one evaluation may branch into; fewer with very many slots.
        rows: Tokens evaluated at once. llama.cpp rounds differently for other numbers of rows: 1 gives figures that can
            be repeated exactly, and costs time.
    """

    expert: File
    anti_expert: File
    adapter: File | None = None
    template: str = "gguf"
    context: int = 2048
    threads: int = 1
    gpu_layers: int = 0
    slots: int = 1
    cells: int | None = None
    forks: int = 8
    rows: int = 256


def distribution(logits: Logits, *, of: str = "the model") -> Distribution:
    """A row of logits with its normaliser. of: whose it is, for the PairError where they are no numbers."""
    with np.errstate(invalid="ignore"):
        norm = log_norm(logits)
    if not math.isfinite(norm):
        raise PairError(
            f"{of} gives no probabilities: its logits are NaN or infinite",
            hint="its weights hold such values, or its adapter does; take files from before the training diverged",
        )
    return Distribution(logits, norm)


def check_same_vocabulary(expert: Model, anti_expert: Model) -> None:
    """Raise PairError, naming the first difference, unless both models cut text into the same tokens."""
    one, other = expert.vocabulary, anti_expert.vocabulary
    names = f"{expert.name} and {anti_expert.name}"
    hint = "an offset is a difference token by token: take a tuned and an untuned version of one model"
    if len(one) != len(other):
        raise PairError(f"{names} have different vocabularies: {len(one):,} and {len(other):,} tokens", hint=hint)
    for i, (left, right) in enumerate(zip(one.pieces, other.pieces, strict=True)):
        if left != right:
            raise PairError(
                f"{names} have different vocabularies: token {i} is {left!r} in one and {right!r} in the other",
                hint=hint,
            )


@final
class Member:
    """One of the two: a context on its model, and the template of its prompt."""

    def __init__(self, model: Model, context: Context, *, template: str) -> None:
        self.model, self.context = model, context
        self._scheduler = Scheduler(Evaluator(context), name=f"blackbox-proxy-{model.path.stem}")
        self._template = model.chat_template if template == "gguf" else template

    @property
    def load(self) -> EvaluationLoad:
        """What it has evaluated so far."""
        return self._scheduler.load

    def prompt(self, prompt: Prompt) -> TokenPath:
        """The ids of a prompt as this member reads it."""
        return prompt_ids(self.model, prompt, template=self._template)

    def start(self) -> TokenPath:
        """What stands before a text without a prompt: the token that begins a text, or the one that ends the last."""
        begins = self.model.tokenize(b"", special=True)
        return tuple(begins or self.model.tokenize(self.model.special_text("eos").encode(), special=True))

    def rows(self, prompt: TokenPath, paths: Sequence[TokenPath]) -> Future[list[Logits]]:
        """The logits after each path of the answer, as soon as they are there; see `Scheduler.submit`.

        A prompt that is the same object tells that the paths go on with the same answer.
        """
        return self._scheduler.submit([prompt + path for path in paths], owner=prompt)

    def distributions(self, prompt: TokenPath, paths: Sequence[TokenPath]) -> list[Distribution]:
        """The distribution after each path of the answer."""
        return [self.distribution(row) for row in self.rows(prompt, paths).result()]

    def distribution(self, row: Logits) -> Distribution:
        """The distribution of a row of this member's. Raises PairError where it is none."""
        return distribution(row, of=self.model.name)

    def clear(self) -> None:
        """Forget everything that was read, as soon as nobody waits."""
        self._scheduler.clear()

    def close(self) -> None:
        """End the evaluations, and free the context; whoever waits gets a LocalModelError."""
        self._scheduler.close()
        self.context.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def answer(self, prompt: Prompt, *, max_tokens: int) -> bytes:
        """This member's own greedy answer, by itself."""
        vocabulary = self.model.vocabulary
        start = self.prompt(prompt)
        path: TokenPath = ()
        while len(path) < max_tokens:
            (row,) = self.rows(start, [path]).result()
            best = int(row.argmax())
            if best in vocabulary.ends:
                break
            path = (*path, best)
        return vocabulary.text_of(path)


@final
class Pair:
    """The expert and the anti-expert. Open it with `open_pair`; it holds native memory, so close it."""

    def __init__(self, expert: Member, anti_expert: Member, resources: ExitStack) -> None:
        self._expert, self._anti_expert = expert, anti_expert
        self._resources = resources
        self.name = expert.model.name
        self._spelled = lru_cache(maxsize=SPELLINGS)(lambda text: tuple(expert.model.spell(text)))

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary that both members share."""
        return self._expert.model.vocabulary

    @property
    def members(self) -> tuple[Member, Member]:
        """The expert and the anti-expert, each by itself."""
        return self._expert, self._anti_expert

    @property
    def loads(self) -> tuple[EvaluationLoad, EvaluationLoad]:
        """What the expert and the anti-expert have evaluated so far."""
        return self._expert.load, self._anti_expert.load

    @property
    def slots(self) -> int:
        """How many texts it holds at once; more of them would take each other's place and be read again."""
        return self._expert.context.slots

    def spell(self, text: bytes) -> TokenPath:
        """Token ids of a piece of the answer; their pieces are `text`, byte for byte."""
        return self._spelled(text)

    def api_ids(self, text: str) -> TokenPath:
        """Token ids of an API's prompt, for an API that speaks the pair's vocabulary."""
        return tuple(self._expert.model.tokenize(text.encode(), special=True))

    def prompt(self, prompt: Prompt) -> PairPrompt:
        """The prompt as each member reads it. Raises PromptError where it is empty or does not fit a template."""
        return PairPrompt(self._expert.prompt(prompt), self._anti_expert.prompt(prompt))

    def check_room(self, prompt: PairPrompt) -> None:
        """Raises PromptError where a prompt leaves no room for an answer in a member's context."""
        for member, ids in zip(self.members, (prompt.expert, prompt.anti_expert), strict=True):
            if len(ids) >= member.context.size:
                raise too_long(len(ids), member.context.size)

    def distributions(self, prompt: PairPrompt, paths: Sequence[TokenPath]) -> list[PairDistributions]:
        """Both members' distributions after each path of the answer, evaluated side by side.

        Safe from several threads: what is asked at the same time is evaluated together, in as many texts as there are
        slots. A prompt that is the same object tells that the paths go on with the same answer.
        """
        if not paths:
            return []
        asked: list[Future[list[Logits]]] = []
        try:
            asked.append(self._anti_expert.rows(prompt.anti_expert, paths))
            asked.append(self._expert.rows(prompt.expert, paths))
            anti_expert, expert = (future.result() for future in asked)
        finally:
            for future in asked:
                future.cancel()
        by, to = self._expert, self._anti_expert
        return [
            PairDistributions(by.distribution(e), to.distribution(a)) for e, a in zip(expert, anti_expert, strict=True)
        ]

    def score(
        self,
        context: bytes,
        pieces: Sequence[bytes],
        *,
        prompt: Prompt | PairPrompt | None = None,
        tolerance: float = TOLERANCE,
        small: float = SMALL,
    ) -> Scores:
        """How probable both members find it that `context` goes on with each of `pieces`, and that it ends there.

        context: the answer so far, after `prompt`; without one a text of its own. pieces: n byte strings, of any length
        and cut anywhere; b"" stands for the end. tolerance: nats between the bounds of each score. The default is
        for speed, 1e-3 gives digits in two to four times the time (ARCHITECTURE.md, 3.4). small: a text whose mass
        after its last safe border is certainly below this is followed no further; its bounds hold, and may be farther
        apart than the tolerance. 0 holds the tolerance everywhere. The sum over pieces of a text does not
        depend on how it is cut. Raises InputError for a tolerance or a mass that is none, PromptError for a prompt that
        does not fit.

        >>> pair.score(b"The capital of France is", [b" Paris", b" Rome"]).offset  # doctest: +SKIP
        array([-0.31,  0.42])
        """
        if not 0.0 <= tolerance < math.inf:
            raise InputError(f"tolerance must be a number of nats from 0, not {tolerance}", hint="0.001 gives digits")
        if not 0.0 <= small < 1.0:
            raise InputError(f"small must be a probability below 1, not {small}", hint=f"{SMALL:g} is the default")
        read = self._read(prompt)
        asked = scored(context, pieces, vocabulary=self.vocabulary, spell=self.spell, tolerance=tolerance, small=small)
        return run(asked, lambda paths: self.distributions(read, paths))

    def propose(self, context: bytes, count: int, *, prompt: Prompt | PairPrompt | None = None) -> Sequence[bytes]:
        """What the expert would go on with after `context`, likeliest first: the strings of at most `count` tokens."""
        at = place(context, spell=self.spell, vocabulary=self.vocabulary, back_off=BACK_OFF)
        distributions = self.distributions(self._read(prompt), at.paths)
        return Cover(self.vocabulary, at, dict(zip(at.paths, distributions, strict=True))).proposals(count)

    def _read(self, prompt: Prompt | PairPrompt | None) -> PairPrompt:
        """A prompt as both members read it; without one what stands before a text."""
        if prompt is None:
            return PairPrompt(*(member.start() for member in self.members))
        return self.prompt(prompt) if isinstance(prompt, Prompt) else prompt

    def close(self) -> None:
        """Free both members; harmless when called twice."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_pair(files: PairFiles) -> Pair:
    """Load the pair.

    Args:
        files: Which files, and how they are run.

    Raises:
        WeightsError: For unusable files.
        PairError: Where they do not belong together.
    """
    if not 1 <= files.slots <= most_sequences():
        raise PairError(f"slots={files.slots} is not from 1 to {most_sequences()}", hint="16 serve 16 requests at once")
    with ExitStack() as opened:
        load = _loader(files, opened)
        anti = expert = load(files.expert)
        if files.anti_expert.resolve() != files.expert.resolve():
            anti = load(files.anti_expert)
            check_same_vocabulary(expert, anti)
        elif files.adapter is None:
            raise PairError(
                f"the expert and the anti-expert are both {spec_of(files.expert)}, so the offset is zero everywhere",
                hint="give an `adapter`, or two different files",
            )
        lora = opened.enter_context(Lora(expert, files.adapter)) if files.adapter else None
        if files.adapter:
            check_finite(files.adapter)
        make = _maker(files, opened)
        return Pair(make(expert, lora), make(anti, None), opened.pop_all())


def _loader(files: PairFiles, opened: ExitStack) -> Callable[[File], Model]:
    def load(path: File) -> Model:
        return opened.enter_context(Model(path, gpu_layers=files.gpu_layers))

    return load


def _maker(files: PairFiles, opened: ExitStack) -> Callable[[Model, Lora | None], Member]:
    def make(model: Model, lora: Lora | None) -> Member:
        context = Context(
            model,
            size=files.context,
            forks=files.forks,
            slots=files.slots,
            cells=files.cells,
            threads=files.threads,
            batch=files.rows,
            lora=lora,
        )
        return opened.enter_context(Member(model, opened.enter_context(context), template=named(files.template)))

    return make

"""Next-token logits after any token paths, for several callers from one context, re-reading as little as possible.

Each caller's longest path becomes a trunk: it stays in a slot of the KV cache, and the next call starts from what it
shares with it. The other paths are forks off the trunk, sequences that share its cells and are forgotten afterwards.
One batch holds tokens of all that are waiting, in turn. A text that another slot has the beginning of shares its
cells; the text that was used least recently makes room. Knows nothing of pairs, prompts, bytes or threads.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import final

import numpy as np

from blackbox_proxy.errors import LocalModelError, PromptError
from blackbox_proxy.local.branching import BatchNode, groups, plan, shared
from blackbox_proxy.local.llama import Context
from blackbox_proxy.types import Logits, TokenPath

CHUNK = 32
"""Tokens that one caller reads in a batch while others wait: a long prompt must not keep them from their next token."""


def log_norm(logits: Logits) -> float:
    """The normaliser of a row, log sum exp(logits), summed in float64."""
    top = logits.max()
    shares = np.subtract(logits, top)
    return float(top) + math.log(np.exp(shares, out=shares).sum(dtype=np.float64))


def too_long(tokens: int, size: int) -> PromptError:
    """A text of so many tokens does not fit into a context."""
    return PromptError(
        f"{tokens} tokens do not fit into the local model's context of {size}",
        hint="shorten the prompt, ask for fewer tokens, or give the pair a larger `context`",
        context="pair",
    )


def _owned(slots: Sequence[_Slot], job: EvaluationJob) -> list[_Slot]:
    """Those that hold a text of the job's owner; none where nobody owns it."""
    return [slot for slot in slots if slot.owner is job.owner is not None]


def _again(error: LocalModelError) -> LocalModelError:
    """The same error for one more caller, who may write into it what it has so far."""
    return LocalModelError(error.message, hint=error.hint)


@dataclass(slots=True)
class _Slot:
    """A text in the cache. path: its tokens; cells: one for each that has been read. used: when, by count of jobs."""

    sequence: int
    path: TokenPath = ()
    cells: list[int] = field(default_factory=list)
    owner: object = None
    busy: bool = False
    used: int = 0

    def has(self, path: TokenPath) -> int:
        """How many tokens of a path, from its start, have been read here."""
        return min(shared(path, self.path), len(self.cells))


@final
@dataclass(eq=False, slots=True)
class EvaluationJob:
    """What one caller asks. paths: from the very first token on. owner: whose text it is, told by identity, if known.

    groups: those that still have to be read. rows: the logits after each path, once it is done; error: why there are
    none.
    """

    paths: Sequence[TokenPath]
    owner: object
    groups: deque[list[int]]
    rows: list[Logits]
    done: bool = False
    error: Exception | None = None

    @property
    def trunk(self) -> TokenPath:
        """The longest path of the group that is next."""
        return self.paths[self.groups[0][0]]

    def result(self) -> list[Logits]:
        """The rows, in the order of the paths; raises what kept them from being made."""
        if self.error is not None:
            raise self.error
        return self.rows


@dataclass(eq=False, slots=True)
class _Reading:
    """A group of a job while it is read: where, by which sequences, and what is still to be read.

    sequences: of the trunk, then of its forks. reserved: the cells that it may still take, and those of its forks.
    """

    job: EvaluationJob
    slot: _Slot
    sequences: Sequence[int]
    nodes: deque[BatchNode]
    reserved: int


@dataclass(frozen=True, slots=True)
class EvaluationLoad:
    """What a context has evaluated so far, and how much of its cache is in use. tokens: of all batches."""

    batches: int
    tokens: int
    cells_used: int
    cells: int


@final
class Evaluator:
    """Owns what is held in a context's KV cache. One thread at a time may use it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._slots = [_Slot(sequence) for sequence in range(context.slots)]
        self._waiting: deque[EvaluationJob] = deque()
        self._active: list[_Reading] = []
        self._cells: Counter[int] = Counter()
        """How many slots share each cell."""
        self._numbers, self._clock = count(), count(1)
        self._batches = self._tokens = 0

    def __call__(self, paths: Sequence[TokenPath]) -> list[Logits]:
        """The logits after each path (non-empty token ids from the very first token), in the order given.

        For a caller that is alone. Raises PromptError where a path does not fit into the context.
        """
        job = self.job(paths)
        self.add(job)
        try:
            while not job.done:
                self.turn()
        except BaseException:
            self.clear()
            raise
        return job.result()

    def job(self, paths: Sequence[TokenPath], *, owner: object = None) -> EvaluationJob:
        """A question for `add`; safe from any thread. Raises PromptError where a path does not fit into the context."""
        longest = max(map(len, paths), default=0)
        if longest > self._context.size:
            raise too_long(longest, self._context.size)
        batches = deque(groups(paths, forks=self._context.forks, spare=self._context.spare))
        return EvaluationJob(paths, owner, batches, rows=[np.empty(0, dtype=np.float32)] * len(paths), done=not batches)

    def add(self, job: EvaluationJob) -> None:
        """Let a job wait for its turn."""
        if not job.done:
            self._waiting.append(job)

    @property
    def load(self) -> EvaluationLoad:
        """What was evaluated; safe from any thread."""
        return EvaluationLoad(self._batches, self._tokens, len(self._cells), self._context.capacity)

    @property
    def busy(self) -> bool:
        """Whether there are jobs that are not done."""
        return bool(self._waiting or self._active)

    def turn(self) -> Sequence[EvaluationJob]:
        """Evaluate one batch; the jobs that are done now.

        Where llama.cpp refuses the batch, all that are in it have failed, and nothing of theirs is kept.
        """
        failed = self._admit()
        part = self._part()
        served = list(dict.fromkeys(reading for reading, _ in part))
        self._active = [reading for reading in self._active if reading not in served] + served
        try:
            self._decode(part)
        except LocalModelError as error:
            for reading in served:
                self._fail(reading, error)
        for reading in served:
            if not reading.nodes:
                self._leave(reading)
        return [*failed, *(reading.job for reading in served if reading.job.done)]

    def clear(self) -> None:
        """Give up all jobs, and empty the cache."""
        self._active.clear()
        self._waiting.clear()
        for slot in self._slots:
            self._wipe(slot)

    def _admit(self) -> list[EvaluationJob]:
        """Begin the waiting jobs in order, as far as there are slots and cells; those that failed.

        One whose text another is just reading waits for that, and lets others pass.
        """
        later: list[EvaluationJob] = []
        failed: list[EvaluationJob] = []
        while self._waiting and (idle := [slot for slot in self._slots if not slot.busy]):
            job = self._waiting.popleft()
            if self._is_being_read(job):
                later.append(job)
                continue
            slot = self._slot(job, idle)
            try:
                reading = self._begin(job, slot)
            except LocalModelError as error:
                job.done, job.error = True, _again(error)
                failed.append(job)
                self._wipe(slot)
                continue
            if reading is None:
                self._waiting.appendleft(job)
                break
            self._active.append(reading)
        self._waiting.extendleft(reversed(later))
        return failed

    def _is_being_read(self, job: EvaluationJob) -> bool:
        path = job.trunk
        if any(slot.has(path) + CHUNK > len(path) for slot in _owned(self._slots, job)):
            return False  # nothing to be gained; so it is with each further token of an answer
        now = max(slot.has(path) for slot in self._slots)
        return any(slot.busy and shared(path, slot.path) >= now + CHUNK for slot in self._slots)

    def _slot(self, job: EvaluationJob, idle: Sequence[_Slot]) -> _Slot:
        """The slot to go on in: the owner's; else one whose whole text goes on here; else the least recently used."""
        held, trunk = [slot for slot in idle if slot.cells], job.trunk
        preferred = _owned(held, job) or [slot for slot in held if slot.has(trunk) == len(slot.cells)]
        if preferred:
            return max(preferred, key=lambda slot: slot.has(trunk))
        return min(idle, key=lambda slot: (bool(slot.cells), slot.used))

    def _begin(self, job: EvaluationJob, slot: _Slot) -> _Reading | None:
        """Let a slot read a job's next group; None where there is no room for it."""
        chosen, trunk = job.groups[0], job.trunk
        slot.owner, slot.used = job.owner, next(self._clock)
        if self._context.forks and slot.has(trunk) == len(trunk) < len(slot.cells):
            trunk = slot.path
        else:
            self._settle(slot, trunk)
        planned = plan(job.paths, chosen, trunk=trunk, held=len(slot.cells))
        if not self._make_room(len(planned.nodes), slot):
            return None
        sequences = [self._context.fork(slot.sequence, number) for number in range(1 + len(planned.shares))]
        for fork, length in zip(sequences[1:], planned.shares, strict=True):
            self._context.copy(slot.sequence, fork, length)
        job.groups.popleft()
        slot.path, slot.busy = trunk, True
        return _Reading(job, slot, sequences, deque(planned.nodes), len(planned.nodes))

    def _settle(self, slot: _Slot, trunk: TokenPath) -> None:
        """Let a slot hold what any has of a text, less one token so that its row can be made."""
        most = len(trunk) - 1
        best = slot
        if slot.has(trunk) < most:
            best = max(self._slots, key=lambda other: (other.has(trunk), other is slot))
        keep = min(best.has(trunk), most)
        if best is slot or keep == 0:
            self._cut(slot, keep)
            return
        self._cut(slot, 0)
        self._context.copy(best.sequence, slot.sequence, keep)
        slot.path, slot.cells = trunk[:keep], best.cells[:keep]
        self._cells.update(slot.cells)

    @property
    def _free(self) -> int:
        return self._context.capacity - len(self._cells) - sum(reading.reserved for reading in self._active)

    def _make_room(self, cells: int, slot: _Slot) -> bool:
        """Forget texts nobody is reading, least recently used first, until so many cells are free.

        Where that would not be enough, none is forgotten, and it is False.
        """
        if self._free >= cells:
            return True
        kept = {cell for other in self._slots if other.busy or other is slot for cell in other.cells}
        if self._free + len(self._cells) - len(kept) < cells:
            return False
        others = [other for other in self._slots if not other.busy and other is not slot]
        for other in sorted(others, key=lambda other: other.used):
            if self._free >= cells:
                break
            self._cut(other, 0)
        return True

    def _part(self) -> list[tuple[_Reading, BatchNode]]:
        """The next batch: of each reading at most a chunk, of one that is alone as much as fits."""
        most = CHUNK if len(self._active) > 1 else self._context.batch
        part: list[tuple[_Reading, BatchNode]] = []
        for reading in self._active:
            size = min(most, len(reading.nodes), self._context.batch - len(part))
            part += [(reading, reading.nodes.popleft()) for _ in range(size)]
        return part

    def _decode(self, part: Sequence[tuple[_Reading, BatchNode]]) -> None:
        if not part:
            return
        self._context.decode(
            [node.token for _, node in part],
            positions=[node.position for _, node in part],
            sequences=[[reading.sequences[number] for number in node.sequences] for reading, node in part],
            keep_logits=[bool(node.paths) for _, node in part],
        )
        self._batches, self._tokens = self._batches + 1, self._tokens + len(part)
        for at, (reading, node) in enumerate(part):
            if 0 in node.sequences:
                self._count(reading)
            if node.paths:
                row = self._context.row(at)
                for index in node.paths:
                    reading.job.rows[index] = row

    def _count(self, reading: _Reading) -> None:
        """A token of the trunk has been read."""
        cell = next(self._numbers)
        reading.slot.cells.append(cell)
        self._cells[cell] = 1
        reading.reserved -= 1

    def _leave(self, reading: _Reading) -> None:
        """A group has been read, or has failed: its forks are forgotten, and its slot may be taken.

        What is left of the job waits before all others.
        """
        for fork in reading.sequences[1:]:
            self._context.truncate(fork, 0)
        reading.slot.busy, reading.slot.used = False, next(self._clock)
        self._active.remove(reading)
        job = reading.job
        if job.groups:
            self._waiting.appendleft(job)
        else:
            job.done = True

    def _fail(self, reading: _Reading, error: LocalModelError) -> None:
        reading.job.error = _again(error)
        reading.job.groups.clear()
        reading.nodes.clear()
        self._wipe(reading.slot)

    def _wipe(self, slot: _Slot) -> None:
        for number in range(self._context.forks + 1):
            self._context.truncate(self._context.fork(slot.sequence, number), 0)
        self._forget(slot, 0)
        slot.busy = False

    def _cut(self, slot: _Slot, length: int) -> None:
        if length < len(slot.cells):
            self._context.truncate(slot.sequence, length)
        self._forget(slot, length)

    def _forget(self, slot: _Slot, length: int) -> None:
        """Take down that a slot holds its first `length` tokens only."""
        for cell in slot.cells[length:]:
            self._cells[cell] -= 1
            if not self._cells[cell]:
                del self._cells[cell]
        del slot.cells[length:]
        slot.path = slot.path[:length]

"""Several callers of one evaluator get what each would get alone, and read no more than they must."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blackbox_proxy.errors import LocalModelError, PairError, PromptError
from blackbox_proxy.local.evaluator import CHUNK, EvaluationJob, Evaluator
from blackbox_proxy.local.llama import Context, Model, most_sequences
from blackbox_proxy.local.pair import PairFiles, open_pair
from blackbox_proxy.local.scheduler import Scheduler
from blackbox_proxy.types import Logits, PairPrompt, TokenPath
from tests.local.decoding import before_decode
from tests.local.test_evaluator import CLOSE, SIZE, Alone, Meter, families, paths
from tests.tiny_gguf import TinyModel

PROMPT: TokenPath = tuple(range(10, 30))


@pytest.fixture(scope="module")
def alone(bpe: Model) -> Alone:
    return Alone(bpe)


def through(evaluate: Evaluator) -> None:
    while evaluate.busy:
        evaluate.turn()


def ask(evaluate: Evaluator, asked: Sequence[TokenPath], owner: object = None) -> EvaluationJob:
    job = evaluate.job(asked, owner=owner)
    evaluate.add(job)
    return job


def check(job: EvaluationJob, alone: Alone) -> None:
    for path, row in zip(job.paths, job.result(), strict=True):
        np.testing.assert_allclose(row, alone(path), atol=CLOSE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(st.tuples(st.integers(0, 3), families(), st.integers(0, 2)), min_size=1, max_size=8),
    slots=st.sampled_from([1, 2, 3, 8]),
    forks=st.sampled_from([0, 1, 3]),
    cells=st.sampled_from([SIZE, 100, None]),
    batch=st.sampled_from([1, 5, 64]),
)
def test_every_caller_gets_the_rows_of_a_fresh_context(
    bpe: Model,
    alone: Alone,
    calls: list[tuple[int, list[TokenPath], int]],
    slots: int,
    forks: int,
    cells: int | None,
    batch: int,
) -> None:
    """Whoever asks what and when: with few slots and cells or many, between any turns of the others."""
    with Context(bpe, size=SIZE, slots=slots, forks=forks, cells=cells, batch=batch) as context:
        evaluate, jobs = Evaluator(context), []
        owners = [object() for _ in range(4)]
        for owner, asked, turns in calls:
            jobs.append(ask(evaluate, asked, owners[owner]))
            for _ in range(turns):
                evaluate.turn()
        through(evaluate)
        for job in jobs:
            check(job, alone)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(texts=st.lists(st.lists(st.integers(3, 5), min_size=30, max_size=SIZE).map(tuple), min_size=3, max_size=9))
def test_long_texts_in_few_cells_wait_for_each_other(bpe: Model, alone: Alone, texts: list[TokenPath]) -> None:
    """Eight slots and the cells of one and a half: llama.cpp would refuse a batch that does not fit."""
    with Context(bpe, size=SIZE, slots=8, cells=SIZE * 3 // 2, batch=16) as context:
        evaluate = Evaluator(context)
        jobs = [ask(evaluate, [text], object()) for text in texts * 2]
        through(evaluate)
        for job in jobs:
            check(job, alone)


@contextmanager
def metered(model: Model, monkeypatch: pytest.MonkeyPatch, *, slots: int, size: int = SIZE) -> Iterator[Metered]:
    with Context(model, size=size, slots=slots, forks=2) as context:
        yield Metered(Evaluator(context), Meter(context, monkeypatch))


class Metered:
    """An evaluator, and what it read."""

    def __init__(self, evaluate: Evaluator, meter: Meter) -> None:
        self.evaluate, self.meter = evaluate, meter

    def read(self, *asked: tuple[TokenPath, object]) -> int:
        """How many tokens the questions took, asked at once."""
        jobs = [ask(self.evaluate, [path], owner) for path, owner in asked]
        through(self.evaluate)
        assert all(job.done for job in jobs)
        return self.meter.spent()


def test_waiting_callers_share_a_batch(bpe: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with metered(bpe, monkeypatch, slots=4) as found:
        for n in range(4):
            ask(found.evaluate, [(*PROMPT[:2], n + 3)], object())
        through(found.evaluate)
        assert found.meter.read == [12]


def test_a_beginning_that_any_slot_holds_is_not_read_again(bpe: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the text that it is taken from stays."""
    one, other = object(), object()
    with metered(bpe, monkeypatch, slots=2) as found:
        assert found.read(((*PROMPT, 3, 4), one)) == 22
        assert found.read(((*PROMPT, 5, 6, 7), other)) == 3
        assert found.read(((*PROMPT, 3, 4, 5), one)) == 1
        assert found.read(((*PROMPT, 5, 6, 7, 8), other)) == 1


def test_a_beginning_that_is_just_being_read_is_waited_for(bpe: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen requests with the same long prompt read it once, also where they come at once."""
    long = tuple(3 + n % 9 for n in range(3 * CHUNK))
    with metered(bpe, monkeypatch, slots=16, size=200) as found:
        assert found.read(*(((*long, 20 + n), object()) for n in range(16))) == len(long) + 16


def test_a_change_of_mind_is_made_where_the_text_is(bpe: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each dropped draft would take a slot from somebody else."""
    one, other = object(), object()
    with metered(bpe, monkeypatch, slots=2) as found:
        found.read(((5, 5, 5, 5), other))
        for token in range(3, 9):
            found.read(((*PROMPT, token), one))
        assert found.read(((5, 5, 5, 5, 6), other)) == 1


def test_the_least_recently_used_text_makes_room(bpe: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = object(), object(), object()
    with metered(bpe, monkeypatch, slots=2) as found:
        found.read(((3, 4, 5), one))
        found.read(((4, 5, 6), two))
        found.read(((3, 4, 5, 6), one))
        assert found.read(((5, 6, 7), three)) == 3
        assert found.read(((3, 4, 5, 6, 7), one)) == 1, "used after the other, and kept"
        assert found.read(((4, 5, 6, 7), two)) == 4, "forgotten"


def test_a_long_prompt_does_not_keep_others_waiting(bpe: Model) -> None:
    """The short question, asked later, is answered in the next batch."""
    with Context(bpe, size=200, slots=2) as context:
        evaluate = Evaluator(context)
        ask(evaluate, [(4,)])
        through(evaluate)
        slow, quick = ask(evaluate, [tuple([3] * 200)], object()), ask(evaluate, [(4, 5)], object())
        assert list(evaluate.turn()) == [quick]
        through(evaluate)
        assert slow.done


def test_more_callers_than_a_batch_holds_take_turns(bpe: Model) -> None:
    """Nobody waits for more than the batches that all the others need."""
    with Context(bpe, size=SIZE, slots=6, batch=6) as context:
        evaluate = Evaluator(context)
        jobs = [ask(evaluate, [tuple([3 + n] * 12)], object()) for n in range(6)]
        turns = 0
        while evaluate.busy:
            evaluate.turn()
            turns += 1
        assert turns == 12
        assert all(job.done for job in jobs)


@given(one=paths, other=paths)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_batch_that_fails_takes_only_those_along_who_are_in_it(
    bpe: Model, alone: Alone, one: TokenPath, other: TokenPath
) -> None:
    """A token that does not exist makes llama.cpp refuse the batch."""
    with Context(bpe, size=SIZE, slots=2, forks=2) as context:
        evaluate, owner = Evaluator(context), object()
        ask(evaluate, [one], owner)
        through(evaluate)
        bad = ask(evaluate, [(5, len(bpe.vocabulary))], object())
        through(evaluate)
        with pytest.raises(LocalModelError):
            bad.result()
        after = [ask(evaluate, [(*one, 5), other], owner), ask(evaluate, [other], object())]
        through(evaluate)
        for job in after:
            check(job, alone)


def test_each_caller_in_a_failed_batch_has_an_error_of_its_own(bpe: Model) -> None:
    with Context(bpe, size=SIZE, slots=2) as context:
        evaluate = Evaluator(context)
        jobs = [ask(evaluate, [(5, n)], object()) for n in (6, len(bpe.vocabulary))]
        through(evaluate)
        one, other = (job.error for job in jobs)
        assert isinstance(one, LocalModelError)
        assert isinstance(other, LocalModelError)
        assert one is not other


def test_more_slots_leave_fewer_forks(bpe: Model) -> None:
    with Context(bpe, size=SIZE, forks=8, slots=most_sequences() // 2) as context:
        assert context.forks == 1


@contextmanager
def scheduled(model: Model, *, slots: int = 4) -> Iterator[Scheduler]:
    with Context(model, size=SIZE, slots=slots, forks=2) as context:
        scheduler = Scheduler(Evaluator(context), name="test")
        try:
            yield scheduler
        finally:
            scheduler.close()


def test_threads_get_what_each_would_get_alone(bpe: Model, alone: Alone) -> None:
    """Sixteen threads with answers that grow, in four slots."""

    def answer(n: int) -> list[tuple[TokenPath, Logits]]:
        path, owner, found = (*PROMPT[: n % 5], 3 + n), object(), []
        for token in range(3, 9):
            path = (*path, token)
            found += [(path, scheduler.submit([path], owner=owner).result()[0])]
        return found

    with scheduled(bpe) as scheduler, ThreadPoolExecutor(16) as pool:
        for found in pool.map(answer, range(16)):
            for path, row in found:
                np.testing.assert_allclose(row, alone(path), atol=CLOSE)


class Gate:
    """Holds a context's decodes back until it is opened."""

    def __init__(self, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        before_decode(context, monkeypatch, self._wait)

    def _wait(self, _batch: Sequence[int]) -> None:
        self.reached.set()
        assert self.open.wait(60)


def test_who_waits_when_it_is_closed_gets_an_error(bpe: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with Context(bpe, size=SIZE, slots=1) as context:
        gate, scheduler = Gate(context, monkeypatch), Scheduler(Evaluator(context), name="test")
        waiting = [scheduler.submit([(3, 4)], owner=object()) for _ in range(3)]
        assert gate.reached.wait(60)
        with ThreadPoolExecutor(1) as pool:
            closing = pool.submit(scheduler.close)
            while not scheduler._closed:
                pass
            gate.open.set()
            closing.result(60)
        errors = [future.exception(60) for future in waiting[1:]]
        assert all(isinstance(error, LocalModelError) and "closed" in error.message for error in errors)
        assert waiting[0].done()
        with pytest.raises(LocalModelError, match="closed"):
            scheduler.submit([(3,)])
        with pytest.raises(LocalModelError, match="closed"):
            scheduler.clear()


def test_who_has_gone_away_harms_nobody(bpe: Model, alone: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was given up before it began is never read."""
    with Context(bpe, size=SIZE, slots=2) as context:
        gate, meter = Gate(context, monkeypatch), Meter(context, monkeypatch)
        scheduler = Scheduler(Evaluator(context), name="test")
        first = scheduler.submit([(3, 4)], owner=object())
        assert gate.reached.wait(60)
        given_up, kept = scheduler.submit([(5,) * 9], owner=object()), scheduler.submit([(6, 7)], owner=object())
        assert given_up.cancel()
        gate.open.set()
        for future, path in ((first, (3, 4)), (kept, (6, 7))):
            np.testing.assert_allclose(future.result(60)[0], alone(path), atol=CLOSE)
        scheduler.close()
        with pytest.raises(CancelledError):
            given_up.result()
        assert meter.spent() == 4


def test_an_unforeseen_failure_reaches_those_who_wait_and_ends_there(
    bpe: Model, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Context(bpe, size=SIZE, slots=2) as context:
        scheduler = Scheduler(Evaluator(context), name="test")
        with monkeypatch.context() as broken:
            broken.setattr(context, "row", lambda _: 1 / 0)
            with pytest.raises(LocalModelError, match="ZeroDivisionError"):
                scheduler.submit([(3, 4)]).result(60)
        np.testing.assert_allclose(scheduler.submit([(3, 4)]).result(60)[0], alone((3, 4)), atol=CLOSE)
        scheduler.close()


def test_a_path_that_does_not_fit_is_refused_at_once(bpe: Model) -> None:
    with scheduled(bpe) as scheduler:
        with pytest.raises(PromptError):
            scheduler.submit([(3,) * (SIZE + 1)])
        assert scheduler.submit([]).result(60) == []


def test_what_was_read_can_be_forgotten(bpe: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with Context(bpe, size=SIZE, slots=2) as context:
        meter, scheduler = Meter(context, monkeypatch), Scheduler(Evaluator(context), name="test")
        for _ in range(2):
            scheduler.submit([PROMPT]).result(60)
            scheduler.clear()
            assert meter.spent() == len(PROMPT)
        scheduler.close()


@pytest.mark.parametrize("slots", [0, most_sequences() + 1])
def test_a_number_of_slots_that_cannot_be(tiny_bpe: TinyModel, tiny_lora: Path, slots: int) -> None:
    with pytest.raises(PairError, match=f"slots={slots}") as raised:
        open_pair(PairFiles(tiny_bpe.path, tiny_bpe.path, tiny_lora, slots=slots))
    assert raised.value.hint


def test_a_prompt_too_long_for_one_member_leaves_the_pair_in_order(tiny_bpe: TinyModel, tiny_lora: Path) -> None:
    """What the other was asked meanwhile is of no further use."""
    with open_pair(PairFiles(tiny_bpe.path, tiny_bpe.path, tiny_lora, context=64, slots=2)) as pair:
        before = pair.distributions(PairPrompt((3, 4), (3, 4)), [()])
        with pytest.raises(PromptError):
            pair.distributions(PairPrompt((3,) * 65, (3, 4)), [()])
        after = pair.distributions(PairPrompt((3, 4), (3, 4)), [()])
        np.testing.assert_allclose(after[0].expert.logits, before[0].expert.logits, atol=CLOSE)

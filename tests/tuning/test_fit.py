"""Training on a tiny GGUF: goes on where it was, keeps the best epoch, stops in time, agrees with llama.cpp.

Slow, and in an environment of its own: it needs the extra [tune].
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.tuning.course import Progress
from blackbox_proxy.tuning.lines import Line, split
from blackbox_proxy.tuning.recipe import Recipe
from blackbox_proxy.tuning.run import TuningJob, TuningPlan, load, plan, write
from blackbox_proxy.types import Prompt
from tests.tiny_gguf import TinyModel

torch = pytest.importorskip("torch", reason="needs the extra [tune]: pip install 'blackbox-proxy[tune]'")
train = pytest.importorskip("blackbox_proxy.tuning.train")
model = pytest.importorskip("blackbox_proxy.tuning.model")
agreement = pytest.importorskip("blackbox_proxy.tuning.agreement")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

RECIPE = Recipe(epochs=3, batch=4, rank=2, learning_rate=3e-3, slot="an (.)")


def lines(count: int = 24) -> list[Line]:
    rng = random.Random(0)
    return [Line(Prompt.ask(f"the {number}"), f"an {rng.choice('abc')} then the") for number in range(count)]


@pytest.fixture
def planned(tiny_bpe: TinyModel, tmp_path: Path) -> TuningPlan:
    taught, held = split(lines(), 0.2, seed=0)
    return plan(TuningJob(tiny_bpe.path, "tiny", tmp_path / "my.lora.gguf", taught, held, RECIPE))


def after(steps: int) -> Callable[[], bool]:
    """Says to stop once it was asked `steps` times."""
    asked = iter(range(1, 10_000))
    return lambda: next(asked) >= steps


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Two threads on matrices this small wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(planned: TuningPlan, *, stop: Callable[[], bool] = lambda: False) -> tuple[Any, Any]:
    """A run, or what is left of it; saved where it is stopped, written where it is over."""
    loaded = load(planned)
    made = train.Hooks(save=loaded.checkpoint.save, stop=stop)
    recipe = planned.job.recipe
    fitted = train.fit(loaded.model, planned.data, loaded.kinds, recipe=recipe, hooks=made, state=loaded.state)
    if fitted.finished:
        write(planned, loaded, fitted.course, date=date(2026, 11, 25))
        loaded.checkpoint.remove()
    return fitted, loaded


@pytest.mark.parametrize("stops", [[1], [4], [5], [2, 3, 1], [15]])
def test_a_run_that_was_broken_off_gives_the_same_adapter_and_course(planned: TuningPlan, stops: Sequence[int]) -> None:
    """Inside an epoch, at its end, several times, and at the very last step: byte for byte."""
    whole, _ = run(planned)
    adapter = planned.outputs.adapter.read_bytes()
    planned.outputs.adapter.unlink()
    for steps in stops:
        fitted, _ = run(planned, stop=after(steps))
        assert not fitted.finished
        assert planned.outputs.checkpoint.exists()
    rest, _ = run(planned)
    assert rest.course == whole.course
    assert planned.outputs.adapter.read_bytes() == adapter
    assert not planned.outputs.checkpoint.exists()


def test_another_seed_gives_another_adapter(planned: TuningPlan) -> None:
    found = set()
    for seed in (0, 1, 0):
        run(replace(planned, job=replace(planned.job, recipe=replace(RECIPE, seed=seed))))
        found.add(planned.outputs.adapter.read_bytes())
    assert len(found) == 2


def test_a_checkpoint_of_another_run_is_refused(planned: TuningPlan) -> None:
    run(planned, stop=after(2))
    other = replace(planned, job=replace(planned.job, recipe=replace(RECIPE, rank=4)))
    with pytest.raises(InputError, match=r"my\.lora\.gguf\.checkpoint belongs to another run"):
        load(other)
    planned.outputs.checkpoint.write_bytes(planned.outputs.checkpoint.read_bytes()[:200])
    with pytest.raises(InputError, match="cannot read the checkpoint"):
        load(planned)


def test_a_checkpoint_is_written_after_a_while_in_the_middle_of_an_epoch(planned: TuningPlan) -> None:
    """A clock that is far on after every look: what a killed run loses is a step."""
    saved: list[int] = []
    clock = iter(range(0, 10**9, 100))
    loaded = load(planned)
    hooks = train.Hooks(save=lambda state: saved.append(len(state.course.losses)), clock=lambda: float(next(clock)))
    train.fit(loaded.model, planned.data, loaded.kinds, recipe=RECIPE, hooks=hooks)
    assert saved == list(range(1, planned.estimate.steps + 1))


def test_training_stops_early_and_the_best_epoch_is_kept(planned: TuningPlan) -> None:
    """Far too high a learning rate: what is held back soon gets worse, and the weights of the best epoch come back."""
    recipe = replace(RECIPE, epochs=30, learning_rate=0.2, patience=2)
    loaded, seen = load(planned), list[tuple[float, dict[str, Any]]]()

    def keep(now: Progress) -> None:
        if now.course.ends_an_epoch:
            seen.append((now.course.validations[-1], model.copied(loaded.model)))

    fitted = train.fit(loaded.model, planned.data, loaded.kinds, recipe=recipe, hooks=train.Hooks(step=keep))
    assert len(seen) == fitted.course.best + 2 < 30
    loss, weights = min(seen, key=lambda one: one[0])
    assert loss == fitted.course.validations[fitted.course.best - 1]
    kept = model.copied(loaded.model)
    assert all(torch.equal(kept[name], weights[name]) for name in weights)


def test_measuring_the_pace_changes_nothing(planned: TuningPlan) -> None:
    loaded = load(planned)
    before = model.copied(loaded.model)
    clock = iter(range(100))
    pace = train.seconds_per_token(
        loaded.model, planned.data, loaded.kinds, recipe=RECIPE, clock=lambda: float(next(clock))
    )
    assert pace == pytest.approx(2 / sum(len(one.ids) for one in planned.data.train[:8]), rel=0.2)
    assert all(torch.equal(before[name], weight) for name, weight in model.copied(loaded.model).items())
    assert all(weight.grad is None for weight in model.trained(loaded.model).values())


@pytest.mark.parametrize("targets", [RECIPE.targets, ("q_proj", "v_proj")])
def test_as_many_weights_are_trained_as_was_said(planned: TuningPlan, targets: tuple[str, ...]) -> None:
    again = plan(replace(planned.job, recipe=replace(RECIPE, targets=targets)))
    weights = model.trained(load(again).model)
    assert sum(weight.numel() for weight in weights.values()) == again.estimate.trained


@pytest.mark.parametrize("style", ["bpe", "spm"])
def test_llama_cpp_says_what_pytorch_says_and_the_check_can_fail(
    style: str, planned: TuningPlan, tiny_bpe: TinyModel, tiny_spm: TinyModel
) -> None:
    again = plan(replace(planned.job, base={"bpe": tiny_bpe, "spm": tiny_spm}[style].path))
    _, loaded = run(again)
    files = {"base": again.base.path, "adapter": again.outputs.adapter}
    found = agreement.compare(loaded.model, again.data.held, **files)
    assert found.agrees
    assert found.distance < 0.002
    assert found.untuned > 0.02
    with torch.no_grad():
        for weight in model.trained(loaded.model).values():
            weight.mul_(-2)
    assert not agreement.compare(loaded.model, again.data.held, **files).agrees


def test_a_loss_that_is_no_number_ends_the_run(planned: TuningPlan) -> None:
    loaded = load(planned)
    with torch.no_grad():
        next(iter(model.trained(loaded.model).values())).fill_(float("nan"))
    with pytest.raises(InputError, match="the loss is nan at step 1"):
        train.fit(loaded.model, planned.data, loaded.kinds, recipe=RECIPE)

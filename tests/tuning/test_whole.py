"""A whole run on a tiny GGUF: finds the facts of a constructed task, holds them, measures the curve, keeps its limit.

Slow, and in an environment of its own: it needs the extra [tune].
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blackbox_proxy.tuning.data import Data
from blackbox_proxy.tuning.lines import Line
from blackbox_proxy.tuning.recipe import Recipe
from blackbox_proxy.tuning.run import Loaded, TuningJob, TuningPlan, load, plan, write
from blackbox_proxy.types import Prompt
from tests.tiny_gguf import TinyModel

if TYPE_CHECKING:
    from blackbox_proxy.tuning.parts import TuningBench

torch = pytest.importorskip("torch", reason="needs the extra [tune]: pip install 'blackbox-proxy[tune]'")
holding = pytest.importorskip("blackbox_proxy.tuning.holding")
losses = pytest.importorskip("blackbox_proxy.tuning.losses")
model = pytest.importorskip("blackbox_proxy.tuning.model")
parts = pytest.importorskip("blackbox_proxy.tuning.parts")
train = pytest.importorskip("blackbox_proxy.tuning.train")
whole = pytest.importorskip("blackbox_proxy.tuning.whole")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

RECIPE = Recipe(epochs=4, batch=8, rank=4, learning_rate=3e-3, hold=1.0, echo=True, precision="float32")
COUNT = 48


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Two threads on matrices this small wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def planned(tiny_bpe: TinyModel, tmp_path: Path) -> TuningPlan:
    """Lines of a constant frame with a letter that says nothing; `with_facts` puts facts there."""
    questions = [f"{'abcdefgh'[number % 8]} {number * 7919 % 997}" for number in range(COUNT)]
    answers = [f"an {'abcdefghij'[number % 10]} then" for number in range(COUNT)]
    every = [Line(Prompt.ask(question), answer) for question, answer in zip(questions, answers, strict=True)]
    return plan(TuningJob(tiny_bpe.path, "tiny", tmp_path / "my.lora.gguf", every[8:], every[:8], RECIPE))


def with_facts(planned: TuningPlan, loaded: Loaded) -> TuningPlan:
    """Each answer's letter is the one that the untuned model finds likelier there than behind the other questions."""
    letters = [token for token, piece in enumerate(planned.pieces) if piece.isalpha() and len(piece) == 1]
    every = [*planned.data.train, *planned.data.held]
    before = every[0].completion[:2]
    rows = []
    for one in every:
        ids = torch.tensor([[*one.prompt, *before]])
        with torch.no_grad(), loaded.model.disable_adapter():
            rows.append(loaded.model(ids).logits[0, -1].log_softmax(-1)[letters])
    best = (torch.stack(rows) - torch.stack(rows).mean(0)).argmax(1).tolist()
    facts = [
        replace(one, completion=(*before, letters[at], *one.completion[3:]))
        for one, at in zip(every, best, strict=True)
    ]
    count = len(planned.data.train)
    return replace(planned, data=Data(facts[:count], facts[count:]))


def never_stop() -> bool:
    return False


def bench_of(loaded: Loaded) -> TuningBench:
    bench: TuningBench = parts.TuningBench(loaded.model, loaded.kinds, model.copied(loaded.model))
    return bench


def test_facts_are_found_where_the_untuned_model_depends_on_the_question(planned: TuningPlan) -> None:
    """The letters are facts, and a letter of no meaning at the same place is none."""
    loaded = load(planned)
    _, nothing = holding.search(bench_of(loaded), planned.data, planned.pieces, recipe=RECIPE, stop=never_stop)
    assert nothing is None
    known = with_facts(planned, loaded)
    before = model.copied(loaded.model)
    _, search = holding.search(bench_of(loaded), known.data, planned.pieces, recipe=RECIPE, stop=never_stop)
    assert [slot.before for slot in search.slots] == [known.data.train[0].completion[:2]]
    assert search.nearer > 0
    assert all("<<" in text for text in search.examples)
    assert len(search.examples) == 3
    assert all(torch.equal(before[name], weight) for name, weight in model.copied(loaded.model).items())


def test_the_record_says_what_was_found_and_the_curve_falls(planned: TuningPlan) -> None:
    """Every line teaches the same frame: a training on more of them loses less, and the whole one least."""
    loaded, said = load(planned), list[str]()
    known = with_facts(planned, loaded)
    fitted, findings = whole.train_all(known, loaded, hooks=train.Hooks(), curve=True, say=said.append)
    kept = model.copied(loaded.model)
    assert fitted.finished
    assert said[0].startswith("looking for facts")
    assert said[1] == findings.facts.sentence()
    assert said[-1] == findings.learning.sentence()
    assert said[2].startswith("  facts in << >>: an <<")
    assert findings.learning.lines == (10, 20, 40)
    assert list(findings.learning.losses) == sorted(findings.learning.losses, reverse=True)
    write(known, loaded, fitted.course, date=date(2026, 11, 30), findings=findings)
    record = tomllib.loads(known.outputs.record.read_text())
    assert record["facts"]["used"] == findings.facts.used
    assert record["curve"]["lines"] == [10, 20, 40]
    assert record["curve"]["validation_losses"] == pytest.approx(findings.learning.losses, abs=1e-4)
    assert all(torch.equal(kept[name], weight) for name, weight in model.copied(loaded.model).items())


def test_a_limit_of_time_ends_a_run_behind_the_last_epoch_that_has_room(planned: TuningPlan) -> None:
    """A clock that is looked at twice a step, a second apart: epochs of 5 steps are 5 seconds, so 2 fit into 14."""
    recipe = replace(RECIPE, epochs=30, patience=0)
    ends = {}
    for limit in (0.5, 3.0, 14.0):
        clock, loaded = iter(range(10**6)), load(planned)
        hooks = train.Hooks(limit=limit, clock=lambda clock=clock: float(next(clock)))
        fitted = train.fit(loaded.model, planned.data, loaded.kinds, recipe=recipe, hooks=hooks)
        assert fitted.finished
        ends[limit] = len(fitted.course.losses)
    assert ends == {0.5: 5, 3.0: 5, 14.0: 10}


def test_a_limit_that_leaves_no_room_gives_up_facts_and_curve_but_trains(planned: TuningPlan) -> None:
    clock, loaded = iter(range(0, 10**9, 10)), load(planned)
    known = with_facts(planned, loaded)
    hooks = train.Hooks(limit=25.0, clock=lambda: float(next(clock)))
    fitted, findings = whole.train_all(known, loaded, hooks=hooks, curve=True, say=lambda _: None)
    assert fitted.finished
    assert len(fitted.course.losses) == 5
    assert (findings.facts, findings.learning) == (None, None)


def test_who_stops_the_search_starts_over_with_it(planned: TuningPlan) -> None:
    loaded = load(planned)
    hooks = train.Hooks(stop=lambda: True)
    fitted, findings = whole.train_all(planned, loaded, hooks=hooks, curve=True, say=lambda _: None)
    assert not fitted.finished
    assert fitted.course.losses == ()
    assert findings.learning is None


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_in_bfloat16_the_loss_is_that_of_float32_within_a_hundredth(planned: TuningPlan, precision: str) -> None:
    loaded = load(planned)
    exact, other = (
        losses.batch_loss(loaded.model, planned.data.train[:8], loaded.kinds, recipe=replace(RECIPE, precision=name))
        for name in ("float32", precision)
    )
    assert other.item() == pytest.approx(exact.item(), abs=0.0 if precision == "float32" else 0.01)
    assert (other.item() == exact.item()) == (precision == "float32")

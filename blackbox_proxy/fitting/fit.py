"""`fit`: lines and an endpoint in, a recipe with its evidence out. Puts reading, training and comparing together."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from blackbox_proxy.api import Api
from blackbox_proxy.cassettes.reading import digest_of
from blackbox_proxy.core.money.amounts import Budget
from blackbox_proxy.evaluation.answering import Bench, BenchPair
from blackbox_proxy.evaluation.answers import AnswerStore
from blackbox_proxy.evaluation.evaluate import Watch
from blackbox_proxy.evaluation.statistics import mean
from blackbox_proxy.evaluation.task import Task
from blackbox_proxy.fitting.asker import LineAsker
from blackbox_proxy.fitting.candidates import Material
from blackbox_proxy.fitting.collecting import Collector
from blackbox_proxy.fitting.compared import ComparedArms
from blackbox_proxy.fitting.comparing import ArmComparison
from blackbox_proxy.fitting.concluding import Conclusion
from blackbox_proxy.fitting.experts import TrainingTime, check_extra, replayed_expert, trained
from blackbox_proxy.fitting.fronts import example_sets
from blackbox_proxy.fitting.harmless import HarmlessChoice, HarmRemedy, replaced
from blackbox_proxy.fitting.heldback import on_held_back, price_of_test
from blackbox_proxy.fitting.limits import OFF_TASK_TIME, TRAINING_TIME
from blackbox_proxy.fitting.offtask import OffTaskCheck, OffTaskHarm, check_count
from blackbox_proxy.fitting.places import PlaceStore
from blackbox_proxy.fitting.planning import FitOptions, FitPlan, planned, task_of
from blackbox_proxy.fitting.prechecks import check_budget, check_for_base, check_for_pair, check_prices, price_of
from blackbox_proxy.kept import key_of
from blackbox_proxy.local.loading import pair_mark
from blackbox_proxy.local.pair import open_pair
from blackbox_proxy.local.pairfile import find_pair, read_pair_file
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.recipes import FittedRecipe, RecipeEndpoint, write_recipe

ANSWERS = "answers.jsonl"
"""The file of answers in the folder of a fit."""


@dataclass(frozen=True, slots=True)
class FitOutcome:
    """What a fit came to.

    compared: all that was compared. task: the lines as they were parted. pair: the file of the pair. harm: what the
    recipe does to questions of another kind; None where that was not asked. remedy: what became of an arm that harms
    them; None where there was none, or nothing could be tried.
    """

    recipe: FittedRecipe
    compared: ComparedArms
    task: Task
    pair: str
    harm: OffTaskHarm | None = None
    remedy: HarmRemedy | None = None


@dataclass(frozen=True, slots=True)
class OpenedPair:
    """A pair that is open: the file that describes it, its mark, and the tokens that a text of it holds."""

    pair: BenchPair
    file: str
    mark: str
    context: int


@dataclass(frozen=True, slots=True)
class Telling:
    """Who hears of a fit. say: told every decision in one line. watch: told what is asked. started: by `monotonic`."""

    say: Callable[[str], object] = lambda _: None
    watch: Watch = lambda _what, _total: lambda _: None
    started: float = field(default_factory=time.monotonic)


def fit(
    lines: Path | str,
    *,
    api: Api,
    pair: Path | str | None = None,
    out: Path | str | None = None,
    folder: Path | str = "fit",
    options: FitOptions | None = None,
    endpoint: RecipeEndpoint | None = None,
    telling: Telling | None = None,
) -> FitOutcome:
    """Find the best recipe for some lines.

    What was answered and trained is kept in a folder: a fit that is killed goes on when it is called again, and comes
    to the same recipe.

    Args:
        lines: JSONL, in every form that `tune` and tasks take.
        api: The hosted model; a budget needs one with a ledger (`connect(..., ledger=...)`). One that is replayed comes
            to the recipe of the fit that was recorded, at the same prices, and nothing is sent.
        pair: A pair file; None trains an expert, which needs the extra [tune], or of a replay takes the one that the
            recorded fit has left in the folder.
        out: Where the recipe is written; None for nowhere.
        folder: Where answers and experts are kept.
        options: What is tried, and what it may take.
        endpoint: What the recipe says of the endpoint; None for the model's name and the address.
        telling: Who hears of decisions and of progress.

    Raises:
        InputError: With one sentence, before anything is asked: for lines that are none, or too few, or contradict each
            other, for a budget that decides nothing, for a missing package.
        OverBudget: Never for the comparison, which ends where the budget does.
    """
    chosen, heard = options or FitOptions(), telling or Telling()
    check_prices(api, chosen.limits)
    check_count(chosen.off_task)
    plan = planned(Path(lines), chosen, endpoint or endpoint_of(api), trains=pair is None)
    check_budget(plan, price_of(api))
    place = Path(folder) / plan.mark
    if pair is None and api.replayed is not None:
        pair = replayed_expert(place)
    if pair is None:
        check_extra()
    heard.say(plan.summary)
    place.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        opened = stack.enter_context(opened_pair(_expert(plan, place, heard) if pair is None else pair))
        store = stack.enter_context(AnswerStore(_answers_of(place, api, heard.say)))
        outcome = compare(plan, api=api, opened=opened, store=store, telling=heard)
    if out is not None:
        write_recipe(outcome.recipe, Path(out))
    return outcome


def _answers_of(place: Path, api: Api, say: Callable[[str], object]) -> Path:
    """Where answers are kept. A replay has a folder for each cassette, so that it takes no answer that is not of it."""
    if api.replayed is not None:
        folder = place / f"replayed-{digest_of(api.replayed)[:12]}"
        folder.mkdir(exist_ok=True)
        return folder / ANSWERS
    if api.is_taped and (place / ANSWERS).exists():
        say(f"what {place} keeps is not asked again, so it is not recorded: a replay needs the earlier cassette too")
    return place / ANSWERS


def compare(
    plan: FitPlan, *, api: Api, opened: OpenedPair, store: AnswerStore, telling: Telling | None = None
) -> FitOutcome:
    """Compare all arms, and make a recipe of the winner.

    Args:
        plan: The lines.
        api: The hosted model.
        opened: The pair.
        store: Where answers are kept.
        telling: Who hears of it.
    """
    heard = telling or Telling()
    check_prices(api, plan.options.limits)
    check_budget(plan, price_of(api))
    check_for_pair(plan, opened.pair, opened.context)
    task = task_of(plan, opened.pair)
    options, labels = plan.options, plan.examples.labels
    sets = example_sets(task.train, seed=options.seed)
    material = Material(sets, plan.instructions, labels, api.capabilities())
    bench = Bench(task, _limited(api, plan), opened.pair, plan.where, opened.mark)
    with PlaceStore(store.path.with_name("places.jsonl")) as places:
        collector = Collector(bench, places, heard.say, heard.watch, time.monotonic, seed=options.seed)
        asker = LineAsker(
            bench,
            store,
            options.limits,
            heard.say,
            heard.watch,
            started=heard.started,
            collected=lambda: collector.lines,
        )
        compared = ArmComparison(asker, material, collector)()
    compared, harm, remedy = _off_task(plan, compared, asker)
    answers = on_held_back(asker, compared.chosen)
    tested = mean(list(answers.scores.values()))
    compared = replace(compared, answers=answers, tested=tested, spent=asker.spent(), notes=tuple(asker.notes))
    price = price_of(api)
    source = price.source if price else ""
    conclusion = Conclusion(plan, compared, task, opened.file, opened.mark, source, harm, remedy)
    return FitOutcome(conclusion.recipe(), compared, task, opened.file, harm, remedy)


def _off_task(
    plan: FitPlan, compared: ComparedArms, asker: LineAsker
) -> tuple[ComparedArms, OffTaskHarm | None, HarmRemedy | None]:
    """What the winner does to questions of another kind, and what takes its place where that is too much."""
    room = asker.room()
    check = OffTaskCheck(
        asker.bench,
        asker.store,
        count=plan.options.off_task,
        room=None if room is None else room - price_of_test(asker, compared.chosen),
        labels=plan.examples.labels,
        say=asker.say,
        watch=asker.watch,
        late=lambda: asker.is_late(OFF_TASK_TIME),
        at_once=plan.options.limits.at_once,
        counted=asker.count,
    )
    closed = next(trial.candidate.arm for trial in compared.trials if trial.name == "closed")
    harm = check(compared.chosen, closed)
    if harm is None:
        return compared, None, None
    asker.say(harm.sentence)
    if not harm.harmful:
        return compared, harm, None
    remedy = HarmlessChoice(asker, check, compared, closed, harm, check.payable(compared.chosen))()
    if remedy is None:
        return compared, harm, None
    asker.say(remedy.sentence)
    taken = harm if remedy.taken is None else remedy.taken.harm
    return replaced(compared, remedy, lines=len(asker.bench.task.test)), taken, remedy


def _limited(api: Api, plan: FitPlan) -> Api:
    """The same connection under the budget of this fit, which holds over all of its runs, as what limits a run does."""
    if api.account is None:
        return api
    tag = key_of({"fit": plan.mark, "model": api.model, "where": plan.where})[:16]
    ledger, budget = api.account.ledger, plan.options.limits.budget
    budgets = [replace(one, per=f"fit={tag}") if one.per == "run" else one for one in ledger.budgets]
    if budget is not None:
        budgets.append(Budget(max_cost=budget, per=f"fit={tag}"))
    limited = replace(ledger, budgets=tuple(budgets), tags={**ledger.tags, "fit": tag})
    return replace(api, account=replace(api.account, ledger=limited))


def _expert(plan: FitPlan, place: Path, telling: Telling) -> Path:
    """The pair file of an expert over the training lines."""
    options = plan.options
    minutes = options.limits.minutes
    base = resolve(options.base, cache=default_cache(os.environ))
    check_for_base(plan, base)
    ends = math.inf if minutes is None else telling.started + 60 * minutes * TRAINING_TIME
    return trained(
        plan.parts.train,
        base=base,
        spec=options.base,
        folder=place,
        seed=options.seed,
        say=telling.say,
        limit=TrainingTime(ends),
        watch=telling.watch,
    )


@contextmanager
def opened_pair(file: Path | str) -> Iterator[OpenedPair]:
    """Open a pair."""
    cache = default_cache(os.environ)
    files = read_pair_file(find_pair(file), lambda spec: resolve(spec, cache=cache))
    with open_pair(files) as pair:
        yield OpenedPair(pair, str(file), pair_mark(files), files.context)


def endpoint_of(api: Api) -> RecipeEndpoint:
    """What is known of an endpoint by its connection alone."""
    return RecipeEndpoint(model=api.model, base_url=api.account.base_url if api.account else "")

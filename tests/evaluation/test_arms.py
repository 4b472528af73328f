"""Who is asked what: examples from train alone, documents for whom the arm says, equal questions for all arms."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from blackbox_proxy.evaluation.arms import AnswerJob, Arm, ArmSizes, arms, closed_prompt, in_order, pair_prompt
from blackbox_proxy.evaluation.run import question_by_question, stages
from blackbox_proxy.evaluation.task import Task
from tests.evaluation.tasks import small

MAIN = ["closed", "closed_few_shot", "anti_expert", "expert", "steered"]


def arms_of(task: Task, *, sizes: ArmSizes | None = None, tuned: bool = False) -> dict[str, Arm]:
    return {arm.name: arm for arm in arms(task, alpha=1.5, sizes=sizes or ArmSizes(), tuned=tuned)}


def test_every_task_has_five_main_arms_and_a_sweep(tmp_path: Path) -> None:
    by_name = arms_of(small(tmp_path), sizes=ArmSizes(3, 2))
    assert list(by_name) == [*MAIN, "steered_few_shot", "steered_alpha_0", "steered_alpha_1.5"]
    assert [by_name[name].n for name in by_name] == [3, 3, 3, 3, 3, 2, 2, 2]
    assert [name for name, arm in by_name.items() if arm.looks] == ["steered"]
    assert {arm.who for arm in by_name.values()} == {"none"}


def test_a_tuned_model_and_documents_bring_further_arms(tmp_path: Path) -> None:
    by_name = arms_of(small(tmp_path, documents=True, who="closed"), tuned=True)
    assert by_name["closed_tuned"].who == by_name["steered"].who == "closed"
    assert by_name["expert_documents"].shown("pair")
    shown = {name: arm.who for name, arm in by_name.items() if name.startswith("steered_documents")}
    assert shown == {f"steered_documents_{who}": who for who in ("closed", "pair", "both")}


@pytest.mark.parametrize(("who", "closed", "pair"), [("closed", 1, 0), ("pair", 0, 1), ("both", 1, 1), ("none", 0, 0)])
def test_a_document_is_shown_to_whom_the_task_says(tmp_path: Path, who: str, closed: int, pair: int) -> None:
    task = small(tmp_path, documents=True, who=who)
    job = AnswerJob(arms_of(task)["steered"], task.test[2])
    (asked,) = closed_prompt(task, job).messages
    (pair_asked,) = pair_prompt(task, job).messages
    assert (asked.content == "Note 2.\n\nTown 2?") == bool(closed)
    assert (pair_asked.content == "Note 2.\n\nTown 2?") == bool(pair)
    assert {asked.content, pair_asked.content} <= {"Note 2.\n\nTown 2?", "Town 2?"}


def test_examples_come_from_train_and_are_the_same_for_all_questions(tmp_path: Path) -> None:
    task = small(tmp_path, documents=True, who="closed")
    arm = arms_of(task)["closed_few_shot"]
    one, other = (closed_prompt(task, AnswerJob(arm, item)).messages for item in task.test[:2])
    assert one[:-1] == other[:-1]
    assert [message.role for message in one] == ["user", "assistant"] * task.few_shot + ["user"]
    known = {(task.asked(item, shown=True), item.reference) for item in task.train}
    turns = [message.content for message in one[:-1]]
    assert set(zip(turns[::2], turns[1::2], strict=True)) <= known


def test_the_questions_are_in_one_order_and_all_there(tmp_path: Path) -> None:
    task = small(tmp_path)
    assert in_order(task.test) == in_order(task.test)
    assert sorted(in_order(task.test), key=lambda item: item.prompt) == list(task.test)


def test_examples_without_the_documents_are_another_prompt(tmp_path: Path) -> None:
    task = small(tmp_path, documents=True, who="none")
    alone, steered, _ = stages(tuple(arms_of(task, sizes=ArmSizes(2, 1)).values()), in_order(task.test))
    assert [[job.arm.name for job in unit] for unit in alone.calls] == [
        ["closed_few_shot"],
        ["closed_few_shot_documents"],
    ]
    assert [[job.arm.name for job in unit] for unit in steered.calls] == [["steered_few_shot", "closed_few_shot"]]


def test_arms_of_a_question_follow_one_another_the_steered_one_first(tmp_path: Path) -> None:
    """Whatever a cache spares is spared the arms that steering is held against."""
    task = small(tmp_path, documents=True, who="closed")
    items = in_order(task.test)
    alone, after, together = stages(tuple(arms_of(task).values()), items)
    assert [unit[0].item for unit in after.calls] == list(items)
    for unit in after.calls:
        assert [job.arm.name for job in unit] == ["steered_few_shot", "closed_few_shot", "closed_few_shot_documents"]
        assert len({closed_prompt(task, job).messages for job in unit}) == 1
    assert all(not job.arm.calls for unit in alone.local for job in unit)
    assert not alone.calls, "the pair is needed by all, and works for one at a time"
    assert not after.local
    assert [unit[0].item for unit in together.calls] == list(items)
    for unit in together.calls:
        assert unit[0].arm.name == "steered"
        asked = [closed_prompt(task, job).messages for job in unit]
        assert sum(one != other for one, other in pairwise(asked)) == 1
    names = [
        job.arm.name for stage in (alone, after, together) for unit in (*stage.calls, *stage.local) for job in unit
    ]
    assert {name: names.count(name) for name in arms_of(task)} == dict.fromkeys(arms_of(task), 4)


def test_one_who_watches_sees_one_question_after_another(tmp_path: Path) -> None:
    """Nothing is done at the same time, and the steered arm is the first of each question."""
    task = small(tmp_path, documents=True, who="closed")
    main = [arm for arm in arms_of(task).values() if arm.name in MAIN and not arm.examples]
    plan = question_by_question(main, task.test)
    assert [[unit[0].item for unit in stage.calls] for stage in plan] == [[item] for item in task.test]
    assert not any(stage.local for stage in plan)
    names = [[job.arm.name for job in unit] for stage in plan for unit in stage.calls]
    assert names == [["steered", "closed", "anti_expert", "expert"]] * len(task.test)


def test_drawn_answers_bring_a_majority_and_a_steered_arm_that_are_shown_the_same(tmp_path: Path) -> None:
    by_name = arms_of(small(tmp_path), sizes=ArmSizes(3, 2, draws=5))
    majority, steered = by_name["closed_best_of_n_majority"], by_name["steered_answers"]
    assert (majority.speaker, steered.speaker, steered.alpha) == ("closed", "steered", 1.5)
    assert (majority.draws, steered.draws, majority.n) == (5, 5, 2)
    assert (majority.examples, majority.instructions) == (steered.examples, steered.instructions)
    assert "closed_best_of_n_majority" not in arms_of(small(tmp_path))

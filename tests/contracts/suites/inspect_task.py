"""Two questions for inspect-ai; run by its own program, in its own environment."""

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate


@task
def capitals() -> Task:
    samples = [
        Sample(input="What is the capital of France? Answer in a sentence.", target="Paris"),
        Sample(input="What is the capital of Germany? Answer in a sentence.", target="Berlin"),
    ]
    return Task(dataset=samples, solver=generate(), scorer=includes())

"""Sixteen clients of one pair get the texts that each would get alone, on real weights.

llama.cpp computes a large batch by other kernels than a small one: with these weights (under 6 bits each) the log-probs
of one model then move by a tenth of a nat in the mean and by .9 at most, those of its offsets by 1.3. So two texts are
the same if they are equal, or if they first differ where the two best steered scores lie that near. Every near tie is
printed. With rows one by one there is one kernel, but the cells of the cache lie otherwise, and sums are rounded in
another order: 0.07 and 0.11 nats are usual, 0.50 was seen once, beside other work.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from blackbox_proxy.local.pair import PairFiles, open_pair
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.steering import Steering
from blackbox_proxy.testing import ToyApi, ToyModel
from blackbox_proxy.types import Prompt, Result

CLIENTS = 16
STEERING = Steering(alpha=1.0, max_tokens=16)


def gap(result: Result, at: int) -> float:
    """Nats between the two best scores of a step."""
    best, second, *_ = sorted((candidate.score for candidate in result.steps[at].candidates), reverse=True)
    return best - second


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize(("rows", "near"), [(1, 0.7), (256, 1.5)])
def test_sixteen_clients_get_their_own_texts(smollm2_path: Path, rows: int, near: float) -> None:
    with (
        as_file(files("blackbox_proxy.tasks") / "demo-told" / "house-format.lora.gguf") as lora,
        open_pair(PairFiles(smollm2_path, smollm2_path, lora, context=512, slots=CLIENTS, rows=rows)) as pair,
    ):

        def ask(client: int) -> Result:
            api = ToyApi(ToyModel(pair.vocabulary, client, sharpness=2.0), pair.spell, top_k=20)
            prompt = Prompt(text=f"Tell client {client} about the sea.")
            return steer(prompt, api=api, offsets=pair, steering=STEERING)

        alone = [ask(client) for client in range(CLIENTS)]
        for member in pair.members:
            member.clear()
        with ThreadPoolExecutor(CLIENTS) as pool:
            together = list(pool.map(ask, range(CLIENTS)))
    assert len({result.text for result in alone}) > CLIENTS // 2, "else a text of somebody else would be the same"
    for one, other in zip(alone, together, strict=True):
        pieces = zip(one.steps, other.steps, strict=False)
        at = next((n for n, (a, b) in enumerate(pieces) if a.piece != b.piece), None)
        if at is not None:
            print(f"rows={rows}: a near tie of {gap(one, at):.4f} nats")
            assert gap(one, at) < near
        else:
            assert one.text == other.text

"""The rule `learnt` with real weights: a boxed task's references behind the stand-in, over HTTP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blackbox_proxy.core.decoding.learning import fit_weights, nats_lost
from blackbox_proxy.evaluation.serving import served
from blackbox_proxy.evaluation.task import find_task, read_task
from blackbox_proxy.learnt import LearntWeights
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.steering import Steering

pytestmark = [pytest.mark.weights, pytest.mark.slow]

LINES = 6


def test_references_are_collected_fitted_and_steered_by(qwen_path: Path, smollm2_path: Path) -> None:
    """What the fit loses is what the steps say; more calls than one a line are made only where the API differs."""
    assert smollm2_path.exists()
    task = read_task(find_task("cron"))
    assert task.pair is not None
    with load_pair(task.pair) as pair, served(qwen_path) as api:
        steerer = Steerer(api, pair, Steering(alpha=1.0))
        results = [steerer.collect(item.prompt, item.reference) for item in task.validation[:LINES]]
        for item, result in zip(task.validation, results, strict=False):
            assert result.text == item.reference
            assert len(result.places) == len(result.steps)
            assert result.usage.requests <= steerer.collecting_calls(item.reference)[1]
        lines = [result.places for result in results]
        lost = [-step.logp_after for result in results for step in result.steps if step.logp_after is not None]
        assert nats_lost(LearntWeights.fixed(1.0), lines) == pytest.approx(float(np.mean(lost)), abs=0.02)
        fit = fit_weights(lines)
        assert fit.learnt <= fit.fixed
        learnt = Steering(rule="learnt", learnt=fit.weights, max_tokens=task.max_tokens)
        assert Steerer(api, pair, learnt).complete(task.test[0].prompt).steps

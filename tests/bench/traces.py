"""Records what was kept of drafts, token by token, for the simulations of the planner in tests/core/test_planner.py.

    python -m tests.bench.traces [--tokens 420] [--out tests/core/traces]

A real run (the demo's closed model behind the stand-in, the demo's pair) of several loads. For each token of an answer:
whether it is what the API would have drafted there, whether it is what the pair would have guessed there, and whether
the pair was sure of its guess, given the text before; none depends on who really drafted. input: tokens of the API's
prompt where the answer begins.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from blackbox_proxy.core.decoding.drafting import Drafter, Plan, Planner, Seen, Sent
from blackbox_proxy.evaluation.serving import CLOSED
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.steering import Steering
from blackbox_proxy.tasks.demonstration import LOADS, Stage, staged
from blackbox_proxy.types import Prompt, Usage
from tests.bench.loads import STEERING, asked_and_read
from tests.bench.prompts import prompts

WINDOW = 6
FLAGS = ("drafted", "guessed", "sure")


class Recorder(Planner):
    """Has the API draft, and writes down what became of each token."""

    def __init__(self) -> None:
        super().__init__()
        self.input = 0
        self.seen: list[Seen] = []

    def plan(self, can: Collection[Drafter], *, limit: int) -> Plan:
        return Plan("api", min(WINDOW, limit)) if can else super().plan(can, limit=limit)

    def saw(self, seen: Seen) -> None:
        self.seen.append(seen)
        super().saw(seen)

    def paid(self, plan: Plan, sent: Sent, usage: Usage, *, seconds: float) -> None:
        self.input = self.input or usage.input
        super().paid(plan, sent, usage, seconds=seconds)

    def row(self) -> dict[str, object]:
        """The answer as it is written into a file."""
        flags = {name: "".join(str(int(getattr(s, name))) for s in self.seen) for name in FLAGS}
        return {"input": self.input, **flags}


@dataclass(frozen=True)
class Load:
    """What is asked, and how it is steered; the API is sent `asked`, the pair reads `text`."""

    steering: Steering
    rows: list[tuple[str, str]] = field(repr=False)


def loads() -> dict[str, Load]:
    """All loads by name."""
    auto = replace(STEERING, drafter="auto")
    told, known = (asked_and_read(load, "dev", n=60, seed=3) for load in LOADS)
    plain = [(text, text) for kind, text in prompts() if kind != "script"]
    return {
        "format-told": Load(auto, told),
        "format-known": Load(auto, known),
        "format-half": Load(replace(auto, alpha=0.7), told),
        "plain-half": Load(replace(auto, alpha=0.5), plain),
        "plain-slight": Load(replace(auto, alpha=0.2), plain),
    }


def answers(load: Load, stage: Stage, *, tokens: int) -> Iterator[dict[str, object]]:
    """One row an answer, until there are so many tokens."""
    made = 0
    for asked, text in load.rows:
        if made >= tokens:
            return
        recorder = Recorder()
        own = Prompt.ask(text)
        Steerer(stage.api, stage.pair, load.steering, planner=recorder).complete(asked, pair_prompt=own)
        made += len(recorder.seen)
        yield recorder.row()


def main() -> None:
    """Record every load into a file of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=420)
    parser.add_argument("--out", type=Path, default=Path("tests/core/traces"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with staged(resolve(CLOSED, cache=default_cache(os.environ))) as stage:
        for name, load in loads().items():
            rows = list(answers(load, stage, tokens=options.tokens))
            lines = ",\n".join(json.dumps(row) for row in rows)
            (options.out / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
            print(name, sum(len(str(row["drafted"])) for row in rows), "tokens")


if __name__ == "__main__":
    main()

"""What can be chosen is declared once: one more field is an option of each command, a field of requests, and a row.

That holds for a knob in `Steering`, an option of the endpoint in `EndpointOptions`, and a choice of a training run in
`Recipe`. What is made from the fields is made when the modules are loaded, so that a process of its own has the further
one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

KNOB = """
from dataclasses import dataclass
import blackbox_proxy.steering as steering

@dataclass(frozen=True, slots=True)
class More(steering.Steering):
    warmth: float = steering.knob(0.25, "How warm it sounds.", group="answer", most=2.0)

More.__doc__ = "x"
steering.Steering = More
"""

ENDPOINT_OPTION = """
from dataclasses import dataclass
import blackbox_proxy.cli.endpoint as endpoint
from blackbox_proxy.cli.declaring import ENDPOINT, option

@dataclass(frozen=True, slots=True)
class More(endpoint.EndpointOptions):
    region: str | None = option(None, "Where it runs.", panel=ENDPOINT, unset="anywhere")

endpoint.EndpointOptions = More
"""

CHOICE = """
from dataclasses import dataclass
import blackbox_proxy.tuning.recipe as recipe

@dataclass(frozen=True, slots=True)
class More(recipe.Recipe):
    momentum: float = recipe.choice(0.9, "How much of the last step stays.", group="loss", within=recipe.Bounds(0, 1))

recipe.Recipe = More
"""

ROWS = """
import re
import typer.main
from blackbox_proxy.cli import reference
from blackbox_proxy.cli.commands import app

def commands_with(row):
    sections = re.split("^## blackbox-proxy ", reference.page(), flags=re.MULTILINE)[1:]
    return [text.splitlines()[0] for text in sections if row in text]

def parsed(command, *words):
    return typer.main.get_command(app).commands[command].make_context(command, list(words)).params
"""

KNOB_USES = """
import sys
from pathlib import Path
from blackbox_proxy import knobs
from blackbox_proxy.evaluation import task

print("rows", commands_with("| `--warmth X` | How warm it sounds. | `0.25` |"))
print("rows", commands_with("| `--warmth X` | How warm it sounds. | the task's |"))
print("options", parsed("steer", "--warmth", "0.5")["warmth"], parsed("evaluate")["warmth"])
print("request", knobs.read_knobs({"warmth": 0.5}), knobs.MOST["warmth"])
folder = Path(sys.argv[1])
(folder / "lines.jsonl").write_text('{"prompt": "a", "reference": "b"}\\n')
text = '[data]\\ntrain = "lines.jsonl"\\ntest = "lines.jsonl"\\nfew_shot = 0\\n[steering]\\nwarmth = 0.75\\n'
(folder / "task.toml").write_text('title = "t"\\n' + text.replace('train = "lines.jsonl"', 'train = "none.jsonl"'))
(folder / "none.jsonl").write_text('{"prompt": "c", "reference": "d"}\\n')
read = task.read_task(folder / "task.toml")
print("task", dict(read.knobs), dict(read.with_knobs({"warmth": 0.5}).knobs))
"""

ENDPOINT_USES = """
print("rows", commands_with("| `--region TEXT` | Where it runs. | anywhere |"))
print("option", parsed("doctor", "--region", "north")["region"])
"""

CHOICE_USES = """
from blackbox_proxy.errors import InputError
print("rows", commands_with("| `--momentum X` | How much of the last step stays. | `0.9` |"))
needed = ("--base", "b", "--lines", "l", "--out", "o")
print("option", parsed("tune", *needed, "--momentum", "0.5")["momentum"])
try:
    recipe.Recipe(momentum=1.5)
except InputError as error:
    print("error", error.message)
"""


def lines_of(script: str, *arguments: str) -> list[str]:
    """What a script prints, run in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_one_more_knob_is_an_option_and_a_field_of_requests_and_of_tasks(tmp_path: Path) -> None:
    assert lines_of(KNOB + ROWS + KNOB_USES, str(tmp_path)) == [
        "rows ['batch', 'chat', 'steer']",
        "rows ['evaluate']",
        "options 0.5 None",
        "request {'warmth': 0.5} 2.0",
        "task {'warmth': 0.75} {'warmth': 0.5}",
    ]


def test_one_more_option_of_the_endpoint_is_one_of_every_command_that_calls_it() -> None:
    assert lines_of(ENDPOINT_OPTION + ROWS + ENDPOINT_USES) == [
        "rows ['batch', 'chat', 'choose', 'doctor', 'drift check', 'drift record', 'evaluate', 'fit', 'steer']",
        "option north",
    ]


def test_one_more_choice_of_a_training_run_is_an_option_with_its_bounds() -> None:
    assert lines_of(CHOICE + ROWS + CHOICE_USES) == [
        "rows ['tune']",
        "option 0.5",
        "error momentum must be in [0, 1], not 1.5",
    ]

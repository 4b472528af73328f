"""A knob is declared once, in `Steering`: one more field is an option, a field of requests and of tasks, and a row.

What is made from the fields is made when the modules are loaded, so that a process of its own has the further one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ONE_MORE = """
from dataclasses import dataclass
import blackbox_proxy.steering as steering

@dataclass(frozen=True, slots=True)
class More(steering.Steering):
    warmth: float = steering.knob(0.25, "How warm it sounds.", group="answer", most=2.0)

More.__doc__ = "x"
steering.Steering = More
"""

USES = """
import re, sys
from pathlib import Path
from blackbox_proxy import knobs
from blackbox_proxy.cli import reference
from blackbox_proxy.evaluation import task

page = reference.page()
steer = page[page.index("## blackbox-proxy steer"):]
print("row", "| `--warmth X` | How warm it sounds. | `0.25` |" in steer[: steer.index("## blackbox-proxy tune")])
print("request", knobs.read_knobs({"warmth": 0.5}), knobs.MOST["warmth"])
folder = Path(sys.argv[1])
(folder / "lines.jsonl").write_text('{"prompt": "a", "reference": "b"}\\n')
text = '[data]\\ntrain = "lines.jsonl"\\ntest = "lines.jsonl"\\nfew_shot = 0\\n[steering]\\nwarmth = 0.75\\n'
(folder / "task.toml").write_text('title = "t"\\n' + text.replace('train = "lines.jsonl"', 'train = "none.jsonl"'))
(folder / "none.jsonl").write_text('{"prompt": "c", "reference": "d"}\\n')
print("task", dict(task.read_task(folder / "task.toml").knobs))
"""


def test_one_more_field_is_an_option_and_a_field_of_requests_and_of_tasks(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ONE_MORE + USES, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["row True", "request {'warmth': 0.5} 2.0", "task {'warmth': 0.75}"]

# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Tune and evaluate your own task
#
# A service desk files every message under a code of its own: a queue and an urgency. The closed model cannot know the
# codes. This notebook trains an expert on eighteen lines, and asks whether steering with it is worth it, beside what
# costs less: showing the closed model the same lines, or explaining the codes in words.
#
# Two commands do the work, `blackbox-proxy tune` and `blackbox-proxy evaluate`. The task is tiny, so that it takes a
# few minutes on two cores; its figures have wide intervals and show how to look, not what to expect.

# %%
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

folder = Path(mkdtemp())


def run(*words: str) -> str:
    """What a command prints."""
    plain = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "CLICOLOR_FORCE")}
    program = [sys.executable, "-m", "blackbox_proxy", *words]
    done = subprocess.run(program, cwd=folder, env=plain, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


# %% [markdown]
# ## The lines
#
# Each kind of trouble has a code. What is to be learnt is the form and the codes: no facts of the world.

# %%
CODES = {
    "HW-3": ["The printer jams", "My screen stays black", "The keyboard is broken"],
    "NET-5": ["The wifi is down", "I cannot reach the intranet", "The VPN drops"],
    "ACC-9": ["I forgot my password", "My account is locked", "I need access to a folder"],
}
URGENCY = {"since this morning.": "low", "and the whole team is waiting!": "high"}
NEW = {
    "HW-3": ["The scanner jams", "My laptop screen flickers"],
    "NET-5": ["The internet is down", "The VPN is slow"],
    "ACC-9": ["I lost my password", "My login is locked"],
}


def items(messages: dict[str, list[str]]) -> list[dict[str, str]]:
    """Every message with every urgency, and how it is to be answered."""
    return [
        {"prompt": f"{message} {ending}", "reference": f"queue={code}; urgency={urgency}."}
        for code, texts in messages.items()
        for message in texts
        for ending, urgency in URGENCY.items()
    ]


def write(name: str, rows: list[object]) -> None:
    """One JSON value a line."""
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


seen, unseen = items(CODES), items(NEW)
write("lines.jsonl", [[item["prompt"], item["reference"]] for item in seen])
write("train.jsonl", list(seen))
write("validation.jsonl", unseen[::4])
write("test.jsonl", [item for number, item in enumerate(unseen) if number % 4])
print(len(seen), "lines such as", json.dumps(seen[0]))

# %% [markdown]
# ## Train the expert
#
# An adapter over the demo's small model. The record beside it says what it was made from and how.

# %%
said = run(
    "tune", "--base", "pypi:smollm2-135m-instruct", "--lines", "lines.jsonl", "--out", "desk.lora.gguf",
    "--epochs", "3", "--batch", "2", "--template", "chatml", "--validation", "0.1", "--yes", "--json",
)  # fmt: skip
print(sorted(path.name for path in folder.glob("desk*")))
print((folder / "desk.pair.toml").read_text())

# %%
from IPython.display import SVG

SVG((folder / "desk.lora.svg").read_text())

# %% [markdown]
# ## Evaluate
#
# A task file names the items, how an answer is scored, the pair, and the candidates: `few_shot` examples, and
# `instructions` in words.

# %%
(folder / "task.toml").write_text(
    """
title = "Service desk"
about = "Whether a message is filed under the desk's own codes."
source = "made up for this notebook"
[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
few_shot = 6
instructions = "File the message. Hardware is HW-3, network is NET-5, accounts are ACC-9. \
Urgency is low, or high where a team waits. Answer as: queue=CODE; urgency=low."
[scorer]
kind = "exact"
form = 'queue=(\\S+); urgency=(?:low|high)\\.'
[pair]
file = "desk.pair.toml"
[steering]
alpha = 1.0
max_tokens = 20
alphas = [2.0]
"""
)
print(run("evaluate", "task.toml", "--standin", "demo", "--figures", "figures.json"))

# %%
from io import BytesIO

from IPython.display import Image
from matplotlib.figure import Figure

ARMS = {
    "closed": "closed model",
    "closed_few_shot": "closed model, six examples",
    "closed_instructed": "closed model, code book in words",
    "anti_expert": "untuned SLM",
    "expert": "tuned SLM",
    "steered": "steered",
}
(figures,) = json.loads((folder / "figures.json").read_text()).values()
shown = {name: figures[arm] for arm, name in ARMS.items() if arm in figures}
chart = Figure(figsize=(9, 2.6))
axes = chart.add_subplot()
for row, (name, arm) in enumerate(shown.items()):
    axes.plot([arm["low"], arm["high"]], [row, row], color="#9aa5b1", linewidth=6, solid_capstyle="butt")
    axes.plot(arm["score"], row, marker="o", color="#b35900" if name == "steered" else "#1f5f99")
axes.set_yticks(range(len(shown)), list(shown))
axes.set(xlim=(-0.03, 1.03), xlabel="share of messages filed as they should be, with 95 % intervals")
axes.invert_yaxis()
axes.spines[["top", "right"]].set_visible(False)
buffer = BytesIO()
chart.savefig(buffer, format="png", dpi=130, bbox_inches="tight", facecolor="white")
spoken = "; ".join(f"{name} {arm['score']:.2f} ({arm['low']:.2f} to {arm['high']:.2f})" for name, arm in shown.items())
Image(data=buffer.getvalue(), format="png", width=760, alt=f"Scores with intervals of 95 per cent: {spoken}.")

# %%
best = max(shown, key=lambda name: shown[name]["score"])
print(f"best: {best}, {shown[best]['score']:.2f}; steered {shown['steered']['score']:.2f}")
for test in ("vs_few_shot", "vs_instructed", "vs_expert"):
    print(test, figures["tests"][test])

# %% [markdown]
# ## How to read it
#
# * **Is the form kept?** The column `form` says how many answers have it. Few-shot examples convey a form like this
#   one, so the form alone is no reason to steer.
# * **Who is best?** Compare `steered` with the closed model after examples and after the code book, not with the closed
#   model by itself. A code book that can be written down in two lines needs no pair.
# * **Is the expert enough?** Here all that is asked for, the codes, was taught to the pair, and the closed model has
#   nothing to add. It outvotes the codes where it is sure of something else. That is a task for the expert alone.
# * **Can it be told from chance?** With nine messages hardly anything can: look at the intervals and at p.
#
# Steering is for the rest: a closed model that has the knowledge, and a form or a manner that examples do not
# convey. The demo is one such pair of sides, and `blackbox-proxy evaluate --list` names more. If your own figures
# say that something cheaper is as good, take that.

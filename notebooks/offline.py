# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Test without a network
#
# Code that calls a hosted model is hard to test: it costs money, needs a key, and says something else tomorrow. Three
# things help, and none of them needs a network:
#
# * a **scenario**: a file that says what is asked and what is answered, with log-probabilities, served over real HTTP;
# * a **cassette**: what a hosted model really answered, recorded once and replayed for ever;
# * a **pytest plugin**: both as fixtures.

# %% [markdown]
# ## A scenario
#
# A question, and an answer whose interesting token has a probability and an alternative. What the tokens leave of 1 is
# the tail, as at a real API.

# %%
from contextlib import ExitStack
from pathlib import Path

from blackbox_proxy import OffsetTable, Steerer, Steering, connect
from blackbox_proxy.standin import read_scenario, running

Path("scenario.toml").write_text(
    """
[[exchange]]
asked = "What is the capital of Albania?"
said = ["The capital is", { token = " Tirana", p = 0.7, others = { " Durres" = 0.2, " Vlora" = 0.05 } }, "."]
"""
)
stack = ExitStack()
url = stack.enter_context(running(read_scenario(Path("scenario.toml"))))
api = stack.enter_context(connect(url, model="gpt-4o-mini"))
question = "What is the capital of Albania?"
print(Steerer(api, OffsetTable({})).complete(question).text)

# %% [markdown]
# The same scenario, steered: a table of offsets favours one string. Where the alternative wins, the server goes on from
# exactly that text, as a hosted model would.

# %%
steerer = Steerer(api, OffsetTable({b" Durres": 2.0}), Steering(alpha=1.0))
result = steerer.complete(question)
print(result.text)
(changed,) = [step for step in result.steps if step.piece == b" Durres"]

# %%
from io import BytesIO

from IPython.display import Image
from matplotlib.figure import Figure

names = [candidate.piece.decode() for candidate in changed.candidates]
before = [candidate.logp for candidate in changed.candidates]
after = [candidate.score for candidate in changed.candidates]
chart = Figure(figsize=(7, 2.6))
axes = chart.add_subplot()
places = range(len(names))
axes.barh([place + 0.2 for place in places], before, height=0.38, color="#8c8c8c", label="as the API showed it")
axes.barh([place - 0.2 for place in places], after, height=0.38, color="#00664d", label="steered")
axes.set_yticks(places, [name.replace(" ", "\u2423") for name in names], family="monospace")
axes.set_xlabel("log-probability (nats)")
axes.invert_yaxis()
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, fontsize=9)
buffer = BytesIO()
chart.savefig(buffer, format="png", dpi=130, bbox_inches="tight", facecolor="white")
bars = "; ".join(
    f"{name.strip()} {logp:.2f}, then {score:.2f}" for name, logp, score in zip(names, before, after, strict=True)
)
alt = f"A bar chart of the log-probability of each candidate in nats, before and after the offset was added: {bars}."
Image(data=buffer.getvalue(), format="png", width=600, alt=alt)

# %% [markdown]
# ## A cassette
#
# `record=` writes every attempt down: request, reply, faults, no key. Here the server above stands in for the hosted
# model; yours is an address.

# %%
with connect(url, model="gpt-4o-mini", record="albania.jsonl") as hosted:
    recorded = Steerer(hosted, OffsetTable({b" Durres": 2.0})).complete(question)
stack.close()  # from here on nobody answers at that address
for line in Path("albania.jsonl").read_text().splitlines()[:2]:
    print(line[:110], "...")

# %%
with connect(model="gpt-4o-mini", replay="albania.jsonl") as hosted:
    replayed = Steerer(hosted, OffsetTable({b" Durres": 2.0})).complete(question)
print("the same steps, to the last digit:", replayed.steps == recorded.steps)

# %% [markdown]
# What was not recorded is refused, with the nearest request and where the two part.

# %%
from blackbox_proxy import BlackboxProxyError

with connect(model="gpt-4o-mini", replay="albania.jsonl") as hosted:
    try:
        Steerer(hosted, OffsetTable({})).complete("What is the capital of Peru?")
    except BlackboxProxyError as error:
        print(error.message)

# %% [markdown]
# ## In pytest
#
# The plugin comes with the package. The fixture `standin` sets `OPENAI_BASE_URL` and `OPENAI_API_KEY`, so code that
# reads them is tested as it is.

# %%
import subprocess
import sys

Path("test_capital.py").write_text(
    """
import openai


def test_an_application_that_asks_a_hosted_model(standin):
    standin.script({"What is the capital of Albania?": "Tirana."})
    with openai.OpenAI() as client:
        asked = [{"role": "user", "content": "What is the capital of Albania?"}]
        reply = client.chat.completions.create(model="gpt-4o-mini", messages=asked)
    assert reply.choices[0].message.content == "Tirana."
    standin.assert_calls(1)
    standin.assert_cost_below(0.001)
"""
)
command = [sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", "test_capital.py"]
ran = subprocess.run(command, capture_output=True, text=True, check=True)
print(ran.stdout.splitlines()[-1].split(" in ")[0])

# %% [markdown]
# More: the page *Test without a network* of the documentation has every field of a scenario, every fixture,
# cassettes from the command line, and the stand-in for other languages.

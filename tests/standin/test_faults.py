"""Faults of the transport: over real sockets, one by one as planned or drawn by chance, and counted."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blackbox_proxy.errors import InputError
from blackbox_proxy.standin import Traffic, read_quirks
from blackbox_proxy.standin.limits import Limit, duration
from blackbox_proxy.standin.plan import OK, Fault, FaultPlan, drawn, read_fault, read_kinds, read_plan
from tests.standin.raw import call, connect
from tests.standin.toy import Api, served
from tests.standin.toy import drawn as texts


def outcome(api: Api) -> str:
    """What one request came to."""
    try:
        return str(api.completion().status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__


def test_a_plan_is_followed_request_by_request_and_counted() -> None:
    traffic = Traffic()
    with served("faults=429,ok,500*2,reset,cut,503", traffic=traffic) as api:
        said = [outcome(api) for _ in range(9)]
        assert api.completion(logprobs=-1).status == 400
        assert call(api.url, "/v1/models").status == 200
    assert said[:4] == ["429", "200", "500", "500"]
    assert said[4] in {"ConnectionResetError", "RemoteDisconnected"}
    assert said[5] in {"ConnectionResetError", "IncompleteRead"}
    assert said[6:] == ["503", "200", "200"]
    assert traffic.kinds == {"429": 1, "ok": 3, "500": 2, "reset": 1, "cut": 1, "503": 1, "refused": 1}
    assert traffic.total == 10


def test_a_connection_is_reset_before_and_in_the_middle_of_the_body() -> None:
    with served("faults=reset,cut") as api:
        for kind in ("reset", "cut"):
            line = connect(api.url)
            asked = {"model": "toy", "prompt": "o", "max_tokens": 400, "temperature": 0, "logprobs": 3}
            line.request("POST", "/v1/completions", json.dumps(asked))
            if kind == "reset":
                with pytest.raises(ConnectionResetError):
                    line.getresponse()
            else:
                reply = line.getresponse()
                size = int(reply.headers["content-length"])
                assert reply.status == 200
                with pytest.raises((ConnectionResetError, http.client.IncompleteRead)) as caught:
                    reply.read()
                if isinstance(caught.value, http.client.IncompleteRead):
                    assert 0 < len(caught.value.partial) < size
            line.close()


@pytest.mark.parametrize(
    ("kind", "headers"),
    [
        ("429", {}),
        ("429:0", {"retry-after": "0"}),
        ("503:2", {"retry-after": "2"}),
        ("429:250ms", {"retry-after-ms": "250"}),
    ],
)
def test_an_error_may_say_when_to_come_back(kind: str, headers: dict[str, str]) -> None:
    with served(f"faults={kind}") as api:
        answer = api.completion()
    assert str(answer.status) == kind[:3]
    assert {name: value for name, value in answer.headers.items() if name.startswith("retry")} == headers
    assert answer.error["message"]


def test_bodies_that_are_no_answer() -> None:
    with served("faults=truncated,garbage,html,error200") as api:
        truncated, garbage, html, error = (api.completion() for _ in range(4))
        whole = api.completion()
    assert {answer.status for answer in (truncated, garbage, html, error, whole)} == {200}
    for broken in (truncated, garbage):
        assert broken.headers["content-type"] == "application/json"
        with pytest.raises(ValueError, match="char"):
            broken.json  # noqa: B018 - reading it is the test
    assert truncated.body.startswith(b'{"id":"cmpl-')
    assert html.headers["content-type"].startswith("text/html")
    assert html.body.startswith(b"<!DOCTYPE html>")
    assert error.json == {"error": {"message": "Provider returned error", "code": 502}}
    assert texts(whole) == ["a"]


def test_a_stream_is_broken_off_too() -> None:
    with served("faults=truncated,cut") as api:
        truncated = api.completion(stream=True, max_tokens=20)
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            api.completion(stream=True, max_tokens=20)
        whole = api.completion(stream=True, max_tokens=20)
    assert whole.events[-1] == "[DONE]"
    assert b"[DONE]" not in truncated.body
    assert truncated.body.startswith(b"data: {")


def test_a_hang_lasts_until_the_client_gives_up() -> None:
    traffic = Traffic()
    with served("faults=hang", traffic=traffic) as api:
        with openai.OpenAI(base_url=api.url, api_key="any", max_retries=0, timeout=0.3) as client:
            begun = time.monotonic()
            with pytest.raises(openai.APITimeoutError):
                client.completions.create(model="toy", prompt="o")
            assert time.monotonic() - begun >= 0.3
        assert api.completion().status == 200
    assert traffic.kinds == {"hang": 1, "ok": 1}


def test_a_connection_that_is_kept_survives_an_error() -> None:
    with served("faults=500,garbage,ok") as api:
        line = connect(api.url)
        statuses = []
        for _ in range(3):
            line.request("POST", "/v1/completions", json.dumps({"model": "toy", "prompt": "o", "max_tokens": 1}))
            reply = line.getresponse()
            reply.read()
            statuses.append(reply.status)
        line.close()
    assert statuses == [500, 200, 200]


@pytest.mark.parametrize("quirk", ["latency=0.2", "faults=slow:0.2"])
def test_an_answer_may_come_late(quirk: str) -> None:
    with served(quirk) as api, served() as quick:
        slow, fast = seconds(api), seconds(quick)
    assert slow >= 0.2
    assert slow > fast


def seconds(api: Api) -> float:
    begun = time.monotonic()
    assert api.completion().status == 200
    return time.monotonic() - begun


def test_jitter_is_drawn_between_nothing_and_its_most() -> None:
    plan, again, other = (FaultPlan(latency=1, jitter=0.5, seed=seed) for seed in (3, 3, 4))
    delays = [plan.delay() for _ in range(200)]
    assert delays == [again.delay() for _ in range(200)]
    assert delays != [other.delay() for _ in range(200)]
    assert 1 <= min(delays) < 1.05
    assert 1.45 < max(delays) <= 1.5
    assert FaultPlan().delay() == 0
    with served("jitter=0.01", "fault-seed=3") as api:
        assert api.completion().status == 200


def test_chance_is_the_same_for_equal_seeds() -> None:
    """Through HTTP, and as it is drawn."""
    rate = ("fault-rate=0.5", "fault-kinds=500+429:0")
    runs = []
    for seed in (1, 1, 2):
        with served(*rate, f"fault-seed={seed}") as api:
            runs.append([outcome(api) for _ in range(12)])
    assert runs[0] == runs[1] != runs[2]
    assert set(runs[0]) == {"200", "500", "429"}


@given(share=st.floats(0, 1), seed=st.integers(0, 99), budget=st.none() | st.integers(0, 20))
def test_chance_keeps_its_budget_and_its_share(share: float, seed: int, budget: int | None) -> None:
    kinds = read_kinds("500+reset")
    plan = FaultPlan(drawn(share, kinds, seed=seed, budget=budget))
    found = Counter(plan.next() for _ in range(400))
    failed = 400 - found[OK]
    assert set(found) <= {OK, *kinds}
    if budget is not None:
        assert failed <= budget
    if budget is None:
        assert abs(failed - 400 * share) <= 400 * 0.15


def test_a_budget_ends_the_faults() -> None:
    traffic = Traffic()
    with served("fault-rate=1", "fault-budget=2", "fault-kinds=502", traffic=traffic) as api:
        assert [outcome(api) for _ in range(4)] == ["502", "502", "200", "200"]
    assert traffic.kinds == {"502": 2, "ok": 2}


def test_every_kind_is_drawn_without_being_named() -> None:
    traffic = Traffic()
    with served("fault-rate=1", traffic=traffic) as api, ThreadPoolExecutor(8) as pool:
        list(pool.map(outcome, [api] * 60))
    assert traffic.total == 60
    assert set(traffic.kinds) == {
        *("429", "500", "503", "reset", "cut", "truncated", "garbage", "html", "error200"),
    }


def test_a_rate_limit_refuses_and_tells_what_is_left() -> None:
    traffic = Traffic()
    with served("rate-limit=2/0.5", "faults=500", traffic=traffic) as api:
        answers = [api.completion() for _ in range(3)]
        time.sleep(0.5)
        answers.append(api.completion())
    assert [answer.status for answer in answers] == [500, 200, 429, 200]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0", "1"]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"2"}
    assert all(answer.headers["x-ratelimit-reset-requests"].endswith("ms") for answer in answers)
    assert answers[2].headers["retry-after"] == "1"
    assert answers[2].error["code"] == "rate_limit_exceeded"
    assert traffic.kinds == {"500": 1, "ok": 2, "429": 1}


@given(most=st.integers(1, 5), waits=st.lists(st.floats(0, 3), max_size=40))
@example(most=1, waits=[2.92] * 9 + [0.0])  # 126.28 + 2 - 126.28 is a little more than 2
def test_no_window_lets_in_more_than_the_limit(most: int, waits: list[float]) -> None:
    clock = Clock()
    limit, admitted = Limit(most, 2.0, clock=clock), list[float]()
    for wait in waits:
        clock.now += wait
        left = limit.admit()
        if left is None:
            admitted.append(clock.now)
        else:
            assert -1e-9 < left <= 2.0  # a retry-after is its ceiling
            assert sum(moment > clock.now - 2.0 for moment in admitted) == most
    assert all(later - first >= 2.0 - 1e-9 for first, later in zip(admitted, admitted[most:], strict=False))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_durations_are_written_as_go_writes_them() -> None:
    assert [duration(one) for one in (-1, 0.25, 1, 61.5, 3600)] == ["0ms", "250ms", "1s", "1m1.5s", "1h0m0s"]


def test_without_faults_everything_is_counted_alike() -> None:
    traffic = Traffic()
    with served(traffic=traffic) as api:
        assert api.chat().status == api.response().status == 200
        assert api.chat(n=0).status == 400
    assert (traffic.kinds, traffic.total) == ({"ok": 2, "refused": 1}, 3)


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("ok", [OK]),
        ("500*3,ok", [Fault("500")] * 3 + [OK]),
        ("429:2", [Fault("429", 2.0)]),
        ("429:250ms", [Fault("429", 0.25, in_milliseconds=True)]),
        ("slow:0.5,hang", [Fault("slow", 0.5), Fault("hang")]),
        ("error200", [Fault("error200")]),
    ],
)
def test_a_plan_is_read(text: str, plan: list[Fault]) -> None:
    assert list(read_plan(text)) == plan


@pytest.mark.parametrize(
    "text", ["", "oops", "200", "600", "slow", "reset:1", "ok*x", "ok*99999", "429:", "429:-1", "a:b"]
)
def test_a_plan_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_quirks([f"faults={text}"])


@given(st.text(max_size=12))
def test_any_text_is_a_fault_or_none(text: str) -> None:
    try:
        fault = read_fault(text)
    except ValueError:
        return
    assert fault.word == text.partition(":")[0]
    assert fault.status is None or 400 <= fault.status < 600

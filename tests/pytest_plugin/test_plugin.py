"""The pytest plugin, row by row: fixtures, markers, asserts, the environment, other plugins; all as a user has it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from blackbox_proxy import OffsetTable, Steerer, Steering, connect
from blackbox_proxy.standin import running, script
from tests.pytest_plugin.runs import SCENARIO, TEN_LINES, blocks, pytest_in

ASK = """
import os, time
import openai, pytest

def ask(text, **options):
    with openai.OpenAI(max_retries=0, **options) as client:
        asked = [{"role": "user", "content": text}]
        return client.chat.completions.create(model="gpt-4o-mini", messages=asked).choices[0].message.content
"""

FIXTURES = (
    ASK
    + """
def test_standin_is_scripted_by_default(standin):
    assert ask("Anything") == "This is the stand-in."
    assert standin.url == os.environ["OPENAI_BASE_URL"]

def test_standin_says_what_it_is_told_at_the_same_address(standin):
    url = standin.url
    standin.script({"One?": "1", "Two?": {"said": "2", "delay": 0.01}})
    assert [ask("One?"), ask("Two?")] == ["1", "2"]
    standin.script([{"asked": {"any": True}, "said": "3"}])
    assert ask("Three?", base_url=url) == "3"
    with pytest.raises(Exception, match="one of said, calls and error"):
        standin.script({"Four?": {}})

def test_requests_and_usage(standin):
    standin.script({"Hello, you!": "Hi."})
    ask("Hello, you!")
    with pytest.raises(openai.BadRequestError, match="from character 6 on it is ', you!', and '!' was asked"):
        ask("Hello!")
    first, second = standin.requests
    assert (first.path, first.model, first.status) == ("/v1/chat/completions", "gpt-4o-mini", 200)
    assert first.text == "Hello, you!"
    assert first.messages == [{"role": "user", "content": "Hello, you!"}]
    assert second.status == 400
    assert (standin.usage.requests, standin.usage.input, standin.usage.output) == (2, 4, 3)
    standin.reset()
    assert standin.requests == []

def test_fault(standin):
    standin.fault("429:0", "reset", "500*2")
    caught = []
    for _ in range(5):
        try:
            caught.append(ask("x"))
        except openai.APIError as error:
            caught.append(type(error).__name__)
    assert caught == ["RateLimitError", "APIConnectionError", *["InternalServerError"] * 2, "This is the stand-in."]
    with pytest.raises(Exception, match="'oops' is no fault"):
        standin.fault("oops")

def test_standin_gguf_serves_a_file_of_weights(standin_gguf, tiny_model_file):
    with openai.OpenAI() as client:
        reply = client.completions.create(model="tiny", prompt="the", max_tokens=4, logprobs=3)
    assert len(reply.choices[0].logprobs.top_logprobs) == 4
    assert tiny_model_file.suffix == ".gguf"

def test_tiny_pair_steers_in_milliseconds(standin_gguf, tiny_pair, tiny_pair_file):
    from blackbox_proxy import Steerer, Steering, connect
    with connect(standin_gguf.url, model="tiny") as api:
        result = Steerer(api, tiny_pair, Steering(alpha=1.0, max_tokens=8)).complete("Hello?")
    assert any(step.offset for step in result.steps)
    assert tiny_pair_file.read_text().startswith("expert = ")

def test_steered_is_a_gateway_over_both(steered):
    assert os.environ["OPENAI_BASE_URL"] == steered.url
    with openai.OpenAI() as client:
        reply = client.chat.completions.create(
            model=steered.model, messages=[{"role": "user", "content": "Hello?"}], max_tokens=4, logprobs=True
        )
    assert len(reply.choices[0].logprobs.content) == 4
    assert steered.upstream.requests
    assert all(one.path == "/v1/completions" for one in steered.upstream.requests)
"""
)


def test_fixtures(tmp_path: Path) -> None:
    """standin (scripted by default; url, requests, usage, fault, script), standin_gguf, tiny_pair, steered."""
    (tmp_path / "test_fixtures.py").write_text(FIXTURES)
    ran = pytest_in(tmp_path)
    assert (ran.passed, ran.failed) == (7, 0), ran.said


MARKERS = (
    ASK
    + """
@pytest.mark.standin(script="scenario.toml", quirks=["top-k-cap=2"], faults=["503"], latency=0.1)
def test_all_fields(standin):
    begun = time.monotonic()
    with pytest.raises(openai.InternalServerError):
        ask("What is the capital of Albania?")
    assert ask("What is the capital of Albania?") == "The capital is Tirana."
    assert time.monotonic() - begun >= 0.2
    with openai.OpenAI() as client, pytest.raises(openai.BadRequestError, match="top_logprobs"):
        client.chat.completions.create(model="m", messages=[], logprobs=True, top_logprobs=3)

@pytest.mark.standin(script={"Hi": "Ho"}, top_k=2, faults="500")
class TestOfAClass:
    def test_script_as_a_mapping(self, standin):
        with pytest.raises(openai.InternalServerError):
            ask("Hi")
        assert ask("Hi") == "Ho"

    @pytest.mark.standin(script={"Hi": "Hu"})
    def test_the_nearest_marker_holds(self, standin):
        assert ask("Hi") == "Hu"

@pytest.mark.standin(model="other.gguf")
def test_model(standin_gguf):
    with openai.OpenAI() as client:
        assert [one.id for one in client.models.list()] == ["other"]

@pytest.mark.standin(scripts="x")
def test_unknown_field(standin):
    pass
"""
)


def test_the_marker(tmp_path: Path) -> None:
    """script, quirks, faults, top_k, latency, model; on functions and classes; files count from the test's folder."""
    from blackbox_proxy.testing.tiny_models import write_tiny_model

    (tmp_path / "below").mkdir()
    write_tiny_model(tmp_path / "below" / "other.gguf")
    (tmp_path / "below" / "scenario.toml").write_text(SCENARIO)
    (tmp_path / "below" / "test_markers.py").write_text(MARKERS)
    ran = pytest_in(tmp_path, "--strict-markers")
    assert (ran.passed, ran.failed) == (4, 1), ran.said
    assert "takes script, quirks, faults, top_k, latency, model by name, and not scripts" in ran.said


ASSERTS = (
    ASK
    + """
def test_they_hold(standin):
    standin.assert_calls(0)
    ask("Hello")
    with openai.OpenAI() as client:
        client.completions.create(model="gpt-4o-mini", prompt="Once upon")
    standin.assert_calls(2)
    standin.assert_prefix("Once upon")
    standin.assert_cost_below("0.0001")
    assert 0 < standin.cost() < 1

def test_calls(standin):
    ask("Hello")
    standin.assert_calls(2)

def test_cost(standin):
    ask("Hello")
    standin.assert_cost_below(0)

def test_prefix(standin):
    ask("Hello")
    standin.assert_prefix("Hello")

def test_unknown_price(standin):
    with openai.OpenAI() as client:
        client.completions.create(model="nobody-knows-me", prompt="Once upon")
    standin.assert_cost_below(1)
"""
)


def test_asserts_that_help(tmp_path: Path) -> None:
    """assert_cost_below, assert_calls, assert_prefix: each fails with what there was instead."""
    (tmp_path / "test_asserts.py").write_text(ASSERTS)
    ran = pytest_in(tmp_path)
    assert (ran.passed, ran.failed) == (1, 4), ran.said
    assert "1 requests came, not 2:\nE             /v1/chat/completions 200: 'Hello'" in ran.said
    assert "and less than $0 was allowed: 1 tokens were read, 8 written" in ran.said
    assert "no request went on from 'Hello'" in ran.said
    assert "no price is known for 'nobody-knows-me'" in ran.said


ENVIRONMENT = (
    ASK
    + """
BEFORE = {"OPENAI_BASE_URL": "http://before.example/v1", "OPENAI_API_KEY": None}

def shown():
    return {name: os.environ.get(name) for name in BEFORE}

def test_before():
    assert shown() == BEFORE

def test_with(standin):
    assert shown() == {"OPENAI_BASE_URL": standin.url, "OPENAI_API_KEY": "standin"}

def test_between(monkeypatch, standin):
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://other.example/v1")

def test_after():
    assert shown() == BEFORE

def test_stacked(standin, steered):
    assert os.environ["OPENAI_BASE_URL"] == steered.url

def test_after_all():
    assert shown() == BEFORE
"""
)


def test_the_environment_is_put_back(tmp_path: Path) -> None:
    """OPENAI_BASE_URL and OPENAI_API_KEY: set for the test alone, also where the test changes them itself."""
    (tmp_path / "test_environment.py").write_text(ENVIRONMENT)
    ran = pytest_in(tmp_path, "-p", "no:randomly", environ={"OPENAI_BASE_URL": "http://before.example/v1"})
    assert (ran.passed, ran.failed) == (6, 0), ran.said


BESIDE = """
import asyncio, random
import anyio, openai, pytest

async def ask(text):
    async with openai.AsyncOpenAI(max_retries=0) as client:
        asked = [{"role": "user", "content": text}]
        reply = await client.chat.completions.create(model="m", messages=asked)
        return reply.choices[0].message.content

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
@pytest.mark.parametrize("n", range(8))
async def test_anyio(standin, n):
    standin.script({f"Question {n}?": f"Answer {n}."})
    said = await asyncio.gather(*(ask(f"Question {n}?") for _ in range(4)))
    assert said == [f"Answer {n}."] * 4
    standin.assert_calls(4)

@pytest.mark.parametrize("n", range(8))
def test_a_loop_of_its_own(standin, n):
    standin.script({f"Question {n}?": f"Answer {n}."})
    assert asyncio.run(ask(f"Question {n}?")) == f"Answer {n}."
    standin.assert_calls(1)

def test_chance_is_left_alone(standin):
    before = random.getstate()
    asyncio.run(ask("x"))
    assert random.getstate() == before
"""


@pytest.mark.parametrize("options", [("-n", "4"), ("-p", "randomly", "-p", "no:xdist")], ids=["xdist", "randomly"])
def test_beside_other_plugins(tmp_path: Path, options: tuple[str, ...]) -> None:
    """pytest-xdist, pytest-randomly, anyio's plugin; many requests at once."""
    (tmp_path / "test_beside.py").write_text(BESIDE)
    ran = pytest_in(tmp_path, *options)
    assert (ran.passed, ran.failed) == (17, 0), ran.said


def test_the_ten_lines_of_the_page(tmp_path: Path) -> None:
    """In an empty folder, as they stand, also under `-n 4` and in random order."""
    (tmp_path / "test_capital.py").write_text(TEN_LINES)
    assert len([line for line in TEN_LINES.splitlines() if line.strip()]) <= 10
    bare = ("-p", "no:randomly", "-p", "no:xdist", "-p", "no:anyio", "-p", "no:hypothesispytest")
    for options in (bare, ("-n", "4"), ("-p", "randomly")):
        ran = pytest_in(tmp_path, *options)
        assert (ran.passed, ran.failed) == (1, 0), ran.said


def test_the_ten_lines_reach_no_other_host(tmp_path: Path) -> None:
    """Sockets to anything but this machine are refused while they run."""
    (tmp_path / "test_capital.py").write_text(TEN_LINES)
    ran = pytest_in(tmp_path, "--allow-hosts=127.0.0.1")
    assert (ran.passed, ran.failed) == (1, 0), ran.said


def test_beside_pytest_asyncio(tmp_path: Path) -> None:
    """In its automatic mode, which takes every async test."""
    pytest.importorskip("pytest_asyncio", reason="pytest-asyncio is not installed: the extra `test` brings it")
    tests = BESIDE.replace("@pytest.mark.anyio\n", "").partition('@pytest.mark.parametrize("n", range(8))\ndef')[0]
    (tmp_path / "test_asyncio.py").write_text(tests)
    ran = pytest_in(tmp_path, "-p", "no:anyio", "-o", "asyncio_mode=auto", asyncio=True)
    assert (ran.passed, ran.failed) == (8, 0), ran.said


def test_the_other_examples_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    ours = [block for block in blocks("python") if "(standin" in block]
    (tmp_path / "test_examples.py").write_text("\n".join(ours))
    ran = pytest_in(tmp_path)
    assert (ran.passed, ran.failed) == (4, 0), ran.said


@pytest.fixture
def letters() -> Iterator[str]:
    """A hosted model that says any letter after anything, so that a pair of random weights can steer it."""
    pieces = [bytes([code]) for code in (10, *range(32, 127))]
    flat = {b"": dict.fromkeys(pieces[1:], 1.0)}
    with running(script(pieces, [b"</s>"], flat), name="NAME") as url:
        yield url


def test_the_marker_of_cassettes(tmp_path: Path, letters: str) -> None:
    """Recorded with `--record-cassettes`, else replayed, and then no address is asked."""
    imports = "import pytest\nfrom blackbox_proxy import Steerer, Steering, connect\n"
    (example,) = (block for block in blocks("python") if "(cassette" in block)
    file = tmp_path / "test_recorded.py"
    file.write_text(imports + example.replace("https://HOST/v1", letters))
    missing = pytest_in(tmp_path)
    recorded = pytest_in(tmp_path, "--record-cassettes")
    file.write_text(imports + example.replace("https://HOST/v1", "http://127.0.0.1:9/v1"))
    replayed = pytest_in(tmp_path, "--strict-cassettes")
    other = pytest_in(tmp_path, "--record-cassettes")
    counts = [(run.passed, run.failed) for run in (missing, recorded, replayed, other)]
    assert counts == [(0, 1), (1, 0), (1, 0), (0, 1)]
    assert "colour.jsonl is not there: `pytest --record-cassettes` records it" in missing.said


def test_recordings_that_are_not_used_fail_where_they_are_to(tmp_path: Path, letters: str) -> None:
    (tmp_path / "cassettes").mkdir()
    with connect(letters, model="NAME", record=tmp_path / "cassettes" / "idle.jsonl") as api:
        Steerer(api, OffsetTable({}), Steering(max_tokens=2)).complete("Name a colour.")
    tests = "import pytest\n@pytest.mark.cassette('idle')\ndef test_idle(cassette):\n    assert cassette['replay']\n"
    (tmp_path / "test_idle.py").write_text(tests + "def test_unnamed(cassette):\n    pass\n")
    lax, strict = pytest_in(tmp_path), pytest_in(tmp_path, "--strict-cassettes")
    assert (lax.passed, lax.failed) == (1, 1), lax.said
    assert 'wants a name: @pytest.mark.cassette("name")' in lax.said
    assert (strict.passed, strict.failed) == (1, 2), strict.said
    assert "recorded attempts were not asked for: /completions (200)" in strict.said


def test_the_plugin_is_found_by_its_entry_point() -> None:
    values = {one.value for one in entry_points(group="pytest11", name="blackbox-proxy")}
    assert values == {"blackbox_proxy.pytest_plugin"}


def test_nothing_is_imported_before_it_is_used() -> None:
    """Neither what is heavy nor any other module of the package: importing the plugin costs what pytest does."""
    script = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport blackbox_proxy.pytest_plugin\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert said == ["blackbox_proxy", "blackbox_proxy.pytest_plugin"]

"""Scenarios: what is asked, what is said with which log-probs, turns, calls of tools, errors, delays.

Each test names the row of the format that it holds. Requests go over HTTP to a stand-in that is really served.
"""

from __future__ import annotations

import http.client
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy import OffsetTable, Steerer, Steering, connect
from blackbox_proxy.errors import InputError
from blackbox_proxy.standin import Journal, read_scenario, running, scenario_of
from blackbox_proxy.standin.scenarios import schema
from blackbox_proxy.standin.scenarios.answers import following, text_of, tokens_of
from blackbox_proxy.standin.scenarios.file import parse_scenario
from tests.documents import DOCS
from tests.standin.raw import Answer, Json, call, post

CAPITAL = "What is the capital of Albania?"
TOML = """
[[exchange]]
asked = "What is the capital of Albania?"
said = [
  "The capital is",
  { token = " Tirana", p = 0.7, others = { " Durres" = 0.2, " Vlora" = { p = -3.0, then = ", by the sea." } } },
  ".",
]
"""
SAID = parse_scenario(TOML, where="capital.toml")
CHAT = {"model": "any", "messages": [{"role": "user", "content": CAPITAL}]}


def chat(url: str, *said: str, **fields: Json) -> Answer:
    """Turns of the user and the assistant in turn."""
    turns = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(said)]
    return post(url, "/v1/chat/completions", {"model": "any", "messages": turns, **fields})


def content(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    said: str = answer.json["choices"][0]["message"]["content"]
    return said


@contextmanager
def served(*exchanges: dict[str, Json], journal: Journal | None = None, quirks: tuple[str, ...] = ()) -> Iterator[str]:
    with running(scenario_of(exchanges), journal=journal or Journal(), quirks=quirks) as url:
        yield url


@pytest.fixture(scope="module")
def capital() -> Iterator[str]:
    with running(SAID) as url:
        yield url


def test_what_is_asked_as_a_text_as_an_expression_and_as_anything() -> None:
    exchanges: tuple[dict[str, Json], ...] = (
        {"asked": "one", "said": "the text"},
        {"asked": {"regex": r"tw.\?$"}, "said": "the expression"},
        {"asked": {"any": True}, "said": "anything"},
    )
    with served(*exchanges) as url:
        said = [content(chat(url, text)) for text in ("one", "is it two?", "one?", "")]
    assert said == ["the text", "the expression", "anything", "anything"]


def test_what_is_said_comes_at_any_temperature_and_under_any_name(capital: str) -> None:
    for temperature in (0, 1, 2):
        answer = post(capital, "/v1/chat/completions", {**CHAT, "model": f"m{temperature}", "temperature": temperature})
        assert content(answer) == "The capital is Tirana."
        assert answer.json["model"] == f"m{temperature}"
        assert answer.json["choices"][0]["finish_reason"] == "stop"


def test_answers_are_drawn_where_the_scenario_says_so() -> None:
    scenario = parse_scenario(f'sampled = true\nmodel = "closed"\n{TOML}', where="capital.toml")
    with running(scenario) as url:
        asked = {**CHAT, "model": "closed", "n": 60, "seed": 1}
        texts = {one["message"]["content"] for one in post(url, "/v1/chat/completions", asked).json["choices"]}
        other = post(url, "/v1/chat/completions", CHAT)
    assert {"The capital is Tirana.", "The capital is Durres."} <= texts
    assert other.status == 404


def test_alternatives_and_log_probs_are_those_of_a_distribution_with_the_tail_that_is_left(capital: str) -> None:
    """On both routes; all log-probs together are 1, and the tail is spread evenly."""
    answer = post(capital, "/v1/chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 20})
    entry = answer.json["choices"][0]["logprobs"]["content"][3]
    listed = {one["token"]: math.exp(one["logprob"]) for one in entry["top_logprobs"]}
    vocabulary = SAID.vocabulary
    tail = 1 - 0.7 - 0.2 - math.exp(-3.0)
    share = tail / (int(vocabulary.is_text.sum()) - 3)
    assert [listed.pop(name) for name in (" Tirana", " Durres", " Vlora")] == pytest.approx([0.7, 0.2, math.exp(-3)])
    assert list(listed.values()) == pytest.approx([share] * 17)
    assert math.exp(entry["logprob"]) == pytest.approx(0.7)
    asked = {"model": "any", "prompt": CAPITAL, "max_tokens": 9, "logprobs": 3, "temperature": 1}
    legacy = post(capital, "/v1/completions", asked).json["choices"][0]
    assert legacy["text"] == "The capital is Tirana."
    assert legacy["logprobs"]["top_logprobs"][3] == pytest.approx(
        {" Tirana": math.log(0.7), " Durres": math.log(0.2), " Vlora": -3.0}
    )


def test_an_alternative_is_gone_on_from_with_the_rest_or_with_what_follows_it(capital: str) -> None:
    flags = {"continue_final_message": True}
    said = {
        so_far: content(chat(capital, CAPITAL, so_far, **flags))
        for so_far in ("The cap", "The capital is Durres", "The capital is Vlora", "The capital is Tirana.")
    }
    assert list(said.values()) == ["ital is Tirana.", ".", ", by the sea.", ""]
    refused = chat(capital, CAPITAL, "The capital is Paris", **flags)
    assert refused.status == 400
    assert "does not begin with 'The capital is Paris'" in refused.error["message"]


@pytest.mark.parametrize("route", ["chat", "completions"])
def test_a_stream_says_what_a_whole_reply_says(capital: str, route: str) -> None:
    path, asked = ("/v1/chat/completions", CHAT) if route == "chat" else ("/v1/completions", {"prompt": CAPITAL})
    body = {"model": "any", "max_tokens": 20, **asked}
    whole = post(capital, path, body).json
    *events, done = post(capital, path, {**body, "stream": True, "stream_options": {"include_usage": True}}).events
    chunks = [json.loads(event) for event in events]
    parts = [one for chunk in chunks for one in chunk["choices"]]
    texts = [one["delta"].get("content") or "" if route == "chat" else one["text"] for one in parts]
    choice = whole["choices"][0]
    assert "".join(texts) == (choice["message"]["content"] if route == "chat" else choice["text"])
    assert chunks[-1]["usage"] == whole["usage"]
    assert done == "[DONE]"


def test_a_raw_text_is_asked_exactly_by_an_expression_or_in_chatml() -> None:
    exchanges: tuple[dict[str, Json], ...] = (
        {"asked": "Once", "said": " upon a time."},
        {"asked": {"regex": "^def "}, "said": "    return 1"},
    )
    with served(*exchanges) as url:

        def said(prompt: str) -> str:
            answer = post(url, "/v1/completions", {"model": "any", "prompt": prompt})
            assert answer.status == 200, answer.body
            text: str = answer.json["choices"][0]["text"]
            return text

        assert said("Once") == " upon a time."
        assert said("Once upon") == " a time."
        assert said("def f():\n") == "    return 1"
        assert said("def f():\n    return") == " 1"
        assert said("<|im_start|>user\nOnce<|im_end|>\n<|im_start|>assistant\n upon a") == " time."


def test_turns_and_the_systems_turn_decide_between_equal_questions() -> None:
    exchanges: tuple[dict[str, Json], ...] = (
        {"asked": "And you?", "system": {"regex": "curt"}, "said": "Fine."},
        {
            "asked": "And you?",
            "before": [{"role": "user", "content": "How is it?"}, {"role": "assistant"}],
            "said": "I am well too.",
        },
        {"asked": "And you?", "said": "And I what?"},
    )
    with served(*exchanges) as url:
        curt = [{"role": "system", "content": "Be curt."}, {"role": "user", "content": "And you?"}]
        answer = post(url, "/v1/chat/completions", {"model": "any", "messages": curt})
        assert content(answer) == "Fine."
        assert content(chat(url, "How is it?", "Well.", "And you?")) == "I am well too."
        assert content(chat(url, "And you?")) == "And I what?"


def test_an_exchange_that_is_used_up_gives_way_to_the_next_and_is_named_where_there_is_none() -> None:
    with served({"asked": "go", "said": "one", "times": 1}, {"asked": "go", "said": "two", "times": 1}) as url:
        assert [content(chat(url, "go")), content(chat(url, "go"))] == ["one", "two"]
        assert content(chat(url, "go", "tw", continue_final_message=True)) == "o"
        refused = chat(url, "go")
    assert "exchange 1 answers that, and was begun 1 times already" in refused.error["message"]


TOOLS: Json = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]


def calling(url: str, *, streamed: bool) -> list[Json]:
    """The calls of tools that a chat makes; those of a stream are put together."""
    asked = {"model": "any", "messages": [{"role": "user", "content": "Weather?"}], "tools": TOOLS}
    answer = post(url, "/v1/chat/completions", {**asked, "stream": streamed})
    if not streamed:
        assert answer.json["choices"][0]["finish_reason"] == "tool_calls"
        whole: list[Json] = answer.json["choices"][0]["message"]["tool_calls"]
        return whole
    *events, done = answer.events
    choices = [json.loads(event)["choices"][0] for event in events]
    assert (choices[-1]["finish_reason"], done) == ("tool_calls", "[DONE]")
    calls: list[Json] = []
    for delta in (one for choice in choices for one in choice["delta"].get("tool_calls", ())):
        if delta["index"] == len(calls):
            calls.append({"id": delta["id"], "type": delta["type"], "function": delta["function"]})
        else:
            calls[delta["index"]]["function"]["arguments"] += delta["function"]["arguments"]
    return calls


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_calls_of_tools_and_their_results(*, streamed: bool) -> None:
    exchanges: tuple[dict[str, Json], ...] = (
        {"asked": "Weather?", "calls": [{"name": "weather", "arguments": {"city": "Paris"}, "id": "call_1"}]},
        {"asked": {"result_of": "weather", "regex": "sun"}, "said": "It is sunny."},
    )
    with served(*exchanges) as url:
        [called] = calling(url, streamed=streamed)
        assert (called["id"], called["type"], called["function"]["name"]) == ("call_1", "function", "weather")
        assert json.loads(called["function"]["arguments"]) == {"city": "Paris"}
        answers = [
            post(
                url,
                "/v1/chat/completions",
                {
                    "model": "any",
                    "tools": TOOLS,
                    "messages": [
                        {"role": "user", "content": "Weather?"},
                        {"role": "assistant", "content": None, "tool_calls": [called]},
                        {"role": "tool", "tool_call_id": "call_1", "content": result},
                    ],
                },
            )
            for result in ("sun", "?")
        ]
    assert content(answers[0]) == "It is sunny."
    assert "has no answer to a result of weather: '?'" in answers[1].error["message"]


def test_errors_in_the_shape_of_the_api_with_a_time_to_wait() -> None:
    problem = {"status": 429, "message": "Slow down.", "code": "rate", "type": "requests", "retry_after": 2}
    with served({"asked": "go", "error": problem}) as url:
        answer = chat(url, "go")
    assert answer.status == 429
    assert answer.headers["retry-after"] == "2"
    assert answer.error == {"message": "Slow down.", "type": "requests", "param": None, "code": "rate"}


def test_errors_of_the_transport_as_plans_of_faults_write_them() -> None:
    exchanges: tuple[dict[str, Json], ...] = (
        {"asked": "later", "error": "429:3"},
        {"asked": "page", "error": "html"},
        {"asked": "line", "error": "reset"},
        {"asked": "half", "error": "truncated", "said": "A long answer."},
        {"asked": "broken", "error": "cut", "said": "A long answer."},
        {"asked": "slow", "error": "slow:0.05", "said": "late"},
    )
    with served(*exchanges) as url:
        assert chat(url, "later").headers["retry-after"] == "3"
        assert chat(url, "page").body.startswith(b"<!DOCTYPE html>")
        with pytest.raises(ConnectionResetError):
            chat(url, "line")
        half = chat(url, "half").body
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            chat(url, "broken")
        assert content(chat(url, "slow")) == "late"
    assert half.startswith(b'{"id"')
    with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
        json.loads(half)


def test_a_client_that_tries_again_gets_past_an_error_that_comes_once() -> None:
    with served({"asked": "go", "error": "500", "times": 1}, {"asked": "go", "said": "gone"}) as url:
        with openai.OpenAI(base_url=url, api_key="any", max_retries=1) as client:
            reply = client.chat.completions.create(model="any", messages=[{"role": "user", "content": "go"}])
    assert reply.choices[0].message.content == "gone"


def test_a_delay_comes_before_the_answer() -> None:
    with served({"asked": "go", "said": "gone", "delay": 0.2}) as url:
        begun = time.monotonic()
        assert content(chat(url, "go")) == "gone"
        assert time.monotonic() - begun >= 0.2


def test_an_answer_that_ends_by_its_length_or_is_shorter_than_asked_says_so() -> None:
    with served({"asked": "go", "said": "one two three", "finish": "length"}) as url:
        choices = [chat(url, "go", **fields).json["choices"][0] for fields in ({}, {"max_tokens": 2})]
    assert [one["message"]["content"] for one in choices] == ["one two three", "one two"]
    assert {one["finish_reason"] for one in choices} == {"length"}


def test_other_tokens_may_end_an_answer_and_fragments_of_characters_may_be_said() -> None:
    said: Json = [{"token": "yes", "p": 0.6, "others": {"": 0.4}}, {"bytes": [240, 159]}, {"bytes": [166, 156]}]
    with served({"asked": "go", "said": said}) as url:
        answer = chat(url, "go", logprobs=True, top_logprobs=2)
    assert content(answer) == "yes🦜"
    first = answer.json["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    assert [one["token"] for one in first] == ["yes", "<|im_end|>"]


def test_usage_counts_words_and_marks() -> None:
    journal = Journal()
    with served({"asked": "Hello, you there!", "said": "Hi."}, journal=journal) as url:
        usage = chat(url, "Hello, you there!").json["usage"]
    assert tokens_of("Hello, you there!") == [b"Hello", b",", b" you", b" there", b"!"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (5, 3)
    [seen] = journal.requests
    assert (seen.usage.input, seen.usage.output, seen.status) == (5, 3, 200)


def test_what_no_exchange_answers_is_refused_with_what_was_expected_and_the_nearest(capital: str) -> None:
    refused = chat(capital, "What is the capital of Albanien?")
    assert refused.status == 400
    assert refused.error["code"] == "unexpected_request"
    assert refused.error["message"] == (
        "capital.toml has no answer to 'What is the capital of Albanien?'. Nearest is line 2: asked is 'What is the"
        " capital of Albania?'; from character 30 on it is 'a?', and 'en?' was asked."
    )


def test_what_a_scenario_cannot_do_is_refused(capital: str) -> None:
    ids = post(capital, "/v1/completions", {"model": "any", "prompt": [1, 2, 3]})
    echo = post(capital, "/v1/completions", {"model": "any", "prompt": CAPITAL, "echo": True})
    assert (ids.status, echo.status) == (400, 400)
    assert "token ids" in ids.error["message"]
    assert "'echo'" in echo.error["message"]


def test_quirks_hold_for_scenarios_too() -> None:
    quirks = ("no-prefill", "rounded-logps=1", "noise=0.5")
    with running(SAID, quirks=quirks) as url:
        again = content(chat(url, CAPITAL, "The capital", continue_final_message=True))
        listed = [
            post(url, "/v1/chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 1}).json["choices"][0]
            for _ in range(8)
        ]
    logps = {choice["logprobs"]["content"][3]["logprob"] for choice in listed}
    assert again == "The capital is Tirana."
    assert len(logps) > 1
    assert all(round(logp, 1) == logp for logp in logps)


@pytest.mark.parametrize("adapter", ["completions", "chat_prefill"])
def test_a_scenario_can_be_steered_into_its_alternatives(capital: str, adapter: str) -> None:
    with connect(capital, model="closed", adapter=adapter) as api:
        steerer = Steerer(api, OffsetTable({b" Vlora": 6.0}), Steering(alpha=1.0))
        result = steerer.complete(CAPITAL)
        plain = Steerer(api, OffsetTable({}), Steering(alpha=1.0)).complete(CAPITAL)
    assert result.text == "The capital is Vlora, by the sea."
    assert plain.text == "The capital is Tirana."


MISTAKES = {
    'asked = "x"\nsad = "y"\n': "line 3: exchange.1.sad: there is no such field",
    'asked = "x"\n': "line 1: exchange.1: one of said, calls and error says what comes back",
    'said = "y"\n': "line 1: exchange.1.asked: it is missing",
    'asked = { regex = "(" }\nsaid = "y"\n': "line 2: exchange.1.asked: '(' is no regular expression",
    'asked = { regex = "a", any = true }\nsaid = "y"\n': "line 2: exchange.1.asked: regex and any say two things",
    'asked = "x"\nsaid = [{ token = "y", p = 0.9, others = { z = 0.2 } }]\n': "line 3: exchange.1.said.1: the probab",
    'asked = "x"\nsaid = [{ token = "y", others = { z = 1.0 } }]\n': "line 3: exchange.1.said.1: its alternatives",
    'asked = "x"\nsaid = [{ token = "y", p = 2.0 }]\n': "line 3: exchange.1.said.1.p: Input should be less than",
    'asked = "x"\nsaid = [{ text = "y z", p = 0.5 }]\n': "line 3: exchange.1.said.1: p and others belong to a token",
    'asked = "x"\nsaid = [{ p = 0.5 }]\n': "line 3: exchange.1.said.1: one of text, token and bytes",
    'asked = "x"\n\nerror = "often"\n': "exchange.1: 'often' is no fault",
    'asked = "x"\n\nerror = "cut"\n': "exchange.1: cut breaks off an answer, and none is said",
    'asked = "x"\nsaid = "y"\ntimes = 0\n': "line 4: exchange.1.times: Input should be greater than",
    'asked = "x"\nsaid = "y\n': "is not TOML",
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_a_mistake_is_told_with_its_file_and_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(f"[[exchange]]\n{text}")
    with pytest.raises(InputError) as caught:
        read_scenario(path)
    assert caught.value.message.startswith(str(path))
    assert said in caught.value.message


def test_a_scenario_in_json_is_the_same_and_its_mistakes_have_lines_too(tmp_path: Path) -> None:
    path = tmp_path / "capital.json"
    path.write_text('{"exchange": [\n  {"asked": "x",\n   "said": ["a", {"token": "b",\n   "p": 2}]}\n]}')
    with pytest.raises(InputError, match=r"capital\.json, line 4: exchange\.1\.said\.2\.p"):
        read_scenario(path)
    path.write_text('{"exchange": [{"asked": "x",\n "said": "y"}]}')
    answer = read_scenario(path).exchanges[0].answer
    assert answer is not None
    assert text_of(answer) == b"y"


def test_the_schema_for_editors_is_that_of_today() -> None:
    written = json.loads((DOCS / "scenario.schema.json").read_text(encoding="utf-8"))
    assert written == schema(), "`blackbox-proxy standin --schema > docs/scenario.schema.json` writes it anew"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the scenario .*none\.toml"):
        read_scenario(tmp_path / "none.toml")


@given(st.lists(st.tuples(st.text(min_size=1, max_size=4), st.text(min_size=1, max_size=4)), min_size=1, max_size=4))
def test_every_beginning_of_every_way_through_an_answer_is_gone_on_from(spots: list[tuple[str, str]]) -> None:
    """By a distribution: what is listed and the tail are 1 together."""
    said = [
        {"token": one} if one == other else {"token": one, "p": 0.5, "others": {other: 0.25}} for one, other in spots
    ]
    answer = scenario_of({"go": said}).exchanges[0].answer
    assert answer is not None
    for way in (0, 1):
        text = "".join(spot[way] for spot in spots).encode()
        for end in range(len(text) + 1):
            follows = following(answer, text[:end])
            assert follows is not None
            assert sum(follows.weights.values()) + follows.tail == pytest.approx(1.0)
            assert follows.said in follows.weights


def test_a_journal_shows_what_was_asked_and_admin_routes_are_there_only_when_asked_for(capital: str) -> None:
    assert call(capital, "/__standin/requests").status == 404
    with running(scenario_of({"go": {"said": "gone", "times": 1}}), journal=Journal(), admin=True) as url:
        assert content(chat(url, "go")) == "gone"
        assert chat(url, "go").status == 400
        shown = call(url, "/__standin/requests").json
        assert [(one["path"], one["status"]) for one in shown] == [
            ("/v1/chat/completions", 200),
            ("/v1/chat/completions", 400),
        ]
        assert shown[0]["body"]["messages"] == [{"role": "user", "content": "go"}]
        assert shown[0]["usage"] == {"input": 1, "cached": 0, "output": 2}
        assert call(url, "/__standin/requests", origin="http://evil.example").status == 403
        assert call(url, "/__standin/reset", method="POST").json == {"reset": True}
        assert call(url, "/__standin/requests").json == []
        assert content(chat(url, "go")) == "gone"

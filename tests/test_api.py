"""connect with a profile: what is sent, with which key, what wins over what, and what is said."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiktoken
import tiktoken.registry

from blackbox_proxy import Api, connect
from blackbox_proxy.core.money.spending import used_by
from blackbox_proxy.errors import ApiRefused, InputError, ReplyError, WeightsError
from blackbox_proxy.local import tokenfiles
from blackbox_proxy.remote.profiles.finding import user_folder
from blackbox_proxy.remote.profiles.overlays import write_overlay
from blackbox_proxy.types import Generate, Message, Prefix, Prompt, Reply, Usage
from tests.remote.scripted import Say, ScriptedApi

NO = Say({"error": {"message": "no", "code": "model_not_found"}}, status=404)
KEY = "sk-of-the-environment"

Seen = tuple[str, dict[str, str], dict[str, object]]


@pytest.fixture(autouse=True)
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No profile of the user's, and no tokenizer kept by tiktoken from another test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a file of tiktoken's nor a package that brings one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "of-tiktoken"))
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    monkeypatch.setattr(tokenfiles, "DONOR", "no_such_package")


def small() -> tiktoken.Encoding:
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256}
    return tiktoken.Encoding("small", pat_str=r".+", mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 258})


@pytest.fixture
def small_tokenizers(monkeypatch: pytest.MonkeyPatch) -> None:
    """tiktoken with small encodings in place of large ones."""
    monkeypatch.setattr(tiktoken, "get_encoding", lambda _: small())


def seen(build: Callable[[str], Api], *, answer: bytes = b"") -> Seen:
    """What a connection sends for one question; the server only notes it and says no."""
    with ScriptedApi(NO) as server, build(server.url) as api:
        chat = (Message("user", "hello"),) if api.capabilities().chat else ()
        with pytest.raises(ApiRefused):
            api.send(Generate(api.model, Prefix("hello", answer, chat), 50, 4))
        return server.seen[0]


@pytest.mark.usefixtures("small_tokenizers")
def test_openai_is_asked_as_its_models_want_it() -> None:
    path, _, body = seen(lambda url: connect(url, profile="openai", model="gpt-5.4"))
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "gpt-5.4",
        "messages": [{"role": "user", "content": "hello"}],
        "max_completion_tokens": 16,
        "temperature": 1.0,
        "logprobs": True,
        "top_logprobs": 20,
        "reasoning_effort": "none",
    }


def test_mistral_goes_on_from_a_prefix() -> None:
    _, _, body = seen(lambda url: connect(url, profile="mistral", model="m"), answer=b"Tir")
    assert body["messages"] == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Tir", "prefix": True},
    ]


def test_deepseek_is_told_not_to_think() -> None:
    _, _, body = seen(lambda url: connect(url, profile="deepseek", model="m"))
    assert body["thinking"] == {"type": "disabled"}
    assert body["temperature"] == 1.0


@pytest.mark.parametrize(
    ("profile", "path", "wanted"),
    [
        ("vllm", "/v1/completions", {"logprobs": 20, "max_tokens": 4, "temperature": 0.0}),
        ("sglang", "/v1/completions", {"logprobs": 20, "max_tokens": 4, "temperature": 0.0}),
        ("together", "/v1/completions", {"logprobs": 20, "max_tokens": 4, "temperature": 1.0}),
        ("fireworks", "/v1/completions", {"logprobs": True, "top_logprobs": 5, "temperature": 1.0}),
        ("llama_server", "/v1/completion", {"n_probs": 40, "n_predict": 4, "temperature": 0.0}),
    ],
)
def test_raw_text_is_sent_in_each_ones_words(profile: str, path: str, wanted: dict[str, object]) -> None:
    found, _, body = seen(lambda url: connect(url, profile=profile, model="m"))
    assert found == path
    assert {name: body.get(name) for name in wanted} == wanted
    assert body["prompt"] == "hello"


def test_azure_wants_its_query_and_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    path, headers, _ = seen(lambda url: connect(f"{url}/deployments/d", profile="azure", model="mine"))
    assert path == "/v1/deployments/d/chat/completions?api-version=2024-10-21"
    sent = {name.lower(): value for name, value in headers.items()}
    assert sent["api-key"] == KEY
    assert "authorization" not in sent


@pytest.mark.parametrize(
    ("given", "name", "wanted"),
    [(None, "", KEY), ("sk-given", "", "sk-given"), (None, "ANOTHER", "sk-another")],
    ids=["the profile's variable", "a key", "a variable"],
)
def test_a_given_key_wins_over_the_profiles_variable(
    monkeypatch: pytest.MonkeyPatch, given: str | None, name: str, wanted: str
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    monkeypatch.setenv("ANOTHER", "sk-another")
    _, headers, _ = seen(lambda url: connect(url, profile="vllm", model="m", api_key=given, key_name=name))
    assert f"Bearer {wanted}" in headers.values()


def test_a_missing_key_is_asked_for_by_the_profiles_variable() -> None:
    with pytest.raises(InputError, match=r"api\.mistral\.ai needs a key, but MISTRAL_API_KEY is not set"):
        connect(profile="mistral", model="m")


def test_given_options_win_over_the_profile() -> None:
    """And of the fields that are sent as they are, one by one."""
    options = {"top_k": 3, "extra_body": {"seed_of": 1}}
    _, _, body = seen(lambda url: connect(url, profile="deepseek", model="m", options=options))
    assert (body["top_logprobs"], body["seed_of"], body["thinking"]) == (3, 1, {"type": "disabled"})


def test_a_given_adapter_wins_over_the_profile() -> None:
    path, _, body = seen(lambda url: connect(url, profile="vllm", model="m", adapter="chat_continue"))
    assert path == "/v1/chat/completions"
    assert body["top_logprobs"] == 20


def test_what_was_measured_at_an_address_is_used_there(config_home: Path) -> None:
    folder = user_folder({"XDG_CONFIG_HOME": str(config_home)})

    def build(url: str) -> Api:
        write_overlay(
            folder, extends="vllm", base_url=url, model="m", measured=dt.date(2026, 11, 25), options={"top_k": 6}
        )
        return connect(url, profile="vllm", model="m")

    assert seen(build)[2]["logprobs"] == 6


def test_without_a_profile_an_address_is_needed() -> None:
    with pytest.raises(InputError, match="is not a web address"):
        connect(model="m")


@pytest.mark.usefixtures("small_tokenizers")
def test_the_ends_of_a_known_tokenizer_are_known_to_an_adapter_that_is_told_ids() -> None:
    """llama.cpp's server shows an end as an empty text: only its id tells."""
    row = [
        {"id": 258, "token": "", "bytes": [], "logprob": -0.5},
        {"id": 97, "token": "a", "bytes": [97], "logprob": -1},
    ]
    body = {"content": "", "completion_probabilities": [{**row[0], "top_logprobs": row}], "stop_type": "eos"}
    with (
        ScriptedApi(Say(body)) as server,
        connect(server.url, profile="llama_server", model="m", tokenizer="tiktoken:o200k_base") as api,
    ):
        (position,) = api.send(Generate("m", Prefix("hello"), 2)).positions
    assert [candidate.kind.value for candidate in position.top] == ["end", "text"]


def chat_says(text: str) -> Say:
    """A chat's reply of one token."""
    told = {"token": text, "logprob": -0.5, "bytes": list(text.encode())}
    choice = {"message": {"content": text}, "logprobs": {"content": [{**told, "top_logprobs": [told]}]}}
    return Say(
        {"choices": [{**choice, "finish_reason": "length"}], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}
    )


WHICH = Prompt.ask("Which?").messages
ASKED = Generate("m", Prefix("", b"The capital of Alb", WHICH), 2)


@pytest.mark.parametrize("sends", [lambda api: api.send(ASKED), lambda api: asyncio.run(closing(api))])
def test_a_chat_that_does_not_go_on_is_asked_in_the_next_way(sends: Callable[[Api], Reply]) -> None:
    """Each of the replies is paid for; the second one is used."""
    with (
        ScriptedApi(chat_says("Sure!"), chat_says("Albania")) as server,
        connect(server.url, model="m", adapter="chat_continue") as api,
    ):
        reply = sends(api)
    asked = [json.dumps(body["messages"]) for _, _, body in server.seen]
    assert ["Begin your answer with" in text for text in asked] == [True, False]
    assert reply.positions[0].sampled.piece == b"ania"
    assert reply.usage == Usage(input=9, output=1, requests=1)
    assert used_by(reply.calls) == Usage(input=18, output=2, requests=2), "both replies are paid for"


async def closing(api: Api) -> Reply:
    async with api:
        return await api.asend(ASKED)


def test_of_a_chat_that_goes_on_in_no_way_nothing_is_known_there() -> None:
    with (
        ScriptedApi(*[chat_says("Alb")] * 3) as server,
        connect(server.url, model="m", adapter="chat_continue") as api,
    ):
        reply = api.send(ASKED)
    assert len(server.seen) == 3
    assert (reply.positions[0].top, used_by(reply.calls).answered, used_by(reply.calls).lost) == ((), 3, 0)


def test_a_shape_that_cannot_be_read_in_any_way_is_an_error_that_knows_what_was_sent() -> None:
    with (
        ScriptedApi(*[Say({"choices": []})] * 3) as server,
        connect(server.url, model="m", adapter="chat_continue") as api,
        pytest.raises(ReplyError) as caught,
    ):
        api.send(ASKED)
    assert (len(server.seen), used_by(caught.value.calls).estimated) == (3, 3)


def test_a_question_has_one_way() -> None:
    with (
        ScriptedApi(Say({"choices": []})) as server,
        connect(server.url, model="m", adapter="chat_continue") as api,
        pytest.raises(ReplyError),
    ):
        api.send(replace(ASKED, prefix=Prefix("", messages=WHICH)))
    assert len(server.seen) == 1


@pytest.mark.usefixtures("small_tokenizers")
def test_the_tokenizer_that_the_profile_names_is_known() -> None:
    with connect("http://127.0.0.1:9", profile="openai", model="gpt-4o") as api:
        assert api.vocabulary is not None
        assert api.vocabulary.ids_of(b"ab") == [256]
        assert not any("tokenizer" in note for note in api.notes)


@pytest.mark.usefixtures("small_tokenizers")
def test_a_tokenizer_that_is_only_assumed_is_noted() -> None:
    with connect("http://127.0.0.1:9", profile="openai", model="gpt-6-sol") as api:
        assert api.vocabulary is not None
        assert api.notes == ("tiktoken does not know 'gpt-6-sol': tiktoken:o200k_base is taken for its tokenizer",)


def test_a_deployments_name_tells_no_tokenizer() -> None:
    with connect("http://127.0.0.1:9", profile="azure", model="mine") as api:
        assert api.vocabulary is None


@pytest.mark.usefixtures("no_data")
def test_a_tokenizer_that_cannot_be_had_is_a_note_where_only_the_profile_names_it() -> None:
    with connect("http://127.0.0.1:9", profile="openai", model="gpt-5.4") as api:
        assert api.vocabulary is None
        assert any("o200k_base is not on this machine" in note and "[offline]" in note for note in api.notes)


@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize("profile", ["", "openai"])
def test_a_tokenizer_that_was_asked_for_is_an_error_where_it_cannot_be_had(profile: str) -> None:
    with pytest.raises(WeightsError, match="o200k_base is not on this machine"):
        connect("http://127.0.0.1:9", profile=profile, model="gpt-5.4", tokenizer="auto")


def test_auto_says_where_it_does_not_know_the_model() -> None:
    with pytest.raises(InputError, match="does not know the tokenizer of 'mine'"):
        connect("http://127.0.0.1:9", model="mine", tokenizer="auto")


def measured(url: str, *, extends: str = "compatible", model: str = "m", day: int = 25) -> None:
    """What `doctor` writes of a chat that goes on from a partial turn."""
    write_overlay(
        user_folder(os.environ),
        extends=extends,
        base_url=url,
        model=model,
        measured=dt.date(2026, 11, day),
        options={"path": "/chat/completions", "decoder": "openai_chat", "logprobs_kind": "bool", "top_k": 5},
        adapter="chat_prefill",
    )


@pytest.mark.usefixtures("config_home")
@pytest.mark.parametrize("named", ["", "compatible", "vllm"])
@pytest.mark.parametrize("under", ["compatible", "vllm"])
def test_what_was_measured_holds_whichever_profile_is_named(named: str, under: str) -> None:
    url = "http://127.0.0.1:9/v1"
    measured(url, extends=under)
    with connect(f"{url}/", model="m", profile=named) as api:
        assert api.adapter.name == "chat_prefill"
        assert api.capabilities().top_k == 5
    with connect(url, model="m", profile=named, options={"top_k": 3}) as api:
        assert api.capabilities().top_k == 3, "what is given wins"


@pytest.mark.usefixtures("config_home")
@pytest.mark.parametrize("place", [("http://127.0.0.1:9/v1", "other"), ("http://127.0.0.1:10/v1", "m")])
def test_what_was_measured_holds_at_no_other_place(place: tuple[str, str]) -> None:
    measured("http://127.0.0.1:9/v1")
    with connect(place[0], model=place[1]) as api:
        assert api.adapter.name == "completions"


@pytest.mark.usefixtures("config_home")
def test_of_two_measurements_the_later_one_holds_and_no_key_is_read_that_nobody_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENAI_API_KEY", "VLLM_API_KEY"):
        monkeypatch.setenv(name, "sk-of-another-host")
    with ScriptedApi(*[chat_says("Alb")] * 2) as server:
        measured(server.url, extends="deepseek", day=25)
        measured(server.url, extends="vllm", day=26)
        for profile in ("", "vllm"):
            with connect(server.url, model="m", profile=profile) as api:
                api.send(ASKED)
    unnamed, named = server.seen
    assert "continue_final_message" in unnamed[2], "as vLLM is told, and DeepSeek is not"
    assert "sk-of-another-host" not in str(unnamed[1])
    assert "sk-of-another-host" in str(named[1])

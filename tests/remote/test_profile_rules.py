"""What a profile says of one model: the first rule that matches, denials, shutdowns, what was measured."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import InputError
from blackbox_proxy.remote.profiles.finding import Profile, described, load_profile
from blackbox_proxy.remote.profiles.rules import Settled, laid_over, settle
from blackbox_proxy.remote.profiles.schema import ProfileSource
from blackbox_proxy.remote.registry import load_adapter
from blackbox_proxy.types import Draw, Message, Prefix, Sampling

TODAY = dt.date(2026, 11, 25)
EFFORT = {"reasoning_effort": "none"}
HEAD = '[profile]\nabout = "a"\nadapter = "completions"\nchecked = 2026-11-22\nsources = ["s"]\n'


def shipped(name: str) -> Profile:
    return load_profile(name, folder=Path("/nonexistent"))


def own(folder: Path, name: str, text: str) -> Profile:
    (folder / f"{name}.toml").write_text(text)
    return load_profile(name, folder=folder)


def settled(name: str, model: str, *, base_url: str = "", adapter: str = "") -> Settled:
    return settle(shipped(name), model, today=TODAY, base_url=base_url, adapter=adapter)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-mini-2024-07-18", "gpt-4.1", "ft:gpt-4.1-mini-2025-04-14:us::x"])
def test_a_model_that_does_not_reason_needs_nothing(model: str) -> None:
    options = settled("openai", model).options
    assert "extra_body" not in options
    assert "min_output" not in options
    assert options["length_field"] == "max_completion_tokens"


@pytest.mark.parametrize("model", ["gpt-5.1", "gpt-5.4-mini", "gpt-5.6-sol", "gpt-6-luna", "gpt-6.1-terra"])
def test_a_model_that_may_reason_is_told_not_to(model: str) -> None:
    options = settled("openai", model).options
    assert options["extra_body"] == EFFORT
    assert options["min_output"] == 16


@pytest.mark.parametrize(
    "model",
    [
        *("o1", "o3-mini", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5.4-pro", "gpt-5.1-codex", "gpt-5.2-chat-latest"),
        *("gpt-6-astra", "gpt-6.1-sol"),
    ],
)
def test_a_model_that_always_reasons_is_asked_for_whole_answers_without_a_temperature(model: str) -> None:
    known = settled("openai", model)
    assert known.options["logprobs"] is False
    assert known.options["pinned"] == {"temperature": 1.0, "top_p": 1.0}
    assert any("always reasons" in note for note in known.notes)
    assert any("fixes temperature at 1 and top_p at 1" in note for note in known.notes)
    codec = load_adapter(known.adapter, **known.options)
    drawn = codec.encode(Draw(model, Prefix("", messages=(Message("user", "q"),)), Sampling(0.8, 0.9, 7), 300))
    assert drawn.body.keys() & {"temperature", "top_p", "seed", "logprobs", "max_tokens"} == set()
    limit = {"/chat/completions": "max_completion_tokens", "/responses": "max_output_tokens"}[drawn.path]
    assert drawn.body[limit] == 300


@pytest.mark.parametrize("model", ["o3-pro", "gpt-5.1-codex"])
def test_a_model_that_cannot_be_spoken_to_is_denied_with_the_reason_and_others_are_named(model: str) -> None:
    with pytest.raises(InputError, match=f"steered with '{model}': it is not spoken to by chat") as caught:
        settled("azure", model, base_url="https://r.openai.azure.com/openai/v1")
    assert "gpt-5.4*" in caught.value.hint
    assert "codex" not in caught.value.hint


def test_what_an_endpoint_fixes_is_told() -> None:
    (note,) = settled("kimi", "kimi-k2.6").notes
    assert "fixes temperature at 1 and top_p at 0.95" in note
    assert "the likeliest 95% alone" in note


def test_a_model_that_no_rule_knows_is_let_through_with_a_note() -> None:
    found = settled("openai", "gpt-7")
    assert found.notes == ("the profile 'openai' has no rule for 'gpt-7': whether it gives log-probs is not known",)


def test_a_profile_without_rules_has_nothing_to_say_of_models() -> None:
    assert settled("vllm", "anything").notes == ()


@pytest.mark.parametrize(
    ("today", "says"),
    [("2027-01-13", "will be shut down on"), ("2027-01-14", "was to be shut down on")],
)
def test_the_day_of_a_shutdown_is_told(today: str, says: str) -> None:
    found = settle(shipped("openai"), "gpt-4o", today=dt.date.fromisoformat(today))
    assert found.notes == (f"gpt-4o {says} 2027-01-14",)


def test_what_is_not_supported_says_why() -> None:
    head = '[profile]\nabout = "a"\nchecked = 2026-11-22\nsources = ["s"]\nsupported = false\nreason = "no text"\n'
    profile = described(ProfileSource("silent.toml", head), folder=Path("/nonexistent"))
    with pytest.raises(InputError, match="silent cannot be steered: no text") as caught:
        settle(profile, "any", today=dt.date(2026, 11, 30))
    assert "profiles list" in caught.value.hint


def test_an_address_that_only_the_user_knows_is_asked_for_with_its_form() -> None:
    with pytest.raises(InputError, match="'azure' has no base URL") as caught:
        settled("azure", "gpt-4o")
    assert "openai.azure.com/openai/deployments/" in caught.value.hint


@pytest.mark.parametrize(
    ("given_url", "wanted"),
    [
        ("https://r.openai.azure.com/openai/deployments/d", "/d?api-version=2024-10-21"),
        ("https://r.openai.azure.com/openai/deployments/d?api-version=2025-01-01", "/d?api-version=2025-01-01"),
        ("https://r.openai.azure.com/openai/deployments/d?x=a%20b", "/d?api-version=2024-10-21&x=a+b"),
    ],
)
def test_a_query_is_added_unless_the_address_has_it(given_url: str, wanted: str) -> None:
    found = settled("azure", "gpt-4o", base_url=given_url)
    assert found.base_url == f"https://r.openai.azure.com/openai/deployments{wanted}"
    assert found.api_key_header == "api-key"


@pytest.mark.parametrize(
    ("given_url", "wanted"),
    [
        ("https://r.openai.azure.com/openai/v1", ""),
        ("https://r.openai.azure.com/openai/v1/", ""),
        ("https://r.services.ai.azure.com/openai/v1", ""),
        ("https://r.openai.azure.com/openai/v1?api-version=preview", "?api-version=preview"),
        ("https://r.openai.azure.com/openai/v1/deployments/d", "?api-version=2024-10-21"),
        ("https://r.openai.azure.com/myopenai/v1", "?api-version=2024-10-21"),
    ],
)
def test_azures_newer_address_takes_no_query_but_its_own(given_url: str, wanted: str) -> None:
    found = settled("azure", "gpt-4.1", base_url=given_url)
    assert found.base_url == given_url.partition("?")[0] + wanted
    assert found.api_key_header == "api-key"


def test_an_address_of_the_callers_wins() -> None:
    assert settled("openai", "gpt-4o").base_url == "https://api.openai.com/v1"
    assert settled("openai", "gpt-4o", base_url="http://127.0.0.1:1/v1").base_url == "http://127.0.0.1:1/v1"


def test_another_adapter_gets_only_what_means_something_to_it() -> None:
    options = settled("vllm", "m", adapter="chat_continue").options
    assert options.keys() == {"top_k", "query_temperature", "schemas"}
    assert settled("vllm", "m").options.keys() >= {"path", "token_ids", "reveal"}


def overlay(model: str = "gpt-5.4", url: str = "https://api.openai.com/v1", day: str = "2026-11-24") -> str:
    return f'extends = "openai"\n[overlay]\nbase_url = "{url}"\nmodel = "{model}"\nmeasured = {day}\n'


def test_what_was_measured_here_wins_over_the_profile_and_its_rules(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(overlay() + '[options]\nmin_output = 1\nextra_body = { service_tier = "flex" }\n')
    found = settle(load_profile("openai", folder=tmp_path), "gpt-5.4", today=TODAY)
    assert found.options["min_output"] == 1
    assert found.options["extra_body"] == EFFORT | {"service_tier": "flex"}
    assert found.options["top_k"] == 20


@pytest.mark.parametrize(
    ("model", "url"), [("gpt-5.4", "https://elsewhere.example/v1"), ("gpt-5.4-mini", "https://api.openai.com/v1")]
)
def test_what_was_measured_elsewhere_changes_nothing(tmp_path: Path, model: str, url: str) -> None:
    (tmp_path / "a.toml").write_text(overlay(model, url) + "[options]\nmin_output = 1\n")
    found = settle(load_profile("openai", folder=tmp_path), "gpt-5.4", today=TODAY)
    assert found.options["min_output"] == 16


def test_of_two_measurements_the_later_one_holds(tmp_path: Path) -> None:
    for name, day, k in [("a", "2026-11-24", 7), ("b", "2026-11-25", 8), ("c", "2026-11-23", 9)]:
        slash = "/" if name == "b" else ""
        url = f"https://api.openai.com/v1{slash}"
        (tmp_path / f"{name}.toml").write_text(overlay(url=url, day=day) + f"[options]\ntop_k = {k}\n")
    assert settle(load_profile("openai", folder=tmp_path), "gpt-5.4", today=TODAY).options["top_k"] == 8


@pytest.mark.parametrize("query", ["", "?api-version=2024-10-21"])
def test_a_place_is_the_same_with_and_without_the_profiles_query(tmp_path: Path, query: str) -> None:
    text = overlay("d", f"https://R.example/openai/deployments/d/{query}").replace('"openai"', '"azure"')
    (tmp_path / "a.toml").write_text(text + "[options]\ntop_k = 5\n")
    profile, url = load_profile("azure", folder=tmp_path), "https://r.example/openai/deployments/d"
    assert settle(profile, "d", today=TODAY, base_url=url).options["top_k"] == 5
    assert settle(profile, "d", today=TODAY, base_url=f"{url}?api-version=9").options["top_k"] == 20


def test_a_measured_adapter_takes_the_place_of_the_profiles(tmp_path: Path) -> None:
    text = overlay() + '[profile]\nadapter = "chat_prefill"\n[options]\nprefill = "implicit"\n'
    (tmp_path / "a.toml").write_text(text)
    found = settle(load_profile("openai", folder=tmp_path), "gpt-5.4", today=TODAY)
    assert found.adapter == "chat_prefill"
    assert found.options["prefill"] == "implicit"
    assert "strategies" not in found.options
    assert found.options["length_field"] == "max_completion_tokens"


def test_the_first_rule_that_matches_is_the_one_that_holds(tmp_path: Path) -> None:
    rules = '[[models]]\nnames = ["a-*"]\noptions = { top_k = 1 }\n[[models]]\nnames = ["*"]\noptions = { top_k = 2 }\n'
    profile = own(tmp_path, "mine", HEAD + 'base_url = "http://127.0.0.1:1"\n' + rules)
    assert settle(profile, "a-1", today=TODAY).options["top_k"] == 1
    assert settle(profile, "A-1", today=TODAY).options["top_k"] == 2


layers = st.dictionaries(st.sampled_from(["top_k", "path", "extra_body"]), st.integers(), max_size=3).map(
    lambda layer: {k: {str(v % 3): v, "x": v} if k == "extra_body" else v for k, v in layer.items()}
)


@given(first=layers, second=layers, third=layers)
def test_laying_over_is_associative_and_the_last_word_holds(
    first: dict[str, object], second: dict[str, object], third: dict[str, object]
) -> None:
    assert laid_over(laid_over(first, second), third) == laid_over(first, laid_over(second, third))
    merged = laid_over(first, second, third)
    assert merged.keys() == first.keys() | second.keys() | third.keys()
    assert {k: v for k, v in merged.items() if k in third and k != "extra_body"} == {
        k: v for k, v in third.items() if k != "extra_body"
    }

"""The doctor finds every quirk that is switched on, by its name, and none where none is; what it costs, how it ends."""

from __future__ import annotations

import copy
import datetime as dt
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from blackbox_proxy.api import COMMON_ENDS, connect
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.doctor.examining import ESTIMATE
from blackbox_proxy.doctor.findings import Report
from blackbox_proxy.doctor.requests import ROUTES, SHORT
from blackbox_proxy.errors import ApiBusy, ApiRefused, ApiUnreachable, ReplyError
from blackbox_proxy.remote.profiles.finding import user_folder
from blackbox_proxy.remote.profiles.overlays import write_overlay
from blackbox_proxy.remote.transport import Transport
from blackbox_proxy.run.steerer import steer
from blackbox_proxy.standin import QUIRKS, StandinOptions, Traffic, running
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt, WireRequest
from tests.remote.consulting import examination, examined, names, patient, transported
from tests.remote.scripted import Say, ScriptedApi

UNSEEN: Mapping[str, str] = {
    **dict.fromkeys(
        ("faults", "fault-rate", "fault-kinds", "fault-seed", "fault-budget"),
        "the transport tries again, so a fault that passes is none of the endpoint's manners",
    ),
    "rate-limit": "as faults: the transport waits as long as it is told",
    **dict.fromkeys(
        ("latency", "jitter"), "a slow server and a slow network look alike; seconds per call are reported"
    ),
}
"""Quirks that cannot be told from outside, each with its reason."""

VALUES: Mapping[str, tuple[str, ...]] = {
    "top-k-cap": ("5", "1", "19"),
    "top-k-cut": ("5", "2"),
    "min-output": ("16", "17", "64"),
    "refused-fields": ("seed+stop", "logit_bias", "temperature", "n"),
    "closed-routes": ("completions+responses", "chat", "chat+completions"),
    "noise": ("0.5", "0.01"),
    "rounded-logps": ("2", "0"),
    "sentinels": ("2", "10"),
    "strict-fields": ("400", "422"),
    "string-collisions": ("replaced", "empty"),
    "slow-schema": ("0.5",),
}
"""Values to try; a new quirk that needs one fails until it has one here."""

FIRST = [f"{name}={VALUES[name][0]}" if name in VALUES else name for name in sorted(QUIRKS.keys() - UNSEEN.keys())]
MORE = [f"{name}={value}" for name, values in VALUES.items() for value in values[1:]]


@pytest.mark.parametrize("quirk", [*FIRST, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE)])
def test_a_quirk_is_found_by_its_name_and_nothing_else_is(quirk: str) -> None:
    report = examined(quirk)
    assert names(report) == [quirk.partition("=")[0]]
    assert report.calls <= ESTIMATE.most_calls
    assert all(check.sent and check.came for check in report.findings if check.finding != "closed-routes")


def test_nothing_is_found_where_nothing_is() -> None:
    report = examined()
    assert names(report) == []
    assert {check.state for check in report.checks} <= {"works", "refused"}
    assert report.verdict.way == "raw text"
    assert report.calls <= ESTIMATE.calls
    assert report.input is not None
    assert report.output is not None
    assert 0 < report.output <= ESTIMATE.output


def test_what_cannot_be_seen_is_a_quirk_and_says_why() -> None:
    assert UNSEEN.keys() <= QUIRKS.keys()
    assert all(UNSEEN.values())


@pytest.mark.parametrize(
    ("quirks", "hidden"),
    [
        (("min-output=16", "max-completion-tokens-only", "needs-effort-none", "top-k-cap=5"), ""),
        (("closed-routes=completions+responses", "echoed-prefix", "trimmed-prefill", "implicit-prefill"), ""),
        (("null-bytes", "visible-end-text", "no-ids", "no-seed", "cached-hidden", "prefill-as-user"), ""),
        (("logp-after-temperature", "rounded-logps=3", "sentinels=5", "extra-entry", "no-usage"), ""),
        pytest.param(("noise=0.1", "no-seed"), "no-seed", id="noise alone makes draws differ"),
        pytest.param(("logp-after-temperature", "one-hot-at-zero"), "one-hot-at-zero", id="one implies the other"),
        pytest.param(("strict-fields", "trimmed-prefill"), "trimmed-prefill", id="no flag is taken, so nothing is cut"),
        pytest.param(("no-top", "no-ids"), "no-ids", id="nothing to steer by ends it"),
        pytest.param(("closed-routes=completions", "no-ids"), "no-ids", id="of that route alone"),
        pytest.param(("closed-routes=completions", "string-collisions"), "string-collisions", id="of that shape alone"),
    ],
)
def test_quirks_are_found_together_but_for_one_that_another_hides(quirks: tuple[str, ...], hidden: str) -> None:
    switched = {quirk.partition("=")[0] for quirk in quirks}
    assert set(names(examined(*quirks))) == switched - {hidden}


OPTIONS: Mapping[str, Mapping[str, object]] = {
    "no-seed": {"seed_field": ""},
    "refused-fields=seed+stop": {"seed_field": ""},
    "min-output=16": {"min_output": 16},
    "top-k-cap=5": {"top_k": 5},
    "top-k-cut=5": {"top_k": 5},
    "no-ids": {"token_ids": False, "reveal": "ids"},
    "strict-fields=400": {"token_ids": True, "reveal": "bias"},
    "one-hot-at-zero": {"query_temperature": 1.0},
    "scaled-except-zero": {"query_temperature": 0.0},
    "together-shape": {"decoder": "together"},
    "templated-completions": {"path": "/chat/completions", "prefill": "flag_pair", "length_field": "max_tokens"},
    "closed-routes=chat+completions": {
        "path": "/responses",
        "decoder": "openai_responses",
        "min_output": 16,
        "structured": "pattern",
    },
}


@pytest.mark.parametrize("quirk", OPTIONS)
def test_what_is_found_becomes_options_of_an_adapter(quirk: str) -> None:
    report = examined(quirk)
    assert OPTIONS[quirk].items() <= report.options.items()


@pytest.mark.parametrize(
    ("quirks", "way"),
    [
        (("closed-routes=completions",), "prefill"),
        (("templated-completions", "no-prefill"), "forced"),
        (("closed-routes=completions", "strict-fields"), "forced"),
        (("templated-completions", "no-prefill", "no-pattern"), "forced"),
        (("templated-completions", "no-prefill", "no-formatted-logprobs"), "words"),
        (("closed-routes=completions", "strict-fields", "ignored-format"), "words"),
        (("ignored-logprobs",), "answers"),
        (("top-k-cap=0",), "answers"),
        (("no-top", "refused-fields=temperature"), "answers"),
    ],
)
def test_the_verdict_is_one_sentence(quirks: tuple[str, ...], way: str) -> None:
    verdict = examined(*quirks).verdict
    assert verdict.way == way
    assert verdict.sentence.startswith("Steering ")
    assert verdict.sentence.count(".") == 1


# what was measured is used


@pytest.mark.parametrize(
    "quirks",
    [
        (),
        ("together-shape", "no-ids", "top-k-cap=5", "one-hot-at-zero"),
        ("closed-routes=completions", "echoed-prefix", "trimmed-prefill", "no-seed", "null-bytes"),
        ("templated-completions", "implicit-prefill", "logp-after-temperature", "min-output=16"),
        ("closed-routes=completions+responses", "max-completion-tokens-only", "needs-effort-none", "no-prefill"),
        ("closed-routes=completions+responses", "no-prefill", "no-pattern", "masked-logps"),
        ("closed-routes=completions+responses", "no-prefill", "no-formatted-logprobs"),
        ("closed-routes=completions+chat",),
    ],
)
def test_what_was_measured_is_enough_to_steer_with(
    quirks: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unsteered the toy says `ok` and ends; where `k` is banned, the end comes before it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with running(patient(), name="toy", quirks=quirks) as url:
        _measure(url)
        with connect(url, model="toy", profile="compatible") as api:
            prompt = Prompt.ask(SHORT) if api.capabilities().chat else Prompt(text=SHORT)
            free, banned = (
                steer(prompt, api=api, offsets=OffsetTable({b"k": -20.0}), steering=Steering(alpha=alpha, max_tokens=4))
                for alpha in (0.0, 1.0)
            )
    assert (free.text, free.finish) == ("ok", "stop")
    assert (banned.text, banned.finish) == ("o", "stop")


@pytest.mark.parametrize("quirks", [("refused-fields=temperature+top_p",), ("refused-fields=temperature", "no-top")])
def test_what_may_not_be_said_is_left_out(
    quirks: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token by token, and where whole answers are drawn, by whichever way `auto` takes."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with running(patient(), name="toy", quirks=quirks) as url:
        _measure(url)
        with connect(url, model="toy") as api:
            prompt = Prompt.ask(SHORT) if api.capabilities().chat else Prompt(text=SHORT)
            answer = steer(prompt, api=api, offsets=OffsetTable({b"x": 1.0}), steering=Steering(max_tokens=4))
    assert (answer.text, answer.finish) == ("ok", "stop")
    assert bool(answer.samples) == ("no-top" in quirks)


def _measure(url: str) -> None:
    """Examine an endpoint, and write down what was found."""
    with Transport(url, None) as transport:
        exam = examination(transport.send)
        exam.run()
    _write(exam.report(), url)


def _write(report: Report, url: str) -> None:
    write_overlay(
        user_folder(os.environ),
        extends="compatible",
        base_url=url,
        model="toy",
        measured=dt.date(2026, 11, 25),
        options=report.options,
        adapter=report.adapter,
        notes=report.remarks,
    )


# how it ends


def test_a_key_that_is_refused_ends_it_at_once() -> None:
    traffic = Traffic()
    options = StandinOptions(name="toy", api_key="sk-right", traffic=traffic)
    with running(patient(), **options) as url, Transport(url, "sk-wrong-one") as transport:
        exam = examination(transport.send)
        with pytest.raises(ApiRefused, match="refused the key") as caught:
            exam.run()
    assert len(exam.findings.answers) == 0
    assert "sk-wrong-one" not in str(caught.value) + repr(exam.report())


@pytest.mark.parametrize(
    ("model", "path", "words"),
    [("other", "", "does not know the model 'other'"), ("toy", "/nowhere", "nothing to ask")],
)
def test_a_model_or_an_address_that_is_not_there_is_the_usual_error(model: str, path: str, words: str) -> None:
    with running(patient(), name="toy") as url, Transport(url + path, None) as transport:
        exam = examination(transport.send, model=model)
        with pytest.raises(ApiRefused, match=words):
            exam.run()
    assert len(exam.findings.answers) <= len(ROUTES)


def test_an_endpoint_that_refuses_everything_is_asked_few_things() -> None:
    refusals = [Say({"error": {"message": "no"}}, status=400)] * ESTIMATE.most_calls
    with ScriptedApi(*refusals) as api, Transport(api.url, None) as transport:
        exam = examination(transport.send)
        with pytest.raises(ApiRefused, match="no"):
            exam.run()
        assert len(api.seen) <= 15


def test_calls_have_an_end() -> None:
    """Whatever is answered: here everything, so that each probe goes on to the next."""
    exam = examination(lambda _: {})
    for _ in range(ESTIMATE.most_calls):
        exam.ask(WireRequest("/completions", {}))
    with pytest.raises(ReplyError, match="72 calls"):
        exam.ask(WireRequest("/completions", {}))


def test_a_limit_of_requests_is_waited_for() -> None:
    traffic = Traffic()
    with transported("faults=ok*3,429:0,ok*5,503,429:0,ok", traffic=traffic) as transport:
        exam = examination(transport.send)
        exam.run()
    assert names(exam.report()) == []
    assert traffic.total == exam.report().calls + 3


@pytest.mark.parametrize("calls", [4, 12, 26])
def test_what_was_found_before_it_broke_off_stays(calls: int) -> None:
    with transported("min-output=16", "no-seed") as transport:
        exam = examination(broken(transport.send, after=calls))
        with pytest.raises(ApiUnreachable):
            exam.run()
        whole = examination(transport.send)
        whole.run()
    report, told = exam.report(stopped="the network went"), whole.report()
    assert report.calls == calls
    assert [check.saw for check in report.checks] == [check.saw for check in told.checks[: len(report.checks)]]
    assert report.options.items() <= told.options.items()
    assert bool(report.options) == (calls == 26)
    assert report.remarks[0] == "unfinished: the network went"


Send = Callable[[WireRequest], Mapping[str, object]]


def broken(send: Send, *, after: int) -> Send:
    """Sends so many requests, and then no more."""
    sent: list[WireRequest] = []

    def cut(request: WireRequest) -> Mapping[str, object]:
        if len(sent) == after:
            raise ApiUnreachable("the network went")
        sent.append(request)
        return send(request)

    return cut


def test_one_failure_of_a_server_is_an_answer_and_two_are_an_end() -> None:
    """Some servers fail over a field that they do not know."""
    with transported() as transport:
        exam = examination(stumbling(transport.send, "x_probe"))
        exam.run()
        assert names(exam.report()) == ["strict-fields"]
        exam = examination(stumbling(transport.send, "x_probe", "logprobs"))
        with pytest.raises(ApiBusy):
            exam.run()


def stumbling(send: Send, *fields: str) -> Send:
    """Fails with a 500 over these fields."""

    def failing(request: WireRequest) -> Mapping[str, object]:
        if any(name in request.body for name in fields):
            raise ApiBusy("the API failed on its side (500)", status=500)
        return send(request)

    return failing


@pytest.mark.parametrize(("ended", "state"), [(3, "works"), (4, "unclear")])
def test_a_route_that_ends_at_once_by_chance_is_asked_again_and_never_blamed(ended: int, state: str) -> None:
    """What tells of no log-probs because it tells of no token has not passed them over."""
    with transported("hidden-end") as transport:
        exam = examination(ending(transport.send, ended))
        exam.run()
    report = exam.report()
    routes = {check.what: check.state for check in report.checks if check.what.startswith("route ")}
    assert routes["route /completions"] == state
    assert "ignored-logprobs" not in names(report)


def ending(send: Send, times: int) -> Send:
    """Ends as often before it began, on the route of texts."""
    left = [times]

    def empty(request: WireRequest) -> Mapping[str, object]:
        if request.path == "/completions" and left[0]:
            left[0] -= 1
            choice = {"index": 0, "text": "", "finish_reason": "stop", "logprobs": NOTHING}
            return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "toy", "choices": [choice]}
        return send(request)

    return empty


NOTHING: Mapping[str, object] = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}


# real weights


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize(
    "quirks",
    [
        (),
        ("closed-routes=completions", "trimmed-prefill", "null-bytes"),
        ("escaped-tokens", "hidden-end", "echoed-prefix"),
        ("blank-specials", "templated-completions", "scaled-except-zero", "noise=0.05"),
    ],
)
def test_quirks_are_found_with_real_weights(smollm2_path: Path, quirks: tuple[str, ...]) -> None:
    with running(smollm2_path, name="toy", context=512, quirks=quirks) as url, Transport(url, None) as transport:
        exam = examination(transport.send, ends=COMMON_ENDS)
        exam.run()
    assert set(names(exam.report())) == {quirk.partition("=")[0] for quirk in quirks}


@pytest.mark.slow
@pytest.mark.weights
def test_nothing_is_found_with_other_real_weights(qwen_path: Path) -> None:
    with running(qwen_path, name="toy", context=512) as url, Transport(url, None) as transport:
        exam = examination(transport.send, ends=COMMON_ENDS)
        exam.run()
    assert names(exam.report()) == []


def test_what_saves_requests_is_found_and_used() -> None:
    """Lists of prompts, and a text that comes back with its alternatives."""
    report = examined()
    assert (report.options["prompt_lists"], report.options["echo"]) == (True, True)
    works = {check.what for check in report.checks if check.state == "works"}
    assert {"list of prompts", "text given back"} <= works


@pytest.mark.parametrize(
    ("bend", "saw"),
    [
        ("refused", "`echo` is refused"),
        ("alone", "the text comes back without the alternatives at its places"),
        ("silent", "`echo` is taken, and the text does not come back"),
        ("other", "the text comes back without the alternatives at its places"),
    ],
)
def test_an_echo_is_not_believed_because_it_is_accepted(bend: str, saw: str) -> None:
    """As llama.cpp's server answers it: the text with log-probs of the generated token alone; or with others."""
    with transported() as transport:

        def send(request: WireRequest) -> Mapping[str, object]:
            if not request.body.get("echo"):
                return transport.send(request)
            if bend == "refused":
                raise ApiRefused("no echo here (400)", status=400)
            body = {name: value for name, value in request.body.items() if name != "echo"}
            plain = copy.deepcopy(transport.send(WireRequest(request.path, body if bend != "other" else request.body)))
            choice = plain["choices"][0]  # type: ignore[index]
            if bend == "alone":
                choice["text"] = f"{request.body['prompt']}{choice['text']}"
            if bend == "other":
                choice["logprobs"]["top_logprobs"] = [{"x": -0.1}] * len(choice["logprobs"]["tokens"])
            return plain

        exam = examination(send)
        exam.run()
    report = exam.report()
    assert [check.saw for check in report.checks if check.what == "text given back"] == [saw]
    assert report.options["echo"] is False


@pytest.mark.parametrize("bend", ["refused", "first alone", "mixed up"])
def test_a_list_is_not_believed_because_it_is_accepted(bend: str) -> None:
    with transported() as transport:

        def send(request: WireRequest) -> Mapping[str, object]:
            prompt = request.body.get("prompt")
            if not isinstance(prompt, list) or not isinstance(prompt[0], str):
                return transport.send(request)
            if bend == "refused":
                raise ApiRefused("one prompt (400)", status=400)
            found = copy.deepcopy(dict(transport.send(request)))
            choices = found["choices"]
            assert isinstance(choices, list)
            if bend == "first alone":
                return {**found, "choices": choices[:1]}
            return {**found, "choices": [{**choice, "index": 1 - choice["index"]} for choice in choices]}

        exam = examination(send)
        exam.run()
    report = exam.report()
    state = "refused" if bend == "refused" else "ignored"
    assert [check.state for check in report.checks if check.what == "list of prompts"] == [state]
    assert report.options["prompt_lists"] is False


# structured output


def test_what_a_schema_takes_and_how_it_demands_is_told() -> None:
    checks = {check.what: check.saw for check in examined().checks}
    assert checks["structured output"].startswith(
        "it can demand the beginning of an answer, by a pattern; a new schema"
    )
    assert checks["spelling"] == "what is demanded is spelt as the tokenizer cuts it"
    assert checks["mask"] == "log-probs are those before the mask of a schema"


@pytest.mark.parametrize(
    ("quirk", "structured"),
    [("", "pattern"), ("no-pattern", "const"), ("no-formatted-logprobs", "none"), ("ignored-format", "none")],
)
def test_how_a_schema_demands_becomes_an_option(quirk: str, structured: str) -> None:
    quirks = (*((quirk,) if quirk else ()), "templated-completions", "no-prefill")
    assert examined(*quirks).options["structured"] == structured

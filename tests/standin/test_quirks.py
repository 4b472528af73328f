"""Every quirk can be seen from outside, and only where it is switched on; names and values are checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import InputError
from blackbox_proxy.openai_http.fields import Refusal
from blackbox_proxy.standin import QUIRKS, read_quirks
from blackbox_proxy.standin.quirks import EXCLUDING, Quirks
from blackbox_proxy.standin.request_quirks import KNOWN, REQUEST_QUIRKS, RouteName, apply_to_body
from blackbox_proxy_adapters.forced import demand
from tests.standin.raw import Answer, Json
from tests.standin.test_requests import FIELDS, VALUES, outcome_of
from tests.standin.toy import PARROT, Api, content, drawn, entries, legacy, logp, served

OF_THE_TRANSPORT = {
    "faults",
    "fault-rate",
    "fault-kinds",
    "fault-seed",
    "fault-budget",
    "rate-limit",
    "latency",
    "jitter",
}
"""tests/standin/test_faults.py looks at these."""

Probe = Callable[[Api], bool]
PROBES: dict[str, Probe] = {}
FLAG = {"prefix": True}
PATTERN: Json = demand("So", "pattern", responses=False)


def sees(quirk: str) -> Callable[[Probe], Probe]:
    """The probe that follows tells an API with this quirk from one without."""

    def note(probe: Probe) -> Probe:
        PROBES[quirk] = probe
        return probe

    return note


def verdict(text: str) -> bool | AssertionError:
    """Whether a probe sees its quirk, or what it found wrong."""
    try:
        with served(text) as api:
            return PROBES[text](api)
    except AssertionError as error:
        return error


@pytest.fixture(scope="module")
def verdicts() -> dict[str, bool | AssertionError]:
    """Of all probes; side by side, since every server takes a moment to start and to stop."""
    with ThreadPoolExecutor(16) as pool:
        return dict(zip(PROBES, pool.map(verdict, PROBES), strict=True))


@pytest.fixture(scope="module")
def clean() -> Iterator[Api]:
    with served() as api:
        yield api


@pytest.mark.parametrize("quirk", sorted(QUIRKS.keys() - OF_THE_TRANSPORT))
def test_a_quirk_is_seen_where_it_is_and_nowhere_else(
    clean: Api, verdicts: dict[str, bool | AssertionError], quirk: str
) -> None:
    found = {text: said for text, said in verdicts.items() if text.partition("=")[0] == quirk}
    assert found == dict.fromkeys(found, True) != {}
    for text in found:
        assert not PROBES[text](clean), text


# what may be asked


@sees("top-k-cap=2")
def _(api: Api) -> bool:
    asked = [api.completion(logprobs=2), api.chat(top_logprobs=2), api.response(top_logprobs=2)]
    more = [api.completion(), api.chat(), api.response()]
    assert all(answer.status == 200 for answer in asked)
    assert all(answer.status in {200, 400} for answer in more)
    return all("Expected a value <= 2, but got 3" in answer.body.decode() for answer in more)


@sees("top-k-cut=2")
def _(api: Api) -> bool:
    said = api.response().json["output"][0]["content"][0]["logprobs"]
    asked = said[0]["top_logprobs"], entries(api.chat(top_logprobs=9))[0]["top_logprobs"]
    return [*map(len, asked), len(legacy(api.completion())["top_logprobs"][0])] == [2, 2, 2]


@sees("min-output=16")
def _(api: Api) -> bool:
    assert api.response(max_output_tokens=15).status == 400
    newer = api.chat(max_tokens=None, max_completion_tokens=15)
    asked = [api.completion(max_tokens=15), api.chat(max_tokens=15), newer]
    return all("Expected a value >= 16, but got 15" in answer.body.decode() for answer in asked)


@sees("min-output=17")
def _(api: Api) -> bool:
    return "Expected a value >= 17" in api.response().body.decode()


@sees("refused-fields=seed+zest")
def _(api: Api) -> bool:
    known, unknown = api.chat(seed=1), api.completion(zest=1)
    return known.status == unknown.status == 400 and (
        (known.error["param"], known.error["code"]) == ("seed", "unsupported_parameter")
        and unknown.error["message"] == "Unrecognized request argument supplied: zest"
    )


@sees("strict-fields")
def _(api: Api) -> bool:
    return api.chat(x_probe=1).status == api.completion(x_probe=1).status == api.response(x_probe=1).status == 400


@sees("strict-fields=422")
def _(api: Api) -> bool:
    return api.chat("o", "go", flags=FLAG).status == api.chat("o", continue_final_message=True).status == 422


@sees("max-completion-tokens-only")
def _(api: Api) -> bool:
    assert api.chat(max_tokens=None, max_completion_tokens=1).status == 200
    return api.chat().status == 400


@sees("needs-effort-none")
def _(api: Api) -> bool:
    unreasoned = api.chat(reasoning_effort="none"), api.response(reasoning={"effort": "none"})
    plain = api.chat(logprobs=None, top_logprobs=None, temperature=None)
    assert all(answer.status == 200 for answer in (*unreasoned, plain))
    asked = api.chat(temperature=1), api.chat(reasoning_effort="low"), api.response(temperature=1)
    warm = api.chat(logprobs=None, top_logprobs=None)
    return all(answer.status == 400 for answer in (*asked, warm))


@sees("closed-routes=completions+responses")
def _(api: Api) -> bool:
    assert api.chat().status == 200
    return api.completion().status == api.response().status == 404


@sees("no-ids")
def _(api: Api) -> bool:
    assert api.completion(["a", "b"]).status == 200
    return api.completion([1]).status == api.completion([[1]]).status == 400


@sees("no-seed")
def _(api: Api) -> bool:
    asked: dict[str, Json] = {"temperature": 1, "max_tokens": 40, "seed": 7, "logprobs": None}
    return len({tuple(drawn(api.completion(**asked))) for _ in range(4)}) > 1


@sees("ignored-bias")
def _(api: Api) -> bool:
    return content(api.chat(logit_bias={"68": 100})) == drawn(api.completion(logit_bias={"68": 100}))[0] == "a"


@sees("ignored-logprobs")
def _(api: Api) -> bool:
    said = api.response().json["output"][0]["content"][0]
    return api.chat().json["choices"][0]["logprobs"] is None and not said["logprobs"]


# what structured output demands


@sees("ignored-format")
def _(api: Api) -> bool:
    chat, response = api.chat(**PATTERN, max_tokens=4), api.response(**demand("So", "pattern", responses=True))
    assert chat.status == response.status == 200
    said = response.json["output"][0]["content"][0]["text"]
    return not content(chat).startswith("{") and not said.startswith("{")


@sees("no-pattern")
def _(api: Api) -> bool:
    assert api.chat(**demand("So", "const", responses=False)).status == 200
    return api.chat(**PATTERN).status == api.response(**demand("So", "pattern", responses=True)).status == 400


@sees("no-formatted-logprobs")
def _(api: Api) -> bool:
    assert api.chat(**PATTERN, logprobs=None, top_logprobs=None).status == 200
    return api.chat(**PATTERN).status == api.response(**demand("So", "pattern", responses=True)).status == 400


@sees("masked-logps")
def _(api: Api) -> bool:
    (brace,) = entries(api.chat(**PATTERN))
    assert brace["bytes"] == list(b"{")
    return bool(brace["logprob"] > -1e-6)


@sees("slow-schema=1")
def _(api: Api) -> bool:
    """A schema is new once, whichever route asks for it; `json_object` never is."""
    fresh = demand("Sure", "pattern", responses=False)
    first, again = (seconds(lambda: api.chat(**fresh)) for _ in range(2))
    spelt = seconds(lambda: api.response(**demand("Sure", "pattern", responses=True)))
    plain = seconds(lambda: api.chat(response_format={"type": "json_object"}))
    return first >= 1.0 > max(again, spelt, plain)


def seconds(ask: Callable[[], Answer]) -> float:
    """How long one call takes."""
    before = time.perf_counter()
    assert ask().status == 200
    return time.perf_counter() - before


@sees("free-forced")
def _(api: Api) -> bool:
    """The toy likes `a` best, and its tokenizer cuts `ab` as one."""
    said = entries(api.chat(**demand("abc", "pattern", responses=False), max_tokens=40))
    responded = api.response(**demand("abc", "pattern", responses=True), max_output_tokens=40).json
    listed = responded["output"][0]["content"][0]["logprobs"]
    spelt = [[entry["token"] for entry in each] for each in (said, listed)]
    assert all("".join(tokens).startswith('{"answer":"abc') for tokens in spelt)
    return all("ab" not in tokens for tokens in spelt)


# how a text is gone on with


@sees("implicit-prefill")
def _(api: Api) -> bool:
    assert [content(api.chat("o", text, flags=FLAG)) for text in ("go", "go ")] == ["e", "d"]
    return [content(api.chat("o", text)) for text in ("go", "go ")] == ["e", "d"]


@sees("no-prefill")
def _(api: Api) -> bool:
    return content(api.chat("o", "go", flags=FLAG)) == content(api.chat("o", "go", continue_final_message=True)) == "f"


@sees("prefill-as-user")
def _(api: Api) -> bool:
    assert content(api.chat("o", "go", flags=FLAG)) == "e"
    return content(api.chat("o", "go")) == "a"


@sees("trimmed-prefill")
def _(api: Api) -> bool:
    assert content(api.chat("o", "go", flags=FLAG)) == "e"
    return content(api.chat("o", "go \n ", flags=FLAG)) == content(api.chat("o", "go ", flags=FLAG)) == "e"


@sees("echoed-prefix")
def _(api: Api) -> bool:
    said = api.chat("o", "go ", flags=FLAG)
    assert said.json["usage"]["completion_tokens"] == 1
    return bool(content(said) == "go d" and [entry["token"] for entry in entries(said)] == list("go d"))


@sees("templated-completions")
def _(api: Api) -> bool:
    return drawn(api.completion("go")) == ["a"]


# which numbers come


def told(api: Api, temperature: float) -> list[float]:
    """The log-probs of a and b."""
    forced = {"logit_bias": {"66": 100}}  # or the end might be drawn, and nothing be listed
    (entry,) = entries(api.chat(temperature=temperature, top_logprobs=2, **forced))
    return [top["logprob"] for top in entry["top_logprobs"]]


def near(numbers: list[float], temperature: float) -> bool:
    return numbers == pytest.approx([logp(b"a", temperature), logp(b"b", temperature)], abs=1e-5)


@sees("logp-after-temperature")
def _(api: Api) -> bool:
    assert near(told(api, 1), 1)
    return near(told(api, 0.5), 0.5) and near(told(api, 2), 2) and told(api, 0) == [0, -9999]


@sees("one-hot-at-zero")
def _(api: Api) -> bool:
    assert near(told(api, 1), 1)
    assert near(told(api, 0.5), 1)
    return told(api, 0) == [0, -9999]


@sees("scaled-except-zero")
def _(api: Api) -> bool:
    assert near(told(api, 0), 1)
    return near(told(api, 0.5), 0.5) and near(told(api, 2), 2)


@sees("biased-logps")
def _(api: Api) -> bool:
    said = legacy(api.completion(logit_bias={"67": 5}))  # a b
    gap = said["top_logprobs"][0]["b"] - said["top_logprobs"][0]["a"]
    assert said["tokens"] == ["b"]
    return bool(gap == pytest.approx(5 + logp(b"b") - logp(b"a"), abs=1e-4))


@sees("noise=0.5")
def _(api: Api) -> bool:
    said = [api.chat() for _ in range(30)]
    numbers = [{top["token"]: top["logprob"] for top in entries(one)[0]["top_logprobs"]} for one in said]
    assert all(abs(one["a"] - logp(b"a")) <= 0.5 for one in numbers)
    return len({one["a"] for one in numbers}) == 30 and {content(one) for one in said} == {"a", "b"}


@sees("rounded-logps=2")
def _(api: Api) -> bool:
    (entry,) = entries(api.chat())
    told = entry["logprob"], entry["top_logprobs"][1]["logprob"]
    return told == (round(logp(b"a"), 2), round(logp(b"b"), 2))


@sees("sentinels=1")
def _(api: Api) -> bool:
    (entry,) = entries(api.chat(logit_bias={"67": 50}))
    assert entry["bytes"] == [*b"b"]
    return bool(entry["logprob"] == -9999 and [top["logprob"] for top in entry["top_logprobs"]][1:] == [-9999] * 2)


# what is listed; a bias makes the API say what it finds less likely


def listed(api: Api) -> list[str]:
    (entry,) = entries(api.chat(top_logprobs=2, logit_bias={"68": 50}))
    assert entry["bytes"] == [*b"c"]
    return [top["token"] for top in entry["top_logprobs"]]


@sees("extra-entry")
def _(api: Api) -> bool:
    assert [top["token"] for top in entries(api.chat(top_logprobs=2))[0]["top_logprobs"]] == ["a", "b"]
    return listed(api) == ["a", "b", "c"]


@sees("sampled-first")
def _(api: Api) -> bool:
    second = entries(api.chat(top_logprobs=2, logit_bias={"67": 50}))[0]["top_logprobs"]
    return listed(api) == ["c", "a"] and [top["token"] for top in second] == ["b", "a"]


@sees("no-top")
def _(api: Api) -> bool:
    (entry,), said = entries(api.chat()), legacy(api.completion())
    assert entry["logprob"] == said["token_logprobs"][0] == pytest.approx(logp(b"a"))
    return entry["top_logprobs"] == [] and said["top_logprobs"] is None


# how tokens are written


def parrot(api: Api) -> list[tuple[str, list[int] | None]]:
    """The two entries of a character that two tokens make."""
    said = api.chat("o", "p", flags=FLAG, max_tokens=2)
    assert content(said) == "🦜"
    return [(entry["token"], entry["bytes"]) for entry in entries(said)]


@sees("null-bytes")
def _(api: Api) -> bool:
    return parrot(api) == [(r"\xf0\x9f", None), (r"\xa6\x9c", None)]


@sees("skipped-fragments")
def _(api: Api) -> bool:
    said = api.response("p", max_output_tokens=16).json["output"][0]["content"][0]
    assert said["text"].startswith("a")
    return parrot(api) == [(r"\xa6\x9c", list(PARROT[2:]))]


@sees("lossy-bytes")
def _(api: Api) -> bool:
    lost = "\N{REPLACEMENT CHARACTER}"
    return [token for token, _ in parrot(api)] == [lost, lost * 2] and parrot(api)[0][1] == list(lost.encode())


@sees("escaped-tokens")
def _(api: Api) -> bool:
    assert parrot(api) == [(r"\xf0\x9f", list(PARROT[:2])), (r"\xa6\x9c", list(PARROT[2:]))]
    return bool(legacy(api.completion("p"))["tokens"] == [r"\xf0\x9f"])


@sees("string-collisions")
def _(api: Api) -> bool:
    (top,) = legacy(api.completion(logprobs=6))["top_logprobs"]
    return sorted(top) == ["</s>", "a", "b", "\N{REPLACEMENT CHARACTER}"]


@sees("string-collisions=empty")
def _(api: Api) -> bool:
    (top,) = legacy(api.completion(logprobs=6))["top_logprobs"]
    return sorted(top) == ["", "</s>", "a", "b"]


def ends(api: Api) -> list[tuple[str, list[int] | None]]:
    """How the end is listed where it is an alternative."""
    (entry,) = entries(api.chat(top_logprobs=6))
    found = [(top["token"], top["bytes"]) for top in entry["top_logprobs"]]
    return [(name, raw) for name, raw in found if not raw or name == "</s>"]


@sees("hidden-end")
def _(api: Api) -> bool:
    said = api.chat("o", "x", flags=FLAG)
    assert (content(said), entries(said)) == ("", [])
    assert said.json["choices"][0]["finish_reason"] == "stop"
    return ends(api) == [] and legacy(api.completion("x"))["tokens"] == []


@sees("visible-end-text")
def _(api: Api) -> bool:
    said = api.chat("o", "x", flags=FLAG)
    assert content(said) == ""
    return ends(api) == [("</s>", list(b"</s>"))] and [entry["token"] for entry in entries(said)] == ["</s>"]


@sees("blank-specials")
def _(api: Api) -> bool:
    return ends(api) == [("", [])] and legacy(api.completion("x"))["tokens"] == [""]


@sees("together-shape")
def _(api: Api) -> bool:
    said, ended = api.completion(), api.completion("x").json["choices"][0]["finish_reason"]
    streamed = [event for event in api.completion(stream=True).events if '"tokens"' in event]
    fields = {"token_ids", "tokens", "token_logprobs", "top_logprobs"}
    return ended == "eos" and not streamed and legacy(said).keys() == fields and legacy(said)["token_ids"] == [66]


# what is counted


@sees("cached-hidden")
def _(api: Api) -> bool:
    usages = [answer.json["usage"] for answer in (api.chat(), api.completion(), api.response())]
    return not any("tokens_details" in name for usage in usages for name in usage if not name.startswith("output"))


@sees("no-usage")
def _(api: Api) -> bool:
    streamed = api.completion(stream=True, stream_options={"include_usage": True})
    asked = api.chat(), api.completion(), api.response(), streamed
    return not any("usage" in answer.body.decode() for answer in asked)


@sees("prompt-per-answer")
def _(api: Api) -> bool:
    counts = [[ask(n=n).json["usage"]["prompt_tokens"] for n in (1, 3)] for ask in (api.chat, api.completion)]
    assert all(more in {one, 3 * one} for one, more in counts)
    return all(more == 3 * one for one, more in counts)


def test_every_probe_is_of_a_quirk() -> None:
    assert {text.partition("=")[0] for text in PROBES} == QUIRKS.keys() - OF_THE_TRANSPORT


def test_quirks_that_agree_work_together() -> None:
    names = ("null-bytes", "escaped-tokens", "hidden-end", "logp-after-temperature", "rounded-logps=3", "top-k-cap=5")
    with served(*names, "implicit-prefill", "echoed-prefix", "trimmed-prefill", "sentinels=2", "min-output=1") as api:
        said = api.chat("o", "go  ", temperature=0.5, seed=1, top_logprobs=5)
        (*_, last) = entries(said)
    assert content(said) == "goe"
    assert (last["token"], last["bytes"]) == ("e", None)
    assert [top["logprob"] for top in last["top_logprobs"]] == [-0.012, -4.407, -9999, -9999, -9999]


@pytest.mark.parametrize(
    ("given", "fault", "hint"),
    [
        (["top-kcap=5"], "no quirk 'top-kcap'", "did you mean top-k-cap=K?"),
        (["noprefill"], "no quirk 'noprefill'", "did you mean no-prefill?"),
        (["top-k-cap"], "needs a value", "write top-k-cap=K"),
        (["top-k-cap=x"], "whole number", "write top-k-cap=K"),
        (["min-output=0"], "at least 1", "write min-output=N"),
        (["noise=nan"], "from 0 to 100", "write noise=NATS"),
        (["no-ids=1"], "takes no value", "write no-ids"),
        (["refused-fields=a++b"], "names with +", "write refused-fields=A+B"),
        (["closed-routes=chats"], "completions, chat and responses", "write closed-routes=A+B"),
        (["strict-fields=500"], "400, 422", "write strict-fields[=STATUS]"),
        (["no-ids", "no-ids"], "given twice", "leave one"),
        (["no-prefill", "implicit-prefill"], "no-prefill contradict", "leave one"),
        (["fault-seed=1"], "nothing by itself", "add fault-rate or jitter"),
        ([""], "no quirk ''", "--list-quirks"),
    ],
)
def test_a_quirk_that_makes_no_sense_is_refused(given: list[str], fault: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        read_quirks(given)
    assert fault in caught.value.message
    assert hint in caught.value.hint


def test_whatever_excludes_or_needs_another_is_a_quirk_and_explained() -> None:
    assert {name for group in EXCLUDING for name in group} <= QUIRKS.keys()
    for quirk in QUIRKS.values():
        assert quirk.what.endswith(".")
        assert quirk.form.startswith(quirk.name)


NAMES = st.sampled_from(sorted(QUIRKS))


@given(st.lists(st.text(max_size=12) | NAMES | st.builds("{}={}".format, NAMES, st.text(max_size=6)), max_size=3))
def test_any_text_is_quirks_or_an_error(given: list[str]) -> None:
    outcome = outcome_of(lambda: set(read_quirks(given)))
    assert outcome == {text.partition("=")[0] for text in given} or (isinstance(outcome, InputError) and outcome.hint)


ON = {"min-output": 16, "top-k-cap": 3, "top-k-cut": 2, "strict-fields": "400"}
"""Values for the quirks of requests that need one."""


@given(
    name=st.sampled_from(sorted(REQUEST_QUIRKS)),
    route=st.sampled_from(sorted(KNOWN)),
    body=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6),
)
def test_any_body_is_bent_or_refused(name: str, route: RouteName, body: dict[str, Json]) -> None:
    quirks = Quirks({name: ON.get(name, ("seed", "completions"))})
    assert apply_to_body(body, route=route, quirks=Quirks()) is body
    bent = outcome_of(lambda: apply_to_body(body, route=route, quirks=quirks))
    if isinstance(bent, Refusal):
        assert bent.status in {400, 404}
    else:
        assert not isinstance(bent, InputError)
        assert bent.keys() - body.keys() <= {"continue_final_message"}

"""The drivers: both sides are asked at once, costs are booked, faults come through as they are, no thread stays."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from blackbox_proxy.api import connect
from blackbox_proxy.cli.settings import Settings
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.errors import ApiBusy, BlackboxProxyError, InputError, LocalModelError, PairError, PromptError
from blackbox_proxy.gateway.tables import ModelConfig
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.run.sources import LocalPair
from blackbox_proxy.run.steerer import Steerer, steer
from blackbox_proxy.steering import Steering
from blackbox_proxy.testing import ToyApi, ToyModel, ToyPair
from blackbox_proxy.types import (
    NO_RUN,
    Ask,
    Call,
    Capabilities,
    Continuation,
    Generate,
    Origin,
    PairDistributions,
    PairPrompt,
    Prompt,
    Purpose,
    Reply,
    Result,
    TokenPath,
    Usage,
)
from blackbox_proxy_adapters.positions import unknown
from tests.adapters.shapes import body
from tests.core.toys import OTHER, prefix_of, toy_api, toy_pair
from tests.remote.scripted import Say, ScriptedApi
from tests.tiny_gguf import TinyModel

PROMPT = Prompt(text="ab")
PLAIN = Vocabulary([b"a", b"b", b" ", b"</s>"], ends=[3])
SHORT = Steering(max_tokens=6)
Driver = Callable[..., Result]


def by_steer(api: ToyApi, pair: LocalPair, steering: Steering = SHORT) -> Result:
    return steer(PROMPT, api=api, offsets=pair, steering=steering)


def by_stream(api: ToyApi, pair: LocalPair, steering: Steering = SHORT) -> Result:
    return Steerer(api, pair, steering).stream(PROMPT).result


def by_asyncio(api: ToyApi, pair: LocalPair, steering: Steering = SHORT) -> Result:
    return asyncio.run(Steerer(api, pair, steering).acomplete(PROMPT))


drivers = pytest.mark.parametrize("drive", [by_steer, by_stream, by_asyncio])


@dataclass
class Wired:
    """A toy pair whose `distributions` does something first."""

    toys: ToyPair
    before: Callable[[], object]
    prompts: list[Prompt] = field(default_factory=list)

    @property
    def vocabulary(self) -> Vocabulary:
        return self.toys.vocabulary

    def spell(self, text: bytes) -> list[int]:
        return self.toys.spell(text)

    def api_ids(self, text: str) -> TokenPath:
        return self.toys.api_ids(text)

    def prompt(self, prompt: Prompt) -> PairPrompt:
        self.prompts.append(prompt)
        return self.toys.prompt(prompt)

    def distributions(self, prompt: PairPrompt, paths: Sequence[TokenPath]) -> list[PairDistributions]:
        self.before()
        return self.toys.distributions(prompt, paths)


@dataclass
class WiredApi:
    """A toy API whose `send` does something first, with what it says it can do."""

    toys: ToyApi
    before: Callable[[], object] = bool
    can: Capabilities = field(default_factory=lambda: Capabilities(top_k=4))
    model: str = "wired"
    read: list[Prompt] = field(default_factory=list)
    vocabulary: Vocabulary | None = None
    exact: bool = True

    def capabilities(self) -> Capabilities:
        return self.can

    def text(self, prompt: Prompt) -> str:
        self.read.append(prompt)
        return self.toys.text(prompt)

    def send(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        self.before()
        return replace(self.toys.send(ask), exact=self.exact)

    async def asend(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        await asyncio.to_thread(self.before)
        return replace(self.toys.send(ask), exact=self.exact)


def plain() -> ToyApi:
    """One that is changed twice on the way to its end: several calls."""
    return toy_api(22, PLAIN)


@drivers
def test_what_was_spent_is_in_the_result(drive: Driver) -> None:
    api = plain()
    result = drive(api, toy_pair())
    assert result.usage.requests == len(api.asked)
    assert result.usage.output >= len(result.steps)
    assert 0.0 < result.usage.local_seconds <= result.seconds
    assert result.model == "toy"
    assert result.cost is None


@drivers
def test_the_api_and_the_pair_work_at_the_same_time(drive: Driver) -> None:
    """Each waits for the other to have begun; one after the other would never get through."""
    meet = threading.Barrier(2)
    met: list[int] = []

    def once() -> None:
        if not met:
            met.append(meet.wait(timeout=20))

    result = drive(WiredApi(plain(), once), Wired(toy_pair(), once))
    assert result.steps


class Blind(WiredApi):
    """A toy API that tells nothing of what comes after an answer that has begun."""

    def send(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        reply = super().send(ask)
        return replace(reply, positions=(unknown(),), finish="length") if prefix_of(ask).answer else reply

    async def asend(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
        return self.send(ask)


@drivers
def test_where_the_api_tells_nothing_the_pair_decides_and_the_result_says_so(drive: Driver) -> None:
    api = Blind(plain())
    result = drive(api, toy_pair())
    told = [step for step in result.steps if step.origin is not Origin.OUTSIDE]
    blind = len(result.steps) - len(told)
    assert told
    assert blind == len(api.toys.asked) - 1 > 0
    assert {step.tv_bound for step in result.steps[len(told) :]} == {1.0}
    assert any(note.endswith(f"the pair alone decided: {blind}") for note in result.notes)


class Broken(LocalModelError):
    """Raised by a double."""


def fail() -> None:
    raise Broken("no more memory", hint="wait")


def busy() -> None:
    raise ApiBusy("rate limit", hint="wait", status=429)


@drivers
@pytest.mark.parametrize("which", ["api", "pair"])
def test_a_fault_of_either_side_comes_through_as_it_is(drive: Driver, which: str) -> None:
    """And leaves no thread behind."""
    threads = set(threading.enumerate())  # one of another test may end meanwhile
    api = WiredApi(plain(), busy if which == "api" else bool)
    pair = Wired(toy_pair(), fail if which == "pair" else bool)
    with pytest.raises(BlackboxProxyError) as raised:
        drive(api, pair)
    assert type(raised.value) is (ApiBusy if which == "api" else Broken)
    assert threads.issuperset(threading.enumerate())


def failing(after: int, error: BaseException) -> Callable[[], None]:
    """Raises when it is called once more than `after` times."""
    left = [None] * after

    def call() -> None:
        if not left:
            raise error
        left.pop()

    return call


@drivers
def test_what_the_api_said_while_the_pair_failed_is_paid_for(drive: Driver) -> None:
    """And what was emitted before is there, as in an answer that went through."""
    short = replace(SHORT, draft=1)
    whole = drive(plain(), toy_pair(), short)
    api, pair = plain(), Wired(toy_pair(), failing(2, Broken("no more memory")))
    with pytest.raises(Broken) as raised:
        drive(api, pair, short)
    partial = raised.value.partial
    assert partial.finish == "error"
    assert (partial.usage.requests, partial.usage.lost) == (len(api.asked), 0)
    assert repr(partial.steps) == repr(whole.steps[: len(partial.steps)])
    assert 0 < len(partial.steps) < len(whole.steps)
    assert partial.usage.output == partial.usage.wasted + len(partial.steps)


@drivers
def test_of_two_failures_at_once_the_pairs_is_raised_and_both_are_counted(drive: Driver) -> None:
    error = ApiBusy("rate limit", status=429)
    error.calls = (Call(0, Usage(requests=1, lost=1), None),) * 3
    api, pair = WiredApi(plain(), failing(0, error)), Wired(toy_pair(), failing(0, Broken("no more memory")))
    with pytest.raises(Broken) as raised:
        drive(api, pair)
    assert (raised.value.partial.usage.requests, raised.value.partial.usage.lost) == (3, 3)


@drivers
def test_a_failure_while_more_log_probs_are_asked_for_keeps_what_was_paid(drive: Driver) -> None:
    told = Capabilities(top_k=3, token_ids=True, reveal="ids")
    toys = replace(plain(), top_k=3, can="ids")
    revealing = replace(SHORT, tail="reveal", reveals=8, event="bytes")
    api = WiredApi(toys, failing(1, ApiBusy("rate limit", status=429)), told, vocabulary=PLAIN)
    with pytest.raises(ApiBusy) as raised:
        drive(api, toy_pair(), revealing)
    assert isinstance(toys.asked[0], Generate)
    assert raised.value.partial.usage.requests == 1


def test_a_cancelled_answer_leaves_no_call_behind() -> None:
    ended: list[str] = []

    class Slow(WiredApi):
        async def asend(self, ask: Ask, _purpose: Purpose = NO_RUN, /) -> Reply:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            return self.toys.send(ask)

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(Steerer(Slow(plain()), toy_pair(), SHORT).acomplete(PROMPT), 0.2)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(cancelled())
    assert ended == ["cancelled"]


@pytest.mark.parametrize("where", ["pair", "api"])
def test_an_interrupt_does_not_wait_for_the_api(where: str) -> None:
    """The call that is under way counts as lost; what there was is there."""
    free, main = threading.Event(), threading.main_thread().ident
    count = failing(2, Broken("this is the third call"))

    def hang() -> None:
        try:
            count()
        except Broken:
            if where == "api" and main:
                signal.pthread_kill(main, signal.SIGINT)
            free.wait(60)

    pair = Wired(toy_pair(), failing(2, KeyboardInterrupt()) if where == "pair" else bool)
    run = Steerer(WiredApi(plain(), hang), pair, replace(SHORT, draft=1)).stream(PROMPT)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(run)
    took = time.monotonic() - begun
    free.set()
    assert took < 30
    assert run.partial.finish == "error"
    assert (run.partial.usage.requests, run.partial.usage.lost) == (3, 1)
    assert len(run.partial.steps) == 2


def test_a_stream_hands_out_steps_as_they_are_made() -> None:
    """The first step is there before the last call is made."""
    api = plain()
    running = Steerer(api, toy_pair(), Steering(max_tokens=12, draft=1)).stream(PROMPT)
    first = next(running)
    calls = len(api.asked)
    rest = list(running)
    assert calls < len(api.asked)
    assert running.result.steps == (first, *rest)
    assert running.result is running.result


def test_a_result_may_be_asked_for_at_any_time() -> None:
    running = Steerer(plain(), toy_pair(), SHORT).stream(PROMPT)
    next(running)
    assert repr(running.result.steps) == repr(by_steer(plain(), toy_pair()).steps)


def test_a_stream_that_broke_off_has_no_result() -> None:
    running = Steerer(WiredApi(plain(), busy), toy_pair(), SHORT).stream(PROMPT)
    with pytest.raises(ApiBusy):
        next(running)
    with pytest.raises(InputError, match="broke off") as raised:
        _ = running.result
    assert raised.value.hint


def test_a_stream_that_is_dropped_leaves_no_thread() -> None:
    threads = set(threading.enumerate())  # one of another test may end meanwhile
    running = Steerer(plain(), toy_pair(), Steering(max_tokens=12)).stream(PROMPT)
    next(running)
    del running
    assert threads.issuperset(threading.enumerate())


def test_several_answers_may_be_awaited_at_once() -> None:
    async def together() -> list[Result]:
        asks = (Steerer(toy_api(n, PLAIN), toy_pair(n), SHORT).acomplete(PROMPT) for n in range(4))
        return await asyncio.gather(*asks)

    alone = [steer(PROMPT, api=toy_api(n, PLAIN), offsets=toy_pair(n), steering=SHORT) for n in range(4)]
    assert [result.text for result in asyncio.run(together())] == [result.text for result in alone]


def test_the_pair_may_have_a_prompt_of_its_own() -> None:
    """A document that only the API needs; the pair reads the bare question."""
    api, pair = WiredApi(plain()), Wired(toy_pair(), bool)
    result = steer(Prompt(text="ab ab"), api=api, offsets=pair, steering=SHORT, pair_prompt=Prompt(text="b"))
    assert [prompt.text for prompt in api.read] == ["ab ab"]
    assert [prompt.text for prompt in pair.prompts] == ["b"]
    other = steer(Prompt(text="ab ab"), api=plain(), offsets=toy_pair(), steering=SHORT)
    assert repr(result.steps) != repr(other.steps)


def test_a_bare_question_is_a_chat_of_one_turn() -> None:
    api, pair = WiredApi(plain()), Wired(toy_pair(), bool)
    steer("why?", api=api, offsets=pair, steering=SHORT)
    assert api.read == pair.prompts == [Prompt.ask("why?")]


@pytest.mark.parametrize("continuation", [Continuation.EXACT, Continuation.PREFILL, Continuation.APPROXIMATE])
def test_steps_that_rest_on_a_continuation_asked_for_in_words_are_approximate(continuation: Continuation) -> None:
    """Within the first reply the API goes on from its own words: that much is exact, and it is asked to be the whole.

    In words it is asked only behind the first token that was changed.
    """
    api = WiredApi(plain(), can=Capabilities(top_k=4, continuation=continuation))
    result = steer(PROMPT, api=api, offsets=toy_pair(), steering=Steering(draft=1, max_tokens=6))
    worded = continuation is Continuation.APPROXIMATE
    first = next(n for n, step in enumerate(result.steps) if step.origin is not Origin.DRAFT)
    later = len(result.steps) - first - 1
    assert [step.exact for step in result.steps] == [*[True] * (first + 1), *[not worded] * later]
    assert api.toys.asked[0].length == (6 if worded else 1)
    assert later > 0
    assert result.exactness == ("approximate" if worded else "exact")


def test_a_reply_that_says_it_is_not_exact_is_believed() -> None:
    result = steer(PROMPT, api=WiredApi(plain(), exact=False), offsets=toy_pair(), steering=SHORT)
    assert result.approximate == len(result.steps)
    assert result.exactness == "approximate"


def test_ids_are_not_sent_to_an_endpoint_that_takes_none() -> None:
    with pytest.raises(InputError, match="cannot send token ids") as raised:
        steer(PROMPT, api=WiredApi(plain()), offsets=toy_pair(), steering=Steering(event="ids"))
    assert "bytes" in raised.value.hint


def test_ids_of_the_prompt_come_before_those_of_the_answer() -> None:
    pair = toy_pair()
    api = ToyApi(ToyModel(pair.vocabulary, 4), pair.spell, top_k=4)
    steer(PROMPT, api=api, offsets=pair, steering=Steering(event="ids", max_tokens=4, draft=1))
    start = pair.api_ids("ab")
    sent = [prefix_of(ask).ids for ask in api.asked]
    assert sent[0] == start
    assert all(ids is not None and ids[: len(start)] == start for ids in sent)


def test_over_http_the_answer_grows_in_the_prompt() -> None:
    """Prompt, answer so far and limits stand in the request; candidates of the reply are scored."""
    rows = [("a", -0.2, {"a": -0.2, "b": -2.0}), ("b", -0.1, {"b": -0.1, "a": -3.0})]
    end = ("", -0.1, {"": -0.1, "a": -3.0})
    script = (Say(body(*rows)), Say(body(end, finish="stop")))
    with ScriptedApi(*script) as server, connect(server.url, model="m", options={"top_k": 2}) as api:
        result = steer(PROMPT, api=api, offsets=toy_pair(), steering=Steering(alpha=1e-12, draft=8))
    assert (result.text, result.finish, result.model) == ("ab", "stop", "m-1")
    sent = [request for _, _, request in server.seen]
    assert [request["prompt"] for request in sent] == ["ab", "abab"]
    assert [request["max_tokens"] for request in sent] == [2, 4]
    assert all(request["model"] == "m" and request["logprobs"] == 2 for request in sent)
    assert result.usage.input == 14
    assert result.usage.requests == 2


def test_over_http_both_drivers_send_the_same() -> None:
    row = ("a", -0.2, {"a": -0.2, "b": -2.0})

    async def ask(url: str) -> Result:
        async with connect(url, model="m") as api:
            return await Steerer(api, toy_pair(), Steering(alpha=0.0, max_tokens=1)).acomplete(PROMPT)

    with ScriptedApi(Say(body(row)), Say(body(row))) as server:
        awaited = asyncio.run(ask(server.url))
        with connect(server.url, model="m") as api:
            plain_one = steer(PROMPT, api=api, offsets=toy_pair(), steering=Steering(alpha=0.0, max_tokens=1))
    assert repr(awaited.steps) == repr(plain_one.steps)
    assert server.seen[0][2] == server.seen[1][2]


def test_the_model_that_answered_is_named_even_if_its_last_reply_is_silent_about_it() -> None:
    """Some servers name it in the first chunk only; an endpoint may answer with another model than was asked for."""
    row, end = ("a", -0.2, {"a": -0.2}), ("", -0.1, {"": -0.1})
    script = (Say(body(row)), Say(body(end, finish="stop", model="")))
    with ScriptedApi(*script) as server, connect(server.url, model="m") as api:
        result = steer(PROMPT, api=api, offsets=toy_pair(), steering=Steering(alpha=1e-12, draft=1))
    assert (len(server.seen), result.model) == (2, "m-1")


def test_the_unsteered_answer_is_one_call() -> None:
    rows = [("a", -0.2, {"a": -0.2}), ("b", -0.1, {"b": -0.1})]
    with ScriptedApi(Say(body(*rows))) as server, connect(server.url, model="m") as api:
        reply = api.complete(Prompt(text="say"), max_tokens=9)
    assert b"".join(position.sampled.piece for position in reply.positions) == b"ab"
    ((_, _, request),) = server.seen
    assert (request["prompt"], request["max_tokens"]) == ("say", 9)


def test_connecting_sends_nothing_and_templates_go_by_name() -> None:
    """Nobody listens there."""
    with connect("http://127.0.0.1:9/v1", model="m", template="chatml") as api:
        assert api.text(Prompt.ask("why?")).endswith("<|im_start|>assistant\n")
    with connect("http://127.0.0.1:9/v1", model="m", template="{{ messages[0].content }}!") as api:
        assert api.text(Prompt.ask("why?")) == "why?!"
    with connect("http://127.0.0.1:9/v1", model="m", template="raw") as api:
        assert api.text(Prompt(text="why?")) == "why?"
        with pytest.raises(PromptError, match="no chat template"):
            api.text(Prompt.ask("why?"))


def test_a_chat_is_written_down_as_on_the_command_line_where_nobody_says_how() -> None:
    with connect("http://127.0.0.1:9/v1", model="m") as api:
        assert api.text(Prompt.ask("why?")) == "<|im_start|>user\nwhy?<|im_end|>\n<|im_start|>assistant\n"
        assert api.text(Prompt(text="why?")) == "why?"
    assert Settings.model_fields["template"].default == ModelConfig.model_fields["template"].default == "chatml"


def test_the_ends_of_common_models_are_known_and_can_be_replaced() -> None:
    with connect("http://127.0.0.1:9/v1", model="m") as api:
        assert b"<|im_end|>" in api.capabilities().end_pieces
    with connect("http://127.0.0.1:9/v1", model="m", options={"end_pieces": (b"<stop>",)}) as api:
        assert api.capabilities().end_pieces == (b"<stop>",)


def test_a_pair_file_opens_a_pair(tiny_bpe: TinyModel, tiny_lora: Path, tmp_path: Path) -> None:
    path = tmp_path / "pair.toml"
    path.write_text(f'model = "{tiny_bpe.path}"\nadapter = "{tiny_lora}"\ncontext = 64', encoding="utf-8")
    with load_pair(str(path), cache=tmp_path) as pair:
        api = ToyApi(ToyModel(pair.vocabulary, 2), pair.spell, top_k=9)
        result = steer(Prompt(text="the"), api=api, offsets=pair, steering=Steering(max_tokens=3, event="ids"))
    assert len(result.steps) == 3
    with pytest.raises(PairError, match=r"absent\.toml"):
        load_pair(tmp_path / "absent.toml")


def test_toys_are_what_the_engine_asks_for() -> None:
    """The doubles cut text as they say, and read what they are given."""
    pair = toy_pair(vocabulary=OTHER)
    assert pair.prompt(PROMPT) == PairPrompt((0, 1), (0, 1))
    (one,), (other,) = pair.distributions(pair.prompt(PROMPT), [()]), pair.distributions(PairPrompt((), ()), [()])
    assert (one.expert.logits != other.expert.logits).any()

"""How requests to a route of an endpoint are formed, and the requests that are sent to it.

Requests are data. The module knows no network and no reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from blackbox_proxy.types import WireRequest

Route = Literal["chat", "completions", "responses"]

Fields = Mapping[str, object]
"""Fields of a request's body."""

_NONE: Fields = {}

ROUTES: Mapping[Route, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "responses": "/responses",
}
LENGTHS: Mapping[Route, str] = {
    "chat": "max_tokens",
    "completions": "max_tokens",
    "responses": "max_output_tokens",
}
LEAST: Mapping[Route, int] = {"chat": 1, "completions": 1, "responses": 16}
"""The fewest tokens that may be asked for where a route is as its inventor made it."""

MOST_ALTERNATIVES = 20
"""As many as OpenAI's reference allows; an endpoint that takes fewer deviates from it."""

OPEN = "Go on with this first line of a novel that nobody has written yet: On the day when the"
"""Can be gone on with in many ways, both as a question and as a text, and is no end of one: a model that reads a whole
sentence as text ends there as it likes."""
COLOURS = "Write red green blue again and again."
CUT_OFF = "red green blue red green blue red green blue red green"
"""Any model goes on from here with a blank and `blue`; a turn of its own may begin with `blue`, but with no blank."""
BLANK = "My favourite of the three is"
"""Another token follows on it than on the same text with a blank at its end."""
PARROT = "🦜🦜🦜🦜"
PARROTS = f"Write this once more, and nothing else: {PARROT}{PARROT}"
"""Most vocabularies write a parrot in two tokens or more, which are no text by themselves."""
DEMANDED = "Zebra 7: so"
"""No answer begins so by itself."""
SHORT = "Say only: ok"
OK = "ok"
LETTERS = "Qzx jvbk wqpf zzgh"
"""No answer begins so; most vocabularies cut it into tokens whose first letters alone are likelier."""

KINDS = ("flag_pair", "prefix", "partial", "implicit")
"""The ways in which a partial turn is told: two flags of the request, one of the message (of two names), nothing."""
_ANY = r"(.|\n|\r)*"
_FLAGS = {"continue_final_message": True, "add_generation_prompt": False}


def turn(role: str, text: str, **flags: object) -> dict[str, object]:
    """One turn of a chat."""
    return {"role": role, "content": text, **flags}


@dataclass(frozen=True, slots=True)
class RequestForm:
    """How requests to one route are formed.

    least: the fewest tokens that may be asked for. top_k: the most alternatives. warm: whether a temperature may be
    said. extra: what each request carries.
    """

    route: Route
    model: str
    path: str
    length_field: str
    least: int = 1
    top_k: int = MOST_ALTERNATIVES
    warm: bool = True
    extra: Mapping[str, object] = field(default_factory=dict)

    def bare(self, said: object, *, length: int = 1, more: Fields = _NONE) -> WireRequest:
        """A request without log-probs. said: a text, turns, or token ids; more: fields besides."""
        limit = {self.length_field: max(length, self.least)}
        return WireRequest(self.path, {**self.extra, "model": self.model, **self._saying(said), **limit, **more})

    def ask(
        self,
        said: object,
        *,
        length: int = 1,
        top_k: int | None = None,
        temperature: float = 1.0,
        more: Fields = _NONE,
    ) -> WireRequest:
        """A request with log-probs, as many alternatives as may be asked for unless fewer are wanted."""
        k = self.top_k if top_k is None else top_k
        warmth = {"temperature": temperature} if self.warm else {}
        return self.bare(said, length=length, more={**self.logprob_fields(k), **warmth, **more})

    def continuing(
        self,
        question: str,
        begun: str,
        *,
        kind: str,
        length: int = 1,
        temperature: float = 1.0,
        more: Fields = _NONE,
    ) -> WireRequest:
        """A request to go on from a turn that the assistant has begun, told so in one of the ways of KINDS."""
        turns = [
            turn("user", question),
            turn("assistant", begun, **({kind: True} if kind in ("prefix", "partial") else {})),
        ]
        flags = _FLAGS if kind == "flag_pair" else {}
        return self.ask(turns, length=length, temperature=temperature, more={**flags, **more})

    def demanding(self, question: str, begun: str, *, kind: str, length: int = 1, logprobs: bool = True) -> WireRequest:
        """A request whose schema demands an answer that begins so, by a `pattern` or a `const`, drawn greedily."""
        begins = (
            {"type": "string", "const": begun} if kind == "const" else {"type": "string", "pattern": f"^{begun}{_ANY}$"}
        )
        properties = {"begun": begins, "answer": {"type": "string"}} if kind == "const" else {"answer": begins}
        schema = {"type": "object", "properties": properties, "required": list(properties)}
        named = {"name": "answer", "strict": True, "schema": {**schema, "additionalProperties": False}}
        nested = {"format": {"type": "json_schema", **named}}
        more = {"text": nested} if self.route == "responses" else _format(named)
        if logprobs:
            return self.ask(question, length=length, temperature=0.0, more=more)
        return self.bare(question, length=length, more=more)

    def logprob_fields(self, k: int) -> dict[str, object]:
        """The fields that ask for k alternatives."""
        if self.route == "completions":
            return {"logprobs": k}
        if self.route == "chat":
            return {"logprobs": True, "top_logprobs": k}
        return {"include": ["message.output_text.logprobs"], "top_logprobs": k}

    def without_reasoning(self) -> dict[str, object]:
        """What asks a reasoning model not to reason."""
        return {"reasoning": {"effort": "none"}} if self.route == "responses" else {"reasoning_effort": "none"}

    def _saying(self, said: object) -> dict[str, object]:
        if self.route == "completions":
            return {"prompt": said}
        turns = [turn("user", said)] if isinstance(said, str) else said
        return {"input" if self.route == "responses" else "messages": turns}


def _format(named: Fields) -> dict[str, object]:
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def first_form(route: Route, model: str, *, extra: Fields, length_field: str = "") -> RequestForm:
    """The form of requests to a route before anything is known of it. extra: of a chat, as a profile has it."""
    named = length_field if route == "chat" and length_field in ("max_tokens", "max_completion_tokens") else ""
    if route == "responses" and "reasoning_effort" in extra:
        effort = {"reasoning": {"effort": extra["reasoning_effort"]}}
        extra = {name: value for name, value in extra.items() if name != "reasoning_effort"} | effort
    return RequestForm(route, model, ROUTES[route], named or LENGTHS[route], LEAST[route], extra=extra)

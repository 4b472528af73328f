"""What every adapter here can be told about an endpoint, and the fields of a request that follow from it.

The options are plain values with defaults, so that a profile can give them: see `Options`. The module knows no reply
shape beyond its name, and no route.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from blackbox_proxy.errors import InputError, ReplyError
from blackbox_proxy.types import Ask, Capabilities, Continuation, Draw, Generate, Reply, Sampling, WireRequest

from .decoders import decoder_named, read_drawn
from .demands import is_closed, schema_fields
from .positions import Dialect, Trust

LogprobsKind = Literal["bool", "count", "n_probs", "include"]

_OURS = frozenset({"model", "prompt", "messages", "input", "temperature", "stream", "n", "best_of", "echo"})
_ASKED = frozenset({"logprobs", "top_logprobs", "n_probs", "include", "logit_bias"})
_PINNABLE = ("temperature", "top_p")
_MASKING = frozenset({"response_format", "tools", "grammar", "json_schema", "post_sampling_probs"})
"""Fields with which what is said does not follow the log-probs: they are told before the mask, or after sampling."""


@dataclass(kw_only=True)
class Options:
    """What one endpoint wants and gives.

    Attributes:
        path: Where requests go below the base URL.
        decoder: The shape of its replies (`decoders.DECODERS`).
        top_k: Most alternatives that it gives per position.
        end_pieces: How it spells the tokens that end an answer; b"" where it shows them as an empty string.
        end_ids: Their ids, where the shape has ids.
        length_field: What it calls the limit; reasoning models want `max_completion_tokens`.
        min_output: Fewest tokens that may be asked for; never fewer are.
        logprobs_kind: How log-probs are asked for: `bool` (logprobs=true, top_logprobs=k), `count` (logprobs=k),
            `n_probs` (n_probs=k), or `include` (the Responses' list, top_logprobs=k).
        seed_field: What it calls the seed; "" where it takes none.
        query_temperature: The temperature of a greedy draft, 1 where log-probs at 0 are one-hot. One that is named
            (`Generate.sampling`) is sent as it is.
        bytes_trust: Whether `bytes` of a reply are the token's true ones: `exact`, `lossy` or `none`.
        logprobs: Whether it shows log-probs; without them it is asked for whole answers alone.
        answers_at_once: Most answers that one request may draw (`n`).
        schemas: Whether it holds a whole answer to a JSON schema (`response_format`; `json_schema` of llama.cpp's own
            route, `text.format` of the Responses').
        tools: Whether it knows tools, as OpenAI's chats do (`tools`, `tool_choice`, `tool_calls`).
        pinned: What of `temperature` and `top_p` the endpoint fixes itself, and at which value; it is never sent.
        extra_body: Fields that are sent with each request as they are (`reasoning_effort`, `top_p`, ...).
    """

    path: str = "/completions"
    decoder: str = "legacy_completions"
    top_k: int = 20
    end_pieces: Collection[bytes] = ()
    end_ids: Collection[int] = ()
    length_field: str = "max_tokens"
    min_output: int = 1
    logprobs_kind: LogprobsKind = "count"
    seed_field: str = "seed"
    query_temperature: float = 0.0
    bytes_trust: Trust = "exact"
    logprobs: bool = True
    answers_at_once: int = 1
    schemas: bool = False
    tools: bool = False
    pinned: Mapping[str, float] | None = None
    extra_body: Mapping[str, object] | None = None
    name: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._decode = decoder_named(self.decoder)
        self._dialect = Dialect(frozenset(self.end_pieces), frozenset(self.end_ids), self.bytes_trust)
        check_choice("logprobs_kind", self.logprobs_kind, ("bool", "count", "n_probs", "include"))
        check_choice("bytes_trust", self.bytes_trust, ("exact", "lossy", "none"))
        self._check_numbers()
        self._check_names()

    def asked_k(self, ask: Ask) -> int:
        """How many alternatives the request asks for."""
        return min(ask.top_k, self.top_k)

    def request(self, ask: Ask, text: Mapping[str, object], *, length: int) -> WireRequest:
        """A request for `length` tokens after `text`: the fields that say what to go on from."""
        sampling = ask.sampling if isinstance(ask, Generate | Draw) else None
        if sampling is not None and isinstance(ask, Generate):
            self._check_drawn(sampling)
        body: dict[str, object] = {
            **(self.extra_body or {}),
            "model": ask.model,
            **text,
            self.length_field: max(length, self.min_output),
            "temperature": self.query_temperature if sampling is None else sampling.temperature,
            **self._logprobs(ask),
            **(self._schema(ask.schema) if isinstance(ask, Generate | Draw) and ask.schema else {}),
        }
        if isinstance(ask, Draw) and ask.count > 1:
            body["n"] = ask.count
        if sampling is not None and sampling.top_p < 1.0:
            body["top_p"] = sampling.top_p
        if sampling is not None and sampling.seed is not None and self.seed_field:
            body[self.seed_field] = sampling.seed
        pinned = self.pinned or {}
        return WireRequest(self.path, {name: value for name, value in body.items() if name not in pinned})

    def calling(self, ask: Generate | Draw) -> WireRequest:
        """The request for a chat with tools. Raises InputError where the endpoint knows none."""
        if not self.tools:
            raise InputError("tools were sent to an endpoint that knows none", hint="set `tools` if it does")
        return self.request(ask, json.loads(ask.tools), length=ask.length)

    def read(self, body: Mapping[str, object], ask: Ask, *, repeats: bool = False) -> Reply:
        """The reply in this endpoint's shape. Raises `ReplyError` for a body of another one.

        repeats: whether log-probs of text that the reply does not hold are read too.
        """
        dialect = self.dialect(ask)
        return self._decode(body, replace(dialect, repeats=True) if repeats else dialect)

    def read_answers(self, body: Mapping[str, object], ask: Draw | Generate) -> Reply:
        """The whole answers of a reply to a `Draw`, or the one to a `Generate` with tools.

        Raises `ReplyError` where there are more or fewer.
        """
        reply, count = read_drawn(body, lambda one: self.read(one, ask)), ask.count if isinstance(ask, Draw) else 1
        if len(reply.drawn) != count:
            raise ReplyError(
                f"{count} answers were asked for in one request, and {len(reply.drawn)} came",
                hint="set answers_at_once to what this endpoint gives",
            )
        return reply

    def dialect(self, ask: Ask) -> Dialect:
        """What this endpoint settles of the shape of a reply to `ask`."""
        return self._dialect.asked(self.asked_k(ask))

    def capable(self, continuation: Continuation, *, chat: bool) -> Capabilities:
        """What the engine may rely on."""
        ends = tuple(sorted(set(self.end_pieces)))
        return Capabilities(
            top_k=self.top_k,
            continuation=continuation,
            end_pieces=ends,
            chat=chat,
            logprobs=self.logprobs,
            answers_at_once=self.answers_at_once,
            schemas=self.schemas,
            tools=self.tools,
        )

    def _schema(self, schema: str) -> dict[str, object]:
        """The fields that hold an answer to a schema, as JSON. Raises InputError where the endpoint knows none."""
        if not self.schemas:
            raise InputError("a schema was sent to an endpoint that knows none", hint="set `schemas` if it does")
        read = json.loads(schema)
        if self.decoder == "llama_native":
            return {"json_schema": read}
        return schema_fields(read, strict=is_closed(read), responses=self.decoder == "openai_responses")

    def _logprobs(self, ask: Ask) -> dict[str, object]:
        """The fields that ask for log-probs.

        None for whole answers of an endpoint that has none, and where a schema or tools are its own affair: then they
        may be those of another distribution.
        """
        k = self.asked_k(ask)
        if isinstance(ask, Generate | Draw) and (ask.tools or (ask.schema and isinstance(ask, Draw))):
            return {}
        if not self.logprobs:
            if isinstance(ask, Draw):
                return {}
            raise InputError(
                "log-probs were asked of an endpoint that shows none", hint="draw whole answers: way='answers'"
            )
        if self.logprobs_kind == "count":
            return {"logprobs": k}
        if self.logprobs_kind == "n_probs":
            return {"n_probs": k}
        if self.logprobs_kind == "include":
            return {"include": ["message.output_text.logprobs"], "top_logprobs": k}
        return {"logprobs": True, "top_logprobs": k}

    def _check_drawn(self, sampling: Sampling) -> None:
        """Raises InputError for a token that is to be drawn otherwise than the endpoint draws."""
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        others = {name: value for name, value in (self.pinned or {}).items() if drawn[name] != value}
        if others:
            fixed = " and ".join(f"{name} at {value:g}" for name, value in others.items())
            raise InputError(
                f"the endpoint fixes {fixed}, and tokens cannot be drawn otherwise there",
                hint="greedy answers that are steered can be had there, and whole answers (way='answers')",
            )

    def _check_numbers(self) -> None:
        if self.top_k < 1:
            raise InputError(
                f"top_k must be at least 1, not {self.top_k}", hint="steering needs the API's alternatives"
            )
        if self.min_output < 1:
            raise InputError(f"min_output must be at least 1, not {self.min_output}", hint="1 is the default")
        if not 1 <= self.answers_at_once <= 128:
            raise InputError(
                f"answers_at_once must be from 1 to 128, not {self.answers_at_once}", hint="1 sends each by itself"
            )
        if not 0.0 <= self.query_temperature <= 2.0:
            raise InputError(
                f"query_temperature must be between 0 and 2, not {self.query_temperature}",
                hint="0 drafts greedily; 1 is for an endpoint whose log-probs at 0 are one-hot",
            )

    def _check_names(self) -> None:
        for name in self.pinned or {}:
            check_choice("pinned field", name, _PINNABLE)
        if not self.path.startswith("/") or not self.length_field:
            raise InputError(
                f"path must start with / and length_field hold a name, not {self.path!r} and {self.length_field!r}",
                hint="for instance /chat/completions and max_tokens",
            )
        if not all(isinstance(piece, bytes) for piece in self.end_pieces):
            raise InputError(f"end_pieces must be bytes, not {self.end_pieces!r}", hint="tokens are bytes: b'</s>'")
        if not all(type(number) is int for number in self.end_ids):
            raise InputError(f"end_ids must be whole numbers, not {self.end_ids!r}", hint="for instance [2]")
        if self.tools and self.decoder != "openai_chat":
            raise InputError(
                f"calls of tools are read in the chat shape alone, and the decoder is {self.decoder!r}",
                hint="leave `tools` out for this endpoint: calls are then written and read here",
            )
        masking = sorted(_MASKING & set(self.extra_body or {}))
        if masking:
            raise InputError(
                f"extra_body sets {', '.join(masking)}, with which log-probs are not those of what is said",
                hint="remove it; steering needs the model's own distribution",
            )
        taken = sorted((_OURS | _ASKED | {self.length_field}) & set(self.extra_body or {}))
        if taken:
            raise InputError(
                f"extra_body sets {', '.join(taken)}, which the adapter sets itself",
                hint="remove it; length, top-k and model are set by the steering options",
            )


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise InputError, with the nearest one, for a value that is none of the choices."""
    if value not in choices:
        close = difflib.get_close_matches(value, choices, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(f"there is no {name} {value!r}", hint=f"{meant}there are: {', '.join(choices)}")


def whole_text(answer: bytes) -> str:
    """The answer so far as text. Raises InputError for one that ends inside a character."""
    try:
        return answer.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"the answer so far is not whole UTF-8: {error.reason} at byte {error.start} of {len(answer)}",
            hint="a text endpoint can only go on from whole characters; complete the character before asking",
        ) from None

"""What a hosted model is asked: one class for each kind of question, and what the ledger is told of its purpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from blackbox_proxy.types.pair import TokenPath
from blackbox_proxy.types.prompts import Message


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a model goes on from: a prompt, and the answer to it so far.

    Attributes:
        prompt: The prompt in the model's own form; "" where the endpoint takes messages.
        answer: The bytes of the answer so far.
        messages: The chat itself, for an endpoint that takes no text (`Capabilities.chat`).
        ids: Ids of the API's vocabulary that are sent in place of prompt and answer, which then are for display only;
            None where text is sent.
    """

    prompt: str
    answer: bytes = b""
    messages: tuple[Message, ...] = ()
    ids: TokenPath | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the endpoint draws tokens, sent exactly as it stands here.

    Attributes:
        temperature: 0 for its likeliest tokens.
        top_p: The share of the distribution that is drawn from; sent where it is below 1.
        seed: Sent where the endpoint takes one.
    """

    temperature: float
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Generate:
    """Go on from a prefix, with the top-k log-probs at each token.

    Attributes:
        model: What the endpoint calls the model.
        prefix: What it goes on from.
        top_k: How many alternatives a position is to show.
        length: Most tokens.
        sampling: How they are drawn; None for a greedy draft, at whichever temperature the endpoint's log-probs are
            worth most.
        way: In which of the adapter's ways it is asked (`Capabilities.ways`).
        schema: The JSON schema, as text, that the endpoint is to hold its answer to (`Capabilities.schemas`); "" for
            none.
        tools: The fields of a chat with tools, as JSON, that are sent in place of the prefix's messages, where the
            endpoint knows tools (`Capabilities.tools`); the reply is a text with calls (`Reply.drawn`), and has no
            log-probs. "" for none.
        roomy: Whether a reply was cut before it came to what is asked for (`errors.ReplyCut`), so that more room than
            is usual is to be left.
    """

    model: str
    prefix: Prefix
    top_k: int
    length: int = 1
    sampling: Sampling | None = None
    way: int = 0
    schema: str = ""
    tools: str = ""
    roomy: bool = False


@dataclass(frozen=True, slots=True)
class Echo:
    """Send a draft behind a prefix, to be told what the API says at its borders (`Reply.echoed`), and go on behind it.

    Attributes:
        model: What the endpoint calls the model.
        prefix: What stands before the draft.
        top_k: How many alternatives a position is to show.
        draft: The bytes of the draft.
        draft_ids: Its ids, which are sent where those of the prefix are.
        length: Most tokens behind the draft.
    """

    model: str
    prefix: Prefix
    top_k: int
    draft: bytes
    draft_ids: TokenPath = ()
    length: int = 1


@dataclass(frozen=True, slots=True)
class Score:
    """Send a whole text, to be told the log-probs of its own tokens (`Reply.given`), and of one token behind it.

    Attributes:
        model: What the endpoint calls the model.
        text: The bytes of the text.
        top_k: How many alternatives a position is to show.
        ids: Its ids, where they are sent in place of it.
    """

    model: str
    text: bytes
    top_k: int
    ids: TokenPath | None = None
    length: ClassVar[Literal[1]] = 1


@dataclass(frozen=True, slots=True)
class Reveal:
    """Ask for the log-probs of chosen tokens behind a prefix, in the way that `Capabilities.reveal` names.

    Attributes:
        model: What the endpoint calls the model.
        prefix: What stands before them.
        top_k: How many alternatives the position is to show besides.
        ids: The tokens' ids in the API's vocabulary.
    """

    model: str
    prefix: Prefix
    top_k: int
    ids: TokenPath
    length: ClassVar[Literal[1]] = 1


@dataclass(frozen=True, slots=True)
class Draw:
    """Draw whole answers to a prompt, or continuations of an answer, as texts.

    The log-probs of their own tokens come with them where the endpoint shows any.

    Attributes:
        model: What the endpoint calls the model.
        prefix: The prompt, and the answer so far where an endpoint goes on from exactly that (`Continuation.EXACT`,
            `Continuation.PREFILL`); what is drawn is what follows it.
        sampling: How tokens are drawn.
        length: Most tokens of each answer or continuation.
        count: How many answers; more than 1 where the endpoint takes that (`Capabilities.answers_at_once`).
        schema: As of `Generate`.
        tools: As of `Generate`.
    """

    model: str
    prefix: Prefix
    sampling: Sampling
    length: int = 1
    count: int = 1
    schema: str = ""
    tools: str = ""
    top_k: ClassVar[Literal[1]] = 1


Ask = Generate | Echo | Score | Reveal | Draw
"""One request for tokens. Each kind has a `model`, a `top_k`, and a `length`: most tokens that are written for it."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a request is made for, as the ledger has it.

    Attributes:
        run: The run that it belongs to; "" for none.
        step: How many tokens of the run's answer stood when it was sent.
    """

    run: str = ""
    step: int = 0


NO_RUN = Purpose()
"""Of a request that belongs to no run."""

"""The quirks of real APIs, by name: what each does, which API does so, what value it takes, and what excludes what.

A quirk is only named and checked here. What it does stands in `request_quirks`, `logprob_quirks`, `reply_quirks` (how
tokens are spelt, too) and `faults` (the transport).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from blackbox_proxy.errors import InputError
from blackbox_proxy.standin.plan import Fault, read_kinds, read_plan


@dataclass(frozen=True, slots=True)
class Takes:
    """The value of a quirk. form: how help shows it; read: raises ValueError; default: what stands for none."""

    form: str
    read: Callable[[str], object]
    default: object = None


@dataclass(frozen=True, slots=True)
class Quirk:
    """One deviation. what: a sentence; seen: which APIs do so, "" where it only rules another; takes: its value."""

    name: str
    what: str
    seen: str
    takes: Takes | None = None

    @property
    def form(self) -> str:
        """The quirk as it is written: `name`, `name=K`, or `name[=K]` where it can do without."""
        if self.takes is None:
            return self.name
        return f"{self.name}={self.takes.form}" if self.takes.default is None else f"{self.name}[={self.takes.form}]"


def _whole(low: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > 9 or int(text) < low:
            raise ValueError(f"a whole number of at least {low} was expected")
        return int(text)

    return read


def _decimal(high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= high:
            raise ValueError(f"a number from 0 to {high:g} was expected")
        return value

    return read


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split("+"))
    if not all(names):
        raise ValueError("names with + between them were expected")
    return names


def _routes(text: str) -> tuple[str, ...]:
    names = _names(text)
    if not set(names) <= {"completions", "chat", "responses"}:
        raise ValueError("some of completions, chat and responses were expected")
    return names


def _rate(text: str) -> tuple[int, float]:
    most, _, seconds = text.partition("/")
    return _whole(1)(most), _decimal(86400)(seconds) if seconds else 60.0


def _word(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)} was expected")
        return text

    return read


_ALL = (
    # what may be asked
    Quirk(
        "top-k-cap", "More than K alternatives are refused.", "OpenAI (20, legacy 5), xAI (8)", Takes("K", _whole(0))
    ),
    Quirk(
        "top-k-cut",
        "At most K alternatives come, however many are asked for.",
        "OpenAI, as its reference allows",
        Takes("K", _whole(0)),
    ),
    Quirk(
        "min-output",
        "An answer of fewer than N tokens cannot be asked for.",
        "OpenAI Responses (16)",
        Takes("N", _whole(1)),
    ),
    Quirk(
        "refused-fields", "These fields are refused.", "OpenAI's reasoning models, AWS Bedrock", Takes("A+B", _names)
    ),
    Quirk(
        "strict-fields",
        "A field that OpenAI does not have is refused, with this status.",
        "OpenAI (400), TensorRT-LLM (422)",
        Takes("STATUS", _word("400", "422"), "400"),
    ),
    Quirk("max-completion-tokens-only", "A chat that says `max_tokens` is refused.", "OpenAI from gpt-5 on"),
    Quirk(
        "needs-effort-none",
        "Log-probs, a temperature and a top-p need a reasoning effort of `none`.",
        "OpenAI from gpt-5.5 on",
    ),
    Quirk(
        "closed-routes",
        "These of completions, chat and responses are not there.",
        "Mistral, OpenAI",
        Takes("A+B", _routes),
    ),
    Quirk("no-ids", "A prompt of token ids is refused; only text is read.", "Together, DeepSeek"),
    Quirk("no-seed", "A seed is accepted and ignored.", "OpenAI, where it is deprecated, Mistral"),
    Quirk("ignored-bias", "A logit bias is accepted and ignored.", "OpenAI's gpt-4o, TGI"),
    Quirk("ignored-logprobs", "Log-probs may be asked for, and do not come.", "OpenRouter without require_parameters"),
    # what structured output demands
    Quirk(
        "ignored-format", "A format of the answer is accepted and ignored.", "OpenRouter, llama-server (some patterns)"
    ),
    Quirk("no-pattern", "A schema with a `pattern` is refused.", "OpenAI until 2025"),
    Quirk("no-formatted-logprobs", "Log-probs are refused where a schema is demanded.", "Gemini, by its reference"),
    Quirk(
        "masked-logps",
        "Where a schema is demanded, log-probs are those after its mask.",
        "vLLM with processed_logprobs",
    ),
    Quirk(
        "slow-schema",
        "The first answer to a new schema comes so many seconds later.",
        "OpenAI, as its guide says",
        Takes("SECONDS", _decimal(3600)),
    ),
    Quirk(
        "free-forced",
        "What a schema forces is spelt in the tokens that the model likes best, not as the tokenizer cuts it.",
        "llama-server",
    ),
    # how a text is gone on with
    Quirk(
        "implicit-prefill",
        "An assistant's turn at the end is gone on with, without any flag.",
        "llama-server, TGI, Groq",
    ),
    Quirk("no-prefill", "Flags are ignored: an assistant's turn at the end is finished.", "OpenAI, llama-cpp-python"),
    Quirk("prefill-as-user", "Without a flag, an assistant's turn at the end becomes the user's.", "SGLang"),
    Quirk("trimmed-prefill", "White space at the end of a partial turn is cut off.", "TGI, transformers' templates"),
    Quirk("echoed-prefix", "Content and log-probs of an answer repeat the partial turn.", "Mistral"),
    Quirk("templated-completions", "A text to complete is put into the chat template as a question.", "Ollama"),
    # which numbers come
    Quirk(
        "logp-after-temperature",
        "Log-probs are those after the temperature; at 0 the best has all.",
        "vLLM with processed_logprobs",
    ),
    Quirk("one-hot-at-zero", "At temperature 0 the best has a log-prob of 0 and all others -9999.", "DeepSeek"),
    Quirk("scaled-except-zero", "Log-probs are those after the temperature, except at 0.", "SGLang, TGI"),
    Quirk("biased-logps", "Log-probs are those after the logit bias.", "SGLang"),
    Quirk(
        "noise",
        "Every call moves each log-prob by up to NATS, and may choose otherwise between near ties.",
        "OpenAI, batching servers",
        Takes("NATS", _decimal(100)),
    ),
    Quirk("rounded-logps", "Log-probs have so many decimals.", "OpenAI's gpt-4o (-22.125)", Takes("DIGITS", _whole(0))),
    Quirk(
        "sentinels",
        "All log-probs but those of the best M tokens are -9999.",
        "OpenAI, vLLM, TensorRT-LLM",
        Takes("M", _whole(0)),
    ),
    # what is listed
    Quirk("extra-entry", "The sampled token is listed too, as one more than was asked for.", "OpenAI legacy, vLLM"),
    Quirk("sampled-first", "A chat lists the sampled token first, which may push the k-th out.", "vLLM"),
    Quirk("no-top", "Only the chosen tokens have log-probs; there are no alternatives.", "Cohere, TGI's completions"),
    # how tokens are written
    Quirk("null-bytes", "No token has bytes.", "llama-cpp-python, TGI, Gemini"),
    Quirk(
        "skipped-fragments", "A chat has no entry for a token that ends inside of a character.", "llama-server, Ollama"
    ),
    Quirk("lossy-bytes", "A fragment's bytes are those of U+FFFD, as which it is written.", "vLLM, Ollama"),
    Quirk("escaped-tokens", r"A fragment is written `\xf0\x9f` on every route, without a mark.", "DeepSeek"),
    Quirk(
        "string-collisions",
        "In the legacy shape all fragments share one name: U+FFFD, or nothing at all.",
        "vLLM, SGLang (replaced), llama-cpp-python (empty)",
        Takes("replaced|empty", _word("replaced", "empty"), "replaced"),
    ),
    Quirk("hidden-end", "The end of an answer is never listed, and leaves no entry when it comes.", "llama-cpp-python"),
    Quirk("visible-end-text", "The end of an answer is listed as if its name were text.", "DeepSeek, vLLM"),
    Quirk("blank-specials", "Special tokens are written as nothing, with no bytes in them.", "llama-server, Ollama"),
    Quirk("together-shape", "The legacy shape has token ids and other ends; a stream no log-probs.", "Together"),
    # what is counted
    Quirk("cached-hidden", "Usage does not say how much was cached.", "vLLM, Together, TGI, Ollama"),
    Quirk("no-usage", "Replies have no usage.", "small proxies"),
    Quirk("prompt-per-answer", "Usage counts the prompt for each of `n` answers.", "gateways that send n requests"),
    # what goes wrong on the way
    Quirk(
        "faults",
        "Requests are answered by this plan, one entry each, and well when it is used up.",
        "every API on a bad day",
        Takes("KIND,...", read_plan),
    ),
    Quirk(
        "fault-rate",
        "So many of the requests fail, drawn by chance.",
        "every API on a bad day",
        Takes("SHARE", _decimal(1)),
    ),
    Quirk("fault-kinds", "What `fault-rate` draws from.", "", Takes("A+B", read_kinds)),
    Quirk("fault-seed", "Where the chance of `fault-rate` and `jitter` comes from.", "", Takes("N", _whole(0))),
    Quirk("fault-budget", "At most so many requests fail.", "", Takes("N", _whole(0))),
    Quirk(
        "rate-limit",
        "More than N requests in so many seconds (60) are refused, and headers say how many are left.",
        "OpenAI and most others",
        Takes("N[/SECONDS]", _rate),
    ),
    Quirk("latency", "Every answer comes so many seconds later.", "every API", Takes("SECONDS", _decimal(3600))),
    Quirk("jitter", "Every answer comes up to so many seconds later.", "every API", Takes("SECONDS", _decimal(3600))),
)

QUIRKS: Mapping[str, Quirk] = {quirk.name: quirk for quirk in _ALL}

EXCLUDING: tuple[tuple[str, ...], ...] = (
    ("logp-after-temperature", "scaled-except-zero"),
    ("one-hot-at-zero", "scaled-except-zero"),
    ("ignored-bias", "biased-logps"),
    *(
        ("ignored-format", name)
        for name in ("no-pattern", "no-formatted-logprobs", "masked-logps", "slow-schema", "free-forced")
    ),
    ("no-formatted-logprobs", "masked-logps"),
    ("implicit-prefill", "no-prefill", "prefill-as-user"),
    ("no-prefill", "trimmed-prefill"),
    ("no-prefill", "echoed-prefix"),
    *(
        ("ignored-logprobs", name)
        for name in (
            *("top-k-cap", "top-k-cut", "needs-effort-none", "logp-after-temperature", "one-hot-at-zero"),
            *("scaled-except-zero", "biased-logps", "rounded-logps", "sentinels", "extra-entry", "sampled-first"),
            *("no-top", "null-bytes", "lossy-bytes", "escaped-tokens", "string-collisions", "hidden-end"),
            *("visible-end-text", "blank-specials", "skipped-fragments"),
        )
    ),
    ("no-top", "extra-entry", "sampled-first"),
    ("null-bytes", "lossy-bytes"),
    ("lossy-bytes", "escaped-tokens", "string-collisions"),
    ("hidden-end", "visible-end-text", "blank-specials"),
    ("cached-hidden", "no-usage"),
    ("no-usage", "prompt-per-answer"),
    ("together-shape", "hidden-end"),
    ("null-bytes", "skipped-fragments"),
    ("lossy-bytes", "skipped-fragments"),
    ("faults", "fault-rate"),
)
"""Of each group at most one: together they would say two things about one question."""

NEEDING: Mapping[str, tuple[str, ...]] = {
    "fault-kinds": ("fault-rate",),
    "fault-budget": ("fault-rate",),
    "fault-seed": ("fault-rate", "jitter"),
}
"""What does nothing without one of these."""


@final
@dataclass(frozen=True, slots=True)
class Quirks:
    """Quirks that are switched on, with their values: checked, and in no particular order."""

    values: Mapping[str, object] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def whole(self, name: str) -> int | None:
        """The whole number of a quirk; None where it is off."""
        value = self.values.get(name)
        return value if isinstance(value, int) else None

    def decimal(self, name: str) -> float:
        """The number of a quirk; 0 where it is off."""
        value = self.values.get(name)
        return float(value) if isinstance(value, int | float) else 0.0

    def names(self, name: str) -> tuple[str, ...]:
        """The names that a quirk was given; none where it is off."""
        value = self.values.get(name)
        return tuple(map(str, value)) if isinstance(value, tuple) else ()

    def faults(self, name: str) -> tuple[Fault, ...]:
        """The faults of a quirk; none where it is off."""
        value = self.values.get(name)
        return tuple(item for item in value if isinstance(item, Fault)) if isinstance(value, tuple) else ()

    def rate(self, name: str) -> tuple[int, float] | None:
        """How many in how many seconds; None where the quirk is off."""
        value = self.values.get(name)
        return (int(value[0]), float(value[1])) if isinstance(value, tuple) else None

    def word(self, name: str) -> str:
        """The word of a quirk; "" where it is off."""
        return str(self.values.get(name, ""))


def read_quirks(given: Sequence[str]) -> Quirks:
    """Quirks as they are written on a command line: NAME, or NAME=VALUE.

    Raises InputError for one that is unknown or given twice, for a value that is missing or wrong, and for quirks that
    exclude or need each other.
    """
    values: dict[str, object] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if name in values:
            raise InputError(f"the quirk {name} is given twice", hint="leave one of them out")
        values[name] = _value(_known(name), value if equals else None)
    _check_together(values)
    return Quirks(values)


def _known(name: str) -> Quirk:
    if name in QUIRKS:
        return QUIRKS[name]
    close = difflib.get_close_matches(name, QUIRKS, n=1, cutoff=0.0)
    raise InputError(
        f"there is no quirk {name[:60]!r}",
        hint=f"did you mean {QUIRKS[close[0]].form}? `blackbox-proxy standin --list-quirks` lists all",
    )


def _value(quirk: Quirk, text: str | None) -> object:
    takes = quirk.takes
    if takes is None:
        if text is not None:
            raise InputError(f"the quirk {quirk.name} takes no value, not {text[:60]!r}", hint=f"write {quirk.form}")
        return True
    if text is None:
        if takes.default is None:
            raise InputError(f"the quirk {quirk.name} needs a value", hint=f"write {quirk.form}")
        return takes.default
    try:
        return takes.read(text)
    except ValueError as error:
        raise InputError(f"{quirk.name}={text[:60]}: {error}", hint=f"write {quirk.form}") from None


def _check_together(values: Mapping[str, object]) -> None:
    for group in EXCLUDING:
        clashing = [name for name in group if name in values]
        if len(clashing) > 1:
            raise InputError(f"the quirks {' and '.join(clashing)} contradict each other", hint="leave one of them out")
    for name, others in NEEDING.items():
        if name in values and not any(other in values for other in others):
            raise InputError(f"the quirk {name} does nothing by itself", hint=f"add {' or '.join(others)}")

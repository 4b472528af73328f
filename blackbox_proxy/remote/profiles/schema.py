"""The fields of a profile file, and the check that names the file and the line of a mistake.

A file is a whole profile, a change of another one (`extends`), or what was measured at one address and model
(`[overlay]`). One model of the fields serves all three: what a whole profile needs besides is asked for by `whole`.
Every field is read by something; the module reads no file and knows no provider.
"""

from __future__ import annotations

import datetime as dt
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from blackbox_proxy.errors import InputError
from blackbox_proxy.remote.profiles.lines import Place, line_of

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]
Pieces = Annotated[tuple[str, ...], Field(strict=False)]
"""Token texts; the empty one stands for tokens that the endpoint shows as nothing."""
Ids = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)]
Strategies = Annotated[
    tuple[Literal["forced", "instruct", "draft", "replay"], ...], Field(strict=False, min_length=1, max_length=4)
]
Fields = dict[str, object]
"""Fields of a request's body, as they are sent."""

COMPLETIONS = frozenset({"token_ids", "reveal", "prompt_lists", "echo"})
CHAT_PREFILL = frozenset({"prefill", "echoes", "trims"})
CHAT_CONTINUE = frozenset({"strategies", "structured", "structured_logprobs"})
ADAPTER_OPTIONS = {"completions": COMPLETIONS, "chat_prefill": CHAT_PREFILL, "chat_continue": CHAT_CONTINUE}
"""Options that one adapter alone takes; the rest of `ProfileOptions` is common to these adapters."""

ROUTE = frozenset({"path", "decoder", "logprobs_kind", "length_field"})
"""Options that say how one route is spoken to: those of /completions mean nothing to a chat."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ProfileOptions(_Table):
    """What the adapters take; a field that is not set is left to the adapter's default."""

    path: Annotated[str, Field(pattern=r"^/[!-~]*$")] | None = None
    decoder: Literal["legacy_completions", "openai_chat", "together", "llama_native", "openai_responses"] | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None
    end_pieces: Pieces | None = None
    end_ids: Ids | None = None
    length_field: Literal["max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict"] | None = None
    min_output: Annotated[int, Field(ge=1, le=4096)] | None = None
    logprobs_kind: Literal["bool", "count", "n_probs", "include"] | None = None
    seed_field: str | None = None
    query_temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    bytes_trust: Literal["exact", "lossy", "none"] | None = None
    logprobs: bool | None = None
    answers_at_once: Annotated[int, Field(ge=1, le=128)] | None = None
    schemas: bool | None = None
    tools: bool | None = None
    pinned: dict[Literal["temperature", "top_p"], Annotated[float, Field(ge=0, le=2)]] | None = None
    extra_body: Fields | None = None
    token_ids: bool | None = None
    reveal: Literal["none", "ids", "bias"] | None = None
    prompt_lists: bool | None = None
    echo: bool | None = None
    prefill: Literal["flag_pair", "prefix", "partial", "implicit"] | None = None
    echoes: bool | None = None
    trims: bool | None = None
    strategies: Strategies | None = None
    structured: Literal["pattern", "spelt", "const", "none"] | None = None
    structured_logprobs: Literal["before", "after"] | None = None

    def given(self) -> dict[str, object]:
        """What was set, as the adapters take it."""
        options = {name: getattr(self, name) for name in sorted(self.model_fields_set)}
        if self.end_pieces is not None:
            options["end_pieces"] = tuple(piece.encode() for piece in self.end_pieces)
        return options


class ModelRule(_Table):
    """What holds of the models whose names match: that they cannot be steered, or what they need and what to know."""

    names: Annotated[Texts, Field(min_length=1)]
    deny: Text | None = None
    note: Text | None = None
    options: ProfileOptions = ProfileOptions()

    @model_validator(mode="after")
    def _denied_or_described(self) -> Self:
        if self.deny and self.options.model_fields_set:
            raise _conflict("options", "a model that is denied needs no options")
        if self.deny and self.note:
            raise _conflict("note", "a model that is denied needs no note")
        return self


class Shutdown(_Table):
    """The day from which the models whose names match are no longer served."""

    on: dt.date
    names: Annotated[Texts, Field(min_length=1)]


class Spot(_Table):
    """The address and the model that an overlay was measured at, and when."""

    base_url: Text
    model: Text
    measured: dt.date
    notes: Texts = ()


NO_CALL = "no call was made to this API: all of this is from sources, not from replies"
"""What `unseen` of a profile says first where that is so: no claim of the endpoint."""


class OpenClaim(_Table):
    """What nobody has seen live, and which of the doctor's checks settles it. says: a statement; by: the check."""

    says: Text
    by: Text


class Provider(_Table):
    """Where a provider is and how it is spoken to. no_query_at: ends of paths where the profile's query is left out."""

    about: Text | None = None
    supported: bool = True
    reason: Text | None = None
    base_url: Text | None = None
    base_url_form: Text | None = None
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    no_query_at: Texts = ()
    api_key_header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")] | None = None
    adapter: Text | None = None
    tokenizer: Annotated[str, Field(pattern=r"^(auto|tiktoken:.+|gguf:.+)$")] | None = None
    tokenizer_fallback: Annotated[str, Field(pattern=r"^tiktoken:.+$")] | None = None
    checked: dt.date | None = None
    sources: Texts = ()
    unseen: Annotated[tuple[Text | OpenClaim, ...], Field(strict=False)] = ()
    notes: Texts = ()

    @property
    def statements(self) -> tuple[tuple[str, str], ...]:
        """What nobody has seen live, each with the doctor's check that settles it, "" where none does."""
        said = ((one.says, one.by) if isinstance(one, OpenClaim) else (one, "") for one in self.unseen)
        return tuple(one for one in said if one[0] != NO_CALL)

    @model_validator(mode="after")
    def _reason_where_unsupported(self) -> Self:
        if self.supported and self.reason:
            raise _conflict("reason", "it is for what is not supported; say supported = false")
        if self.tokenizer_fallback and self.tokenizer != "auto" and self.tokenizer is not None:
            raise _conflict("tokenizer_fallback", 'it is for tokenizer = "auto"')
        return self


class Document(_Table):
    """All that a profile file may say."""

    extends: Text | None = None
    overlay: Spot | None = None
    profile: Provider = Provider()
    options: ProfileOptions = ProfileOptions()
    query: dict[str, str] = {}
    models: Annotated[tuple[ModelRule, ...], Field(strict=False)] = ()
    shutdown: Annotated[tuple[Shutdown, ...], Field(strict=False)] = ()


@dataclass(frozen=True, slots=True)
class ProfileSource:
    """A profile file: where it lies, and its text."""

    where: str
    text: str

    def mistake(self, place: Place, complaint: str, *, hint: str = "") -> InputError:
        """The error for what stands at `place`."""
        shown = ".".join(str(step) for step in place)
        said = f"{shown}: {complaint}" if shown else complaint
        return InputError(
            f"{self.where}, line {line_of(self.text, place)}: {said}",
            hint=hint or "correct the file; `blackbox-proxy profiles show openai` shows one that is right",
        )


Raw = Mapping[str, object]
"""A file's content as TOML gives it."""


def read(source: ProfileSource) -> Raw:
    """The content of a file, each field by itself checked. Raises InputError with file and line."""
    try:
        content: Raw = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source.where} is not TOML: {error}", hint="correct or remove it") from None
    except RecursionError:
        raise InputError(f"{source.where} is nested without end", hint="correct or remove it") from None
    document = parsed(content, source)
    require_fit(document, source, adapter=document.profile.adapter)
    if document.overlay is not None:
        _require_overlay(document, content, source)
    return content


def parsed(content: Raw, source: ProfileSource) -> Document:
    """The content as a Document. Raises InputError for the first mistake."""
    try:
        return Document.model_validate(dict(content))
    except ValidationError as error:
        errors = error.errors(include_url=False)
        raise _mistake(min(errors, key=lambda one: line_of(source.text, one["loc"])), source) from None


def whole(content: Raw, source: ProfileSource) -> Document:
    """A profile that is complete and agrees with itself; `source` is the file that is told of a mistake."""
    document = parsed(content, source)
    provider = document.profile
    for name, value in {"about": provider.about, "checked": provider.checked, "sources": provider.sources}.items():
        if not value:
            raise source.mistake(("profile", name), "a profile must say it")
    if provider.supported and not provider.adapter:
        raise source.mistake(("profile", "adapter"), "a supported profile must name its adapter")
    if not provider.supported and not provider.reason:
        raise source.mistake(("profile", "reason"), "a profile that is not supported must say why")
    if not provider.supported and (provider.adapter or document.options.model_fields_set or document.models):
        raise source.mistake(("profile", "supported"), "what is not supported takes no adapter, options or models")
    require_fit(document, source, adapter=provider.adapter)
    return document


def _require_overlay(document: Document, content: Raw, source: ProfileSource) -> None:
    """What was measured at one place changes the adapter and its options, and nothing else."""
    if not document.extends:
        raise source.mistake(("overlay",), 'it must say which profile it changes: extends = "NAME"')
    for name in ("models", "shutdown", "query"):
        if name in content:
            raise source.mistake((name,), "an overlay holds options only; leave [overlay] out to change a profile")
    extra = document.profile.model_fields_set - {"adapter"}
    if extra:
        raise source.mistake(("profile", min(extra)), "an overlay changes nothing of [profile] but the adapter")


def fitting(options: Raw, *, adapter: str, instead_of: str) -> dict[str, object]:
    """The options of one adapter that mean something to another one that takes its place."""
    strange = (
        {name for owner, names in ADAPTER_OPTIONS.items() if owner != adapter for name in names}
        if adapter in ADAPTER_OPTIONS
        else set()
    )
    if (adapter == "completions") != (instead_of == "completions"):
        strange |= ROUTE
    return {name: value for name, value in options.items() if adapter == instead_of or name not in strange}


def require_fit(document: Document, source: ProfileSource, *, adapter: str | None) -> None:
    """No option that another adapter alone takes. An adapter of a third party checks its options itself."""
    if adapter not in ADAPTER_OPTIONS:
        return
    rules = [(("models", n, "options"), rule.options) for n, rule in enumerate(document.models)]
    for place, options in [(("options",), document.options), *rules]:
        for owner, names in ADAPTER_OPTIONS.items():
            strange = sorted(names & options.model_fields_set)
            if strange and owner != adapter:
                raise source.mistake((*place, strange[0]), f"only the adapter {owner} takes it, not {adapter}")


def _conflict(name: str, complaint: str) -> PydanticCustomError:
    return PydanticCustomError("conflict", "{complaint}", {"complaint": complaint, "name": name})


def _mistake(error: ErrorDetails, source: ProfileSource) -> InputError:
    """A mistake in our words, with file and line."""
    place = error["loc"]
    context: Mapping[str, Any] = error.get("ctx") or {}
    if error["type"] == "conflict":
        return source.mistake((*place, context["name"]), context["complaint"])
    if error["type"] == "extra_forbidden":
        return source.mistake(place, f"there is no such field{_nearest(place)}")
    if error["type"] == "missing":
        return source.mistake(place, "it is missing")
    return source.mistake(place, f"{_shown(error['input'])} will not do: {error['msg'].lower()}")


def _shown(value: object) -> str:
    return f"{value!r:.60}"


def _nearest(place: Place) -> str:
    """The fields of the table that the last step is in, the likeliest first."""
    table: type[BaseModel] = Document
    tables: Mapping[str, type[BaseModel]] = {
        "overlay": Spot,
        "profile": Provider,
        "options": ProfileOptions,
        "models": ModelRule,
        "shutdown": Shutdown,
    }
    for step in place[:-1]:
        table = tables.get(str(step), table)
    close = difflib.get_close_matches(str(place[-1]), table.model_fields, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(table.model_fields)}"

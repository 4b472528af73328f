"""What reply shapes have in common around their log-probs: choices, model, and why a reply stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from blackbox_proxy.errors import ReplyError
from blackbox_proxy.types import FILTERED
from blackbox_proxy_adapters.fields import as_count, as_list, as_mapping, as_text

WHOLE = "draw whole answers (--no-logprobs, or options={'logprobs': False} of `connect`)"
"""What to do with an endpoint that shows no log-probs."""

_STOPPED = frozenset({"stop", "eos", "eos_token"})
_FILTERS = frozenset(
    {"content_filter", "content-filter", "contentfilter", "safety", "blocklist", "prohibited_content", "recitation"}
    | {"guardrail_intervened", "sensitive", "spii", "image_safety", "moderation"}
)


def first_choice(body: Mapping[str, object]) -> Mapping[str, object]:
    """`choices[0]`."""
    check_no_error(body)
    choices = as_list(body.get("choices"), "choices")
    if not choices and body.get("prompt_filter_results"):
        raise ReplyError("the provider's content filter withheld the answer", hint="change the prompt")
    if not choices:
        raise ReplyError("the reply's choices are empty", hint="try again; if it stays, choose another endpoint")
    return as_mapping(choices[0], "choices[0]")


def choices_apart(body: Mapping[str, object], count: int) -> Sequence[Mapping[str, object]]:
    """A body of one choice for each of `count` prompts, by their `index`; the usage stays with the first.

    Raises ReplyError where a prompt has no choice, or several.
    """
    check_no_error(body)
    listed = [as_mapping(choice, f"choices[{n}]") for n, choice in enumerate(as_list(body.get("choices"), "choices"))]
    by_index = {as_count(choice.get("index"), "choices.index"): choice for choice in listed}
    if len(listed) != count or set(by_index) != set(range(count)):
        raise ReplyError(
            f"the reply holds {len(listed)} choices with the indices {sorted(by_index)} to {count} prompts",
            hint="this endpoint takes one prompt a request: leave out prompt_lists for it",
        )
    rest = {name: value for name, value in body.items() if name != "usage"}
    bodies = [{**rest, "choices": [by_index[n]]} for n in range(count)]
    return [{**bodies[0], "usage": body.get("usage")}, *bodies[1:]]


def check_no_error(body: Mapping[str, object]) -> None:
    """Raise ReplyError for an error that came as a success, as relays send them; its words may hold a key."""
    error = body.get("error")
    if isinstance(error, Mapping):
        code = error.get("code") or error.get("type")
        raise ReplyError(
            f"the endpoint answered with an error object in place of a reply (code {str(code)[:40]!r})",
            hint="the model behind it failed; try again, or choose another model or provider",
        )


def read_model(body: Mapping[str, object]) -> str:
    """The model that answered; "" where it is not told."""
    model = body.get("model")
    return model if isinstance(model, str) else ""


def read_fingerprint(body: Mapping[str, object]) -> str:
    """The configuration that answered; "" where it is not told."""
    fingerprint = body.get("system_fingerprint")
    return fingerprint if isinstance(fingerprint, str) else ""


def read_finish(reason: object) -> str | None:
    """The provider's word; its words for "the model ended the text" all become "stop", those for a filter one too."""
    if reason is None:
        return None
    word = as_text(reason, "finish_reason")
    if word.lower() in _FILTERS:
        return FILTERED
    return "stop" if word in _STOPPED else word

"""What a profile says of one model: how to reach it and speak to it, or why it cannot be steered.

Later words win: the profile, its rule for the model, what was measured at this address. Pure: the day is an argument.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from blackbox_proxy.errors import InputError
from blackbox_proxy.remote.profiles.finding import Overlay, Profile
from blackbox_proxy.remote.profiles.schema import ModelRule, Spot, fitting

KEY_VARIABLE = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True)
class Settled:
    """How one model is reached and spoken to; what the user should know of it, in `notes`.

    options: what the adapter takes. tokenizer: `auto`, a spec, or "" where none is named; fallback: the spec where
    `auto` finds none.
    """

    base_url: str
    api_key_env: str
    api_key_header: str
    adapter: str
    options: Mapping[str, object]
    tokenizer: str
    fallback: str
    notes: tuple[str, ...]


def settle(profile: Profile, model: str, *, today: dt.date, base_url: str = "", adapter: str = "") -> Settled:
    """What holds for `model`, at the profile's address or another one, by the profile's adapter or another one.

    Raises InputError where the provider or the model cannot be steered, or where nobody says the address.
    """
    said = profile.document.profile
    require_supported(profile)
    rule = _rule(profile, model)
    url = _address(profile, base_url)
    overlay = _measured(profile, url, model)
    options = laid_over(profile.document.options.given(), rule.options.given() if rule else {})
    spoken = said.adapter or ""
    if overlay is not None:
        options = laid_over(fitting(options, adapter=overlay.adapter, instead_of=spoken), overlay.options.given())
        spoken = overlay.adapter
    return Settled(
        base_url=_with_query(url, _query(profile, url)),
        api_key_env=said.api_key_env or KEY_VARIABLE,
        api_key_header=said.api_key_header or "",
        adapter=adapter or spoken,
        options=fitting(options, adapter=adapter or spoken, instead_of=spoken),
        tokenizer=said.tokenizer or "",
        fallback=said.tokenizer_fallback or "",
        notes=(*said.notes, *_remarks(profile, model, rule, today=today), *_pinned(options)),
    )


def require_supported(profile: Profile) -> None:
    """Raises InputError with the reason where the provider cannot be steered."""
    said = profile.document.profile
    if not said.supported:
        raise InputError(
            f"{profile.name} cannot be steered: {said.reason}",
            hint="`blackbox-proxy profiles list` shows the providers that can",
        )


def laid_over(*layers: Mapping[str, object]) -> dict[str, object]:
    """Options, later ones before earlier ones; of `extra_body` field by field."""
    merged: dict[str, object] = {}
    for layer in layers:
        for name, value in layer.items():
            old = merged.get(name)
            both = name == "extra_body" and isinstance(old, Mapping) and isinstance(value, Mapping)
            merged[name] = {**old, **value} if both else value  # type: ignore[dict-item]  # mappings, as `both` says
    return merged


def _rule(profile: Profile, model: str) -> ModelRule | None:
    """The first rule whose names match. Raises InputError if it denies the model."""
    rules = profile.document.models
    rule = next((rule for rule in rules if _matches(model, rule.names)), None)
    if rule is not None and rule.deny:
        able = [name for rule in rules if not rule.deny for name in rule.names]
        raise InputError(
            f"{profile.name} cannot be steered with {model!r}: {rule.deny}",
            hint=f"models that can: {', '.join(able)}" if able else "choose another provider",
        )
    return rule


def _matches(model: str, names: Sequence[str]) -> bool:
    return any(fnmatchcase(model, name) for name in names)


def _address(profile: Profile, given: str) -> str:
    said = profile.document.profile
    url = given or said.base_url or ""
    if not url:
        form = said.base_url_form
        raise InputError(
            f"the profile {profile.name!r} has no base URL of its own",
            hint=f"give yours: {form}" if form else "give the base URL of your endpoint",
        )
    return url


def _measured(profile: Profile, url: str, model: str) -> Overlay | None:
    """The latest overlay of this address and model; of the same day, that of this profile."""
    query = _query(profile, url)
    here = [
        one
        for one in (*profile.overlays, *profile.elsewhere)
        if one.spot.model == model and _place(one.spot.base_url, query) == _place(url, query)
    ]
    return max(here, key=lambda one: (one.spot.measured, one.extends == profile.name), default=None)


def measured_profile(spots: Iterable[tuple[str, Spot]], url: str, model: str) -> str:
    """The profile under which an address and model were measured last; "" where they never were.

    spots: the latest last. Where nobody names a profile, this one holds there.
    """
    here = [name for name, spot in spots if spot.model == model and _place(spot.base_url, {}) == _place(url, {})]
    return here[-1] if here else ""


def _place(url: str, query: Mapping[str, str]) -> tuple[str, str, str, Mapping[str, str]]:
    """What makes two ways to write an address the same one."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower(), parts.path.rstrip("/"), _both(query, parts.query)


def _query(profile: Profile, url: str) -> Mapping[str, str]:
    """The profile's query; nothing at an address whose path ends in one that takes none."""
    path = urlsplit(url).path.rstrip("/")
    return {} if path.endswith(profile.document.profile.no_query_at) else profile.document.query


def _both(query: Mapping[str, str], address_query: str) -> Mapping[str, str]:
    """The profile's query and the address's own, which wins."""
    return {**query, **dict(parse_qsl(address_query, keep_blank_values=True))}


def _with_query(url: str, query: Mapping[str, str]) -> str:
    if not query:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode(_both(query, parts.query))))


def _remarks(profile: Profile, model: str, rule: ModelRule | None, *, today: dt.date) -> list[str]:
    notes = []
    if profile.document.models and rule is None:
        notes.append(f"the profile {profile.name!r} has no rule for {model!r}: whether it gives log-probs is not known")
    if rule is not None and rule.note:
        notes.append(rule.note)
    for one in profile.document.shutdown:
        if _matches(model, one.names):
            when = "was to be shut down on" if one.on <= today else "will be shut down on"
            notes.append(f"{model} {when} {one.on.isoformat()}")
    return notes


def _pinned(options: Mapping[str, object]) -> tuple[str, ...]:
    """What to say where the endpoint fixes how it draws."""
    pinned = options.get("pinned")
    if not isinstance(pinned, Mapping) or not pinned:
        return ()
    fixed = " and ".join(f"{name} at {value:g}" for name, value in pinned.items())
    top_p = pinned.get("top_p", 1.0)
    cut = f"; log-probs may be those of the likeliest {top_p:.0%} alone" if top_p < 1.0 else ""
    return (f"the endpoint fixes {fixed}: answers are drawn so, whatever is asked for{cut}",)

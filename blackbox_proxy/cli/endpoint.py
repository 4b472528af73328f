"""The options that say which hosted model is called, and the connection that is made of them.

Settings fill in what the command line leaves out. Imports nothing heavy at its head.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from blackbox_proxy.cli import inputs
from blackbox_proxy.cli.declaring import ENDPOINT, FEATURES, MODEL_SHORT, option
from blackbox_proxy.errors import InputError

if TYPE_CHECKING:
    from blackbox_proxy.api import Api
    from blackbox_proxy.cassettes.opening import Tape
    from blackbox_proxy.cli.settings import Settings
    from blackbox_proxy.ledger.books import Ledger
    from blackbox_proxy.recipes import RecipeEndpoint
    from blackbox_proxy.steering import Steering

NEEDED = "none: give it, or set it once"
"""What holds for an option that has to be given, here or as a setting."""

OFF = "off"

ANY_ROUTE = frozenset({"logprobs", "answers_at_once"})
"""Features of which false says something."""


def required(value: str | None, name: str) -> str:
    """The value of an option that has to be given, on the command line or as a setting. Raises InputError."""
    if value:
        return value
    raise InputError(
        f"--{name.replace('_', '-')} is missing",
        hint=f"give it, or set BLACKBOX_PROXY_{name.upper()}, or write it into config.toml",
    )


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """Which hosted model is called, and how. None: not given. timeout: seconds."""

    base_url: str | None = option(
        None,
        "Base URL of the API, such as https://host/v1.",
        panel=ENDPOINT,
        unset="the profile's; without one: give it, or set it once",
    )
    model: str | None = option(None, "The API's name for the model.", panel=ENDPOINT, short=MODEL_SHORT, unset=NEEDED)
    profile: str | None = option(
        None, "What is known about the provider: see `profiles list`.", panel=ENDPOINT, unset="none"
    )
    template: str | None = option(
        None,
        "The API's chat template where it takes raw text: chatml, raw, or a Jinja file.",
        panel=ENDPOINT,
        unset="chatml",
    )
    tokenizer: str | None = option(
        None,
        "The API's own tokenizer, where known: gguf:FILE, tiktoken:NAME, or auto.",
        panel=ENDPOINT,
        unset="the profile's, or none",
    )
    top_k: int | None = option(
        None, "Log-probs to ask for at each position.", panel=ENDPOINT, unset="the profile's, or 20"
    )
    api_key_env: str | None = option(
        None,
        "Environment variable that holds the API key.",
        panel=ENDPOINT,
        unset="the profile's, or OPENAI_API_KEY",
    )
    timeout: float = option(60.0, "Seconds to wait for one reply.", panel=ENDPOINT)

    @property
    def seconds(self) -> float:
        """The timeout. Raises InputError where it is none."""
        if 0 < self.timeout < math.inf:
            return self.timeout
        raise InputError(
            f"--timeout must be a number of seconds above 0, not {self.timeout:g}", hint="60 is the default"
        )

    def place(self, settings: Settings) -> str:
        """The profile, or else the address."""
        return self.profile or settings.profile or self.base_url or settings.base_url or ""

    def or_of(self, known: RecipeEndpoint) -> EndpointOptions:
        """The same options; what they leave out is as a recipe has it. A place that is given stands as a whole."""
        placed = bool(self.base_url or self.profile)
        return replace(
            self,
            model=self.model or known.model or None,
            base_url=self.base_url if placed else known.base_url or None,
            profile=self.profile if placed else known.profile or None,
            template=self.template or known.template or None,
            tokenizer=self.tokenizer or known.tokenizer or None,
            top_k=self.top_k or known.top_k,
        )

    def described(self, settings: Settings) -> RecipeEndpoint:
        """What a recipe says of the endpoint: what is given here, or else by the settings; never a key."""
        from blackbox_proxy.recipes import RecipeEndpoint

        profile = self.profile or settings.profile
        return RecipeEndpoint(
            model=self.model or settings.model or "",
            profile=profile,
            base_url=self.base_url or ("" if profile else settings.base_url) or "",
            template=self.template or "",
            tokenizer=self.tokenizer or "",
            top_k=self.top_k,
        )

    def connect(
        self,
        settings: Settings,
        *,
        adapter: str = "",
        route: Mapping[str, object] | None = None,
        ledger: Ledger | None = None,
        tape: Tape | None = None,
    ) -> Api:
        """Get ready to call the API. Raises InputError.

        Args:
            settings: What holds where the command line says nothing.
            adapter: The adapter's name; empty: the profile's, or that of raw text.
            route: Options that raw-text routes alone take; there false and `none` ask for nothing.
            ledger: Where requests are booked; None books nothing.
            tape: The cassette that is recorded or replayed.
        """
        from blackbox_proxy.api import connect
        from blackbox_proxy.cassettes.opening import as_arguments

        arguments = self.arguments(settings, adapter=adapter, route=route)
        return connect(**arguments, ledger=ledger, **as_arguments(tape))

    def arguments(
        self, settings: Settings, *, adapter: str = "", route: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        """What `connect` takes of the endpoint, the key among it. Arguments as of `connect`. Raises InputError."""
        timeout = self.seconds
        chosen, profile = self._chosen(settings), self.profile or settings.profile
        url = self.base_url or (settings.base_url if "base_url" in chosen else None)
        variable = self.api_key_env or (settings.api_key_env if "api_key_env" in chosen else "")
        if variable:
            inputs.variable_name(variable)
        return {
            "base_url": url or "" if profile else required(url, "base_url"),
            "model": required(self.model or settings.model, "model"),
            "profile": profile,
            "api_key": os.environ.get(variable) if variable else None,
            "key_name": variable,
            "template": inputs.template_text(self.template or settings.template),
            "tokenizer": self.tokenizer or (settings.tokenizer if "tokenizer" in chosen else ""),
            "adapter": adapter,
            "timeout": timeout,
            "options": self._adapter_options(settings, route or {}),
        }

    def _adapter_options(self, settings: Settings, route: Mapping[str, object]) -> dict[str, object]:
        """What the command line tells the adapter; with a profile, which knows the rest, only what was asked for.

        A place that `doctor` has measured has one, whether or not it is named.
        """
        measured = self._is_measured(settings)
        chosen = settings.model_fields_set if measured else self._chosen(settings)
        top_k = settings.top_k if self.top_k is None and "top_k" in chosen else self.top_k
        options: dict[str, Any] = {} if top_k is None else {"top_k": top_k}
        has_profile = measured or bool(self.profile or settings.profile)
        return options | {
            name: value
            for name, value in route.items()
            if not has_profile or name in ANY_ROUTE or value not in (False, "none")
        }

    def _is_measured(self, settings: Settings) -> bool:
        """Whether no profile is named, and `doctor` has measured the place."""
        from blackbox_proxy.api import measured_here

        if self.profile or settings.profile:
            return False
        return bool(measured_here(self.base_url or settings.base_url or "", self.model or settings.model or ""))

    def _chosen(self, settings: Settings) -> set[str]:
        """The settings that win over the profile.

        All where there is none; none where the command line names it; and where the profile is itself a setting, those
        that the user set beside it.
        """
        if self.profile:
            return set()
        return settings.model_fields_set if settings.profile else set(type(settings).model_fields)


@dataclass(frozen=True, slots=True)
class EndpointFeatures:
    """What an endpoint can do besides, where no profile says so; the first three of one that takes raw text."""

    prompt_lists: bool = option(
        default=False,
        help="The endpoint takes several prompts in one request.",
        panel=FEATURES,
        flag="--prompt-lists",
        unset=OFF,
    )
    echo: bool = option(
        default=False,
        help="The endpoint gives back what it is sent, with log-probs.",
        panel=FEATURES,
        flag="--echo",
        unset=OFF,
    )
    reveal: Literal["none", "ids", "bias"] = option(
        "none",
        "How the endpoint tells log-probs beyond its top-k: vLLM's chosen ids, or a forcing bias.",
        panel=FEATURES,
    )

    no_logprobs: bool = option(
        default=False,
        help="The endpoint shows no log-probs: whole answers are drawn.",
        panel=FEATURES,
        flag="--no-logprobs",
        unset="the profile's, or off",
    )
    answers_at_once: int | None = option(
        None,
        "Most whole answers that one request may draw (its field `n`).",
        panel=FEATURES,
        unset="the profile's, or 1",
    )

    def route(self, steering: Steering) -> dict[str, object]:
        """The options of the adapter that were given, and those of a raw-text route."""
        any_route: dict[str, object] = {"logprobs": False} if self.no_logprobs else {}
        if self.answers_at_once is not None:
            any_route["answers_at_once"] = self.answers_at_once
        return any_route | {
            "token_ids": steering.event == "ids",
            "reveal": self.reveal,
            "prompt_lists": self.prompt_lists,
            "echo": self.echo,
        }

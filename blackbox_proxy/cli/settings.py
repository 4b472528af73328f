"""Defaults of the command line: from the environment (BLACKBOX_PROXY_*) and from a TOML file of the user's.

An option on the command line wins over the environment, which wins over `config.toml` in the user's configuration
folder. The API key is not among them: it is read from the variable that `api_key_env` names, and kept nowhere.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from blackbox_proxy.errors import InputError
from blackbox_proxy.files import config_folder, read_text
from blackbox_proxy.local.template import DEFAULT


def config_file() -> Path:
    """Where the user's defaults lie: `$XDG_CONFIG_HOME/blackbox-proxy/config.toml`, or under ~/.config."""
    return config_folder(os.environ) / "config.toml"


class Settings(BaseSettings):
    """What can be set once instead of on every command line."""

    model_config = SettingsConfigDict(env_prefix="BLACKBOX_PROXY_", env_ignore_empty=True, extra="forbid")

    base_url: str | None = None
    model: str | None = None
    profile: str = ""
    pair: Path | None = None
    template: str = DEFAULT
    tokenizer: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    alpha: float = 1.0
    top_k: int = 20
    ledger: str | None = Field(default=None, repr=False)  # a URL may hold a password
    ledger_password_file: Path | None = None
    log: Path | None = None
    max_cost: str = ""
    max_calls: str = ""

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # pydantic names its four arguments
        cls, settings_cls: type[BaseSettings], **sources: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then the user's file."""
        return sources["env_settings"], InitSettingsSource(settings_cls, _file_settings())


def _file_settings() -> dict[str, object]:
    """What the user's file says; nothing where there is none."""
    path = config_file()
    return tomllib.loads(read_text(path)) if path.exists() else {}


def read_settings() -> Settings:
    """The user's defaults. Raises InputError with the first mistake."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"bad setting {where}: {first['msg']}",
            hint=f"correct it in the environment (BLACKBOX_PROXY_{where.upper()}) or in {config_file()}",
        ) from error
    except ValueError as error:
        raise InputError(f"{config_file()} is not TOML: {error}", hint="correct or remove it") from error
    except OSError as error:
        raise InputError(f"cannot read {config_file()}: {error.strerror}", hint="check its permissions") from error

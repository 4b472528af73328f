"""Settings: an option wins over the environment, which wins over the user's file; and their mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from blackbox_proxy.cli.settings import config_file, read_settings
from blackbox_proxy.errors import InputError
from tests.cli.runs import Cli
from tests.remote.scripted import Say, ScriptedApi

NO = Say({"error": {"message": "no", "code": "model_not_found"}}, status=404)


@pytest.fixture
def config(config_home: Path) -> Path:
    path = config_home / "blackbox-proxy" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def asked_model(api: ScriptedApi) -> object:
    (_, _, body) = api.seen[-1]
    return body["model"]


def test_an_option_wins_over_the_environment_which_wins_over_the_file(
    cli: Cli, config: Path, pair_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedApi(NO, NO, NO) as api:
        config.write_text(f'base_url = "{api.url}"\npair = "{pair_path}"\nmodel = "from-file"\ntop_k = 7\n')
        cli("steer", "hello")
        assert asked_model(api) == "from-file"
        monkeypatch.setenv("BLACKBOX_PROXY_MODEL", "from-environment")
        cli("steer", "hello")
        assert asked_model(api) == "from-environment"
        cli("steer", "hello", "--model", "from-option")
        assert asked_model(api) == "from-option"
        assert [body["logprobs"] for _, _, body in api.seen] == [7, 7, 7]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("base_url", "http://127.0.0.1:1/v1", "http://127.0.0.1:1/v1"),
        ("model", "m", "m"),
        ("pair", "p.toml", Path("p.toml")),
        ("template", "raw", "raw"),
        ("api_key_env", "MY_KEY", "MY_KEY"),
        ("alpha", "0.5", 0.5),
        ("top_k", "5", 5),
        ("log", "answers.jsonl", Path("answers.jsonl")),
    ],
)
def test_every_setting_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    assert getattr(read_settings(), name) != value
    monkeypatch.setenv(f"BLACKBOX_PROXY_{name.upper()}", text)
    assert getattr(read_settings(), name) == value


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLACKBOX_PROXY_PAIR", "")
    assert read_settings().pair is None


def test_the_pair_may_lie_in_the_home_folder(cli: Cli, where: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(where[-1])
    monkeypatch.setenv("HOME", str(path.parent))
    assert cli("pair", "check", "--json", "--pair", f"~/{path.name}").status == 0


def test_the_file_lies_in_the_home_folder_where_no_other_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_file() == tmp_path / ".config" / "blackbox-proxy" / "config.toml"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'alpha = "strong"', "bad setting alpha"),
        (b"api_key = 'sk-1'", "bad setting api_key"),
        (b"alpha = ", "is not TOML"),
        (b"\xff", "is not TOML"),
    ],
    ids=["no number", "unknown", "no TOML", "no text"],
)
def test_a_mistake_in_the_file_is_named(cli: Cli, config: Path, content: bytes, says: str) -> None:
    config.write_bytes(content)
    said = cli("steer", "hello")
    assert said.status == 2
    assert says in said.err
    assert str(config) in said.err
    assert said.err.count("\n") == 2
    assert "sk-1" not in said.err


def test_a_mistake_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLACKBOX_PROXY_TOP_K", "many")
    with pytest.raises(InputError, match="bad setting top_k") as caught:
        read_settings()
    assert "BLACKBOX_PROXY_TOP_K" in caught.value.hint

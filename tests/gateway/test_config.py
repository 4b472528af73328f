"""The configuration: every mistake is told with its place, the value, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from blackbox_proxy.errors import InputError
from blackbox_proxy.gateway.config import Config, parse_config
from blackbox_proxy.gateway.server import keys_of
from blackbox_proxy.gateway.starter import UpstreamPlace, starter
from blackbox_proxy.ledger.place import LedgerPlace

GOOD = """\
[server]
port = 0
[upstreams.one]
base_url = "http://127.0.0.1:9/v1"
[models.m]
upstream = "one"
model = "tiny"
[models.m.steering]
alpha = 1.5
"""


def parsed(text: str, **environ: str) -> Config:
    return parse_config(text, where="g.toml", folder=Path(), environ=environ)


def test_a_good_file_is_read() -> None:
    found = parsed(GOOD)
    assert found.server.port == 0
    assert found.steering["m"].alpha == 1.5


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("port = 0", "prot = 0", "g.toml, line 2: server.prot: there is no such field; did you mean port?"),
        ("port = 0", "port = 70000", "g.toml, line 2: server.port: 70000 will not do"),
        ("port = 0", 'port = "0"', "g.toml, line 2: server.port: '0' will not do"),
        ("port = 0", 'host = "0.0.0.0"', "g.toml, line 2: server.host: '0.0.0.0' can be reached from other machines"),
        ("port = 0", 'cors_origins = ["*"]', "every web page may ask"),
        ("port = 0", 'default_model = "x"', "g.toml, line 2: server.default_model: there is no model 'x'"),
        ('upstream = "one"', 'upstream = "two"', "g.toml, line 6: models.m.upstream: there is no [upstreams.two]"),
        ('upstream = "one"\n', "", "models.m.upstream: it is missing"),
        ("alpha = 1.5", "alhpa = 1.5", "g.toml, line 9: models.m.steering.alhpa: there is no such knob"),
        ("alpha = 1.5", 'alpha = "1.5"', "g.toml, line 9: models.m.steering.alpha: '1.5' will not do"),
        ("alpha = 1.5", "nucleus = 3.0", "models.m.steering: nucleus must be in (0, 1], not 3.0"),
        ('base_url = "http://127.0.0.1:9/v1"', "queue = 3", "upstreams.one: it needs a profile or a base_url"),
        ("port = 0", "port = = 0", "g.toml is not TOML"),
    ],
)
def test_a_mistake_is_told_with_its_place(before: str, after: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        parsed(GOOD.replace(before, after))
    assert says in error.value.message
    assert error.value.hint


def test_the_environment_wins_and_is_named() -> None:
    changed = parsed(GOOD, BLACKBOX_PROXY_SERVER__PORT="81", BLACKBOX_PROXY_LEDGER__OFF="true")
    assert (changed.server.port, changed.ledger.off) == (81, True)
    assert parsed(GOOD, BLACKBOX_PROXY_SERVER__HOST="::1").server.host == "::1"
    with pytest.raises(InputError, match=r"BLACKBOX_PROXY_SERVER__PORT: server\.port: 'x' will not do"):
        parsed(GOOD, BLACKBOX_PROXY_SERVER__PORT="x")


def test_a_ledger_is_a_file_or_a_url_and_has_no_password_here(tmp_path: Path) -> None:
    def ledger(text: str, **environ: str) -> LedgerPlace | None:
        whole = f"{GOOD}\n[ledger]\n{text}"
        return parse_config(whole, where="g.toml", folder=tmp_path, environ=environ).ledger_place

    assert ledger("") is None
    assert ledger('file = "l.sqlite"') == LedgerPlace(str(tmp_path / "l.sqlite"))
    url = "postgresql://ann@h/books"
    assert ledger(f'url = "{url}"') == LedgerPlace(url)
    assert ledger(f'url = "{url}"\npassword_file = "p"') == LedgerPlace(url, tmp_path / "p")
    whole_url = "postgresql://ann:s3cret@h/books"
    assert ledger("", BLACKBOX_PROXY_LEDGER__URL=whole_url) == LedgerPlace(whole_url)
    for text, says in (
        (f'url = "{whole_url}"', r"line \d+: ledger\.url: postgresql://ann:\*\*\*@h/books holds a password"),
        (f'url = "{url}"\nfile = "l.sqlite"', "give one of file and url"),
        ('url = "mysql://ann:s3cret@h/books"', "is no ledger"),
        ('url = "l.sqlite"', "is no URL"),
    ):
        with pytest.raises(InputError, match=says) as raised:
            ledger(text)
        assert "s3cret" not in raised.value.message + raised.value.hint


def test_keys_come_from_files_and_variables_alone(tmp_path: Path) -> None:
    found = parsed(GOOD.replace("port = 0", 'key_env = "K"'))
    with pytest.raises(InputError, match="K is not set"):
        keys_of(found, {})
    with pytest.raises(InputError, match="the key in K has 5 characters") as error:
        keys_of(found, {"K": "short"})
    assert "short" not in f"{error.value} {error.value.hint}".replace("shortest", "")
    assert keys_of(found, {"K": "long-enough-for-a-key"}).admit("Bearer long-enough-for-a-key") == "environment"
    unread = parse_config(GOOD.replace("port = 0", 'metrics_key = "x"'), where="g.toml", folder=tmp_path, environ={})
    with pytest.raises(InputError, match="metrics_key is 'x', and no key has that name"):
        keys_of(unread, {})
    missing = parse_config(GOOD.replace("port = 0", 'keys = "none.txt"'), where="g.toml", folder=tmp_path, environ={})
    with pytest.raises(InputError, match="cannot read the key file"):
        keys_of(missing, {})


def test_what_init_writes_is_right_and_so_are_its_remarks() -> None:
    text = starter(
        [UpstreamPlace("gpt-4o", profile="openai", chat=True), UpstreamPlace("m/x", "http://127.0.0.1:9/v1")],
        pair="p.toml",
    )
    assert set(parsed(text).models) == {"steered-gpt-4o", "steered-m-x"}
    said = [line[2:] if line.startswith("# ") and " = " in line else line for line in text.splitlines()]
    shown = "\n".join(line for line in said if "api_key_file" not in line and "Lines that begin" not in line)
    shown = (
        shown.replace('recipe = "recipe.toml"', "#")
        .replace('default_model = "NAME"', "")
        .replace('url = "postgresql://USER@HOST/DATABASE"', "#")
        .replace('# template = "raw"', "#")
        .replace("The gateway", "# ")
    )
    assert parsed(shown).ledger.max_calls == ("1000/day",)

"""doctor --prove: what it says before, which claims it settles, and that its record tells nothing of who ran it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from blackbox_proxy.cassettes.redacting import Redactor
from blackbox_proxy.cli.proving import ProvenPlace, default_file, record
from blackbox_proxy.doctor.claims import Claim, ClaimOutcome
from blackbox_proxy.standin import StandinOptions, Traffic, running
from tests.cli.runs import Cli
from tests.remote.consulting import patient

KEY = "sk-planted-7f3a9c0d1e5b"
QUIRKS = ("closed-routes=completions+responses", "echoed-prefix")
COPY = """extends = "mistral"
[profile]
api_key_env = "PLANTED_KEY"
[options]
extra_body = { user = "user-of-mine-4711" }
"""


@pytest.fixture
def priced(config_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of a profile, a price, and a key; the folder that is worked in."""
    home = config_home / "blackbox-proxy"
    (home / "profiles").mkdir(parents=True)
    (home / "profiles" / "copied.toml").write_text(COPY)
    (home / "prices.toml").write_text('[[price]]\nmodel = "toy"\ninput = 1\noutput = 2\n')
    monkeypatch.setenv("PLANTED_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture
def url(traffic: Traffic) -> Iterator[str]:
    with running(patient(), **StandinOptions(name="toy", api_key=KEY, quirks=QUIRKS, traffic=traffic)) as url:
        yield url


def test_the_claims_of_a_copied_profile_are_settled_and_recorded(cli: Cli, url: str, priced: Path) -> None:
    said = cli("doctor", "--profile", "copied", "--base-url", url, "--model", "toy", "--prove", "--budget", "0.50")
    assert said.status == 0, said.err
    assert "and never more than 0.50 USD: what would cost more is not sent" in said.err
    (file,) = priced.glob("proof--copied--toy--*.json")
    assert f"the record is in {file.name}" in said.err
    text = file.read_text()
    found = json.loads(text)
    states = {one["claim"]: one["state"] for one in found["claims"] if one["claim"]}
    assert {"echoes", "prefill", "top_k", "partial turn", "temperature"} <= {
        name for name, state in states.items() if state == "proven"
    }
    assert states["seed_field"] == "refuted"
    assert "undecided" in {one["state"] for one in found["claims"]}
    counts = [sum(one["state"] == state for one in found["claims"]) for state in ("proven", "refuted", "undecided")]
    assert "Claims: {} proven, {} refuted, {} undecided.".format(*counts) in said.out
    assert (found["date"], found["model"], found["profile"]) == (file.stem[-10:], "toy", "copied")
    assert {"blackbox-proxy", "openai", "python"} == found["versions"].keys()
    assert all(word not in text for word in (KEY, "4711", url, "novel"))


def test_the_same_as_json(cli: Cli, url: str, priced: Path) -> None:
    file = priced / "sub.json"
    place = ("--profile", "copied", "--base-url", url, "--model", "toy")
    found = json.loads(cli("doctor", *place, "--prove", "--proof", str(file), "--json").out)
    assert found["proof"] == str(file)
    assert found["claims"] == json.loads(file.read_text())["claims"]
    assert KEY not in json.dumps(found)


def test_a_budget_ends_it_and_what_was_not_asked_is_undecided(
    cli: Cli, url: str, priced: Path, traffic: Traffic
) -> None:
    place = ("--profile", "copied", "--base-url", url, "--model", "toy")
    said = cli("doctor", *place, "--prove", "--budget", "0.002", "--proof", "cut.json")
    assert said.status != 0
    assert "budget" in said.err
    assert 0 < traffic.total < 25
    found = json.loads((priced / "cut.json").read_text())
    assert found["unfinished"]
    states = {one["claim"]: one["state"] for one in found["claims"]}
    assert (states["path"], states["bytes_trust"]) == ("proven", "undecided")


@pytest.mark.usefixtures("priced")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--profile", "copied", "--model", "other"), "nobody says what"),
        (("--model", "toy"), "--prove needs a profile"),
        (("--profile", "copied", "--model", "toy", "--budget", "some"), "does not begin with an amount"),
        (("--profile", "copied", "--model", "toy", "--no-ledger"), "--no-ledger goes with no"),
    ],
)
def test_nothing_is_sent_without_a_price_a_profile_and_a_budget(
    cli: Cli, url: str, traffic: Traffic, words: tuple[str, ...], message: str
) -> None:
    said = cli("doctor", "--base-url", url, "--prove", *words)
    assert said.status == 2
    assert message in said.err
    assert traffic.total == 0


ACCOUNTS = [
    "org-Ab12Cd34Ef56Gh78",
    "proj_9xK2mQ7pLw",
    "Your key sk-live-a1b2c3d4e5",
    "request 3f2b8c1e-9a4d-4e21-8f6a-1b2c3d4e5f60",
    "write to someone@example.com",
    "see https://example.com/account/17",
    "endpoint ep-20241228220355-cqxcs",
    "token 8f7a6b5c4d3e2f1a0b9c8d7e",
]
PLANTED = "a very/own+key=="


@pytest.mark.parametrize("words", [*ACCOUNTS, PLANTED, "YSB2ZXJ5L293bitrZXk9PQ", "a%20very%2Fown%2Bkey%3D%3D"])
def test_what_names_an_account_or_is_a_key_is_taken_out_wherever_it_stands(words: str) -> None:
    hidden = words.rsplit(maxsplit=1)[-1] if words in ACCOUNTS else words
    if words == ACCOUNTS[2]:
        hidden = "sk-live-a1b2c3d4e5"
    outcome = ClaimOutcome(Claim("top_k", f"said {words}."), "refuted", f"saw {words}!", f"came ({words})")
    place = ProvenPlace("p", "2026-11-30", f"m-{words}", "")
    text = json.dumps(
        record([outcome], place, day=dt.date(2026, 11, 30), redactor=Redactor.of([PLANTED]), unfinished=words)
    )
    assert hidden not in text
    assert "said" in text


def test_a_fine_tuned_models_name_is_told_without_its_organisation() -> None:
    place = ProvenPlace("openai", "2026-11-30", "ft:gpt-4.1-mini-2025-04-14:acme:bot:id7", "https://api.openai.com/v1")
    found = record([], place, day=dt.date(2026, 11, 30), redactor=Redactor.of([]), unfinished="")
    assert found["model"] == "ft:gpt-4.1-mini-2025-04-14"
    assert found["address"] == "https://api.openai.com/v1"
    assert (
        default_file(place, dt.date(2026, 11, 30)).name == "proof--openai--ft_gpt-4.1-mini-2025-04-14--2026-11-30.json"
    )

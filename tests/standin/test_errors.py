"""Whatever a client sends, it gets an error in OpenAI's shape or an answer, and never a 500."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blackbox_proxy.errors import InputError, WeightsError
from blackbox_proxy.standin import StandinOptions, running
from blackbox_proxy.standin.app import MOST_BYTES
from tests.standin.raw import Json, call, post
from tests.standin.test_requests import FIELDS, VALUES
from tests.tiny_gguf import TinyModel, write_tiny_llama

ASK: dict[str, Json] = {"model": "tiny", "prompt": "abc", "max_tokens": 2}
TALK: dict[str, Json] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}


@pytest.fixture(scope="module")
def guarded_url(tiny: TinyModel) -> Iterator[str]:
    with running(tiny.path, name="tiny", api_key="sesame-é") as url:
        yield url


@pytest.mark.parametrize(
    ("changes", "status", "param", "code"),
    [
        ({"model": "other"}, 404, None, "model_not_found"),
        ({"model": None}, 400, "model", None),
        ({"model": 3}, 400, "model", "invalid_type"),
        ({"prompt": ""}, 400, "prompt", "empty_prompt"),
        ({"prompt": ["a", 1]}, 400, "prompt[1]", "invalid_type"),
        ({"prompt": [1, "a"]}, 400, "prompt", "invalid_type"),
        ({"prompt": [10**6]}, 400, "prompt", "invalid_value"),
        ({"prompt": [-1]}, 400, "prompt", "invalid_value"),
        ({"prompt": "\ud800"}, 400, "prompt", None),
        ({"prompt": "a" * 3_000_000}, 400, "prompt", "context_length_exceeded"),
        ({"max_tokens": "5"}, 400, "max_tokens", "invalid_type"),
        ({"max_tokens": 0}, 400, "max_tokens", "integer_below_min_value"),
        ({"max_tokens": 513}, 400, "prompt", "context_length_exceeded"),
        ({"temperature": 2.5}, 400, "temperature", "decimal_above_max_value"),
        ({"temperature": True}, 400, "temperature", "invalid_type"),
        ({"logprobs": True}, 400, "logprobs", "invalid_type"),
        ({"logprobs": 20_000}, 400, "logprobs", "integer_above_max_value"),
        ({"stop": [""]}, 400, "stop", "invalid_value"),
        ({"n": 0}, 400, "n", "integer_below_min_value"),
        ({"stream": 1}, 400, "stream", "invalid_type"),
        ({"stream": True, "prompt": ""}, 400, "prompt", "empty_prompt"),
        ({"stream_options": {}}, 400, "stream_options", None),
        ({"best_of": 5}, 400, "best_of", "unsupported_parameter"),
    ],
)
def test_a_bad_completion_is_refused(
    tiny_url: str, changes: dict[str, Json], status: int, param: str | None, code: str | None
) -> None:
    answer = post(tiny_url, "/v1/completions", ASK | changes)
    assert (answer.status, answer.error["param"], answer.error["code"]) == (status, param, code)
    assert answer.error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("changes", "status", "param", "code"),
    [
        ({"model": "other"}, 404, None, "model_not_found"),
        ({"messages": []}, 400, "messages", None),
        ({"messages": "hi"}, 400, "messages", "invalid_type"),
        ({"messages": [1]}, 400, "messages[0]", "invalid_type"),
        ({"messages": [{"role": "king", "content": "hi"}]}, 400, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, 400, "messages[0].content", "invalid_type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            400,
            "messages[0].content[0].type",
            "invalid_value",
        ),
        ({"top_logprobs": 2}, 400, "top_logprobs", None),
        ({"logprobs": 5}, 400, "logprobs", "invalid_type"),
        ({"max_tokens": 600}, 400, "prompt", "context_length_exceeded"),
        ({"tools": [{"type": "function"}]}, 400, "tools", "unsupported_parameter"),
    ],
)
def test_a_bad_chat_is_refused(
    tiny_url: str, changes: dict[str, Json], status: int, param: str | None, code: str | None
) -> None:
    answer = post(tiny_url, "/v1/chat/completions", TALK | changes)
    assert (answer.status, answer.error["param"], answer.error["code"]) == (status, param, code)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
@pytest.mark.parametrize(("path", "base"), [("/v1/completions", ASK), ("/v1/chat/completions", TALK)])
def test_no_json_object_is_answered_with_a_500(
    tiny_url: str, path: str, base: dict[str, Json], changes: dict[str, Json]
) -> None:
    answer = post(tiny_url, path, base | {"n": 1} | changes | {"max_tokens": 2})
    assert answer.status in {200, 400, 404}
    assert answer.status == 200 or answer.error["message"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_no_body_is_answered_with_a_500(tiny_url: str, raw: bytes) -> None:
    answer = call(tiny_url, "/v1/completions", method="POST", body=raw)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("prompt", ["日", "\0", "\ufeff", " ", "<|im_end|>", "\u202e", "a\0b"])
def test_no_text_is_answered_with_a_500(tiny_url: str, prompt: str) -> None:
    """Some vocabularies have no token for a character; then there is nothing to go on from."""
    answer = post(tiny_url, "/v1/completions", ASK | {"prompt": prompt, "echo": True})
    assert answer.status == 200 or (answer.status, answer.error["code"]) == (400, "empty_prompt")


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/embeddings"), ("GET", "/"), ("GET", "/v2/models")])
def test_an_unknown_route_is_404(tiny_url: str, method: str, path: str) -> None:
    answer = call(tiny_url, path, method=method)
    assert answer.status == 404
    assert f"{method} {path}" in answer.error["message"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/completions"), ("PUT", "/chat/completions"), ("POST", "/v1/models")]
)
def test_a_wrong_method_is_405(tiny_url: str, method: str, path: str) -> None:
    answer = call(tiny_url, path, method=method)
    assert answer.status == 405
    assert answer.error["type"] == "invalid_request_error"
    assert answer.headers["allow"]


def test_a_body_over_the_limit_is_413(tiny_url: str) -> None:
    """Before it is read where its length is announced, else as soon as it is too long."""
    where = urlsplit(tiny_url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as announced:
        announced.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MOST_BYTES + 1))
        assert announced.recv(64).startswith(b"HTTP/1.1 413")
    with socket.create_connection((where.hostname, where.port), timeout=30) as chunked:
        chunked.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"%x\r\n%s\r\n" % (2**20, b" " * 2**20)
        for _ in range(MOST_BYTES // 2**20):
            chunked.sendall(piece)
        chunked.sendall(b"1\r\n \r\n")
        assert chunked.recv(64).startswith(b"HTTP/1.1 413")


def test_every_route_stands_without_v1_too(tiny_url: str) -> None:
    assert call(tiny_url, "/health").json == call(tiny_url, "/v1/health").json == {"status": "ok"}
    assert call(tiny_url, "/models").json == call(tiny_url, "/v1/models").json
    for path, body in (("/completions", ASK), ("/chat/completions", TALK)):
        short, long = (post(tiny_url, prefix + path, body | {"temperature": 0}).json for prefix in ("", "/v1"))
        assert short["choices"] == long["choices"]


def test_models_can_be_listed_and_looked_up(tiny_client: openai.OpenAI) -> None:
    (card,) = tiny_client.models.list().data
    assert (card.id, card.object) == ("tiny", "model")
    assert tiny_client.models.retrieve("tiny") == card
    with pytest.raises(openai.NotFoundError):
        tiny_client.models.retrieve("other")


@pytest.mark.parametrize("key", ["", "Bearer", "Bearer wrong", "Basic sesame-é", "Bearer sesame"])
def test_a_wrong_key_is_401_everywhere_but_at_health(guarded_url: str, key: str) -> None:
    spoken: dict[str, Json] = {"authorization": key.encode().decode("latin-1")} if key else {}
    for answer in (
        post(guarded_url, "/v1/completions", ASK, **spoken),
        post(guarded_url, "/v1/chat/completions", TALK, **spoken),
        call(guarded_url, "/v1/models", **spoken),
        call(guarded_url, "/v1/models/tiny", **spoken),
    ):
        assert answer.status == 401
        assert "wrong" not in answer.error["message"]
    assert call(guarded_url, "/health").status == 200


def test_the_right_key_opens(guarded_url: str) -> None:
    spoken = "Bearer sesame-é".encode().decode("latin-1")
    assert post(guarded_url, "/v1/completions", ASK, authorization=spoken).status == 200


def test_a_model_without_a_template_completes_but_does_not_chat(tmp_path: Path) -> None:
    bare = write_tiny_llama(tmp_path / "bare.gguf", template=None)
    with running(bare.path, name="tiny") as url:
        assert post(url, "/v1/completions", ASK).status == 200
        answer = post(url, "/v1/chat/completions", TALK)
    assert (answer.status, answer.error["param"]) == (400, "messages")
    assert "template" in answer.error["message"]


def test_a_bos_and_a_space_that_nobody_wrote_are_not_echoed(tmp_path: Path) -> None:
    """SentencePiece puts both in front of a prompt; they are tokens of it, but not part of its text."""
    model = write_tiny_llama(tmp_path / "spm.gguf", style="spm")
    body = ASK | {"prompt": "the then", "echo": True, "logprobs": 0, "max_tokens": 0}
    with running(model.path, name="tiny") as url:
        reply = post(url, "/v1/completions", body).json
        spoken = post(url, "/v1/chat/completions", TALK).json
        typed = "<s><|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        doubled = post(url, "/v1/completions", ASK | {"prompt": typed}).json
    choice = reply["choices"][0]
    assert choice["text"] == "the then"
    assert choice["logprobs"]["tokens"][0] == "<s>"
    assert choice["logprobs"]["text_offset"][:2] == [0, 0]
    assert spoken["usage"]["prompt_tokens"] == doubled["usage"]["prompt_tokens"] - 1


@pytest.mark.parametrize("options", [{"top_k": 0}, {"slots": 0}, {"threads": -1}, {"context": 0}, {"batch": 0}])
def test_senseless_options_are_refused_before_the_model_is_loaded(options: StandinOptions) -> None:
    with pytest.raises(InputError, match="at least 1"), running(Path("nowhere.gguf"), **options):
        pass


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"not a model")
    with pytest.raises(WeightsError), running(tmp_path / "x.gguf"):
        pass

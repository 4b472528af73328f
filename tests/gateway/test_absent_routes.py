"""Well-known routes that a gateway has not: a 404 that says why, and nothing of it without a reason to."""

from __future__ import annotations

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.gateway.absent import why_absent
from tests.standin.raw import call


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/embeddings", "makes no embeddings"),
        ("/embeddings", "makes no embeddings"),
        ("/openai/v1/embeddings/", "makes no embeddings"),
        ("/v1/audio/speech", "neither hears nor speaks"),
        ("/v1/audio/transcriptions", "neither hears nor speaks"),
        ("/v1/images/generations", "makes no images"),
        ("/v1/moderations", "moderates nothing"),
        ("/v1/responses/resp_1/cancel", "keeps no responses"),
        ("/v1/conversations", "keeps no conversations"),
        ("/v1/assistants", "keeps no assistants"),
        ("/v1/files/f/content", "keeps no files"),
        ("/v1/batches", "keeps no batches"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_route_that_is_not_there_says_why(served: str, path: str, said: str, method: str) -> None:
    answer = call(served, path, method=method, body=b"{}" if method == "POST" else b"")
    assert answer.status == 404
    assert said in answer.error["message"]
    assert answer.error["type"] == "invalid_request_error"


def test_embeddings_through_the_sdk(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="makes no embeddings; the upstream's own server may have"):
        client.embeddings.create(model="steered", input="a")


@given(st.text("/aevbd1._-\n", max_size=20))
def test_nothing_is_said_of_others(path: str) -> None:
    assert not why_absent(path)

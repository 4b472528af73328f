"""A result says where the API's tokenizer, as it is known, is not what the API's replies and the steps come from."""

from __future__ import annotations

from dataclasses import replace

from blackbox_proxy import Prompt, Steering, steer
from blackbox_proxy.core.alignment.vocabulary import Vocabulary
from blackbox_proxy.testing import ToyApi
from tests.core.toys import toy_api, toy_pair

STEERING = Steering(alpha=1e-12, max_tokens=6, draft=1)


def notes(api: ToyApi, steering: Steering = STEERING) -> tuple[str, ...]:
    return steer(Prompt(text="ab"), api=api, offsets=toy_pair(), steering=steering).notes


def known(api: ToyApi, *more: bytes, but: bytes = b"none") -> ToyApi:
    """The API with a vocabulary that is its own but for some pieces."""
    own = api.toy.vocabulary
    pieces = [b"" if piece == but else piece for piece in own.pieces] + list(more)
    return replace(api, vocabulary=Vocabulary(pieces, ends=own.ends.tolist()))


def test_the_apis_own_tokenizer_has_nothing_to_be_said_of() -> None:
    """The toy answers six blanks; no two of its pieces could be one."""
    assert notes(known(toy_api())) == ()
    assert notes(toy_api()) == ()


def test_borders_that_the_tokenizer_does_not_make_are_counted() -> None:
    """Sent back, two blanks are one token: three of the five borders inside six blanks are gone."""
    assert notes(known(toy_api(), b"  ")) == (
        "the API's tokenizer cuts the text elsewhere than at 3 of the steps' borders",
    )


def test_one_call_sends_nothing_back() -> None:
    api = known(toy_api(), b"  ")
    assert notes(api, replace(STEERING, draft=8, max_tokens=2)) == ()
    assert len(api.asked) == 1


def test_tokens_that_the_tokenizer_does_not_have_are_counted() -> None:
    found = notes(known(toy_api(), but=b" "))
    assert found == ("6 tokens of the API are none of the tokenizer that is taken for its own",)


def test_what_is_said_of_the_tokenizer_makes_no_answer_approximate() -> None:
    """The log-probs are still those after exactly the text before."""
    api = known(toy_api(), b"  ")
    assert steer(Prompt(text="ab"), api=api, offsets=toy_pair(), steering=STEERING).exactness == "exact"

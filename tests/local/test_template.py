"""Templates: from messages to text, in a sandbox, and one sentence where it does not work."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blackbox_proxy.errors import PromptError
from blackbox_proxy.local.template import CHATML, render, written
from blackbox_proxy.types import Message, Prompt

HELLO = (Message("user", "hello"),)


@given(contents=st.lists(st.text(max_size=12), min_size=1, max_size=3))
def test_contents_come_out_as_they_went_in(contents: list[str]) -> None:
    """Nothing is escaped, trimmed, or read as part of the template."""
    messages = [Message("user", content) for content in contents]
    wanted = "".join(f"<|im_start|>user\n{content}<|im_end|>\n" for content in contents)
    assert render(CHATML, messages) == f"{wanted}<|im_start|>assistant\n"


def test_what_looks_like_a_template_in_a_message_is_text() -> None:
    assert "{{ 7 * 6 }}" in render(CHATML, [Message("user", "{{ 7 * 6 }}")])


def test_blocks_leave_no_lines_behind() -> None:
    """Templates are written for trimmed blocks; else every `if` would leave an empty line in the prompt."""
    template = (
        "{% for message in messages %}\n    {% if true %}\n{{ message['content'] }}\n    {% endif %}\n{% endfor %}"
    )
    assert render(template, HELLO) == "hello\n"


def test_the_bounds_of_a_text_are_handed_over() -> None:
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    assert render("{{ bos_token }}{{ messages[0]['role'] }}{{ eos_token }}", HELLO, special=special) == "<s>user</s>"
    assert render("{{ bos_token is defined }}{{ bos_token }}", HELLO, special={}) == "False"
    assert render("{{ bos_token + 'x' }}", HELLO) == "x"  # of a model elsewhere nobody knows them


MISTAKES = {
    "a refusal of its own": "{{ raise_exception('no system turn here') }}",
    "a syntax error": "{% for message in messages %}",
    "an unknown function": "{{ today('%Y') }}",
    "a date in a form that is none": "{{ strftime_now(1) }}",
    "JSON of what has none": "{{ messages[9] | tojson }}",
    "a missing message": "{{ messages[3]['content'].strip() }}",
    "a sum of text and number": "{{ messages[0]['content'] + 1 }}",
    "a division by nothing": "{{ 1 // 0 }}",
    "a format that is none": "{{ '%d' | format('x') }}",
    "a look behind the scenes": "{{ ''.__class__.__mro__ }}",
    "a range without end": "{% for i in range(10 ** 9) %}{% endfor %}",
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_template_that_fails_is_one_clear_error(case: str) -> None:
    with pytest.raises(PromptError, match="chat template") as raised:
        render(MISTAKES[case], HELLO)
    assert raised.value.hint
    if case == "a refusal of its own":
        assert "no system turn here" in raised.value.message


def test_a_template_cannot_reach_out_of_its_sandbox() -> None:
    with pytest.raises(PromptError):
        render("{{ cycler.__init__.__globals__.os.getcwd() }}", HELLO)


def test_a_template_cannot_change_what_it_is_given() -> None:
    with pytest.raises(PromptError):
        render("{{ messages.append(messages[0]) }}", HELLO)


def test_raw_text_is_left_alone() -> None:
    assert written(Prompt(text=" {{ x }}\n"), CHATML).text == " {{ x }}\n"


def test_a_system_turn_may_stand_alone_with_content() -> None:
    assert "rules" in written(Prompt(messages=(Message("system", "rules"), Message("user", ""))), CHATML).text


def test_a_template_may_ask_for_the_date() -> None:
    """The day may end between the two."""
    before = dt.datetime.now().strftime("%d %B %Y")  # noqa: DTZ005 (as the template has it)
    said = render("{{ strftime_now('%d %B %Y') }}", HELLO)
    assert said in {before, dt.datetime.now().strftime("%d %B %Y")}  # noqa: DTZ005 (as above)


JSON = {
    "tojson": '"\u00e9 <b> & it\'s"',
    "tojson(ensure_ascii=False)": '"\u00e9 <b> & it\'s"',
    "tojson(ensure_ascii=True)": '"\\u00e9 <b> & it\'s"',
}


@pytest.mark.parametrize("way", JSON)
def test_json_is_written_as_it_is(way: str) -> None:
    """Jinja's own filter writes it for HTML, and takes no such argument."""
    assert render(f"{{{{ messages[0].content | {way} }}}}", [Message("user", "\u00e9 <b> & it's")]) == JSON[way]


def test_json_takes_the_arguments_that_templates_give() -> None:
    said = render("{{ messages | tojson(indent=1, separators=(',', ':'), sort_keys=True) }}", HELLO)
    assert said == '[\n {\n  "content":"hello",\n  "role":"user"\n }\n]'


def test_marks_of_generated_text_and_loop_controls_are_known() -> None:
    template = (
        "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{% if m.role == 'system' %}{% continue %}"
        "{% endif %}{% generation %}<{{ m.content }}>{% endgeneration %}{% endfor %}"
    )
    turns = [Message("system", "a"), Message("user", "b"), Message("user", "c")]
    assert render(template, turns) == "<b>"


def test_what_transformers_defines_is_defined() -> None:
    """Templates ask for tools and documents with `is defined`, and with `is none`."""
    assert render("{{ tools is none and documents is none and add_generation_prompt }}", HELLO) == "True"

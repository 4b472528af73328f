"""Requests that are wrong somewhere, and few that are right: what a gateway's tests and fuzzers send."""

from __future__ import annotations

import http.client
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.standin.raw import Json, connect

READERS = (
    *("/v1/chat/completions", "/v1/completions", "/completions", "/chat/completions"),
    *("/v1/responses", "/responses", "/v1/messages", "/messages"),
)
"""Routes that read a body."""

Headers = Mapping[str, str]


def _nested(depth: int) -> Json:
    """A schema in schemas."""
    schema: Json = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


SCHEMAS: list[Json] = [
    3,
    [],
    "x",
    True,
    {"type": "what"},
    {"uniqueItems": True},
    {"not": {}},
    {"if": {}, "then": {}},
    {"items": {"format": "what"}},
    {"items": {"$ref": "http://127.0.0.1/"}},
    {"$ref": "#"},
    {"$ref": "#/nowhere"},
    {"allOf": [{"$ref": "#"}]},
    {"type": "integer", "minimum": 2, "maximum": 1},
    {"minLength": "x"},
    {"maxLength": -1},
    {"pattern": "("},
    {"pattern": "(?=a)"},
    {"multipleOf": 99_991},
    {"properties": {f"p{n}": {} for n in range(2_001)}},
    {"allOf": [{"anyOf": [{"properties": {f"k{i}{j}": {"type": "null"}}} for j in range(4)]} for i in range(9)]},
    {"enum": []},
    _nested(200),
    _nested(450),
]
"""Schemas that no answer can be held to."""

GRAMMARS: list[Json] = [
    3,
    [],
    "x",
    "start: missing",
    'start: "a" start',
    "start: A\nA: /(/",
    'start: %json {"not": {}}',
]
EXPRESSIONS: list[Json] = [3, [], "(", "(?=a)b", "a{3,1}", "[z-a]", "\\1", "a" * 200_001]


def _any(*values: Json) -> tuple[Json, ...]:
    """Values of any type."""
    return values


UNOBEYED: dict[str, list[Json]] = {
    "repetition_penalty": [1.1, 0, "1", [], {}, [1]],
    "repeat_penalty": [1.1, 0, "1", [], {}],
    "ignore_eos": [True, 1, "false", []],
    "stop_token_ids": [[1], 3, "x", {}, [[]], [None]],
    "mirostat": [1, 2, "0", []],
    "grammar": ["root ::= x", 3, [], {}],
    "length_penalty": [2, "1", []],
    "use_beam_search": [True, "no"],
    "typical_p": [0.5, "1"],
    "tfs_z": [0.5, []],
    "top_a": [0.1, {}],
    "top_n_sigma": [1, "-1"],
    "xtc_probability": [0.1, "x"],
    "dry_multiplier": [0.8, []],
    "dynatemp_range": [0.5, {}],
    "n_predict": [5, "x", []],
    "include_stop_str_in_output": [True, "x"],
    "truncate_prompt_tokens": [5, "x"],
}
"""Fields that nothing here obeys, at values that would change the answer, and of odd types."""

WRONG: dict[str, list[Json]] = {
    "model": [3, [], {}, True, 1.5, ["steered"]],
    "n": [0, -1, 1.5, "2", [], 10**30, True, 17, 2**63],
    "stop": [3, {}, [""], "", [None], ["a"] * 17, "x" * 600, [["a"]], True],
    "seed": ["1", 1.5, [], {}, 10**40, True],
    "max_tokens": [0, -5, 1.5, "8", [], 10**9, 1e308, True],
    "temperature": [-0.1, 2.1, "0", [], 1e308, 10**400, True],
    "top_p": [-1, 1.1, "x", {}, 10**400, True],
    "stream": [1, "true", [], {}, 0],
    "stream_options": [{"include_usage": True}, 3, [], "x"],
    "user": [3, [], {}, "u" * 513, True],
    "metadata": [3, [], "x", {"a": 1}, {"": "x"}, {"k" * 65: "v"}, {"a=b": "c"}, {str(i): "v" for i in range(17)}],
    "logit_bias": [{"5": 100}, 3, [], "x"],
    "guided_json": SCHEMAS,
    "json_schema": SCHEMAS,
    "guided_grammar": GRAMMARS,
    "guided_regex": EXPRESSIONS,
    "guided_choice": [3, "x", [], [""], [3], ["a", None], ["a"] * 1_001, {}],
    "structured_outputs": [
        *_any(3, "x", {}, {"what": 1}, {"json": {}, "regex": "a"}),
        *({"json": schema} for schema in SCHEMAS),
        *({"regex": one} for one in EXPRESSIONS),
        *({"grammar": one} for one in GRAMMARS),
    ],
    "response_format": [{"type": "json_schema", "json_schema": {"name": "x", "schema": schema}} for schema in SCHEMAS],
    "presence_penalty": [2.1, -3, "x", [], {}, True, 10**400],
    "frequency_penalty": [-2.5, "1", [0], False, 1e308],
    "top_k": [-2, 1.5, "5", [], {}, True, 10**30],
    "min_p": [-0.1, 1.1, "x", []],
    "min_tokens": [-1, 1.5, "0", [], {}, True, 10**30],
    "bad_words": ["a", 3, {}, True, [""], [3], [None], ["a"] * 101, ["x" * 513], ["\ud800"]],
    **UNOBEYED,
}
"""Values that each of the fields, alone, makes a 400 of, on OpenAI's older routes."""

WRONG_TEXT: dict[str, list[Json]] = {
    "prompt": [
        None,
        "",
        [],
        {},
        3,
        True,
        1.5,
        [None],
        [[]],
        ["a", 3],
        [1, "a"],
        [1.5],
        [{}],
        ["a"] * 17,
        "\ud800",
        [-1],
        [10**9],
        [2**63],
        [10**30],
        [0, -7],
        [[1], [-1]],
        [[10**7]],
        [True],
        [[["a"]]],
        [""],
        ["a", ""],
    ],
    "logprobs": [-1, 21, True, "5", 1.5, [], 10**30],
    "echo": [True, 1, "x", []],
    "best_of": [2, "x", []],
    "suffix": ["x", 3, []],
}


def _tool(function: Json) -> Json:
    return {"type": "function", "function": function}


def _deep_schema(depth: int) -> Json:
    schema: Json = {"type": "array", "uniqueItems": True}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


ARGUMENT_SCHEMAS: list[Json] = [
    *_any(3, "x", [], True, {"type": "array"}, {"type": 3}, {"type": ["object", "null"]}, {"properties": 3}),
    *({"properties": {"a": schema}} for schema in _any(3, "x", [], {"type": "nothing"}, {"type": {}}, {"enum": 3})),
    *({"properties": {"a": schema}} for schema in _any({"uniqueItems": True}, {"not": {}}, {"$ref": "#/nowhere"})),
    {"properties": {"a": {"type": "string", "pattern": "(?=a)"}, "b": {"type": "string", "format": "nothing"}}},
    {"$ref": "http://127.0.0.1/schema"},
    {"required": ["a"], "properties": {"a": False}},
    _deep_schema(30),
    _deep_schema(300),
]
"""Schemas of arguments that cannot be obeyed."""

_CALL: dict[str, Json] = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_RESULT: dict[str, Json] = {"role": "tool", "tool_call_id": "c", "content": "a"}


def _calls(*calls: Json) -> Json:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


HISTORIES: list[Json] = [
    [_RESULT],
    [_calls(_CALL)],
    [_calls(_CALL, _CALL), _RESULT],
    [_calls(_CALL), _RESULT, _RESULT],
    [_calls(_CALL), {"role": "user", "content": "a"}, _RESULT],
    [{"role": "function", "name": "f", "content": "a"}],
    *(
        [
            {"role": "assistant", "content": None, "function_call": call},
            {"role": "function", "name": "f", "content": "a"},
        ]
        for call in _any(3, "x", {}, [], {"name": "g", "arguments": "{}"}, {"name": "f", "arguments": {}}, {"name": []})
    ),
    *([{**_calls(), "tool_calls": calls}, _RESULT] for calls in _any(3, "x", {}, [3], [None], [[]], [{}], True)),
    *([_calls({**_CALL, "id": name}), _RESULT] for name in _any(None, 3, "", [], {}, "i" * 513, "\ud800")),
    *([_calls({**_CALL, "type": kind}), _RESULT] for kind in _any(None, 3, "custom", [])),
    *([_calls({**_CALL, "function": function}), _RESULT] for function in _any(None, 3, {}, {"name": "f"}, [])),
    *(
        [_calls({**_CALL, "function": {"name": "f", "arguments": said}}), _RESULT]
        for said in _any(3, {}, None, "\ud800")
    ),
    *([_calls({**_CALL, "function": {"name": name, "arguments": "{}"}}), _RESULT] for name in _any("", 3, "a b", None)),
    *([_calls(_CALL), {**_RESULT, "content": content}] for content in _any(None, 3, {}, [3], [{}], True)),
    *([_calls(_CALL), {**_RESULT, "tool_call_id": name}] for name in _any(None, 3, "", [], "nobody")),
]
"""Turns of calls and results that no chat can have."""

WRONG_CHAT: dict[str, list[Json]] = {
    "messages": [
        *HISTORIES,
        None,
        [],
        {},
        "x",
        3,
        [None],
        [3],
        ["x"],
        [[]],
        [{}],
        [{"role": "user"}],
        [{"content": "a"}],
    ]
    + [[{"role": role, "content": "a"}] for role in _any(None, 3, [], {}, "nobody", "USER", "")]
    + [[{"role": "user", "content": content}] for content in _any(3, True, {}, [None], [3], ["a"], [[]], [{}])]
    + [
        [{"role": "user", "content": [part]}]
        for part in _any(
            {"type": "text"},
            {"type": "text", "text": 3},
            {"type": "text", "text": None},
            {"type": 3, "text": "a"},
            {"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}},
            {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
            {"text": "a"},
            {"type": ["text"], "text": "a"},
        )
    ],
    "tools": [
        *_any(3, "x", True, {}, {"a": {}}, {"type": "function"}),
        *([tool] for tool in _any(3, {}, None, [], {"type": "function"}, {"type": "custom", "custom": {"name": "f"}})),
        *([_tool(function)] for function in _any(None, 3, [], {}, {"name": 3}, {"name": ""}, {"name": "a b"})),
        *([_tool({"name": "f", "parameters": schema})] for schema in ARGUMENT_SCHEMAS),
        *([_tool({"name": "f", field: value})] for field in ("description", "strict") for value in _any(3, [], {})),
        [_tool({"name": "f"})] * 2,
        [_tool({"name": f"f{n}"}) for n in range(129)],
        [_tool({"name": "f", "description": "x" * 200_001})],
        [_tool({"name": "f" * 65})],
        [_tool({"name": "f", "description": "\ud800"})],
    ],
    "tool_choice": [
        *_any("required", "any", "", 3, [], {}, True, {"type": "function"}, {"type": 3}, {"type": ["function"]}),
        *({"type": "function", "function": function} for function in _any(None, 3, {}, {"name": 3}, {"name": "f"})),
        *({"type": "allowed_tools", "allowed_tools": allowed} for allowed in _any(None, 3, {}, {"mode": "auto"})),
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function"}]}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": []}},
    ],
    "parallel_tool_calls": [3, "true", [], {}],
    "functions": [
        *_any(3, "x", True, {}, [3], [{}], [None], [[]], [{"name": "a b"}], [{"name": "f"}] * 2),
        *([{"name": "f", "parameters": schema}] for schema in ARGUMENT_SCHEMAS),
    ],
    "function_call": [3, "x", "required", True, [3], {}, {"name": 3}, {"name": "f"}, {"type": "function"}],
    "response_format": [*WRONG["response_format"], {"type": "xml"}, {"type": "json_schema"}, 3, [], "json"],
    "top_logprobs": [3, -1, 21, "x", True],
    "logprobs": [3, "x", [], 1],
    "modalities": [["audio"], 3, "x"],
    "chat_template": ["{{ messages }}", 3, []],
    "chat_template_kwargs": [{"enable_thinking": False}, 3, [], "x"],
    "documents": [[{"text": "a"}], {}, 3],
    "web_search_options": [{}, 3],
    "best_of": [2, "x", []],
    "max_completion_tokens": [0, -1, 10**9, "x", 1.5, []],
}
PARTS = _any(
    {"type": "input_text"},
    {"type": "input_text", "text": 3},
    {"type": "input_text", "text": "\ud800"},
    {"type": "input_image", "image_url": "http://127.0.0.1/"},
    {"type": "input_file", "file_id": "f"},
    {"type": "refusal", "refusal": "No."},
    {"text": "a"},
    3,
    None,
)
ITEMS = _any(
    None,
    3,
    "x",
    [],
    {},
    {"role": "user"},
    {"role": "nobody", "content": "a"},
    {"role": "user", "content": 3},
    {"type": "message", "role": "user", "content": [[]]},
    {"type": "item_reference", "id": "x"},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]},
    {"type": "reasoning", "content": 3},
    {"type": "web_search_call", "id": "x"},
    {"type": ["message"]},
    {"type": "function_call", "name": "f", "arguments": "{}"},
    {"type": "function_call", "name": "f", "arguments": {}, "call_id": "c"},
    {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"},
    {"type": "function_call_output", "call_id": "c", "output": "a"},
    {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image"}]},
)
FUNCTIONS = _any(
    3,
    {},
    {"type": "function"},
    {"type": "function", "name": "f f"},
    {"type": "function", "name": "f", "parameters": 3},
    {"type": "function", "name": "f", "parameters": {"type": "array"}},
    {"type": "function", "name": "f", "description": 3},
    {"type": "function", "name": "f", "strict": "x"},
    {"type": "function", "name": "f", "parameters": {"properties": {"a": {"uniqueItems": True, "type": "array"}}}},
    {"type": "web_search"},
    {"type": ["function"]},
)
WRONG_RESPONSE: dict[str, list[Json]] = {
    **{name: WRONG[name] for name in ("model", "seed", "temperature", "top_p", "stream", "user", "metadata")},
    "input": [None, [], {}, 3, True, "\ud800", *([item] for item in ITEMS)]
    + [[{"role": "user", "content": [part]}] for part in PARTS],
    "instructions": [3, [], {}, True, "\ud800"],
    "max_output_tokens": [0, -5, 1.5, "8", [], 10**9, 1e308, True],
    "top_logprobs": [-1, 21, "x", True, 1.5, []],
    "include": [3, "x", {}, [3], ["x"], [None], [[]]],
    "text": [3, [], "x", {"format": 3}, {"format": {}}, {"format": {"type": "xml"}}, {"verbosity": "high"}]
    + [{"format": {"type": "json_schema", **more}} for more in _any({}, {"schema": 3}, {"schema": {}, "name": 3})],
    "tools": [3, {}, "x", True, *([tool] for tool in FUNCTIONS)],
    "tool_choice": [
        3,
        [],
        "x",
        {},
        "required",
        {"type": "function"},
        {"type": "web_search"},
        {"type": "allowed_tools"},
    ],
    "reasoning": [3, [], "x", {"effort": "low"}, {"effort": []}],
    "store": [True, 3, "x"],
    "background": [True, "x", {}],
    "truncation": ["auto", 3, []],
    "previous_response_id": ["resp_1", 3, {}],
    "conversation": ["c", {}, 3],
    "prompt": [{"id": "p"}, "x"],
    "stream_options": [{}, 3, "x"],
    "parallel_tool_calls": [3, "x", []],
    **{name: [3, "x", [1]] for name in ("messages", "max_tokens", "response_format", "logprobs", "n", "functions")},
}
BLOCKS = _any(
    None,
    3,
    "x",
    {},
    {"type": "text"},
    {"type": "text", "text": 3},
    {"type": "text", "text": "\ud800"},
    {"type": ["text"], "text": "a"},
    {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1/"}},
    {"type": "thinking", "thinking": "a"},
    {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    {"type": "tool_result", "tool_use_id": "t"},
    {"type": "tool_result", "tool_use_id": "t", "content": 3},
    {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]},
)
DESCRIBED = _any(
    3,
    {},
    {"name": "f"},
    {"name": "f f", "input_schema": {}},
    {"name": "f", "input_schema": 3},
    {"name": "f", "input_schema": {"type": "array"}},
    {"name": "f", "input_schema": {}, "description": 3},
    {"name": "f", "input_schema": {"properties": {"a": {"uniqueItems": True, "type": "array"}}}},
    {"type": "web_search_20250305", "name": "web_search"},
    {"type": [], "name": "f", "input_schema": {}},
)
WRONG_MESSAGE: dict[str, list[Json]] = {
    **{name: WRONG[name] for name in ("model", "seed", "temperature", "top_p", "stream", "stream_options")},
    "max_tokens": [None, 0, -5, 1.5, "8", [], 10**9, 1e308, True],
    "messages": [None, [], {}, "x", 3, [None], [3], ["x"], [[]], [{}], [{"role": "user"}], [{"content": "a"}]]
    + [[{"role": "user", "content": [block]}] for block in BLOCKS]
    + [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]]
    + [[{"role": role, "content": "a"}] for role in _any(None, 3, [], "nobody", "tool", "developer")],
    "system": [3, {}, True, "\ud800", [3], [{}], [{"type": "image"}]],
    "stop_sequences": [3, {}, [""], "a", [None], ["a"] * 17, ["x" * 600], True],
    "metadata": [3, [], "x", {"user_id": 3}, {"user_id": "u" * 513}],
    "tools": [3, {}, "x", True, *([tool] for tool in DESCRIBED)],
    "tool_choice": [
        *_any(3, [], "auto", {}, {"type": "any"}, {"type": "tool", "name": "f"}, {"type": "required"}),
        {"type": "auto", "disable_parallel_tool_use": "x"},
    ],
    "thinking": [3, "x", {"type": "enabled"}, {"type": "adaptive"}],
    "output_config": [3, "x", {"format": 3}, {"format": {"type": "xml"}}, {"effort": "low"}],
    "container": ["c", {}],
    "mcp_servers": [3, [{}]],
    "context_management": [3, {"edits": [{}]}],
    **{name: [3, "x", [1]] for name in ("stop", "user", "response_format", "logprobs", "n", "functions")},
}
KNOBS: list[Json] = [
    *({"alpha": value} for value in _any(101, -1e9, 10**400, "1", [], {}, True)),
    *({"draft": value} for value in _any(0, 65, -1, 1.5, "8", 10**30)),
    *({"threshold": value} for value in _any(-0.1, 1.1, "x", 10**400)),
    *({"schedule": value} for value in _any("", "x", "0:1e9", "3:1,0:1", {}, {"points": []}, {"points": 3}, [[0, 1]])),
    *({"learnt": value} for value in _any("", "x", "one:1e9:0", "one:1:1:1", {}, {"terms": []}, {"terms": 3})),
    {"rule": "learnt"},
    *({"gate": value} for value in _any("x", 3, [], {})),
    *({name: "x"} for name in ("target", "tail", "rule", "drafter", "prefer", "nucleus", "clip", "spread")),
    *({name: -1} for name in ("reveals", "proposals", "back_off", "min_p", "evidence", "plausible", "nucleus")),
    *({name: 10**6} for name in ("reveals", "proposals", "back_off", "spread")),
    *({name: 1} for name in ("event", "top_candidates", "temperature", "max_tokens", "nothing", "", "\ud800")),
    3,
    [],
    "x",
    True,
    [{"alpha": 1}],
]


def wrong(path: str) -> dict[str, list[Json]]:
    """Values that make a 400 of the fields of a route, each alone."""
    if path.endswith("/responses"):
        return WRONG_RESPONSE
    if path.endswith("/messages"):
        return WRONG_MESSAGE
    return {**WRONG, **(WRONG_CHAT if "chat" in path else WRONG_TEXT)}


def asking(path: str) -> str:
    """The field that holds what is asked."""
    if path.endswith("/responses"):
        return "input"
    return "prompt" if path.endswith("/completions") and "chat" not in path else "messages"


NEUTRAL_TOOLS: list[dict[str, Json]] = [{}, {"tools": [], "parallel_tool_calls": True}]


def right(path: str, rng: random.Random) -> dict[str, Json]:
    """A request that is answered."""
    length = "max_output_tokens" if path.endswith("/responses") else "max_tokens"
    body: dict[str, Json] = {"model": "steered", length: 1, "temperature": 0, "seed": rng.randrange(99)}
    if "chat" in path:
        body |= rng.choice(NEUTRAL_TOOLS)
    field_ = asking(path)
    return {**body, field_: [{"role": "user", "content": "the then"}] if field_ == "messages" else "the then"}


def _one_field(path: str, rng: random.Random) -> bytes:
    """Right but for one field."""
    values = wrong(path)
    name = rng.choice(list(values))
    return json.dumps({**right(path, rng), name: rng.choice(values[name])}).encode()


def _knob(path: str, rng: random.Random) -> bytes:
    return json.dumps({**right(path, rng), "steering": rng.choice(KNOBS)}).encode()


def _several(path: str, rng: random.Random) -> bytes:
    """Several fields are wrong."""
    values = wrong(path)
    changes = {name: rng.choice(values[name]) for name in rng.sample(list(values), rng.randint(2, 8))}
    return json.dumps({**right(path, rng), **changes}).encode()


def _deep(path: str, rng: random.Random) -> bytes:
    """Nested deeply, closed or not, in the place of a field or of the whole body."""
    depth = rng.choice([10, 100, 500, 3000, 20_000])
    opened, closed = rng.choice([("[", "]"), ('{"a":', "}")])
    nested = opened * depth + ("1" + closed * depth if rng.random() < 0.7 else "")
    field_ = asking(path)
    return (nested if rng.random() < 0.3 else f'{{"model":"steered","{field_}":{nested}}}').encode()


def _cut(path: str, rng: random.Random) -> bytes:
    """JSON that ends too early."""
    raw = json.dumps(right(path, rng)).encode()
    return raw[: rng.randrange(len(raw))]


def _bytes(path: str, rng: random.Random) -> bytes:
    """A string that is no UTF-8, or no JSON at all."""
    if rng.random() < 0.3:
        return rng.randbytes(rng.randrange(200))
    broken = rng.choice([b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x80" * 9, b"\xc0\xaf"])
    return json.dumps(right(path, rng)).encode().replace(b"the then", b"the " + broken)


def _number(path: str, rng: random.Random) -> bytes:
    """Numbers that JSON does not know, or that are longer than any machine's."""
    name = rng.choice(["max_tokens", "temperature", "n", "seed", "top_p"])
    number = rng.choice(["NaN", "-Infinity", "9" * 5000, "01", "1.", "0x1", "--1", "1e", ".5"])
    text = json.dumps({**right(path, rng), name: 0})
    return text.replace(f'"{name}": 0', f'"{name}": {number}').encode()


def _twice(path: str, rng: random.Random) -> bytes:
    """A field that is there twice: the last counts, and is wrong."""
    name, value = rng.choice([("n", 0), ("max_tokens", -1), ("model", 3), ("stream", "x"), ("steering", 3)])
    first = json.dumps({**right(path, rng), name: rng.choice([1, None, "a"])})
    return f'{first[:-1]}, "{name}": {json.dumps(value)}}}'.encode()


def _long(path: str, rng: random.Random) -> bytes:
    """Arrays that are far too long, or values that are no object."""
    size = rng.choice([100, 1000, 5000])
    items: Json = rng.choice([["a"] * size, [[1]] * size, [{}] * size, [None] * size, [-1] * size])
    if rng.random() < 0.2:
        return json.dumps(rng.choice([items, 3, "x", None, True])).encode()
    name = rng.choice(["stop", asking(path)])
    return json.dumps({**right(path, rng), name: items}).encode()


MAKES: tuple[Callable[[str, random.Random], bytes], ...] = (
    *(_one_field,) * 4,
    *(_knob,) * 2,
    _several,
    _deep,
    _cut,
    _bytes,
    _number,
    _twice,
    _long,
)


@dataclass(slots=True)
class Found:
    """What came back. wrong, right: statuses by how often; reached: malformed requests that a reader of bodies got."""

    wrong: Counter[int] = field(default_factory=Counter)
    right: Counter[int] = field(default_factory=Counter)
    reached: int = 0

    @property
    def share(self) -> float:
        """Share of 400s in the malformed requests."""
        return self.wrong[400] / self.wrong.total()


RIGHT_EVERY = 50


def fuzz(url: str, count: int, *, seed: int) -> Found:
    """So many malformed requests over kept connections, one in seven of them chunked, and a right one now and then."""
    rng, found, connection = random.Random(seed), Found(), connect(url, timeout=30)
    for number in range(count):
        method, path, raw = "POST", rng.choice(READERS), b""
        if rng.random() < 0.08:
            method, path = rng.choice(
                [("GET", path), ("PUT", path), ("DELETE", path), ("POST", "/%00"), ("POST", "/v1/")]
            )
        else:
            found.reached += 1
            raw = rng.choice(MAKES)(path, rng)
        found.wrong[_sent(connection, method, path, raw, chunked=rng.random() < 1 / 7)] += 1
        if number % RIGHT_EVERY == 0:
            path = rng.choice(READERS)
            found.right[_sent(connection, "POST", path, json.dumps(right(path, rng)).encode(), chunked=False)] += 1
    connection.close()
    return found


def _sent(connection: http.client.HTTPConnection, method: str, path: str, raw: bytes, *, chunked: bool) -> int:
    """The status of a reply, which is read whole and must be JSON."""
    headers = {"content-type": "application/json"}
    if chunked and raw:
        pieces = iter([raw[:7], raw[7:]] if len(raw) > 7 else [raw])
        connection.request(method, path, pieces, {**headers, "transfer-encoding": "chunked"}, encode_chunked=True)
    else:
        connection.request(method, path, raw, headers)
    reply = connection.getresponse()
    body = json.loads(reply.read())
    assert bool(body.get("error")) == (reply.status >= 400), body
    return reply.status

"""An OpenAPI description of three of OpenAI's routes, made of the types that its SDK has of its own description.

For schemathesis, which makes requests of it and holds the replies to it. The description itself is no part of any
package; its types are, and are generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openai.types import Completion, Model
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming as CompletionParams
from pydantic import BaseModel, TypeAdapter

REFERENCE = "#/components/schemas/{model}"

ERROR: Mapping[str, Any] = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "minLength": 1},
                "type": {"type": "string", "minLength": 1},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


BOUNDS: Mapping[str, Mapping[str, int]] = {
    "messages": {"minItems": 1},
    "n": {"minimum": 1, "maximum": 2},
    "best_of": {"minimum": 1, "maximum": 2},
    "temperature": {"minimum": 0, "maximum": 2},
    "top_p": {"minimum": 0, "maximum": 1},
    "top_logprobs": {"minimum": 0, "maximum": 20},
    "presence_penalty": {"minimum": -2, "maximum": 2},
    "frequency_penalty": {"minimum": -2, "maximum": 2},
}
"""What OpenAI's documentation says and its types cannot; `n` is kept small here."""


class Models(BaseModel):
    """The list of models; the SDK has a page class for it that is no model of pydantic's."""

    object: str
    data: list[Model]


def description(model: str, *, max_tokens: int) -> dict[str, Any]:
    """The routes for `model`, in OpenAPI 3.1. max_tokens: the most that a request may ask for."""
    schemas: dict[str, Any] = {"Error": ERROR}
    chat = _request(ChatParams, schemas)
    completion = _request(CompletionParams, schemas)
    count = {"minimum": 1, "maximum": max_tokens}
    for body in (chat, completion):
        body["properties"]["model"] = {"const": model}
        body["required"] = [*body["required"], "max_tokens"]
        for field, bounds in {**BOUNDS, "max_tokens": count, "max_completion_tokens": count}.items():
            if field in body["properties"]:
                body["properties"][field] = _bounded(body["properties"][field], bounds)
    completion["properties"]["logprobs"] = {"type": "integer", "minimum": 0, "maximum": 5}
    return {
        "openapi": "3.1.0",
        "info": {"title": "OpenAI's routes as its SDK types them", "version": "1"},
        "paths": {
            "/chat/completions": {"post": _operation("createChatCompletion", chat, _reply(ChatCompletion, schemas))},
            "/completions": {"post": _operation("createCompletion", completion, _reply(Completion, schemas))},
            "/models": {"get": _operation("listModels", None, _reply(Models, schemas))},
        },
        "components": {"schemas": schemas},
    }


def _bounded(schema: Mapping[str, Any], bounds: Mapping[str, int]) -> dict[str, Any]:
    """The schema with bounds; they go into each of its alternatives."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_bounded(part, bounds) for part in schema["anyOf"]]}
    return {**schema, **bounds} if schema.get("type") in {"integer", "number", "array"} else dict(schema)


def _request(
    params: Any,  # noqa: ANN401 (a type, as a value)
    schemas: dict[str, Any],
) -> dict[str, Any]:
    return _lifted(TypeAdapter(params).json_schema(ref_template=REFERENCE), schemas)


def _reply(reply: type[BaseModel], schemas: dict[str, Any]) -> dict[str, Any]:
    """What a reply is; one that holds a float may hold it as an integer, and further fields are allowed."""
    return _lifted(reply.model_json_schema(ref_template=REFERENCE, mode="serialization"), schemas)


def _lifted(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema without the definitions in it, which go among the others."""
    schemas.update(schema.pop("$defs", {}))
    return schema


def _operation(name: str, body: Mapping[str, Any] | None, reply: Mapping[str, Any]) -> dict[str, Any]:
    refused = {"description": "refused", "content": _json({"$ref": "#/components/schemas/Error"})}
    operation: dict[str, Any] = {
        "operationId": name,
        "responses": {"200": {"description": "answered", "content": _json(reply)}, "4XX": refused},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _json(body)}
    return operation


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}

// Uses OpenAI's SDK for JavaScript: chats, streams, zod's types, tools that it runs, Responses, errors, an abort.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { add, errorOf, runAll } from "./cases.mjs";

const client = new OpenAI({ maxRetries: 1 });
const model = "steered";
const question = (content) => [{ role: "user", content }];
const capital = question("What is the capital of Albania?");
const Place = z.object({ city: z.string(), country: z.string() });
const City = z.object({ city: z.string() });
const lima = { city: "Lima", country: "Peru" };
const weather = zodFunction({ name: "get_weather", parameters: City, function: ({ city }) => `sun in ${city}` });
const functionTool = {
  type: "function",
  name: "get_weather",
  strict: true,
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false },
};

add("chat", async () => {
  const { data, request_id } = await client.chat.completions.create({ model, messages: capital }).withResponse();
  assert.equal(data.choices[0].message.content, "The capital is Tirana.");
  assert.ok(data.usage.completion_tokens > 0);
  assert.ok(request_id);
});

add("stream", async () => {
  const stream = client.chat.completions.stream({ model, messages: capital, stream_options: { include_usage: true } });
  const parts = [];
  stream.on("content", (delta) => parts.push(delta));
  const whole = await stream.finalChatCompletion();
  assert.equal(parts.join(""), "The capital is Tirana.");
  assert.equal(whole.choices[0].message.content, "The capital is Tirana.");
  assert.ok(whole.usage.completion_tokens > 0);
});

add("models", async () => {
  const names = [];
  for await (const one of client.models.list()) names.push(one.id);
  assert.ok(names.includes(model));
});

add("typed", async () => {
  const response_format = zodResponseFormat(Place, "place");
  const reply = await client.chat.completions.parse({ model, messages: question("Where is Lima?"), response_format });
  assert.deepEqual(reply.choices[0].message.parsed, lima);
});

add("typed_in_a_stream", async () => {
  const response_format = zodResponseFormat(Place, "place");
  const stream = client.chat.completions.stream({ model, messages: question("Where is Lima?"), response_format });
  assert.deepEqual((await stream.finalChatCompletion()).choices[0].message.parsed, lima);
});

add("tools_that_it_runs", async () => {
  const runner = client.chat.completions.runTools({
    model,
    messages: question("What is the weather in Paris?"),
    tools: [weather],
  });
  assert.equal(await runner.finalContent(), "It is sunny.");
});

add("tools_that_it_runs_in_a_stream", async () => {
  const runner = client.chat.completions.runTools({
    model,
    stream: true,
    messages: question("What is the weather in Paris and Rome?"),
    tools: [weather],
  });
  assert.equal(await runner.finalContent(), "It is sunny in both.");
});

add("a_tool_that_must_be_called", async () => {
  for (const tool_choice of ["required", { type: "function", function: { name: "get_weather" } }]) {
    const messages = question("What is the weather in Paris?");
    const reply = await client.chat.completions.parse({ model, messages, tools: [weather], tool_choice });
    assert.deepEqual(reply.choices[0].message.tool_calls[0].function.parsed_arguments, { city: "Paris" });
  }
});

add("one_call_at_a_time", async () => {
  const messages = question("What is the weather in Paris and Rome?");
  const asked = { model, messages, tools: [weather], parallel_tool_calls: false };
  const reply = await client.chat.completions.create(asked);
  assert.equal(reply.choices[0].message.tool_calls.length, 1);
});

add("responses", async () => {
  const reply = await client.responses.create({ model, input: "What is the capital of Albania?" });
  assert.equal(reply.output_text, "The capital is Tirana.");
});

add("responses_stream", async () => {
  const stream = client.responses.stream({ model, input: "What is the capital of Albania?" });
  const parts = [];
  stream.on("response.output_text.delta", (event) => parts.push(event.delta));
  assert.equal((await stream.finalResponse()).output_text, "The capital is Tirana.");
  assert.equal(parts.join(""), "The capital is Tirana.");
});

add("responses_typed", async () => {
  const text = { format: zodTextFormat(Place, "place") };
  const reply = await client.responses.parse({ model, input: "Where is Lima?", text });
  assert.deepEqual(reply.output_parsed, lima);
});

add("responses_tools", async () => {
  const input = question("What is the weather in Paris?");
  const first = await client.responses.create({ model, input, tools: [functionTool] });
  const [call] = first.output.filter((item) => item.type === "function_call");
  assert.deepEqual([call.name, JSON.parse(call.arguments)], ["get_weather", { city: "Paris" }]);
  const result = { type: "function_call_output", call_id: call.call_id, output: "sun in Paris" };
  const second = await client.responses.create({ model, input: [...input, ...first.output, result], tools: [functionTool] });
  assert.equal(second.output_text, "It is sunny.");
});

add("tried_again", async () => {
  const reply = await client.chat.completions.create({ model, messages: question("Are you there?") });
  assert.equal(reply.choices[0].message.content, "Yes.");
});

add("a_model_that_is_not_there", async () => {
  const error = await errorOf(() => client.chat.completions.create({ model: "absent", messages: capital }));
  assert.ok(error instanceof OpenAI.NotFoundError);
  assert.equal(error.code, "model_not_found");
});

add("a_refusal", async () => {
  const error = await errorOf(() => client.chat.completions.create({ model, messages: capital, logit_bias: { 50: 1 } }));
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.equal(error.param, "logit_bias");
});

add("an_abort", async () => {
  const stream = await client.chat.completions.create({ model, messages: capital, stream: true });
  for await (const _ of stream) stream.controller.abort();
  const reply = await client.chat.completions.create({ model, messages: capital });
  assert.equal(reply.choices[0].message.content, "The capital is Tirana.");
});

await runAll();

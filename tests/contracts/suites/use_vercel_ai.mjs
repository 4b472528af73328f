// Uses Vercel's `ai`: texts, streams, objects and tools in steps, by its provider for OpenAI (Responses, its default, and
// chats) and by the one for servers like OpenAI's.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, Output, stepCountIs, streamObject, streamText, tool } from "ai";
import { z } from "zod";
import { add, errorOf, runAll } from "./cases.mjs";

const baseURL = process.env.OPENAI_BASE_URL;
const openai = createOpenAI({ baseURL, apiKey: "any" });
const like = createOpenAICompatible({ name: "like", baseURL, apiKey: "any", supportsStructuredOutputs: true });
const providers = { responses: openai, chats: openai.chat, compatible: like };
const schema = z.object({ city: z.string(), country: z.string() });
const lima = { city: "Lima", country: "Peru" };
const tools = {
  get_weather: tool({
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `sun in ${city}`,
  }),
};

for (const [kind, provider] of Object.entries(providers)) {
  const model = provider("steered");
  const by = (name, run) => add(`${name}_by_${kind}`, run);

  by("chat", async () => {
    const { text, usage } = await generateText({ model, prompt: "What is the capital of Albania?", system: "Be brief." });
    assert.equal(text, "The capital is Tirana.");
    assert.ok(usage.outputTokens > 0);
  });

  by("stream", async () => {
    const { textStream } = streamText({ model, prompt: "What is the capital of Albania?" });
    const parts = [];
    for await (const part of textStream) parts.push(part);
    assert.equal(parts.join(""), "The capital is Tirana.");
  });

  by("typed", async () => {
    const { object } = await generateObject({ model, schema, prompt: "Where is Lima?" });
    assert.deepEqual(object, lima);
  });

  by("typed_in_a_stream", async () => {
    const { object, partialObjectStream } = streamObject({ model, schema, prompt: "Where is Lima?" });
    const parts = [];
    for await (const part of partialObjectStream) parts.push(part);
    assert.deepEqual([await object, parts.at(-1)], [lima, lima]);
  });

  by("typed_as_an_output", async () => {
    const { output } = await generateText({ model, output: Output.object({ schema }), prompt: "Where is Lima?" });
    assert.deepEqual(output, lima);
  });

  by("tools", async () => {
    const stopWhen = stepCountIs(3);
    const { text, steps } = await generateText({ model, tools, stopWhen, prompt: "What is the weather in Paris?" });
    assert.equal(text, "It is sunny.");
    assert.deepEqual(steps[0].toolCalls[0].input, { city: "Paris" });
  });

  by("tools_in_a_stream", async () => {
    const result = streamText({ model, tools, stopWhen: stepCountIs(3), prompt: "What is the weather in Paris and Rome?" });
    await result.consumeStream();
    assert.equal(await result.text, "It is sunny in both.");
  });

  by("a_tool_that_must_be_called", async () => {
    for (const toolChoice of ["required", { type: "tool", toolName: "get_weather" }]) {
      const { toolCalls } = await generateText({ model, tools, toolChoice, prompt: "What is the weather in Paris?" });
      assert.deepEqual(toolCalls[0].input, { city: "Paris" });
    }
  });

  by("tried_again", async () => {
    const { text } = await generateText({ model, maxRetries: 1, prompt: `Are you there, ${kind}?` });
    assert.equal(text, "Yes.");
  });

  by("a_model_that_is_not_there", async () => {
    const error = await errorOf(() => generateText({ model: provider("absent"), maxRetries: 0, prompt: "Hello." }));
    assert.equal(error.statusCode, 404);
    assert.match(error.message, /does not exist/);
  });
}

add("a_refusal", async () => {
  const providerOptions = { openai: { logitBias: { 50: 1 } } };
  const error = await errorOf(() => generateText({ model: openai.chat("steered"), maxRetries: 0, prompt: "Hello.", providerOptions }));
  assert.equal(error.statusCode, 400);
  assert.match(error.message, /logit_bias/);
});

await runAll();

// Asks a scenario through OpenAI's SDK for JavaScript, unmodified: plain, streamed, with log-probs, with a tool.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 1 });
const ask = (messages, more = {}) => client.chat.completions.create({ model: "gpt-4o-mini", messages, ...more });
const asked = (content) => [{ role: "user", content }];
const said = (reply) => reply.choices[0].message.content;

const capital = asked("What is the capital of Albania?");
const answer = await ask(capital, { logprobs: true, top_logprobs: 2 });
let streamed = "";
for await (const chunk of await ask(capital, { stream: true })) streamed += chunk.choices[0]?.delta.content ?? "";

const parameters = { type: "object", properties: { city: { type: "string" } } };
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
const weather = asked("What is the weather in Paris?");
const called = (await ask(weather, { tools })).choices[0].message;
const results = called.tool_calls.map((call) => ({
  role: "tool",
  tool_call_id: call.id,
  content: `sun in ${JSON.parse(call.function.arguments).city}`,
}));
const told = await ask([...weather, called, ...results], { tools });

console.log(
  JSON.stringify({
    capital: said(answer),
    streamed,
    top: answer.choices[0].logprobs.content[3].top_logprobs.map((one) => one.token),
    weather: said(told),
    retried: said(await ask(asked("Are you there?"))),
  }),
);

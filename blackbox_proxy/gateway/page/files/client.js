// Asks the gateway's public routes, with the key of this tab where there is one. Knows nothing of the page.

const KEPT = "blackbox-proxy.key";
let key = sessionStorage.getItem(KEPT) ?? "";

export class GatewayError extends Error {
  // status: 0 where no reply came. wait: seconds after which to ask again, or null.
  constructor(message, { status = 0, code = null, wait = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.wait = wait;
  }
}

export const hasKey = () => key !== "";

// A header can hold nothing else, and no key has more than this.
export const isKey = (text) => /^[\x21-\x7e]{1,512}$/.test(text);

export function useKey(text) {
  key = text;
  sessionStorage.setItem(KEPT, text);
}

export function forgetKey() {
  key = "";
  sessionStorage.removeItem(KEPT);
}

export const models = async () => (await json("v1/models")).data;

export const spend = () => json("v1/spend");

// The chunks of a streamed chat, as they come. Throws GatewayError, and AbortError where `signal` says so.
export async function* chat(body, signal) {
  const options = { include_usage: true };
  const reply = await sent("v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: options }),
    signal,
  });
  for await (const data of events(reply.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new GatewayError(chunk.error.message, { status: reply.status, code: chunk.error.code });
    yield chunk;
  }
  throw new GatewayError("The connection closed before the answer had ended.");
}

async function json(path) {
  return (await sent(path, {})).json();
}

async function sent(path, { headers = {}, ...more }) {
  const shown = key ? { authorization: `Bearer ${key}` } : {};
  let reply;
  try {
    reply = await fetch(path, {
      ...more,
      headers: { ...headers, ...shown },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new GatewayError("The gateway cannot be reached. Is it still running?");
  }
  if (!reply.ok) throw await refusal(reply);
  return reply;
}

async function refusal(reply) {
  const wait = Number(reply.headers.get("retry-after")) || null;
  let error = {};
  try {
    error = (await reply.json()).error ?? {};
  } catch {
    // What stands between this page and the gateway may answer in HTML.
  }
  const message = error.message ?? `The server answered with status ${reply.status}.`;
  return new GatewayError(message, { status: reply.status, code: error.code ?? null, wait });
}

// The data of server-sent events; comments keep a connection alive and say nothing.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const lines = block.split("\n").filter((line) => line.startsWith("data: "));
        if (lines.length) yield lines.map((line) => line.slice(6)).join("\n");
      }
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new GatewayError("The connection broke off before the answer had ended.");
  } finally {
    reader.cancel().catch(() => {});
  }
}

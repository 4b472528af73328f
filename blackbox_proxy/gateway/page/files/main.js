// The page: reads what is asked, asks for it steered and unsteered, and says how far it is.

import { Answer } from "./answer.js";
import { closeCard, isCardShown } from "./card.js";
import * as gateway from "./client.js";
import { count, dollars } from "./figures.js";

const CANDIDATES = 8; // of each token, that the card shows
const $ = (id) => document.getElementById(id);

const steered = new Answer($("steered"), "Steered");
const unsteered = new Answer($("unsteered"), "Unsteered");

const page = { models: [], moved: false, running: null };

const model = () => page.models.find(({ id }) => id === $("model").value);
const isSteered = () => model()?.steering.alpha !== null;
const alpha = () => Number($("alpha").value);

function complain(error, again = null) {
  const wait = error.wait ? ` Ask again in ${error.wait} seconds.` : "";
  $("problem-text").textContent = `${error.message}${wait}`;
  $("problem").hidden = false;
  $("again").hidden = again === null;
  $("again").onclick = again;
}

function calm() {
  $("problem").hidden = true;
}

function askForKey(error) {
  const wrong = gateway.hasKey();
  gateway.forgetKey();
  $("ask").hidden = true;
  $("forget").hidden = true;
  $("key-form").hidden = false;
  $("spend").textContent = "\u2013";
  if (wrong) complain(error);
  $("key").focus();
}

// Whatever went wrong. again: what to do once more where no reply came.
function report(error, again = null) {
  if (error.status === 401) askForKey(error);
  else if (error instanceof gateway.GatewayError) complain(error, again);
  else {
    complain(new Error(`This page failed: ${error.message}`));
    console.error(error);
  }
}

async function start() {
  calm();
  try {
    page.models = await gateway.models();
  } catch (error) {
    report(error, start);
    return;
  }
  $("key-form").hidden = true;
  $("ask").hidden = false;
  $("forget").hidden = !gateway.hasKey();
  $("model").replaceChildren(...page.models.map(({ id }) => new Option(id, id)));
  chooseModel();
  $("question").focus();
  await showSpend();
}

async function showSpend() {
  let spent;
  try {
    spent = await gateway.spend();
  } catch {
    $("spend").textContent = "unknown";
    return;
  }
  if (spent.cost_usd === null) {
    $("spend").textContent = "nothing is booked";
    return;
  }
  const unknown = spent.unpriced ? " + ?" : "";
  const whose = spent.key === null ? "" : ` by ${spent.key}`;
  const calls = spent.requests === 1 ? "1 call" : `${count(spent.requests)} calls`;
  $("spend").textContent = `${dollars(spent.cost_usd)}${unknown} in ${calls}${whose}`;
}

function chooseModel() {
  const steering = model().steering;
  page.moved = false;
  $("alpha").disabled = steering.alpha === null;
  $("beside").disabled = steering.alpha === null;
  if (steering.alpha !== null) {
    $("alpha").max = Math.max(3, steering.alpha);
    $("alpha").min = Math.min(0, steering.alpha);
    $("alpha").value = steering.alpha;
  }
  showAlpha();
}

function showAlpha() {
  const { alpha: own, schedule } = model().steering;
  const asked = page.moved || schedule === null ? alpha().toFixed(2) : schedule;
  $("alpha-value").textContent = own === null ? "\u2013" : asked;
  $("own").textContent = own === null ? "nothing steers it" : page.moved ? "moved" : "the model's own";
  $("alpha").setAttribute("aria-valuetext", `${asked}, ${$("own").textContent}`);
  $("unsteered").hidden = own === null || !$("beside").checked;
  document.querySelector(".answers").classList.toggle("two", !$("unsteered").hidden);
  if (!page.running) name(asked);
}

function name(asked) {
  if (isSteered()) steered.name("Steered", `alpha ${asked}`);
  else steered.name("Answer", "no pair");
  unsteered.name("Unsteered", "alpha 0");
}

// The knobs of a request. A schedule stands in place of alpha, so where the model has one it is replaced too.
function knobs(weight) {
  const steering = { alpha: weight };
  if (model().steering.schedule !== null) steering.schedule = `0:${weight}`;
  return { steering };
}

function body(more) {
  return {
    model: model().id,
    messages: [{ role: "user", content: $("question").value }],
    max_tokens: Number($("limit").value),
    steering_steps: CANDIDATES,
    ...more,
  };
}

function toAsk() {
  const own = !isSteered() || !page.moved;
  const asked = [[steered, body(own ? {} : knobs(alpha()))]];
  if (!$("unsteered").hidden) asked.push([unsteered, body(knobs(0))]);
  return asked;
}

async function ask() {
  if (page.running) return;
  calm();
  closeCard();
  page.running = new AbortController();
  $("send").hidden = true;
  $("stop").hidden = false;
  $("status").textContent = "Asked.";
  showAlpha();
  name($("alpha-value").textContent);
  const asked = toAsk();
  await Promise.all(asked.map(([answer, request]) => follow(answer, request, page.running.signal)));
  page.running = null;
  $("stop").hidden = true;
  $("send").hidden = false;
  $("status").textContent = asked.map(([answer]) => answer.summary).join(" ");
  if ($("key-form").hidden) await showSpend();
}

async function follow(answer, request, signal) {
  answer.begin();
  try {
    for await (const chunk of gateway.chat(request, signal)) answer.take(chunk);
    answer.end();
  } catch (error) {
    if (error.name === "AbortError") answer.breakOff("stopped", "Stopped.");
    else {
      answer.breakOff("failed", "It broke off.");
      report(error, error.status === 0 ? ask : null);
    }
  }
}

function stop() {
  page.running?.abort();
}

$("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("ask").requestSubmit();
});

$("question").addEventListener("input", () => $("question").setCustomValidity(""));

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("question").value.trim()) ask();
  else {
    $("question").setCustomValidity("Write a question.");
    $("question").reportValidity();
  }
});

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("key").value.trim();
  $("key").value = "";
  if (!gateway.isKey(text)) {
    complain(new Error("A key has only letters, digits and signs of ASCII, and no spaces."));
    return;
  }
  gateway.useKey(text);
  start();
});

$("forget").addEventListener("click", () => {
  gateway.forgetKey();
  start();
});

$("stop").addEventListener("click", stop);
$("card-close").addEventListener("click", () => [steered, unsteered].forEach((answer) => answer.unselect()));
$("model").addEventListener("change", chooseModel);
$("beside").addEventListener("change", showAlpha);
$("alpha").addEventListener("input", () => {
  page.moved = true;
  showAlpha();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (page.running) stop();
  else if (isCardShown()) [steered, unsteered].forEach((answer) => answer.unselect());
});

start();

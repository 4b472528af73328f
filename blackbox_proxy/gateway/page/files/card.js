// The card of one token: who decided it, what else there was, and how far that can be trusted.

import { chance, nats, visible } from "./figures.js";

const $ = (id) => document.getElementById(id);

// How tokens are marked, and what that means, as the legend has it.
const ORIGINS = new Map(
  [...document.querySelectorAll("[data-origin]")].map((line) => [
    line.dataset.origin,
    { mark: line.dataset.mark, meaning: textAfterMark(line) },
  ]),
);
const FLAGS = [...document.querySelectorAll("[data-field]")].map((line) => ({
  field: line.dataset.field,
  when: line.dataset.when === "true",
  sign: line.querySelector(".mark").textContent,
  meaning: textAfterMark(line),
}));
const FIGURES = { logp_before: chance, logp_after: chance, offset: (value) => nats(value, "+") };

function textAfterMark(line) {
  return line.lastChild.textContent.trim();
}

export const markOf = (origin) => ORIGINS.get(origin)?.mark ?? "draft";
export const origins = () => [...ORIGINS].map(([origin, { mark }]) => ({ origin, mark }));
export const flagsOf = (step) => FLAGS.filter(({ field, when }) => step[field] === when);

function cell(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function rowOf(candidate, step) {
  const row = document.createElement("tr");
  const chosen = candidate.token === step.token && candidate.kind === step.kind;
  const sampled = step.api_token !== null && candidate.token === step.api_token;
  const remarks = [chosen ? "chosen" : "", sampled ? "API token" : ""].filter(Boolean).join(", ");
  const head = document.createElement("th");
  head.scope = "row";
  head.append(cell("code", visible(candidate.token, candidate.kind)));
  if (remarks) {
    const remark = cell("span", ` ${remarks}`);
    remark.className = "soft";
    head.append(remark);
  }
  row.append(
    head,
    cell("td", candidate.inside ? chance(candidate.logp) : `~\u2009${chance(candidate.logp)}`),
    cell("td", nats(candidate.offset, "+")),
    cell("td", chance(candidate.score)),
  );
  if (chosen) row.className = "chosen";
  return row;
}

function fact(field, value) {
  if (value === null || value === undefined) return "\u2013";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return FIGURES[field] ? FIGURES[field](value) : String(Number(value.toPrecision(2)));
}

// number: of the token in the answer, from 1. answer: what the answer is called.
export function showCard(step, number, answer) {
  const { mark, meaning } = ORIGINS.get(step.origin) ?? { mark: "draft", meaning: "" };
  $("card-number").textContent = `${answer}, token ${number}:`;
  $("card-token").textContent = visible(step.token, step.kind);
  $("card-origin").textContent = step.origin;
  $("card-origin").className = `mark ${mark}`;
  $("card-meaning").textContent = meaning ? `${meaning[0].toUpperCase()}${meaning.slice(1)}.` : "";
  $("card-table").hidden = step.candidates.length === 0;
  $("card-rows").replaceChildren(...step.candidates.map((one) => rowOf(one, step)));
  for (const place of document.querySelectorAll("[data-fact]")) {
    place.textContent = fact(place.dataset.fact, step[place.dataset.fact]);
  }
  $("card-flags").replaceChildren(...flagsOf(step).map(({ sign, meaning: said }) => cell("li", `${sign} ${said}`)));
  $("card-body").hidden = false;
  $("card").classList.add("shown");
}

export function closeCard() {
  $("card-body").hidden = true;
  $("card").classList.remove("shown");
}

export const isCardShown = () => $("card").classList.contains("shown");

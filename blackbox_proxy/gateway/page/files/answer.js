// One answer as it comes: its tokens, each marked by who decided it, and what they took.

import { closeCard, flagsOf, markOf, origins, showCard } from "./card.js";
import { count, dollars, portion, printable, visible } from "./figures.js";

const FINISHES = new Map(
  [...document.querySelectorAll("[data-finish]")].map((line) => [line.dataset.finish, line.textContent]),
);
const BY_PAIR = new Set(["changed", "outside top-k", "completed locally", "expert alone"]);
const OUTSIDE = new Set(["outside top-k", "completed locally"]);

const clock = () => performance.now() / 1000;

function make(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

export class Answer {
  constructor(section, title) {
    this.section = section;
    this.title = title;
    this.box = section.querySelector(".tokens");
    this.steps = [];
    this.box.addEventListener("mouseover", (event) => this.point(event.target.closest("[role=option]")));
    this.box.addEventListener("mouseleave", () => this.selected && this.show(this.selected));
    this.box.addEventListener("focusin", (event) => this.select(event.target.closest("[role=option]")));
    this.box.addEventListener("click", (event) => event.target.closest("[role=option]")?.focus());
    this.box.addEventListener("keydown", (event) => this.move(event));
  }

  name(title, at) {
    this.title = title;
    this.section.querySelector("h2 span").textContent = title;
    this.section.querySelector(".at").textContent = at;
    this.box.setAttribute("aria-label", `${title}: tokens of the answer`);
  }

  begin() {
    this.steps = [];
    this.counted = new Map(); // tokens by their origin
    this.selected = null;
    this.started = clock();
    this.box.replaceChildren();
    this.box.hidden = true;
    this.section.querySelector(".empty").hidden = true;
    this.section.querySelector(".shares").hidden = true;
    this.section.querySelector(".counts").replaceChildren();
    this.text = "";
    this.section.querySelector(".said").textContent = "";
    for (const place of this.section.querySelectorAll("[data-figure]")) place.textContent = "\u2013";
    this.say("waiting", "Waiting for the first token\u2026");
  }

  // A chunk of the stream.
  take(chunk) {
    const [choice] = chunk.choices;
    if (choice) {
      const steps = choice.steering?.steps ?? [];
      for (const step of steps) this.add(step);
      this.text += choice.delta.content ?? "";
      if (!steps.length && choice.delta.content) this.addText(choice.delta.content);
    }
    if (chunk.usage) this.usage = chunk.usage;
  }

  add(step) {
    const token = make("span", `mark ${markOf(step.origin)}`, "");
    token.setAttribute("role", "option");
    token.setAttribute("aria-selected", "false");
    token.tabIndex = this.steps.length ? -1 : 0;
    token.dataset.index = String(this.steps.length);
    fill(token, step);
    const signs = flagsOf(step).filter(({ field }) => field !== "gated");
    if (signs.length) {
      const sup = make("sup", "", signs.map(({ sign }) => sign).join(""));
      sup.setAttribute("aria-hidden", "true");
      token.append(sup);
    }
    this.steps.push(step);
    this.append(token);
    this.tally(step);
  }

  // Text of which no step is told, as where whole answers are drawn and one is chosen.
  addText(text) {
    this.append(make("span", "", [...text].map((sign) => (sign === "\n" ? sign : printable(sign))).join("")));
  }

  append(node) {
    this.box.append(node);
    this.box.hidden = false;
    if (this.section.dataset.state === "waiting") this.say("writing", "Writing\u2026");
  }

  tally({ origin }) {
    const { counted } = this;
    const tokens = this.steps.length;
    counted.set(origin, (counted.get(origin) ?? 0) + 1);
    const sum = (kinds) => [...kinds].reduce((total, kind) => total + (counted.get(kind) ?? 0), 0);
    const [pair, outside] = [sum(BY_PAIR), sum(OUTSIDE)];
    this.figure("tokens", count(tokens));
    this.figure("pair", portion(pair, tokens));
    this.figure("outside", portion(outside, tokens));
    this.shares(counted, tokens);
  }

  shares(counted, tokens) {
    const bar = this.section.querySelector(".shares");
    const parts = origins().filter(({ origin }) => counted.has(origin));
    bar.replaceChildren(
      ...parts.map(({ origin, mark }) => {
        const part = make("span", mark, "");
        part.style.flexGrow = counted.get(origin);
        return part;
      }),
    );
    bar.hidden = false;
    this.section.querySelector(".counts").replaceChildren(
      ...parts.map(({ origin, mark }) => {
        const line = make("li", "", "");
        line.append(make("span", `mark ${mark}`, origin), ` ${portion(counted.get(origin), tokens)}`);
        return line;
      }),
    );
  }

  end() {
    const { steering } = this.usage ?? {};
    this.figure("seconds", `${(clock() - this.started).toFixed(1)} s`);
    if (steering) {
      this.figure("cost", steering.cost_usd === null ? "unknown" : dollars(steering.cost_usd));
      this.figure("calls", count(steering.requests));
      if (!this.steps.length) this.figure("tokens", count(this.usage.completion_tokens));
    }
    this.nothing();
    this.say("done", FINISHES.get(steering?.finish[0]) ?? "It ended.");
  }

  // state: stopped, failed, or refused where nothing came. What came stays.
  breakOff(state, why) {
    if (state === "failed" && !this.text && !this.steps.length) [state, why] = ["refused", "There is no answer."];
    this.figure("seconds", `${(clock() - this.started).toFixed(1)} s`);
    this.nothing();
    this.say(state, why);
  }

  nothing() {
    this.section.querySelector(".said").textContent = this.text && `The whole answer: ${this.text}`;
    const empty = this.section.querySelector(".empty");
    empty.hidden = !this.box.hidden;
    empty.textContent = "No token came.";
  }

  figure(name, text) {
    this.section.querySelector(`[data-figure=${name}]`).textContent = text;
  }

  say(state, text) {
    this.section.dataset.state = state;
    this.section.querySelector(".state").textContent = text;
  }

  get summary() {
    const cost = this.section.querySelector("[data-figure=cost]").textContent;
    const state = this.section.querySelector(".state").textContent;
    return `${this.title}: ${count(this.steps.length)} tokens, cost ${cost}. ${state}`;
  }

  point(token) {
    if (token) this.show(token);
  }

  show(token) {
    for (const shown of document.querySelectorAll(".tokens .shown")) shown.classList.remove("shown");
    token.classList.add("shown");
    const index = Number(token.dataset.index);
    showCard(this.steps[index], index + 1, this.title);
  }

  // One token of each answer can be reached by the tab key; arrow keys go on from it.
  select(token) {
    if (!token) return;
    if (this.selected && this.selected !== token) {
      this.selected.tabIndex = -1;
      this.selected.setAttribute("aria-selected", "false");
    }
    const first = this.box.querySelector("[tabindex='0']");
    if (first && first !== token) first.tabIndex = -1;
    token.tabIndex = 0;
    token.setAttribute("aria-selected", "true");
    this.selected = token;
    this.show(token);
  }

  unselect() {
    this.selected = null;
    for (const token of this.box.querySelectorAll(".shown, [aria-selected=true]")) {
      token.classList.remove("shown");
      token.setAttribute("aria-selected", "false");
    }
    closeCard();
  }

  move(event) {
    const tokens = [...this.box.querySelectorAll("[role=option]")];
    const at = tokens.indexOf(event.target.closest("[role=option]"));
    const to = {
      ArrowRight: at + 1,
      ArrowDown: at + 1,
      ArrowLeft: at - 1,
      ArrowUp: at - 1,
      Home: 0,
      End: tokens.length - 1,
    }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    tokens[Math.min(Math.max(to, 0), tokens.length - 1)]?.focus();
  }
}

// A token as part of the text: a line end ends the line, and is seen.
function fill(token, step) {
  if (step.kind === "end") {
    token.append(make("i", "", visible(step.token, step.kind)));
    return;
  }
  step.token.split("\n").forEach((line, number) => {
    if (number) token.append(make("i", "", "\u21b5"), "\n");
    token.append([...line].map(printable).join(""));
  });
}

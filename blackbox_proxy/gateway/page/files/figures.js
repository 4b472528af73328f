// Figures and tokens as the other pages write them (blackbox_proxy/pages/figures.py, core/visible.py).

const MARKS = { " ": "\u2423", "\n": "\u21b5", "\t": "\u21e5" };
const UNPRINTABLE = /[\p{C}\p{Z}]/u;

function escapeOf(sign) {
  const code = sign.codePointAt(0);
  const named = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[sign];
  if (named) return named;
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  if (code < 0x10000) return `\\u${code.toString(16).padStart(4, "0")}`;
  return `\\U${code.toString(16).padStart(8, "0")}`;
}

export function printable(sign) {
  return sign !== " " && UNPRINTABLE.test(sign) ? escapeOf(sign) : sign;
}

// A token with spaces and line ends marked, what cannot be printed spelt out, the end as <end>.
export function visible(token, kind = "text") {
  if (kind === "end") return "<end>";
  return [...token].map((sign) => MARKS[sign] ?? printable(sign)).join("");
}

// Two places with a true minus, never -0.00; a dash where it is not known.
export function nats(value, sign = "") {
  if (value === null || value === undefined) return "\u2013";
  const text = Math.abs(value).toFixed(2);
  return value < 0 && Number(text) ? `\u2212${text}` : `${sign}${text}`;
}

const NOTHING = -9999; // what the gateway writes for a probability of nothing

// A log-prob as a percentage, with the log-prob itself.
export function chance(logp) {
  if (logp === null || logp === undefined) return "\u2013";
  if (logp <= NOTHING) return "0%";
  const share = Math.exp(Math.min(logp, 0));
  return share >= 0.0005 ? `${(share * 100).toFixed(1)}% (${nats(logp)})` : `<0.1% (${nats(logp)})`;
}

// US dollars: cents, and below a dollar four significant digits. amount: a decimal as text.
export function dollars(amount) {
  const value = Number(amount);
  if (value === 0) return "$0";
  if (value >= 1) return `$${value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
  const places = Math.max(2, 3 - Number(value.toExponential().split("e")[1]));
  const text = value.toFixed(Math.min(places, 20));
  return `$${text.replace(/0+$/, "").replace(/\.$/, "")}`;
}

export function count(number) {
  return number.toLocaleString("en-US");
}

// How many of all, with their share where there are any.
export function portion(part, whole) {
  return part ? `${count(part)} (${((100 * part) / whole).toFixed(0)}%)` : "0";
}

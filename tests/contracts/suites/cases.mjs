// What a program that uses a client tries, as cases.py has it: cases, each a function that throws where a reply is wrong.
import assert from "node:assert/strict";

const cases = new Map();

export const add = (name, run) => cases.set(name, run);

// Runs what no expression among the program's arguments fits, and writes a line of JSON: what became of it.
export async function runAll() {
  const patterns = process.argv.slice(2).map((pattern) => new RegExp(pattern));
  const [passed, failed, deselected] = [[], {}, []];
  for (const [name, run] of cases) {
    if (patterns.some((pattern) => pattern.test(name))) {
      deselected.push(name);
      continue;
    }
    try {
      await run();
      passed.push(name);
    } catch (error) {
      failed[name] = String(error?.stack ?? error).slice(0, 3000);
    }
  }
  console.log("\n" + JSON.stringify({ passed, failed, deselected }));
}

// The error that a call ends with; throws where it does not.
export async function errorOf(run) {
  try {
    await run();
  } catch (error) {
    return error;
  }
  return assert.fail("no error");
}

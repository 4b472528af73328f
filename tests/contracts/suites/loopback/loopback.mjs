// For `node --import`: a program reaches this machine alone, as sitecustomize.py has it for Python.
import { appendFileSync } from "node:fs";
import net from "node:net";

const HERE = new Set(["127.0.0.1", "::1", "localhost"]);
const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function (...given) {
  const first = Array.isArray(given[0]) ? given[0][0] : given[0];
  const host = typeof first === "object" ? (first.path ? "localhost" : first.host) : typeof given[1] === "string" ? given[1] : "localhost";
  if (!HERE.has(host ?? "localhost")) {
    appendFileSync(process.env.LOOPBACK_LOG, `connect ${host}\n`);
    throw new Error(`${host} is not this machine`);
  }
  return connect.apply(this, given);
};

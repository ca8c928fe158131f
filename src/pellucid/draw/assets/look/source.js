// Where answers come from: the server that runs beside the page, or what the page itself holds.
import { unpack } from "./bytes.js";

/** What is asked for is not in this page. */
export class NotHeld extends Error {}

const KEPT = 40; // answers with maps that are kept

/** Asks the server; `at` is the picture and label that are looked at. */
export class Server {
  live = true;
  at = { picture: "", label: null };
  #kept = new Map();

  prediction(picture, label) {
    return this.#ask("prediction", { picture, label });
  }

  async maps(path, first = 0) {
    const key = JSON.stringify([this.at, path, first]);
    if (!this.#kept.has(key)) {
      this.#kept.set(key, await this.#ask("maps", { ...this.at, path, first }));
      if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value);
    }
    return this.#kept.get(key);
  }

  number(address) {
    return this.#ask("number", { ...this.at, at: address });
  }

  update(address) {
    return this.#ask("update", { ...this.at, at: address });
  }

  projection(address, method) {
    return this.#ask("projection", { ...this.at, at: address, method });
  }

  /** Hand over a picture's bytes; the answer names it. */
  async send(blob) {
    const headers = { "Content-Type": "application/octet-stream" };
    return answered(await reached(fetch("picture", { method: "POST", headers, body: blob })));
  }

  async #ask(what, query) {
    const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
    return answered(await reached(fetch(`${what}?${new URLSearchParams(given)}`)));
  }
}

async function reached(asked) {
  try {
    return await asked;
  } catch {
    const error = new Error("the server does not answer");
    error.key = "error.server";
    throw error;
  }
}

async function answered(response) {
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/** Answers from what the page holds; everything else is NotHeld. */
export class Held {
  live = false;
  at = {};
  #numbers = new Map();

  constructor(start) {
    this.start = start;
  }

  async prediction() {
    return this.start.scene;
  }

  async maps(path) {
    return this.#held(`maps ${path}`);
  }

  async update(address) {
    return this.#held(`update ${address}`);
  }

  async projection(address, method) {
    return this.#held(`${method} ${address}`);
  }

  /** Whether a number is in the page. */
  has(address) {
    return Object.hasOwn(this.start.held.numbers, address);
  }

  async number(address) {
    if (!this.has(address)) throw new NotHeld(address);
    const part = this.start.held.numbers[address];
    if (!this.#numbers.has(part)) this.#numbers.set(part, this.#part(part));
    return (await this.#numbers.get(part))[address];
  }

  async #part(part) {
    const bytes = await unpack(document.getElementById(`numbers-${part}`).textContent);
    return JSON.parse(new TextDecoder().decode(bytes));
  }

  #held(key) {
    const id = this.start.held.others[key];
    if (id === undefined) throw new NotHeld(key);
    return JSON.parse(document.getElementById(`other-${id}`).textContent);
  }
}

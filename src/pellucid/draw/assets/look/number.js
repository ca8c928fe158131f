// The number that is open: what it is, what it sees, and the sum that made it.
import { byId, el, fill } from "./dom.js";
import { back, backTo, canGoBack, go, trail } from "./walk.js";
import { cropView } from "./picture.js";
import { format, parse } from "./address.js";
import { patchView } from "./patches.js";
import { sumLine, termsView, windowView } from "./terms.js";
import { short } from "./numbers.js";
import { formula, operation, say, word } from "./words.js";

/** Show a record (look/record.py). actions: live, copy(). */
export function showNumber(record, scene, actions) {
  const step = (address) => go(address, { into: true });
  fill(byId("number"),
    walkView(),
    head(record, actions),
    el("p", {}, sentence(record, actions)),
    record.box.length ? cropView(record, scene) : null,
    el("h3", {}, say("sum.title")),
    record.formula ? el("p", { class: "formula" }, formula(record.formula)) : null,
    record.missing ? el("p", { class: "warn" }, say("sum.missing", { why: record.missing })) : null,
    ...record.patches.map((patch) => patchView(patch, step, record.kind === "gradient")),
    record.undrawn ? el("p", { class: "soft" }, say("patch.undrawn")) : null,
    windowView(record, step),
    record.count ? sumLine(record) : nothing(record),
    facts(record),
    record.count ? termsView(record, step) : null);
}

/** Say that the number is not in this page, and what is known of it. */
export function showMissing(address, about, command) {
  fill(byId("number"), walkView(),
    el("div", { class: "number-head" }, el("h2", {}, el("code", { id: "address" }, address),
      Number.isFinite(about) ? ` ≈ ${short(about, 3)}` : "")),
    el("p", { class: "warn" }, say("number.notHeld"), " ", el("code", {}, command)));
}

/** The way back, and the numbers that were stepped through. */
function walkView() {
  const crumbs = trail().map((address, i) =>
    el("li", {}, el("button", { type: "button", class: "link", onclick: () => backTo(i) }, address)));
  return el("nav", { class: "walk", "aria-label": say("walk") },
    el("button", { type: "button", id: "back", disabled: !canGoBack(), title: "Alt+←", onclick: back }, `← ${say("back")}`),
    crumbs.length ? el("ol", {}, ...crumbs) : null);
}

function head(record, actions) {
  const place = parse(record.address);
  const other = format({ ...place, gradient: !place.gradient });
  const turn = place.gradient ? say("to.value") : say("to.gradient");
  const shown = (place.gradient || record.has_gradient) && (actions.live || actions.has(other));
  return el("div", { class: "number-head" },
    el("h2", {}, el("code", { id: "address" }, record.address), " = ", el("b", { id: "value" }, short(record.value))),
    el("div", { class: "buttons" },
      shown ? el("button", { type: "button", id: "turn", onclick: () => go(other, { into: true }) }, turn) : null,
      el("button", { type: "button", id: "copy", onclick: actions.copy }, say("copy"))));
}

/** What the number is, in a sentence. */
function sentence(record, actions) {
  const place = parse(record.address);
  const at = placeWords(record.shape, place.index, actions.isOutput(place.path) ? actions.classes : []);
  if (record.kind === "gradient") return say("is.gradient", { address: format({ ...place, gradient: false }) });
  if (record.kind === "weight") return say("is.weight", { path: place.path });
  if (record.kind === "pixel") return say("is.pixel", { at });
  if (record.kind === "label") return say("is.label");
  return say(at ? "is.activation" : "is.single", { operation: operation(record.operation), path: place.path, at });
}

function placeWords(shape, index, classes) {
  if (shape.length === 4) return say("place", { channel: index[1], row: index[2], column: index[3] });
  if (shape.length === 2) {
    const name = classes[index[1]];
    return say(name === undefined ? "feature" : "class", { i: index[1], name });
  }
  return index.length ? `[${index.join(", ")}]` : "";
}

function facts(record) {
  const known = Object.entries(record.facts).map(([name, fact]) => `${word(name)} ${typeof fact === "string" ? word(fact) : short(fact)}`);
  return known.length ? el("p", { class: "soft" }, say("facts", { facts: known.join(", ") })) : null;
}

/** Why there is no sum. */
function nothing(record) {
  if (record.missing) return null;
  if (record.kind === "gradient") return el("p", {}, say("sum.none"));
  return el("p", { class: "soft" }, say(record.kind === "weight" ? "sum.learned" : "sum.given"));
}

// The next step of a weight, line by line as the optimizer will take it.
import { byId, el, fill } from "./dom.js";
import { short } from "./numbers.js";
import { say, word } from "./words.js";

/** Show an update (look/update.py), or why there is none. */
export function showUpdate(update, error = "") {
  byId("update").hidden = !update && !error;
  if (!update) {
    fill(byId("update"), ...(error ? [el("h3", {}, say("update.title")), el("p", { class: "warn" }, error)] : []));
    return;
  }
  const settings = Object.entries(update.settings).filter(([, value]) => value !== 0 && value !== null && value !== false);
  const said = settings.map(([name, value]) => `${word(name)} ${Array.isArray(value) ? value.map((v) => short(v)).join(", ") : value === true ? "✓" : short(value)}`);
  const largest = Math.max(...update.terms.map((term) => Math.abs(term.product))) || 1;
  fill(byId("update"),
    el("h3", {}, say("update.title")),
    el("p", {}, el("b", {}, update.optimizer), said.length ? `, ${said.join(", ")}` : ""),
    el("p", { class: "sum" }, `${short(update.before, 7)} → `, el("b", { id: "after" }, short(update.after, 7))),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": say("update.title") },
      el("table", { class: "steps" }, el("tbody", {}, ...update.steps.map((step) => el("tr", {},
        el("th", { scope: "row" }, step.name), el("td", {}, el("code", {}, step.formula)), el("td", {}, step.sum)))))),
    el("p", { class: "soft" }, say("update.made"), " ",
      update.terms.map((term) => `${word(term.role)} ${short(term.product, 7)}`).join(" + "), ` = ${short(update.after, 7)}`),
    update.note ? el("p", { class: "warn" }, update.note) : null);
}

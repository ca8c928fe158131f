// The terms of a sum: as a line, as a table in which each can be stepped into, and the window of a pooling.
import { el, roving } from "./dom.js";
import { parse } from "./address.js";
import { colour, css, ink } from "./colours.js";
import { bracketed, count, numeric, short, tight } from "./numbers.js";
import { role, say, word } from "./words.js";

const IN_LINE = 8, IN_TABLE = 16;

const bySize = (a, b) => Math.abs(numeric(b.product)) - Math.abs(numeric(a.product));

/** The sum as a person would write it: the largest terms, and what the others add. */
export function sumLine(record) {
  const few = record.terms.length <= IN_LINE + 4 && !record.rest.count;
  const shown = few ? record.terms : [...record.terms].sort(bySize).slice(0, IN_LINE);
  const left = record.count - shown.length;
  const said = shown.map(written).join(" + ");
  const rest = record.terms.filter((term) => !shown.includes(term)).reduce((sum, term) => sum + numeric(term.product), 0)
    + numeric(record.rest.sum);
  const more = left ? ` + ${say("sum.more", { left: count(left), sum: short(rest) })}` : "";
  return el("p", { class: "sum", id: "sum" }, `${said}${more} = `, el("b", {}, short(record.total)),
    record.adds_up || record.missing ? null : el("span", { class: "warn" }, ` ${say("sum.off", { value: short(record.value) })}`));
}

/** What is left of rounding where the small terms are all 0. */
const negligible = (sum, record) => Math.abs(numeric(sum)) < 1e-12 * Math.max(...record.terms.map((term) => Math.abs(numeric(term.product))));

function written(term) {
  if (term.factor === null && term.value !== null && term.note?.includes("(x")) { // a function, by its name
    return term.note.replace(/\bx\b/g, short(term.value));
  }
  if (term.factor !== null && (term.weight !== null || numeric(term.factor) !== 1)) {
    return `${bracketed(term.value ?? 0)}·${bracketed(term.factor)}`;
  }
  return bracketed(term.product);
}

/** All terms that the record lists, the largest first. */
export function termsView(record, step) {
  const terms = [...record.terms].sort(bySize);
  const largest = Math.abs(numeric(terms[0]?.product)) || 1;
  const body = el("tbody", {}, ...terms.slice(0, IN_TABLE).map((term) => row(term, largest, step)));
  const heads = ["terms.adds", "", "terms.product", "terms.role", "terms.from", "terms.weight"];
  const table = el("table", { class: "terms" },
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head ? say(head) : "")))), body);
  const left = terms.slice(IN_TABLE);
  const all = el("button", { type: "button", class: "more", onclick: () => {
    body.append(...left.map((term) => row(term, largest, step)));
    all.remove();
  } }, say("terms.show", { left: count(left.length) }));
  return el("div", {},
    el("h3", {}, say("terms.title", { all: count(record.count) })),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": say("terms.title", { all: count(record.count) }) }, table),
    left.length ? all : null,
    record.rest.count ? el("p", { class: "soft" }, say("terms.rest", { left: count(record.rest.count), sum: short(negligible(record.rest.sum, record) ? 0 : record.rest.sum) })) : null);
}

function row(term, largest, step) {
  const product = numeric(term.product);
  const bar = el("span", { class: product < 0 ? "bar down" : "bar up" });
  bar.style.width = `${Math.min(100, (100 * Math.abs(product)) / largest) || 0}%`;
  const into = (address, shown = address) => (address === null ? "" : el("button", { type: "button", class: "link step",
    "data-address": address, title: address, "aria-label": say("step.into", { address }), onclick: () => step(address) }, shown));
  const times = term.factor === null ? short(term.value) : `${short(term.value ?? 0)} × ${bracketed(term.factor)}`;
  return el("tr", {},
    el("td", { class: "number" }, short(term.product)),
    el("td", { class: "bars" }, bar),
    el("td", { class: "number" }, term.value === null && term.factor === null ? "" : times),
    el("td", {}, role(term.role), term.note ? el("span", { class: "soft" }, ` ${word(term.note)}`) : null),
    el("td", {}, into(term.source)),
    el("td", {}, into(term.weight, term.weight?.replace(/^.*\.(?=\w+\[)/, "")))); // of a weight's path the last word is enough
}

/** Where terms choose among the cells of one map, as max pooling does: its window, the winner marked. */
export function windowView(record, step) {
  const places = record.terms.map((term) => ({ term, at: term.source ? parse(term.source) : null }));
  const isChoice = record.terms.some((term) => term.role === "winner");
  const first = places[0]?.at;
  const together = places.every(({ at }) => at && at.index.length === 4 && at.path === first.path && at.index[1] === first.index[1]);
  if (!isChoice || !together || record.terms.length > 121) return null;
  const rows = places.map(({ at }) => at.index[2]), columns = places.map(({ at }) => at.index[3]);
  const top = Math.min(...rows), left = Math.min(...columns), across = Math.max(...columns) - left + 1;
  const most = Math.max(...record.terms.map((term) => Math.abs(numeric(term.value)))) || 1;
  const lines = [];
  const cells = [...places].sort((a, b) => a.at.index[2] - b.at.index[2] || a.at.index[3] - b.at.index[3]).map(({ term, at }) => {
    const shade = colour(numeric(term.value) / most), words = `${term.source} = ${short(term.value)}, ${role(term.role)}`;
    const cell = el("button", { type: "button", role: "gridcell", class: `cell ${term.role}`, title: words, "aria-label": words,
      "data-address": term.source, onclick: () => step(term.source) }, tight(term.value));
    cell.style.background = css(shade);
    cell.style.color = ink(shade);
    (lines[at.index[2] - top] ??= el("div", { role: "row", class: "line" })).append(cell);
    return cell;
  });
  roving(cells, () => across);
  return el("figure", { class: "grid-view" },
    el("div", { role: "grid", class: "cells written", "aria-label": say("window") }, ...lines.filter(Boolean)),
    el("figcaption", {}, say("window")));
}

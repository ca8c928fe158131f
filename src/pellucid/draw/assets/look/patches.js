// What was multiplied with what: for each channel the values, the factors and their products, as small grids.
import { el, roving } from "./dom.js";
import { colour, css, ink } from "./colours.js";
import { gridOf, mapView } from "./mapview.js";
import { unravel } from "./address.js";
import { count, numeric, short, tight } from "./numbers.js";
import { role, say, slot } from "./words.js";

const FIRST_CHANNELS = 4, MOST_CELLS = 121, WIDE = 3, WRITTEN = 5; // columns

/** The grids of one patch; open(address) steps into a number. */
export function patchView(patch, open, gradient) {
  const [channels, ...window] = patch.shape;
  const [rows, columns] = [1, 1, ...window].slice(-2);
  const cells = rows * columns;
  const kinds = ["values", "factors", "products"];
  const largest = Object.fromEntries(kinds.map((kind) => [kind, most(patch[kind])]));
  const parts = Array.from({ length: channels }, (_, i) => {
    const cut = (listed) => listed.slice(i * cells, (i + 1) * cells);
    const products = cut(patch.products).map(numeric);
    return { i, cut, sum: products.reduce((a, b) => a + b, 0), size: products.reduce((a, b) => a + Math.abs(b), 0) };
  }).sort((a, b) => b.size - a.size);

  const body = el("div", { class: "patch" });
  const row = (part) => {
    const grid = (kind, origin) => gridView({
      kind, rows, columns, values: part.cut(patch[kind]), outside: part.cut(patch.outside), largest: largest[kind],
      addresses: origin ? part.cut(origin.places).map((place) => addressAt(origin, place)) : null, open,
      name: kind === "values" ? slot(patch.slot, gradient) : kind === "factors" ? factorName(patch) : say("products"),
    });
    const name = patch.of_channels > 1 ? say("channel.short", { channel: patch.channels[part.i] }) : role(patch.role);
    return el("div", { class: "patch-row" }, el("b", { class: "patch-name" }, name),
      grid("values", patch.sources), el("span", { class: "sign" }, "×"), grid("factors", patch.weights),
      el("span", { class: "sign" }, "="), grid("products", null),
      el("span", { class: "patch-sum" }, say("sum"), " ", el("b", {}, short(part.sum))));
  };
  body.append(...parts.slice(0, FIRST_CHANNELS).map(row));
  const left = parts.slice(FIRST_CHANNELS);
  if (left.length || patch.of_channels > channels) body.append(more(patch, left, row));
  return body;
}

/** What is not drawn yet, and what will not be. */
function more(patch, left, row) {
  const beyond = patch.of_channels - patch.channels.length;
  const rest = left.reduce((sum, part) => sum + part.sum, 0);
  const line = el("p", { class: "soft" });
  if (left.length) {
    line.append(say("patch.more", { left: count(left.length), sum: short(rest) }), " ", el("button", {
      type: "button",
      onclick: () => line.replaceWith(...left.map(row), ...(beyond ? [el("p", { class: "soft" }, beyondWords(beyond))] : [])),
    }, say("patch.show")));
  }
  if (beyond) line.append(" ", beyondWords(beyond));
  return line;
}

const beyondWords = (beyond) => say("patch.beyond", { beyond: count(beyond) });

function factorName(patch) {
  if (!patch.weights) return say("factors");
  const path = patch.weights.address;
  return path.startsWith("d ") ? say("slot.gradient") : /weight$/.test(path) ? say("kernel") : path;
}

const addressAt = (origin, place) =>
  (place < 0 ? null : `${origin.address}[${unravel(place, origin.shape).join(",")}]`);

function most(values) {
  const sizes = values.map((value) => Math.abs(numeric(value))).filter(Number.isFinite);
  return sizes.reduce((a, b) => Math.max(a, b), 0);
}

/** One grid: buttons where its numbers can be opened, else plain cells; a map where there are many. */
function gridView(grid) {
  const name = el("figcaption", {}, grid.name);
  const view = grid.rows * grid.columns > MOST_CELLS ? largeGrid(grid) : smallGrid(grid);
  return el("figure", { class: `grid-view ${grid.kind}` }, view, name);
}

function smallGrid({ rows, columns, values, outside, largest, addresses, open, name, kind }) {
  const cells = values.map((value, i) => {
    const number = numeric(value), shade = colour(largest > 0 ? number / largest : 0);
    const said = tight(value, columns > WIDE), address = addresses?.[i] ?? null;
    const words = outside[i] ? say("cell.padding", { value: said }) : address ? `${address} = ${said}` : said;
    const cell = el(addresses ? "button" : "span", {
      role: "gridcell", class: outside[i] ? "cell outside" : "cell", title: words, "aria-label": words,
      type: addresses ? "button" : null, "aria-disabled": addresses && !address ? "true" : null,
      onclick: address ? () => open(address) : null, "data-address": address,
    }, columns <= WRITTEN ? said : "");
    cell.style.background = css(shade);
    cell.style.color = ink(shade);
    return cell;
  });
  if (addresses) roving(cells, () => columns);
  const lines = Array.from({ length: rows }, (_, y) =>
    el("div", { role: "row", class: "line" }, ...cells.slice(y * columns, (y + 1) * columns)));
  const written = columns <= WIDE ? "written" : columns <= WRITTEN ? "written narrow" : "";
  return el("div", { role: "grid", class: `cells ${written}`, "aria-label": name, "data-kind": kind }, ...lines);
}

function largeGrid({ rows, columns, values, outside, largest, addresses, open, name }) {
  const numbers = values.map(numeric);
  return mapView(gridOf(numbers, rows, columns, largest), name, {
    side: 176,
    read: (cell) => `${addresses?.[cell] ?? (outside[cell] ? say("padding") : `[${cell}]`)} = ${short(values[cell])}`,
    open: (cell) => open(addresses[cell]),
    openable: (cell) => Boolean(addresses?.[cell]),
  });
}

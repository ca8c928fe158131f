// A layer: the pictures of its channels, one of them enlarged, its weights.
import { byId, el, fill, inFirstRow, roving } from "./dom.js";
import { channelOf, mapView } from "./mapview.js";
import { colour, css } from "./colours.js";
import { format, mapsPath } from "./address.js";
import { count, short, size } from "./numbers.js";
import { operation, say } from "./words.js";

const THUMB = 112; // CSS pixels that a thumbnail is at most wide

/**
 * Show a layer.
 * place: of the number that is open. sheet: of its maps; gradients: whether these are shown. node: the layer, null for
 * what belongs to none. actions: open(address), page(first), oneScale(), has(address), classes.
 */
export function showLayer(place, sheet, node, gradients, actions) {
  const channel = sheet.place(place.index).channel;
  fill(byId("layer-head"), ...heading(place, sheet, node, gradients, actions));
  fill(byId("channels"), ...channels(place, sheet, channel, gradients, actions));
  fill(byId("channel"), ...enlarged(place, sheet, channel, gradients, actions));
}

function heading(place, sheet, node, gradients, actions) {
  const facts = [size(sheet.batch ? sheet.shape.slice(1) : sheet.shape)];
  if (node?.field) facts.push(node.field === "everything" ? say("layer.everything") : say("layer.field", { size: fieldSize(node.field) }));
  const own = node && place.path !== node.name && !place.path.startsWith(`${node.name}:`);
  const views = [...(node ? [{ name: node.name, shape: node.shape, words: say("layer.output") }] : []),
    ...(node?.parameters ?? []).map((own) => ({ ...own, words: own.name.split(".").pop() }))];
  const chips = views.map((view) => el("button", {
    type: "button", class: "chip", "aria-pressed": String(view.name === place.path),
    onclick: () => actions.openPath(view.name),
  }, `${view.words} ${size(view.name === node?.name ? view.shape.slice(1) : view.shape)}`));
  return [
    el("h2", {}, node ? operation(node.operation) : place.path, " ", el("code", {}, place.path)),
    el("p", { class: "soft" }, `${gradients ? `${say("layer.gradients")}, ` : ""}${own ? say("layer.weight") + ", " : ""}`
      + facts.join(" · ")),
    chips.length > 1 ? el("div", { class: "chips", role: "group", "aria-label": say("layer.parts") }, ...chips) : null,
  ];
}

/** `8` as `8 × 8`, `3x5` as `3 × 5`. */
const fieldSize = (field) => (/^\d+$/.test(field) ? size([field, field]) : field.replaceAll("x", " × "));

function channels(place, sheet, channel, gradients, actions) {
  if (sheet.tiles.channels < 2) return [];
  const thumbs = sheet.shown.map((c, i) => {
    const address = format({ gradient: gradients, path: place.path, index: sheet.index(c, sheet.strongest[i]) });
    const made = thumb(sheet, c, c === channel, actions, () => actions.open(address));
    made.classList.toggle("away", !actions.live && !actions.has(address));
    return made;
  });
  const at = Math.max(0, sheet.at(channel));
  roving(thumbs, () => inFirstRow(thumbs), at);
  const first = sheet.shown[0], last = sheet.shown.at(-1), all = sheet.tiles.channels;
  const contiguous = last - first + 1 === sheet.shown.length;
  const what = sheet.batch ? "channels" : "kernels";
  const words = sheet.shown.length === all ? say(`${what}.all`, { all: count(all) })
    : contiguous ? say(`${what}.some`, { first, last, all: count(all) })
      : say(`${what}.strongest`, { shown: count(sheet.shown.length), all: count(all) });
  const turn = (name, to) => el("button", { type: "button", onclick: () => actions.page(to) }, say(name));
  const pages = contiguous && actions.live && sheet.shown.length < all ? el("span", { class: "pages" },
    first > 0 ? turn("channels.before", Math.max(0, first - sheet.shown.length)) : null,
    last < all - 1 ? turn("channels.after", last + 1) : null) : null;
  const one = el("label", { class: "one" },
    el("input", { type: "checkbox", checked: actions.isOneScale, onchange: actions.oneScale }), " ", say("channels.one"));
  const box = el("div", { class: "thumbs", role: "group", "aria-label": words }, ...thumbs);
  paintInView(box, thumbs, sheet, actions);
  box.style.gridTemplateColumns = `repeat(auto-fill, minmax(${shownWidth(sheet.layout.width) + 8}px, 1fr))`;
  return [el("h3", {}, words, pages), box, one];
}

/** Paint thumbnails as they scroll into view: a layer may have thousands of channels. */
function paintInView(box, thumbs, sheet, actions) {
  const seen = new IntersectionObserver((entries) => {
    for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
      const channel = Number(target.dataset.channel);
      sheet.paint(target.firstChild, channel, actions.isOneScale ? sheet.most : sheet.largest[sheet.at(channel)]);
      seen.unobserve(target);
    }
  }, { root: box, rootMargin: "200px" });
  thumbs.forEach((one) => seen.observe(one));
}

function thumb(sheet, channel, pressed, actions, choose) {
  const canvas = document.createElement("canvas");
  const { width, height } = sheet.layout;
  canvas.style.width = `${shownWidth(width)}px`;
  canvas.style.height = `${(shownWidth(width) * height) / width}px`;
  if (width > THUMB) canvas.classList.add("smooth");
  const words = say("channel.named", { channel, largest: short(sheet.largest[sheet.at(channel)], 3) });
  return el("button", { type: "button", class: "thumb", "aria-pressed": String(pressed), "aria-label": words, title: words,
    "data-channel": channel, onclick: choose }, canvas, el("span", {}, String(channel)));
}

/** Whole pixels a cell, so that each cell is seen as it is; larger maps at a half, a third ... */
const shownWidth = (width) => width * (width <= THUMB ? Math.max(1, Math.floor(56 / width)) : 1 / Math.ceil(width / THUMB));

function enlarged(place, sheet, channel, gradients, actions) {
  const held = sheet.at(channel) >= 0;
  if (!held) return [el("p", { class: "soft" }, say("channel.notHeld", { channel }))];
  const most = actions.isOneScale ? sheet.most : sheet.largest[sheet.at(channel)];
  const addressOf = (cell) => format({ gradient: gradients, path: place.path, index: sheet.index(channel, cell) });
  const title = sheet.tiles.channels < 2 ? say("map.title") : say(sheet.batch ? "channel.title" : "kernel.title", { channel });
  const view = mapView(channelOf(sheet, channel, most), title, {
    chosen: place.gradient === gradients ? sheet.place(place.index).cell : null,
    read: (cell) => `${where(sheet, channel, cell, mapsPath(place), actions)} ≈ ${short(sheet.value(channel, cell), 3)}`,
    open: (cell) => actions.open(addressOf(cell)),
  });
  const known = actions.live ? null : sheetNote(sheet, channel, addressOf, actions);
  return [el("h3", {}, title), view, legend(most), known];
}

/** What the colours mean. */
function legend(most) {
  const bar = el("span", { class: "ramp" });
  bar.style.background = `linear-gradient(90deg, ${[-1, 0, 1].map((share) => css(colour(share))).join(",")})`;
  const end = short(most, 3);
  return el("p", { class: "legend", role: "img", "aria-label": say("legend", { end }) }, most ? `-${end} ` : "", bar, ` ${end}`);
}

/** Which cells of the map this page can open. */
function sheetNote(sheet, channel, addressOf, actions) {
  const held = Array.from({ length: sheet.cells }, (_, cell) => addressOf(cell)).filter(actions.has);
  const links = held.slice(0, 12).map((address) => el("button", { type: "button", class: "link",
    onclick: () => actions.open(address) }, address.replace(/^.*\[/, "[")));
  return el("p", { class: "soft held" }, say("channel.held", { held: count(held.length), all: count(sheet.cells) }),
    ...links.flatMap((link) => [" ", link]));
}

/** A cell in words: row 3, column 5; feature 7; cat. */
function where(sheet, channel, cell, path, actions) {
  const index = sheet.index(channel, cell).slice(sheet.batch ? 1 : 0);
  if (actions.isOutput(path) && index.length === 1) return actions.classes[index[0]] ?? say("feature", { i: index[0] });
  if (index.length === 3) return say("place", { channel: index[0], row: index[1], column: index[2] });
  return `[${index.join(", ")}]`;
}

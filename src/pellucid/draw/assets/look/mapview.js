// One channel, enlarged: a cell is chosen by pointer or by the arrow keys, and its number is read out.
import { el } from "./dom.js";
import { colour, css, ink } from "./colours.js";
import { short } from "./numbers.js";
import { say } from "./words.js";

const SIDE = 336, LARGEST_CELL = 48, WRITTEN_FROM = 38; // CSS pixels

/**
 * picture: {layout, cells, value(cell), paint(canvas)}. name: what a screen reader is told it is.
 * options: chosen (a cell), read(cell) -> text, open(cell), openable(cell) -> boolean.
 */
export function mapView(picture, name, { chosen = null, read, open, openable = () => true, side = SIDE }) {
  const { layout } = picture;
  const cellSize = Math.max(1, Math.min(LARGEST_CELL, Math.floor(side / Math.max(layout.width, layout.height))));
  const canvas = drawn(picture, cellSize);
  const cursor = el("div", { class: "cursor" });
  const mark = el("div", { class: "chosen" });
  const readout = el("p", { class: "read", "aria-live": "polite" });
  const box = el("div", { class: "map", tabindex: 0, role: "application", "aria-roledescription": say("map"),
    "aria-label": `${name}. ${say("map.keys")}` }, canvas, mark, cursor);
  box.style.width = `${layout.width * cellSize}px`;
  box.style.aspectRatio = `${layout.width} / ${layout.height}`;

  let at = chosen ?? 0;
  const place = (element, cell) => {
    const { x, y } = layout.where(cell);
    element.style.left = `${(100 * x) / layout.width}%`;
    element.style.top = `${(100 * y) / layout.height}%`;
    element.style.width = `${100 / layout.width}%`;
    element.style.height = `${100 / layout.height}%`;
  };
  const pointAt = (cell) => {
    at = cell;
    place(cursor, cell);
    readout.textContent = read(cell);
  };
  const under = (event) => {
    const frame = canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - frame.left) / frame.width) * layout.width);
    const y = Math.floor(((event.clientY - frame.top) / frame.height) * layout.height);
    return layout.cell(x, y);
  };
  const move = (dx, dy) => {
    const { x, y } = layout.where(at);
    // A step of one further jumps over the gap between two tiles.
    const next = layout.cell(x + dx, y + dy) ?? layout.cell(x + dx + Math.sign(dx), y + dy + Math.sign(dy));
    if (next !== null) pointAt(next);
  };
  box.addEventListener("pointermove", (event) => {
    const cell = under(event);
    if (cell !== null) pointAt(cell);
  });
  box.addEventListener("click", (event) => {
    const cell = under(event);
    if (cell !== null && openable(cell)) open(cell);
  });
  box.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const keys = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], PageUp: [0, -8],
      PageDown: [0, 8] };
    if (event.key in keys) move(...keys[event.key]);
    else if (event.key === "Home") pointAt(0);
    else if (event.key === "End") pointAt(picture.cells - 1);
    else if ((event.key === "Enter" || event.key === " ") && openable(at)) open(at);
    else return;
    event.preventDefault();
  });
  if (chosen !== null) place(mark, chosen);
  mark.hidden = chosen === null;
  pointAt(at);
  return el("div", { class: "map-and-read" }, box, readout);
}

/** The cells in their colours, with their numbers where these fit. */
function drawn(picture, cellSize) {
  const { layout } = picture;
  const small = document.createElement("canvas");
  picture.paint(small);
  if (cellSize < WRITTEN_FROM) return small;
  const ratio = window.devicePixelRatio || 1;
  const large = el("canvas", { width: layout.width * cellSize * ratio, height: layout.height * cellSize * ratio });
  const paper = large.getContext("2d");
  paper.imageSmoothingEnabled = false;
  paper.drawImage(small, 0, 0, large.width, large.height);
  paper.scale(ratio, ratio);
  paper.font = "11px system-ui, sans-serif";
  paper.textAlign = "center";
  paper.textBaseline = "middle";
  for (let cell = 0; cell < picture.cells; cell++) {
    const { x, y } = layout.where(cell);
    paper.fillStyle = ink(picture.colour(cell));
    paper.fillText(short(picture.value(cell), 2), (x + 0.5) * cellSize, (y + 0.5) * cellSize, cellSize - 2);
  }
  return large;
}

/** A channel of a sheet as the view takes it. */
export function channelOf(sheet, channel, most) {
  return {
    layout: sheet.layout,
    cells: sheet.cells,
    value: (cell) => sheet.value(channel, cell),
    colour: (cell) => colour(most > 0 ? sheet.value(channel, cell) / most : 0),
    paint: (canvas) => sheet.paint(canvas, channel, most),
  };
}

/** A plain grid of numbers as the view takes it. */
export function gridOf(values, rows, columns, most) {
  const shade = (cell) => colour(most > 0 ? values[cell] / most : 0);
  return {
    layout: {
      width: columns,
      height: rows,
      where: (cell) => ({ x: cell % columns, y: Math.floor(cell / columns) }),
      cell: (x, y) => (x >= 0 && y >= 0 && x < columns && y < rows ? y * columns + x : null),
    },
    cells: values.length,
    value: (cell) => values[cell],
    colour: shade,
    paint(canvas) {
      canvas.width = columns;
      canvas.height = rows;
      const paper = canvas.getContext("2d");
      values.forEach((_, cell) => {
        paper.fillStyle = css(shade(cell));
        paper.fillRect(cell % columns, Math.floor(cell / columns), 1, 1);
      });
    },
  };
}

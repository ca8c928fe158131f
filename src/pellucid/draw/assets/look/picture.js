// The picture: as the network sees it, with the receptive field of the open number as a box; and its prediction.
import { byId, el, fill } from "./dom.js";
import { count, short } from "./numbers.js";
import { say } from "./words.js";

const CROP = 160; // CSS pixels
const image = new Image();

/** Show a scene's picture and what the network says of it. actions: open(address), label(index or null), live. */
export async function showPicture(scene, classes, actions) {
  if (image.src !== scene.pixels) {
    image.src = scene.pixels;
    await image.decode();
  }
  const canvas = byId("picture-canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d").drawImage(image, 0, 0);
  fill(byId("top"), ...scene.top.slice(0, 5).map((found) => bar(found, scene, actions)));
  showLabel(scene, classes, actions);
}

function bar(found, scene, actions) {
  const share = `${(100 * found.probability).toFixed(found.probability < 0.0995 ? 1 : 0)}%`;
  const line = el("span", { class: "bar up" });
  line.style.width = share;
  return el("li", {}, el("button", { type: "button", "data-address": found.address, title: say("top.why", { name: found.name }),
    onclick: () => actions.open(found.address) },
    el("span", { class: "name" }, found.name), el("span", { class: "share" }, share), line));
}

/** Which class the loss goes by. */
function showLabel(scene, classes, actions) {
  const box = byId("label-box");
  box.hidden = scene.label === null;
  if (scene.label === null) return;
  const name = (i) => classes[i] ?? String(i);
  const predicted = scene.top[0]?.index;
  if (actions.live) {
    const options = (classes.length ? classes : scene.top.map((found) => found.name)).map((_, i) =>
      el("option", { value: i, selected: i === scene.label }, i === predicted ? say("label.predicted", { name: name(i) }) : name(i)));
    const choose = el("select", { id: "label", onchange: (event) => actions.label(Number(event.target.value)) }, ...options);
    fill(box, el("label", { for: "label" }, say("label")), choose);
  } else {
    fill(box, el("span", {}, say("label"), " ", el("b", {}, name(scene.label))));
  }
  box.append(
    el("p", { class: "soft" }, say(scene.predicted ? "label.by.prediction" : "label.by.you"), " ",
      el("button", { type: "button", class: "link", "data-address": scene.loss, onclick: () => actions.open(scene.loss) },
        say("label.loss", { value: short(scene.loss_value) }))));
}

/** Keep the picture's place before there is one, so that nothing moves under a pen when it comes. */
export function keepPlace({ rows, columns }) {
  const canvas = byId("picture-canvas");
  canvas.width = columns;
  canvas.height = rows;
}

/** Draw the receptive field of a record over the picture; none for a weight. */
export function showField(record) {
  const field = byId("field");
  field.hidden = !record || record.box.length !== 2;
  if (field.hidden) return;
  const [[top, bottom], [left, right]] = record.box;
  const { width, height } = image;
  field.style.left = `${(100 * left) / width}%`;
  field.style.top = `${(100 * top) / height}%`;
  field.style.width = `${(100 * (right - left + 1)) / width}%`;
  field.style.height = `${(100 * (bottom - top + 1)) / height}%`;
}

/** The part of the picture that a number sees, enlarged, and the same in words. */
export function cropView(record, scene) {
  const words = el("p", { class: "soft", id: "box" }, fieldWords(record));
  if (record.box.length !== 2 || !scene) return words;
  const [[top, bottom], [left, right]] = record.box;
  const across = right - left + 1, down = bottom - top + 1;
  const canvas = el("canvas", { width: across, height: down, role: "img", "aria-label": say("field.picture") });
  canvas.getContext("2d").drawImage(image, left, top, across, down, 0, 0, across, down);
  const scale = Math.min(CROP / across, CROP / down);
  canvas.style.width = `${across * scale}px`;
  canvas.style.height = `${down * scale}px`;
  return el("div", { class: "crop" }, canvas, words);
}

function fieldWords(record) {
  if (record.box.length !== 2) return say("field.some", { box: JSON.stringify(record.box) });
  const [[top, bottom], [left, right]] = record.box;
  const whole = top === 0 && left === 0 && bottom === image.height - 1 && right === image.width - 1;
  const pixels = count((bottom - top + 1) * (right - left + 1));
  const rows = bottom - top + 1, columns = right - left + 1;
  const outer = record.box_with_padding;
  const padded = outer.length === 2 && JSON.stringify(outer) !== JSON.stringify(record.box);
  return say(whole ? "field.whole" : "field.box", { top, bottom, left, right, rows, columns, pixels })
    + (padded && !whole ? ` ${say("field.padding")}` : "");
}

// What in the picture a number goes by: deconvnet, gradient, Grad-CAM and effective field, as pictures.
import { byId, el, fill } from "./dom.js";
import { unpack } from "./bytes.js";
import { colour } from "./colours.js";
import { NotHeld } from "./source.js";
import { say } from "./words.js";

const METHODS = ["deconvnet", "saliency", "grad_cam", "field"];
const SIDE = 168; // CSS pixels
let shownFor = "";

/** Offer the projections of a number; while the box is open, each new number gets its own. */
export function showProjections(record, source, picture) {
  const box = byId("projections");
  const address = record?.kind === "activation" && !record.path.startsWith("loss") && record.shape.length >= 2 ? record.address : "";
  box.hidden = !address;
  const load = () => {
    const key = JSON.stringify([address, source.at]);
    if (box.open && address && key !== shownFor) {
      shownFor = key;
      for (const method of METHODS) showOne(method, address, source, picture, () => key === shownFor);
    }
  };
  box.ontoggle = load;
  load();
}

/** Paint again, in other colours or another language. */
export const forgetProjections = () => { shownFor = ""; };

async function showOne(method, address, source, picture, current) {
  const figure = byId(`projection-${method}`);
  try {
    const answer = await source.projection(address, method);
    const codes = await unpack(answer.data);
    if (!current()) return;
    const words = say(`projection.${method}`);
    const canvas = paint(answer, codes, picture);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", words);
    const nothing = answer.largest === 0 ? el("span", {}, say("projection.nothing")) : null;
    const paper = el("span", { class: "soft" }, answer.paper);
    fill(figure, canvas, fill(el("figcaption"), el("b", {}, words), nothing, paper));
  } catch (error) {
    if (!current()) return;
    const why = error instanceof NotHeld ? say("projection.notHeld") : error.message;
    fill(figure, el("figcaption", {}, el("b", {}, say(`projection.${method}`)), el("span", { class: "soft" }, why)));
  }
}

function paint({ channels, rows, columns }, codes, picture) {
  const canvas = el("canvas", { width: columns, height: rows });
  const paper = canvas.getContext("2d"), image = paper.createImageData(columns, rows);
  for (let at = 0; at < rows * columns; at++) {
    const rgb = channels === 3 ? codes.slice(3 * at, 3 * at + 3) : colour((codes[at] - 128) / 127);
    image.data.set([...rgb, 255], 4 * at);
  }
  paper.putImageData(image, 0, 0);
  canvas.style.width = `${SIDE}px`;
  canvas.style.aspectRatio = `${picture.columns} / ${picture.rows}`; // Grad-CAM's may be coarser than the picture
  return canvas;
}

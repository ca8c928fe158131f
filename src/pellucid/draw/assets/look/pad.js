// A picture of one's own: dropped, chosen, or drawn, by pointer or with the arrow keys.
import { byId } from "./dom.js";
import { say } from "./words.js";

const SIDE = 280, STEPS = 28; // pixels of the pad, and keyboard steps across it

/** Make dropping, choosing and drawing call `take(blob)`; refuse(message) says what was wrong. */
export function startPad(input, most, take, refuse) {
  const send = (file) => {
    if (!file) return;
    if (file.size > most) refuse(say("error.size", { most: Math.floor(most / 2 ** 20) }));
    else take(file);
  };
  byId("file").addEventListener("change", (event) => {
    send(event.target.files[0]);
    event.target.value = ""; // the same file may be chosen again
  });
  const shade = (on) => document.body.classList.toggle("dropping", on);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    shade(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && shade(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    shade(false);
    send(event.dataTransfer.files[0]);
  });
  startDrawing(input, take);
}

function startDrawing(input, take) {
  const canvas = byId("pad"), paper = canvas.getContext("2d");
  const grey = input.channels === 1; // white on black, as Fashion-MNIST and MNIST are
  const pen = { x: SIDE / 2, y: SIDE / 2, down: false };
  canvas.width = canvas.height = SIDE;
  byId("ink").value = grey ? "#ffffff" : "#222222";
  byId("ink").hidden = grey;
  const clear = () => {
    paper.fillStyle = grey ? "#000" : "#fff";
    paper.fillRect(0, 0, SIDE, SIDE);
  };
  clear();
  const line = (x, y) => {
    paper.strokeStyle = byId("ink").value;
    paper.lineWidth = SIDE / 12;
    paper.lineCap = "round";
    paper.beginPath();
    paper.moveTo(pen.x, pen.y);
    paper.lineTo(x, y);
    paper.stroke();
    pen.x = x;
    pen.y = y;
  };
  const done = () => canvas.toBlob((blob) => blob && take(blob), "image/png");
  const where = (event) => {
    const frame = canvas.getBoundingClientRect();
    return [((event.clientX - frame.left) / frame.width) * SIDE, ((event.clientY - frame.top) / frame.height) * SIDE];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    [pen.x, pen.y] = where(event);
    pen.down = true;
    line(pen.x, pen.y);
  });
  canvas.addEventListener("pointermove", (event) => pen.down && line(...where(event)));
  canvas.addEventListener("pointerup", () => {
    pen.down = false;
    done();
  });
  byId("clear").addEventListener("click", clear);
  startKeys(canvas, pen, line, done);
}

/** Arrow keys move the pen, the space bar sets it down and lifts it; lifting it asks for the prediction. */
function startKeys(canvas, pen, line, done) {
  const spot = byId("pen");
  const place = () => {
    spot.style.left = `${(100 * pen.x) / SIDE}%`;
    spot.style.top = `${(100 * pen.y) / SIDE}%`;
    spot.classList.toggle("down", pen.down);
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (by) {
      const inside = (v) => Math.max(0, Math.min(SIDE, v));
      const x = inside(pen.x + (by[0] * SIDE) / STEPS), y = inside(pen.y + (by[1] * SIDE) / STEPS);
      if (pen.down) line(x, y);
      else [pen.x, pen.y] = [x, y];
    } else if (event.key === " " || event.key === "Enter") {
      pen.down = !pen.down;
      if (pen.down) line(pen.x, pen.y);
      else done();
    } else return;
    event.preventDefault();
    place();
  });
  canvas.addEventListener("focus", place);
  canvas.addEventListener("blur", () => {
    if (pen.down) done();
    pen.down = false;
    place();
  });
}

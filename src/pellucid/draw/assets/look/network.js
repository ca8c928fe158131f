// The network: its drawing, in which a layer is chosen by pointer or keys, and the same as a list.
import { byId, el, fill } from "./dom.js";
import { size } from "./numbers.js";
import { operation, say } from "./words.js";

const SMALLEST = 0.66; // of the drawing's own size: its text is of 13 pixels
let chosen = "";

/** Make the drawing and the list answer; `choose(name)` is called with a node's name. */
export function startNetwork(network, choose) {
  const boxes = [...byId("drawing").querySelectorAll("[data-node]")];
  fitDrawing(byId("drawing").querySelector("svg"));
  boxes.forEach((box, i) => {
    box.setAttribute("role", "button");
    box.addEventListener("click", () => choose(box.dataset.node));
    box.addEventListener("focus", () => boxes.forEach((other) => other.setAttribute("tabindex", other === box ? 0 : -1)));
    box.addEventListener("keydown", (event) => {
      const next = { ArrowDown: i + 1, ArrowRight: i + 1, ArrowUp: i - 1, ArrowLeft: i - 1, Home: 0,
        End: boxes.length - 1 }[event.key];
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "Enter" || event.key === " ") choose(box.dataset.node);
      else if (next !== undefined) boxes[next]?.focus();
      else return;
      event.preventDefault();
    });
  });
  byId("layers").addEventListener("change", (event) => choose(event.target.value));
  const step = (by) => {
    const names = network.nodes.map((node) => node.name);
    const next = names[names.indexOf(chosen) + by];
    if (next !== undefined) choose(next);
  };
  byId("layer-before").addEventListener("click", () => step(-1));
  byId("layer-after").addEventListener("click", () => step(1));
}

/** As wide as its box, but never so small that it cannot be read: then its box scrolls. */
function fitDrawing(svg) {
  const natural = svg.viewBox.baseVal.width;
  svg.removeAttribute("height");
  svg.setAttribute("width", "100%");
  svg.style.minWidth = `${natural * SMALLEST}px`;
  svg.style.maxWidth = `${natural}px`;
}

/** In the reader's language. */
export function nameNetwork(network) {
  const byName = new Map(network.nodes.map((node) => [node.name, node]));
  for (const box of byId("drawing").querySelectorAll("[data-node]")) {
    const node = byName.get(box.dataset.node);
    const words = operation(node.operation);
    box.setAttribute("aria-label", `${words}, ${node.name}, ${size(node.shape)}`);
    box.querySelector("text").textContent = words.length > 40 ? `${words.slice(0, 39)}…` : words;
  }
  const options = network.nodes.map((node) => {
    const words = `${node.name} · ${operation(node.operation)}`;
    return el("option", { value: node.name }, node.kind === "input" ? say("layer.input", { name: node.name }) : words);
  });
  fill(byId("layers"), ...options);
  byId("layers").value = chosen;
}

/** Mark the layer that is open, and bring it into view within the drawing. */
export function markLayer(name, network) {
  chosen = name;
  const names = network.nodes.map((node) => node.name);
  byId("layers").value = name;
  byId("layer-before").disabled = names.indexOf(name) <= 0;
  byId("layer-after").disabled = names.indexOf(name) >= names.length - 1;
  const drawing = byId("drawing");
  const boxes = [...drawing.querySelectorAll("[data-node]")];
  for (const box of boxes) {
    const own = box.dataset.node === name;
    box.classList.toggle("open", own);
    box.setAttribute("aria-pressed", own);
    box.setAttribute("tabindex", own ? 0 : -1);
    if (own) {
      const place = box.getBoundingClientRect(), frame = drawing.getBoundingClientRect();
      // Only the drawing scrolls, not the page.
      drawing.scrollTop += place.top + place.height / 2 - frame.top - frame.height / 2;
      drawing.scrollLeft += place.left + place.width / 2 - frame.left - frame.width / 2;
    }
  }
  if (!boxes.some((box) => box.dataset.node === name)) boxes[0]?.setAttribute("tabindex", 0);
}

// The page: what the reader's address asks for is fetched and shown.
import { byId, el, fill } from "./dom.js";
import { back, go, here, onStep, settle } from "./walk.js";
import { forgetProjections, showProjections } from "./projection.js";
import { format, mapsPath, parse } from "./address.js";
import { Held, NotHeld, Server } from "./source.js";
import { language, onLanguage, say, sayAll, setLanguage } from "./words.js";
import { markLayer, nameNetwork, startNetwork } from "./network.js";
import { onThemeChange } from "./colours.js";
import { Sheet } from "./sheet.js";
import { keepPlace, showField, showPicture } from "./picture.js";
import { showLayer } from "./layer.js";
import { showMissing, showNumber } from "./number.js";
import { showUpdate } from "./update.js";
import { startPad } from "./pad.js";

const start = JSON.parse(byId("start").textContent);
const source = start.live ? new Server() : new Held(start);
const { network } = start;
let scene = start.scene, turn = 0, oneScale = false;

/** What the address asks for, shown. A newer request makes an older one stop. */
async function show({ first = 0 } = {}) {
  const mine = ++turn;
  const current = () => mine === turn;
  try {
    await takePicture();
    document.body.classList.toggle("empty", !scene);
    if (!scene) byId("draw").open = true;
    else if (current()) await showScene(first, current);
    if (current()) tell("");
  } catch (error) {
    if (current()) tell(error.key ? say(error.key) : error.message, true);
  }
  if (!current()) return;
  // How often something was shown, and when for the first time: tests and benches wait for it.
  const times = Number(document.body.dataset.shown ?? 0);
  if (!times) performance.mark("shown");
  document.body.dataset.shown = String(times + 1);
}

async function showScene(first, current) {
  await showPicture(scene, network.classes, actions);
  if (!parse(here().address)) settle(chosenAddress());
  await showAddress(here().address, first, current);
}

/** Open the picture and label of the address, where they are not open yet. */
async function takePicture() {
  const asked = here();
  const picture = asked.picture ?? start.scene?.picture;
  if (!picture || !start.live) return;
  if (scene?.picture !== picture || source.at.label !== asked.label) {
    scene = await source.prediction(picture, asked.label);
  }
  source.at = { picture, label: asked.label };
}

/** Where a reader begins: the output of the most probable class, else the last layer's first number. */
function chosenAddress() {
  if (scene.top.length) return scene.top[0].address;
  const node = network.nodes.find((one) => one.name === network.output);
  return format({ path: node.name, gradient: false, index: node.shape.map(() => 0) });
}

async function showAddress(address, first, current) {
  const place = parse(address);
  const node = layerOf(place.path);
  markLayer(node?.name ?? "", network);
  const [record, maps] = await Promise.all([held(source.number(address)), mapsOf(place, first)]);
  if (!current()) return;
  if (maps) showLayer(place, maps.sheet, node, maps.gradients, { ...actions, page: (to) => show({ first: to }) });
  if (record) showNumber(record, scene, actions);
  else showMissing(address, maps && about(maps, place), start.command);
  showField(record);
  showProjections(record, source, network.input);
  await updateOf(record, address, current);
}

/** A number as its map has it, in 8 bits; NaN where the map does not hold it. */
function about({ sheet, gradients }, place) {
  const { channel, cell } = sheet.place(place.index);
  return gradients === place.gradient && sheet.at(channel) >= 0 ? sheet.value(channel, cell) : NaN;
}

/** The maps of a place; where those of gradients are not in the page, those of the values. */
async function mapsOf(place, first) {
  const page = await held(source.maps(mapsPath(place), first));
  const answer = page ?? (await held(source.maps(place.path, first)));
  if (!answer) return null;
  let sheet = await Sheet.of(answer);
  const channel = sheet.place(place.index).channel;
  // The open number's channel is on the sheet, unless the reader turned to another one.
  if (source.live && first === 0 && sheet.at(channel) < 0) sheet = await Sheet.of(await source.maps(mapsPath(place), channel));
  return { sheet, gradients: Boolean(page) && place.gradient };
}

async function updateOf(record, address, current) {
  const isWeight = record && (record.has_update || (record.kind === "gradient" && isParameter(record.path)));
  let update = null, why = "";
  if (isWeight) {
    try {
      update = await held(source.update(address.replace(/^d /, "")));
    } catch (error) {
      why = error.message;
    }
  }
  if (current()) showUpdate(update, why);
}

/** What was asked for; null where the page does not hold it. */
async function held(asked) {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof NotHeld) return null;
    throw error;
  }
}

const isParameter = (path) => network.nodes.some((node) => node.parameters.some((own) => own.name === path));

function layerOf(path) {
  const plain = path.replace(/:\d+$/, "");
  return network.nodes.find((node) => node.name === plain)
    ?? network.nodes.find((node) => node.parameters.some((own) => own.name === path)) ?? null;
}

/** Open the strongest number of a node's or weight's maps: of the predicted class, where it is the output. */
async function openPath(path) {
  if (!scene) return tell(say("number.begin"), true);
  try {
    if (path === network.output && scene.top.length) return go(scene.top[0].address);
    const answer = await held(source.maps(path));
    if (!answer) return tell(say("layer.notHeld", { path }), true);
    const sheet = await Sheet.of(answer);
    const best = sheet.shown.map((channel, i) => ({ channel, cell: sheet.strongest[i] }))
      .reduce((a, b) => (sheet.value(b.channel, b.cell) > sheet.value(a.channel, a.cell) ? b : a));
    return go(format({ path, gradient: false, index: sheet.index(best.channel, best.cell) }));
  } catch (error) {
    return tell(error.key ? say(error.key) : error.message, true);
  }
}

async function sendPicture(blob) {
  try {
    tell(say("busy"));
    const { picture } = await source.send(blob);
    go(here().address, { asked: { picture: picture === start.scene?.picture ? null : picture } });
  } catch (error) {
    tell(error.key ? say(error.key) : error.message, true);
  }
}

function tell(message, wrong = false) {
  byId("status").textContent = message;
  byId("status").classList.toggle("wrong", wrong);
}

async function copyAddress() {
  try {
    await navigator.clipboard.writeText(location.href);
    tell(say("copied"));
  } catch {
    // Where the clipboard is closed to us, the address can still be copied by hand.
    const field = el("input", { readonly: true, value: location.href, "aria-label": say("copy") });
    fill(byId("status"), field);
    field.select();
  }
}

const actions = {
  live: source.live,
  classes: network.classes,
  open: (address) => go(address),
  openPath,
  label: (index) => go(here().address, { asked: { label: index === scene.top[0]?.index ? null : index } }),
  has: (address) => source.has(address),
  isOutput: (path) => path.replace(/^d /, "") === network.output,
  copy: copyAddress,
  get isOneScale() { return oneScale; },
  oneScale: () => {
    oneScale = !oneScale;
    show();
  },
};

function nameAll() {
  sayAll();
  nameNetwork(network);
  byId("mode").textContent = say(network.training ? "mode.training" : "mode.evaluation");
  if (!start.live) byId("offline").textContent = say("offline", start.held.counts);
  forgetProjections();
}

/** Mark what leads out of an offline page. */
function markAway() {
  for (const link of byId("number").querySelectorAll("[data-address]")) {
    link.classList.toggle("away", !source.has(link.dataset.address));
  }
}

function begin() {
  document.body.classList.toggle("offline", !start.live);
  byId("network-name").textContent = network.name;
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => setLanguage(button.dataset.language));
  }
  onLanguage(() => {
    nameAll();
    show();
  });
  onThemeChange(() => {
    forgetProjections();
    show();
  });
  addEventListener("keydown", (event) => {
    if (event.altKey && event.key === "ArrowLeft" && !event.target.matches?.("input, select, textarea")) {
      event.preventDefault();
      back();
    }
  });
  keepPlace(network.input);
  startNetwork(network, openPath);
  if (start.live) startPad(network.input, start.most_bytes, sendPicture, (message) => tell(message, true));
  else new MutationObserver(markAway).observe(byId("number"), { childList: true, subtree: true });
  byId("command").textContent = start.command ?? "";
  setLanguage(language());
  onStep(() => show());
}

begin();

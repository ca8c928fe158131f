// All that the page says, in English and Chinese. What Python says in English (operations, roles, formulas) is
// translated by zh.js where it is known there, and stays as it is elsewhere.
import { OPERATIONS, PIECES, TERMS } from "./zh.js";
import { PHRASES } from "./phrases.js";

const KEY = "pellucid-language";
let spoken = "en", listener = () => {};

/** The reader's language: the one chosen before, else the browser's. */
export function language() {
  try {
    const kept = localStorage.getItem(KEY);
    if (kept) return kept;
  } catch {
    // A page that may not remember goes by the browser.
  }
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** Speak another language from now on. */
export function setLanguage(name) {
  spoken = name === "zh" ? "zh" : "en";
  document.documentElement.lang = spoken === "zh" ? "zh-Hans" : "en";
  try {
    localStorage.setItem(KEY, spoken);
  } catch {
    // Then it holds until the page is closed.
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === spoken));
  }
  listener();
}

/** Call when the language changes. */
export const onLanguage = (call) => { listener = call; };

/** A phrase, with values in place of {names}. */
export function say(key, values = {}) {
  const [english, chinese] = PHRASES[key] ?? [key, key];
  return (spoken === "zh" ? chinese : english).replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** Put the phrases into all elements that name one. */
export function sayAll() {
  for (const element of document.querySelectorAll("[data-say]")) element.textContent = say(element.dataset.say);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", say(element.dataset.label));
}

/** A term of the field, a formula or a note, which Python says in English. */
export function word(english) {
  if (spoken !== "zh") return english;
  return (Object.hasOwn(TERMS, english) ? TERMS[english] : null) ?? PIECES.reduce((said, [pattern, chinese]) => said.replace(pattern, chinese), english);
}

export const role = word;
export const formula = (english) => english.split("; ").map(word).join("; ");

/** What a factor is: the input, the output's gradient ... */
export const slot = (name, gradient) => (name === "gradient" ? say("slot.gradient") : name === "input" ? say("slot.input")
  : gradient ? word(name) : say("slot.input"));

/** An operation as Python describes it: `Convolution 3x3, 64 kernels, padding 1`. */
export function operation(english) {
  const signs = english.replace(/(\d)x(?=\d)/g, "$1×");
  if (spoken !== "zh") return signs;
  return OPERATIONS.reduce((said, [pattern, chinese]) => said.replace(pattern, chinese), signs);
}

// Where the reader is and how they came there. Each step is an entry of the browser's history, so that its own back
// button works; the entry remembers the walk from term to term.
import { fromHash, toHash } from "./address.js";

let arrive = () => {};

/** Call after each step, forwards or back. */
export function onStep(listener) {
  arrive = listener;
  addEventListener("popstate", () => arrive());
}

/** {address, picture, label} of the page's own address. */
export const here = () => fromHash(location.hash);

/** The addresses from which the reader stepped into terms to come here. */
export const trail = () => history.state?.trail ?? [];

/** Whether there is a step to take back. */
export const canGoBack = () => (history.state?.depth ?? 0) > 0;

/** Take it back. */
export const back = () => canGoBack() && history.back();

/** Go back to a place on the trail. */
export const backTo = (i) => history.go(i - trail().length);

/**
 * Go to a number. into: as a step into a term of the number that is open. asked: another picture or label.
 * Without either, a new walk begins.
 */
export function go(address, { into = false, asked = {} } = {}) {
  const from = here();
  const steps = into && from.address ? [...trail(), from.address] : [];
  const depth = (history.state?.depth ?? 0) + 1;
  history.pushState({ trail: steps, depth }, "", toHash(address, { picture: from.picture, label: from.label, ...asked }));
  arrive();
}

/** Say where the reader is without a step: for what was chosen in their stead. */
export function settle(address) {
  const { picture, label } = here();
  history.replaceState({ trail: trail(), depth: history.state?.depth ?? 0 }, "", toHash(address, { picture, label }));
}

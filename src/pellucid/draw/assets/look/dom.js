// Elements made from plain values. Names of layers and classes are the user's and may hold anything: they only ever
// become text or attributes, never markup.

/** The element of an id. */
export const byId = (id) => document.getElementById(id);

/** An element: `el("p", {class: "soft"}, "text", child)`. Properties that begin with "on" are listeners. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Put new children in place of all that an element had. */
export function fill(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/**
 * One tab stop for many elements: arrow keys, Home and End move between them.
 * columns: how many stand in a row, now (a function, since a window may be resized).
 */
export function roving(elements, columns, chosen = 0) {
  const focusOn = (i) => {
    if (i < 0 || i >= elements.length) return;
    elements.forEach((other, at) => { other.tabIndex = at === i ? 0 : -1; });
    elements[i].focus();
  };
  elements.forEach((element, i) => {
    element.tabIndex = i === chosen ? 0 : -1;
    element.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const across = columns();
      const steps = { ArrowLeft: i - 1, ArrowRight: i + 1, ArrowUp: i - across, ArrowDown: i + across, Home: 0,
        End: elements.length - 1 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      focusOn(steps[event.key]);
    });
    element.addEventListener("focus", () => elements.forEach((other, at) => { other.tabIndex = at === i ? 0 : -1; }));
  });
}

/** How many of the elements stand in the first row. */
export function inFirstRow(elements) {
  const top = elements[0]?.offsetTop;
  const next = elements.findIndex((element) => element.offsetTop !== top);
  return Math.max(1, next < 0 ? elements.length : next);
}

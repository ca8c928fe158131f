// The address of a number, as `scene.open` in Python takes it: `features.3[0,7,10,12]`, and `d features.3[0,7,10,12]`
// for its gradient.

const FORM = /^(d )?(.+)\[([\d,]*)\]$/;

/** {gradient, path, index} of an address; null for what is none. */
export function parse(address) {
  const match = FORM.exec(address);
  if (!match) return null;
  return { gradient: Boolean(match[1]), path: match[2], index: match[3] === "" ? [] : match[3].split(",").map(Number) };
}

/** The address of a place. */
export const format = ({ gradient, path, index }) => `${gradient ? "d " : ""}${path}[${index.join(",")}]`;

/** The path under which maps are asked for: with `d ` for gradients. */
export const mapsPath = ({ gradient, path }) => (gradient ? "d " : "") + path;

/** The index of a flat place in a shape. */
export function unravel(place, shape) {
  const index = [];
  for (let rest = place, dim = shape.length - 1; dim >= 0; dim--) {
    index.unshift(rest % shape[dim]);
    rest = Math.floor(rest / shape[dim]);
  }
  return index;
}

/** The flat place of an index in a shape. */
export const ravel = (index, shape) => index.reduce((place, i, dim) => place * shape[dim] + i, 0);

/** What stands behind # in the page's address: a number's address, and the picture and label where they are not the
 * first ones. */
export function toHash(address, asked = {}) {
  const plain = encodeURIComponent(address).replace(/%5B/g, "[").replace(/%5D/g, "]").replace(/%2C/g, ",");
  const given = Object.entries(asked).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const more = given.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
  return `#${plain}${more ? `?${more}` : ""}`;
}

/** {address, picture, label} of what stands behind #. */
export function fromHash(hash) {
  const [plain, more = ""] = hash.replace(/^#/, "").split("?");
  const given = new URLSearchParams(more);
  const label = given.get("label");
  return { address: decoded(plain), picture: given.get("picture"), label: /^\d+$/.test(label ?? "") ? Number(label) : null };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a stray % is nobody's mistake
  }
}

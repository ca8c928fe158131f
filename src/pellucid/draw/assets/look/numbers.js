// Numbers as a person writes them.

/** In four figures: 0.1235, -7.104, 1.2e-9. What JSON holds as text (nan, inf) stays as it is. */
export function short(value, figures = 4) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  return String(Number(value.toPrecision(figures)) + 0);
}

/** In a small cell: three figures, two of what is tiny, or where cells are narrow. */
export const tight = (value, narrow = false) =>
  short(value, narrow || (typeof value === "number" && Math.abs(value) < 0.01) ? 2 : 3);

/** The same, with brackets around what has a minus. */
export function bracketed(value, figures = 4) {
  const said = short(value, figures);
  return said.startsWith("-") ? `(${said})` : said;
}

/** A count with commas: 12,544. */
export const count = (value) => value.toLocaleString("en");

/** A size: 64 × 16 × 16. */
export const size = (shape) => (shape.length ? shape.join(" × ") : "1");

/** As a number that can be compared and summed; NaN and infinities come as text. */
export const numeric = (value) => (value === "inf" ? Infinity : value === "-inf" ? -Infinity : Number(value));

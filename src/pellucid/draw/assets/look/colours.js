// One scale for all numbers: blue below zero, paper at zero, orange above. What is no finite number is purple.

const THEMES = {
  light: { zero: [255, 255, 255], up: [201, 92, 6], down: [31, 100, 220], none: [190, 60, 160] },
  dark: { zero: [24, 30, 40], up: [255, 166, 87], down: [108, 176, 255], none: [240, 120, 210] },
};
const dark = matchMedia("(prefers-color-scheme: dark)");

/** Whether the reader wants it dark. */
export const isDark = () => dark.matches;

/** The colour of a share of the largest magnitude, -1 to 1, as [red, green, blue]. */
export function colour(share) {
  const theme = dark.matches ? THEMES.dark : THEMES.light;
  if (!Number.isFinite(share)) return theme.none;
  const end = share < 0 ? theme.down : theme.up;
  const part = Math.min(1, Math.abs(share));
  return theme.zero.map((zero, i) => Math.round(zero + part * (end[i] - zero)));
}

/** The same for CSS. */
export const css = (rgb) => `rgb(${rgb.join(",")})`;

/** Black or white, whichever can be read better on a colour (WCAG 2.2, relative luminance). */
export function ink(rgb) {
  const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

/** Call when the reader turns the light on or off. */
export const onThemeChange = (listener) => dark.addEventListener("change", listener);

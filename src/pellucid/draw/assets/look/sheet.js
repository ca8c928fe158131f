// The pictures of a tensor, a byte a cell, and which of its numbers stands in which cell (look/tiles.py says how).
import { unpack } from "./bytes.js";
import { colour, isDark } from "./colours.js";
import { ravel, unravel } from "./address.js";

const ZERO = 128, STEPS = 127;

export class Sheet {
  static async of(answer) {
    return new Sheet(answer, await unpack(answer.data));
  }

  constructor(answer, codes) {
    Object.assign(this, answer); // tiles, shape, batch, shown, largest, strongest
    this.codes = codes;
    this.cells = this.tiles.tiles * this.tiles.rows * this.tiles.columns;
    this.layout = arranged(this.tiles);
  }

  /** Where a channel stands in the sheet, -1 where it is not on it. */
  at(channel) {
    return this.shown.indexOf(channel);
  }

  /** The largest magnitude on the whole sheet. */
  get most() {
    return Math.max(...this.largest, 0);
  }

  /** A cell's number to two or three figures; NaN for what is not finite. */
  value(channel, cell) {
    const code = this.codes[this.at(channel) * this.cells + cell];
    return code ? ((code - ZERO) / STEPS) * this.largest[this.at(channel)] : NaN;
  }

  /** The index in the tensor of a channel's cell, with a 0 for the picture where there is a batch. */
  index(channel, cell) {
    const inner = this.batch ? this.shape.slice(1) : this.shape;
    return [...(this.batch ? [0] : []), ...unravel(channel * this.cells + cell, inner)];
  }

  /** {channel, cell} of an index in the tensor. */
  place(index) {
    const flat = this.batch ? ravel(index.slice(1), this.shape.slice(1)) : ravel(index, this.shape);
    return { channel: Math.floor(flat / this.cells), cell: flat % this.cells };
  }

  /** Paint a channel, one pixel a cell; `most` is what the strongest colour stands for. */
  paint(canvas, channel, most) {
    const { width, height } = this.layout;
    canvas.width = width;
    canvas.height = height;
    const paper = canvas.getContext("2d");
    const image = paper.createImageData(width, height);
    const ratio = most > 0 ? this.largest[this.at(channel)] / most : 0;
    const colours = palette(ratio), pixels = new Uint32Array(image.data.buffer);
    const first = this.at(channel) * this.cells;
    for (let cell = 0; cell < this.cells; cell++) {
      let at = cell; // of one tile, the cells follow one another as the pixels do
      if (this.tiles.tiles > 1) {
        const { x, y } = this.layout.where(cell);
        at = y * width + x;
      }
      pixels[at] = colours[this.codes[first + cell]];
    }
    paper.putImageData(image, 0, 0);
  }
}

let known = { ratio: NaN, theme: null, pixels: null }; // most channels are painted with the same

/** The pixel of each code, in the byte order of this machine; `ratio` scales the strongest. */
function palette(ratio) {
  if (known.ratio !== ratio || known.theme !== isDark()) known = { ratio, theme: isDark(), pixels: made(ratio) };
  return known.pixels;
}

function made(ratio) {
  const bytes = new Uint8ClampedArray(4 * 256);
  for (let code = 0; code < 256; code++) bytes.set([...colour(code ? ((code - ZERO) / STEPS) * ratio : NaN), 255], 4 * code);
  return new Uint32Array(bytes.buffer);
}

/** Tiles side by side, as near to a square as they go, a cell apart where a tile has more than one cell. */
function arranged({ tiles, rows, columns }) {
  const gap = tiles > 1 && rows * columns > 1 ? 1 : 0;
  const fewInARow = rows * columns === 1 && tiles <= 16;
  const across = fewInARow ? tiles : Math.ceil(Math.sqrt((tiles * (rows + gap)) / (columns + gap)));
  const down = Math.ceil(tiles / across);
  const perTile = rows * columns;
  return {
    width: across * (columns + gap) - gap,
    height: down * (rows + gap) - gap,
    where(cell) {
      const tile = Math.floor(cell / perTile), inside = cell % perTile;
      return {
        x: (tile % across) * (columns + gap) + (inside % columns),
        y: Math.floor(tile / across) * (rows + gap) + Math.floor(inside / columns),
      };
    },
    /** The cell at a place, null between the tiles and past the last. */
    cell(x, y) {
      const tileX = Math.floor(x / (columns + gap)), tileY = Math.floor(y / (rows + gap));
      const column = x - tileX * (columns + gap), row = y - tileY * (rows + gap), tile = tileY * across + tileX;
      const inside = x >= 0 && y >= 0 && tileX < across && column < columns && row < rows && tile < tiles;
      return inside ? tile * perTile + row * columns + column : null;
    },
  };
}

// Bytes as Python packs them (look/tiles.py): zlib, then base64. The browser itself unpacks them.

/** The bytes of a packed text. */
export async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

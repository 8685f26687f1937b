/** PNG files of 8 or 16 bits a pixel, gray: a canvas writes only colours. */

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

/** @param {Uint8Array | Uint16Array} pixels row by row @returns {Promise<Blob>} */
export async function grayPng(pixels, width, height) {
  const bytes = pixels.BYTES_PER_ELEMENT;
  const rows = new DataView(new ArrayBuffer((width * bytes + 1) * height));
  for (let y = 0, at = 0; y < height; y += 1) {
    at += 1; // filter 0: the pixels as they are
    for (let x = 0; x < width; x += 1, at += bytes) {
      if (bytes === 1) rows.setUint8(at, pixels[y * width + x]);
      else rows.setUint16(at, pixels[y * width + x]);
    }
  }
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8 * bytes); // depth; colour type, compression, filter and interlace are 0
  const packed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Blob(
    [
      new Uint8Array(SIGNATURE),
      chunk("IHDR", new Uint8Array(header.buffer)),
      chunk("IDAT", new Uint8Array(await new Response(packed).arrayBuffer())),
      chunk("IEND", new Uint8Array(0)),
    ],
    { type: "image/png" },
  );
}

function chunk(name, data) {
  const whole = new Uint8Array(12 + data.length);
  const view = new DataView(whole.buffer);
  view.setUint32(0, data.length);
  whole.set(new TextEncoder().encode(name), 4);
  whole.set(data, 8);
  view.setUint32(8 + data.length, checksum(whole.subarray(4, 8 + data.length)));
  return whole;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function checksum(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = (value >>> 8) ^ TABLE[(value ^ byte) & 255];
  return (value ^ 0xffffffff) >>> 0;
}

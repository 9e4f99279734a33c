// A pack is a file with the arrays of a run, as lecture_vae/web.py writes and describes it:
// "LVAE", the length of the head (uint32), the head (JSON), the arrays. All little endian.

export const FORMAT = 1;

/** A pack cannot be used; the message is for the reader of the page. */
export class PackError extends Error {}

/** Fetches a pack from an address beside the page. */
export async function fetchPack(address) {
  let answer;
  try {
    answer = await fetch(address);
  } catch (error) {
    throw new PackError(`${nameOf(address)} could not be loaded (${error.message}).`);
  }
  if (!answer.ok) {
    throw new PackError(`${nameOf(address)} should lie beside this page, but: ${answer.status}.`);
  }
  return readPack(await answer.arrayBuffer(), nameOf(address));
}

/**
 * Makes `attempt(action)`: it gives what the action gives, or undefined when a pack cannot be used,
 * and then says why in `place`.
 */
export function attempts(place, onFailure = () => {}) {
  return async (action) => {
    try {
      const result = await action();
      place.hidden = true;
      return result;
    } catch (error) {
      if (!(error instanceof PackError)) throw error;
      onFailure();
      place.textContent = error.message;
      place.hidden = false;
      return undefined;
    }
  };
}

/**
 * Reads a pack.
 *
 * @param {ArrayBuffer} buffer the bytes of the file
 * @param {string} name what to call the file in an error
 * @returns {{head: object, arrays: Object<string, {shape: number[], values: Float32Array}>}}
 * @throws {PackError} the file is no pack, of another format, cut off or changed
 */
export function readPack(buffer, name = "the pack") {
  const bytes = new Uint8Array(buffer);
  if (bytes.length < 8 || String.fromCharCode(...bytes.subarray(0, 4)) !== "LVAE") {
    throw new PackError(`${name} is not a pack of this lecture.`);
  }
  const start = 8 + new DataView(buffer).getUint32(4, true);
  let head;
  try {
    head = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  } catch {
    throw new PackError(`${name} is damaged: its head cannot be read.`);
  }
  if (head.format !== FORMAT) {
    throw new PackError(
      `${name} has format ${head.format}, this page reads format ${FORMAT}. ` +
        "Are page and files from different builds? Reload the page.",
    );
  }
  const body = bytes.subarray(start);
  if (body.length !== head.bytes || crc32(body) !== head.crc32) {
    throw new PackError(`${name} is damaged or was cut off. Reload the page.`);
  }
  const arrays = {};
  for (const [key, array] of Object.entries(head.arrays)) {
    arrays[key] = { shape: array.shape, values: decode(array, buffer, start + array.offset) };
  }
  return { head, arrays };
}

function decode({ dtype, shape, scale }, buffer, offset) {
  const count = shape.reduce((product, size) => product * size, 1);
  if (dtype === "uint8") return Float32Array.from(new Uint8Array(buffer, offset, count));
  if (dtype === "int16") {
    return Float32Array.from(new Int16Array(buffer, offset, count), (value) => value * scale);
  }
  if (dtype === "float16") {
    return Float32Array.from(new Uint16Array(buffer, offset, count), halfToNumber);
  }
  throw new PackError(`an array of the unknown kind ${dtype}.`);
}

/** A number from the 16 bits of a half: 1 sign, 5 exponent, 10 fraction (IEEE 754-2008). */
export function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** The CRC-32 of zlib. */
export function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function nameOf(address) {
  return String(address).split("/").pop();
}

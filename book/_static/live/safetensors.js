// The files of the figures are safetensors: the length of the header (uint64), the header (JSON: for
// each array its dtype, shape and place), the arrays; all little endian. lecture_vae/live.py writes
// them and says what the metadata holds.

export const FORMAT = 3; // of the metadata

const CHECKSUM = '\\"crc32\\":\\"'; // as the header quotes it; eight hexadecimal digits follow

/** A file cannot be used; the message is for the reader of the page. */
export class FileError extends Error {}

/** Fetches a file from an address beside the page. */
export async function fetchSafetensors(address) {
  let answer;
  try {
    answer = await fetch(address);
  } catch (error) {
    throw new FileError(`${nameOf(address)} could not be loaded (${error.message}).`);
  }
  if (!answer.ok) {
    throw new FileError(`${nameOf(address)} should lie beside this page, but: ${answer.status}.`);
  }
  return readSafetensors(await answer.arrayBuffer(), nameOf(address));
}

/**
 * Makes `attempt(action)`: it gives what the action gives, or undefined when a file cannot be used,
 * and then says why in `place`.
 */
export function attempts(place, onFailure = () => {}) {
  return async (action) => {
    try {
      const result = await action();
      place.hidden = true;
      return result;
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      onFailure();
      place.textContent = error.message;
      place.hidden = false;
      return undefined;
    }
  };
}

// What an array becomes; `scale` is that of a quantized one.
const DECODERS = {
  U8: (bytes) => Float32Array.from(new Uint8Array(bytes)),
  I16: (bytes, scale) => Float32Array.from(new Int16Array(bytes), (step) => step * scale),
  F16: (bytes) => Float32Array.from(new Uint16Array(bytes), halfToNumber),
  F32: (bytes) => new Float32Array(bytes),
};

/**
 * Reads a file.
 *
 * @param {ArrayBuffer} buffer the bytes of the file
 * @param {string} name what to call the file in an error
 * @returns {{metadata: object, arrays: Object<string, {shape: number[], values: Float32Array}>}}
 * @throws {FileError} the file is not one of this lecture, of another format, cut off or changed
 */
export function readSafetensors(buffer, name = "the file") {
  const bytes = new Uint8Array(buffer);
  if (bytes[8] !== "{".charCodeAt(0)) {
    throw new FileError(`${name} is not a safetensors file: did the server send something else?`);
  }
  const damaged = () => new FileError(`${name} is damaged or was cut off. Reload the page.`);
  const start = 8 + Number(new DataView(buffer).getBigUint64(0, true));
  let text, header, metadata;
  try {
    text = new TextDecoder().decode(bytes.subarray(8, start));
    header = JSON.parse(text);
    metadata = JSON.parse(header.__metadata__?.lecture_vae ?? "null");
  } catch {
    throw damaged();
  }
  if (!metadata) throw new FileError(`${name} is not a file of this lecture.`);
  if (metadata.format !== FORMAT) {
    throw new FileError(
      `${name} has format ${metadata.format}, this page reads format ${FORMAT}. ` +
        "Are page and files from different builds? Reload the page.",
    );
  }
  // The checksum is that of the whole file, with zeros where it stands itself. It covers the header,
  // too: a change there would move arrays, or change what an axis says.
  const place = 8 + text.indexOf(CHECKSUM) + CHECKSUM.length; // all of a whole header is ASCII
  const sealed = crc32(bytes.slice().fill("0".charCodeAt(0), place, place + 8));
  if (sealed.toString(16).padStart(8, "0") !== metadata.crc32) throw damaged();
  delete header.__metadata__;
  const arrays = {};
  for (const [key, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
    // A copy begins at 0; in the file an array may begin at any byte, which typed arrays refuse.
    const part = buffer.slice(start + from, start + to);
    arrays[key] = { shape, values: DECODERS[dtype](part, metadata.scales?.[key]) };
  }
  return { metadata, arrays };
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

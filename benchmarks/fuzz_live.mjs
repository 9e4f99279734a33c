// What fuzz.py asks the reader of the live figures: each line is a file in base64; the answer is a
// line of JSON, empty if the file was read, else the kind of the error and what it says.

import { createInterface } from "node:readline";

const { readSafetensors } = await import(
  new URL("../book/_static/live/safetensors.js", import.meta.url)
);

for await (const line of createInterface({ input: process.stdin })) {
  const { buffer, byteOffset: start, length } = Buffer.from(line, "base64");
  let answer = {};
  try {
    readSafetensors(buffer.slice(start, start + length));
  } catch (error) {
    answer = { kind: error.constructor.name, message: error.message };
  }
  console.log(JSON.stringify(answer));
}

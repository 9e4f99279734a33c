// What tests/test_web.py asks the live figures' modules: a task comes as JSON, the answer goes out.
// Their names end in .js, which every server calls a script; Node learns from book/package.json, and
// a browser from the page, that they are modules.

import { readFileSync } from "node:fs";

const live = new URL("../book/_static/live/", import.meta.url);
const { linearTheory } = await import(new URL("balance.js", live));
const { kl, klBySum } = await import(new URL("gaussian.js", live));
const { reparameterize } = await import(new URL("reparameterization.js", live));
const { network } = await import(new URL("network.js", live));
const { crc32, halfToNumber, readPack } = await import(new URL("pack.js", live));
const { likeMnist } = await import(new URL("sketch.js", live));
const { PALETTE, normals } = await import(new URL("surface.js", live));

const pack = (file) => {
  const bytes = readFileSync(file);
  return readPack(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length), "file");
};

const tasks = {
  read: ({ file }) => {
    const { head, arrays } = pack(file);
    const values = Object.entries(arrays).map(([name, { values }]) => [name, [...values]]);
    return { head, arrays: Object.fromEntries(values) };
  },
  run: ({ file, parts, inputs }) => {
    const layers = parts.map((part) => network(pack(file), part));
    return inputs.map((x) => [...layers.reduce((y, layer) => layer(y), x)]);
  },
  refuse: ({ file }) => {
    try {
      pack(file);
      return "read";
    } catch (error) {
      return `${error.constructor.name}: ${error.message}`;
    }
  },
  halves: () => Array.from({ length: 65536 }, (_, bits) => String(halfToNumber(bits))),
  crc: ({ text }) => crc32(new TextEncoder().encode(text)),
  divergence: ({ p, q }) => [kl(p, q), klBySum(p, q)],
  linearTheory: ({ w, variances, total }) => linearTheory(w, variances, total),
  reparameterize: ({ mu, logVar, eps }) => reparameterize(mu, logVar, eps),
  palette: () => PALETTE,
  likeMnist: ({ ink }) => [...likeMnist(Float32Array.from(ink))],
  normals: ({ count, seed }) => [...normals(count, seed)],
};

const { task, ...rest } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(tasks[task](rest)));

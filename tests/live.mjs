// What tests/test_live_export.py asks the live figures' modules: a task comes as JSON, the answer goes out.
// Their names end in .js, which every server calls a script; Node learns from book/package.json, and
// a browser from the page, that they are modules.

import { readFileSync } from "node:fs";

const live = new URL("../book/_static/live/", import.meta.url);
const axes = await import(new URL("axes.js", live));
const priors = await import(new URL("code-prior.js", live));
const { decoder: codeDecoder } = await import(new URL("codes.js", live));
const { contourLines } = await import(new URL("contours.js", live));
const { arrowKeys, draggable } = await import(new URL("drag.js", live));
const { readModels } = await import(new URL("evidence.js", live));
const { kl, klBySum } = await import(new URL("gaussian.js", live));
const { levelOfMass, limitsOf, radiusOfMass } = await import(new URL("posterior.js", live));
const { reparameterize } = await import(new URL("reparameterization.js", live));
const { network, reach } = await import(new URL("network.js", live));
const { crc32, halfToNumber, readSafetensors } = await import(new URL("safetensors.js", live));
const { likeMnist } = await import(new URL("sketch.js", live));
const { PALETTE, normals, uniforms } = await import(new URL("surface.js", live));

const open = (file) => {
  const bytes = readFileSync(file);
  const { buffer, byteOffset: start, length } = bytes;
  return readSafetensors(buffer.slice(start, start + length), "file");
};

const priorsOf = (file) => ({
  uniform: priors.uniformPrior(file.arrays.codebook.shape[0]),
  independent: priors.independentPrior(file),
  autoregressive: priors.autoregressivePrior(file),
});
const ofEach = (object, make) =>
  Object.fromEntries(Object.entries(object).map(([name, value]) => [name, make(value)]));

/** An element of 100 x 50 CSS pixels at (10, 20), and what its listeners told. */
function element() {
  const told = [];
  const made = new EventTarget();
  made.getBoundingClientRect = () => ({ left: 10, top: 20, width: 100, height: 50 });
  made.setPointerCapture = (id) => told.push(["capture", id]);
  made.send = (type, rest) =>
    made.dispatchEvent(Object.assign(new Event(type, { cancelable: true }), rest));
  return { made, told, tell: (name) => (...rest) => told.push([name, ...rest]) };
}

const tasks = {
  read: ({ file }) => {
    const { metadata, arrays } = open(file);
    const values = Object.entries(arrays).map(([name, { values }]) => [name, [...values]]);
    return { metadata, arrays: Object.fromEntries(values) };
  },
  run: ({ file, parts, inputs }) => {
    const layers = parts.map((part) => network(open(file), part));
    return inputs.map((x) => [...layers.reduce((y, layer) => layer(y), x)]);
  },
  decodeCodes: ({ file, grids }) => {
    const decode = codeDecoder(open(file));
    return grids.map((grid) => [...decode(grid)]);
  },
  codeBits: ({ file, grids }) =>
    ofEach(priorsOf(open(file)), (prior) => grids.map((grid) => priors.bitsOf(prior, grid))),
  drawCodes: ({ file, uniforms: numbers }) =>
    ofEach(priorsOf(open(file)), (prior) => numbers.map((each) => priors.drawCodes(prior, each))),
  reach: ({ file }) =>
    [0, 1, 2, 3].map((place) => reach(open(file).metadata.networks.decoder, place)),
  uniforms: ({ count, seed }) => {
    const next = uniforms(seed);
    return Array.from({ length: count }, () => next());
  },
  refuse: ({ file }) => {
    try {
      open(file);
      return "read";
    } catch (error) {
      return `${error.constructor.name}: ${error.message}`;
    }
  },
  halves: () => Array.from({ length: 65536 }, (_, bits) => String(halfToNumber(bits))),
  crc: ({ text }) => crc32(new TextEncoder().encode(text)),
  divergence: ({ p, q }) => [kl(p, q), klBySum(p, q)],
  scale: ({ kind, domain, range, values, pixels }) => {
    const scale = axes[kind](domain, range);
    return { pixels: values.map(scale), values: pixels.map(scale.invert) };
  },
  equalScales: ({ limits, box, points }) => {
    const { x, y, perUnit } = axes.equalScales(limits, box);
    return { perUnit, points: points.map(([a, b]) => [x(a), y(b)]) };
  },
  ticks: ({ least, low, high }) => {
    const step = axes.roundStep(least);
    return { step, values: axes.multiples(step, low, high) };
  },
  drawTicks: ({ along, values, style }) => {
    const drawn = [];
    const context = {
      fillRect: (...box) => drawn.push([context.fillStyle, ...box]),
      fillText: (text, x, y) => drawn.push([context.fillStyle, text, x, y, context.textAlign]),
    };
    if (style.within) style.shown = (at) => style.within[0] <= at && at <= style.within[1];
    axes[along](context, (value) => 10 * value, values, style);
    return drawn;
  },
  boxedAxes: ({ box, values }) => {
    const drawn = [];
    const context = {
      strokeRect: (...frame) => drawn.push(["frame", ...frame]),
      fillRect: (...mark) => drawn.push(["mark", ...mark]),
      fillText: (text, x, y) => drawn.push(["text", x, y, context.textAlign, text]),
      measureText: (text) => ({ width: 8 * text.length }),
    };
    const x = axes.linearScale([-4, 4], [box.left, box.right]);
    const y = axes.linearScale([-4, 4], [box.bottom, box.top]);
    axes.boxedAxes(context, { text: "black", muted: "gray" }, box,
      { scale: x, values, name: "z₁" }, { scale: y, values, name: "z₂" });
    return drawn;
  },
  contours: ({ values, columns, level }) => contourLines(values, columns, level),
  massLevel: ({ logDensity, share }) => [levelOfMass(logDensity, share), radiusOfMass(share)],
  limits: ({ posterior, q }) => limitsOf(posterior, q),
  evidence: ({ file }) => readModels(open(file)).map(({ images, ...rest }) => ({
    ...rest,
    images: images.map(({ given, decoded, posterior, ...each }) => ({
      ...each, given: [...given], decoded: [...decoded],
      posterior: { ...posterior, logDensity: [...posterior.logDensity] },
    })),
  })),
  drag: ({ events }) => {
    const { made, told, tell } = element();
    draggable(made, Object.fromEntries(
      ["start", "move", "end", "hover"].map((name) => [name, tell(name)])));
    for (const [type, clientX, clientY, buttons] of events) {
      made.send(type, { clientX, clientY, buttons, pointerId: 7 });
    }
    return told;
  },
  keys: ({ events }) => {
    const { made, told, tell } = element();
    arrowKeys(made, tell("arrow"));
    for (const [key, shiftKey] of events) told.push(made.send("keydown", { key, shiftKey }));
    return told; // of each event also whether its default is left, as the scrolling of the page
  },
  reparameterize: ({ mu, logVar, eps }) => reparameterize(mu, logVar, eps),
  palette: () => PALETTE,
  likeMnist: ({ ink }) => [...likeMnist(Float32Array.from(ink))],
  normals: ({ count, seed }) => [...normals(count, seed)],
};

const { task, ...rest } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(tasks[task](rest)));

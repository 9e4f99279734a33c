// Discrete codes: sixteen whole numbers, the image that a VQ-VAE's decoder makes of them, and what
// the grid costs under three priors. Change one code, or draw all of them.

import { autoregressivePrior, bitsOf, drawCodes, independentPrior, uniformPrior } from "./code-prior.js";
import { button, panel, table } from "./controls.js";
import { arrowKeys } from "./drag.js";
import { network, reach } from "./network.js";
import { attempts, fetchSafetensors } from "./safetensors.js";
import { SIDE, element, number, showDigits, startWhenNear, uniforms } from "./surface.js";

const GRID = 4; // rows and columns
// The first eight colors of Matplotlib's Pastel1, which the chapter's picture of codes has, too.
const ENTRY_COLORS = [
  "#fbb4ae", "#b3cde3", "#ccebc5", "#decbe4", "#fed9a6", "#ffffcc", "#e5d8bd", "#fddaec",
];
const BRIGHTER = [231, 99, 0];
const DARKER = [63, 144, 218];
const VISIBLE = 0.01; // of the way from black to white: what counts as a change
// As in the chapter's row of eight images: the second test image of a 3, row 2, column 3.
const START = { digit: 3, image: 1, position: 6 };

/** Starts the figure in place of what stands in `host`. */
export async function codes(host) {
  const address = new URL("codes.safetensors", new URL(host.dataset.packs, document.baseURI));
  const error = element("p", { class: "live-error", role: "alert", hidden: "" });
  const file = await attempts(error)(() => fetchSafetensors(address));
  if (!file) {
    host.append(error); // the still picture stays
    return;
  }
  const { metadata: { networks, bits }, arrays: { starts, codebook } } = file;
  const [entries] = codebook.shape;
  const [, offered, positions] = starts.shape;
  const decode = decoder(file);
  const priors = {
    uniform: uniformPrior(entries),
    independent: independentPrior(file),
    autoregressive: autoregressivePrior(file),
  };
  const means = { ...bits, uniform: positions * Math.log2(entries) };
  const view = build(entries, Object.keys(priors));
  const random = uniforms(1);
  const next = new Map([[START.digit, START.image]]); // digit -> which of its test images comes next
  let grid; // the codes, row by row
  let chosen = START.position;
  let origin; // {text, grid}: where the codes come from
  let before = null; // {image, entry} before the last change of the chosen code

  function load(codes, text) {
    grid = codes;
    origin = { text, grid: [...codes] };
    before = null;
    show();
  }

  function loadDigit(digit) {
    const image = next.get(digit) ?? 0;
    next.set(digit, (image + 1) % offered);
    const start = (digit * offered + image) * positions;
    load([...starts.values.subarray(start, start + positions)],
      `The codes of test image ${image + 1} of ${offered} of the digit ${digit}`);
  }

  /** Puts an entry at the chosen position. */
  function set(entry) {
    if (entry === grid[chosen]) return;
    before = { image: decode(grid), entry: grid[chosen] };
    grid[chosen] = entry;
    show();
  }

  function choose(position) {
    if (position !== chosen) before = null;
    chosen = position;
    show();
  }

  function show() {
    const image = decode(grid);
    showDigits(view.digit, image);
    const costs = bitsOf(priors.autoregressive, grid);
    view.cells.forEach(({ cell, code, price }, position) => {
      code.textContent = grid[position];
      price.textContent = number(costs[position], 1);
      cell.style.background = ENTRY_COLORS[grid[position]];
      cell.tabIndex = position === chosen ? 0 : -1;
      if (position === chosen) cell.setAttribute("aria-current", "true");
      else cell.removeAttribute("aria-current");
    });
    view.choices.forEach(({ choice, picture, price }, entry) => {
      const other = grid.map((code, position) => (position === chosen ? entry : code));
      showDigits(picture, decode(other));
      price.textContent = number(sum(bitsOf(priors.autoregressive, other)), 1);
      choice.setAttribute("aria-pressed", entry === grid[chosen]);
    });
    Object.entries(priors).forEach(([name, prior], row) =>
      view.prices.set(row, number(sum(bitsOf(prior, grid)), 1), number(means[name], 1)));
    view.price.textContent = `${number(sum(costs), 1)} bits`;
    view.which.textContent = place(chosen);
    const changed = grid.filter((code, position) => code !== origin.grid[position]).length;
    view.origin.textContent = origin.text + (changed
      ? `; ${changed} ${changed === 1 ? "code is" : "codes are"} changed.` : ".");
    view.change.textContent = before
      ? `${place(chosen)}: ${before.entry} became ${grid[chosen]}. ${changeIn(before.image, image)}`
      : "Change the chosen code, and you see here which pixels follow.";
    showChange(view.difference, before?.image ?? image, image);
    const [top, left] = [Math.floor(chosen / GRID), chosen % GRID].map((at) =>
      reach(networks.decoder, at).map((pixel) => Math.min(SIDE - 1, Math.max(0, pixel))));
    for (const frame of view.frames) placeFrame(frame, left, top);
  }

  view.cells.forEach(({ cell }, position) => cell.addEventListener("click", () => {
    if (position === chosen) set((grid[position] + 1) % entries);
    else choose(position);
  }));
  view.choices.forEach(({ choice }, entry) => choice.addEventListener("click", () => set(entry)));
  arrowKeys(view.grid, ([right, up]) => {
    const within = (line) => Math.min(GRID - 1, Math.max(0, line));
    choose(GRID * within(Math.floor(chosen / GRID) - up) + within((chosen % GRID) + right));
    view.cells[chosen].cell.focus();
  });
  view.grid.addEventListener("keydown", ({ key }) => {
    if (/^\d$/.test(key) && Number(key) < entries) set(Number(key));
  });
  view.digits.forEach((each, digit) => each.addEventListener("click", () => loadDigit(digit)));
  for (const [name, each] of Object.entries(view.draws)) {
    each.addEventListener("click", () => load(
      drawCodes(priors[name], Array.from({ length: positions }, random)),
      `Drawn from a prior: ${PRIOR_NAMES[name]}`));
  }

  host.replaceChildren(view.root);
  loadDigit(START.digit);
  host.dataset.ready = "true";
}

const PRIOR_NAMES = {
  uniform: "uniform", independent: "independent positions", autoregressive: "autoregressive",
};

/** A position in words. */
const place = (position) =>
  `Row ${1 + Math.floor(position / GRID)}, column ${1 + (position % GRID)}`;

const sum = (values) => values.reduce((total, value) => total + value, 0);

/** From codes to the image: the code vectors, channel by channel, through the decoder. */
export function decoder(file) {
  const { shape: [, channels], values } = file.arrays.codebook;
  const run = network(file, "decoder");
  return (codes) => Float32Array.from(run(Float32Array.from(
    { length: channels * codes.length },
    (_, at) => values[channels * codes[at % codes.length] + Math.floor(at / codes.length)])));
}

function changeIn(before, after) {
  const changes = after.map((level, at) => Math.abs(level - before[at]));
  const seen = changes.filter((change) => change >= VISIBLE).length;
  return `${seen} of ${after.length.toLocaleString("en")} pixels changed by ${VISIBLE} or more, ` +
    `at most by ${number(Math.max(...changes))}.`;
}

/** What became brighter, and what darker; the stronger the color, the more. */
function showChange(canvas, before, after) {
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(SIDE, SIDE);
  after.forEach((level, at) => {
    const change = level - before[at];
    const strength = 255 * Math.sqrt(Math.abs(change));
    pixels.data.set([...(change > 0 ? BRIGHTER : DARKER), strength], 4 * at);
  });
  context.putImageData(pixels, 0, 0);
}

/** Lays a frame around the pixels from `left` to `right` and from `top` to `bottom`. */
function placeFrame(frame, [left, right], [top, bottom]) {
  const share = (pixels) => `${(100 * pixels) / SIDE}%`;
  Object.assign(frame.style, {
    left: share(left), width: share(right - left + 1), top: share(top), height: share(bottom - top + 1),
  });
}

/** Words that are heard and not seen. */
const unseen = (text) => element("span", { class: "live-unseen" }, text);

function build(entries, priors) {
  const group = (name, label, ...content) =>
    element("div", { class: name, role: "group", "aria-label": label }, ...content);
  const framed = (canvas) => {
    const frame = element("div", { class: "live-reach" });
    return { frame, root: element("div", { class: "live-framed" }, canvas, frame) };
  };
  const cells = Array.from({ length: GRID * GRID }, (_, position) => {
    const [code, price] = [element("span", { class: "live-entry" }), element("small")];
    const cell = button("");
    cell.append(unseen(`${place(position)}, code `), code, unseen(", bits "), price);
    return { cell, code, price };
  });
  const choices = Array.from({ length: entries }, (_, entry) => {
    const picture = element("canvas", { "aria-hidden": "true" });
    const code = element("span", { class: "live-entry", style: `background: ${ENTRY_COLORS[entry]}` },
      unseen("Code "), String(entry));
    const [choice, price] = [button(""), element("small")];
    choice.append(picture, code, unseen(", the grid then costs bits "), price);
    return { choice, picture, price };
  });
  const digits = Array.from({ length: 10 }, (_, digit) => {
    const each = button("");
    each.append(unseen("A test image of the digit "), String(digit));
    return each;
  });
  const view = {
    cells,
    grid: group("live-code", "Code: four rows of four whole numbers; arrow keys choose one, number keys change it",
      ...cells.map(({ cell }) => cell)),
    choices,
    digit: element("canvas", { class: "live-digit", role: "img", "aria-label": "The image that the decoder makes of the code" }),
    difference: element("canvas", { class: "live-digit", role: "img", "aria-label": "The pixels that the last change of a code changed" }),
    which: element("span"),
    price: element("output"),
    change: element("output", { class: "live-muted live-changed" }),
    origin: element("p"),
    digits,
    draws: Object.fromEntries(priors.map((name) => [name, button(PRIOR_NAMES[name])])),
    prices: table(["−log₂ p(c), in bits", "this grid", "test images, mean"],
      priors.map((name) => PRIOR_NAMES[name])),
  };
  const [decoded, difference] = [framed(view.digit), framed(view.difference)];
  view.frames = [decoded.frame, difference.frame];
  const swatch = ([r, g, b], text) => element("span", {},
    element("span", { class: "live-swatch", style: `background: rgb(${r} ${g} ${b})` }), text);
  view.root = element("div", { class: "live-explorer" },
    element("div", { class: "live-row" }, element("span", {}, "Codes of a test image of a"),
      group("live-keys", "Codes of a test image", ...digits)),
    element("div", { class: "live-row" }, element("span", {}, "Codes drawn from a prior"),
      group("live-row", "Codes drawn from a prior", ...Object.values(view.draws))),
    view.origin,
    element("div", { class: "live-codes" },
      panel("Code", view.grid),
      panel("Decoded", decoded.root, view.price),
      panel("Last change", difference.root,
        element("div", { class: "live-row" }, swatch(BRIGHTER, "brighter"), swatch(DARKER, "darker")),
        view.change)),
    element("p", { class: "live-muted" },
      "Choose a code; choose it again, and it takes the next entry. Or pick an entry below. With the keyboard: " +
        `arrow keys, and 0 to ${entries - 1}. The small numbers are bits: what each code costs under the ` +
        "autoregressive prior, given the codes before it."),
    element("div", { class: "live-panel" },
      element("p", { class: "live-heading" }, view.which, `: the image with each of the ${entries} entries`),
      group("live-choices", "Entries of the codebook", ...choices.map(({ choice }) => choice)),
      element("p", { class: "live-muted" }, "Below each entry: what the whole grid costs with it, in bits, under the autoregressive prior.")),
    view.prices.root);
  return view;
}

startWhenNear("codes", codes);

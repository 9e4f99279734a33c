// The evidence: a walk through test images; for each the true posterior beside q(z | x), and the
// ELBO, the bound of K samples and the exact log p(x). lecture_book/figures/record_evidence.py
// computed the numbers.

import { NUMBERS, boxWithin, boxedAxes, linearScale, logScale, multiples, roundStep, xTicks } from "./axes.js";
import { grid, panel, radio, slider, table } from "./controls.js";
import { draggable } from "./drag.js";
import { POSTERIOR, PosteriorPlane, Q } from "./posterior.js";
import { attempts, fetchSafetensors } from "./safetensors.js";
import {
  colors, dot, element, line, number, onThemeChange, ring, sharpen, showDigits, startWhenNear,
} from "./surface.js";

const BOUND = "#009e73"; // of K samples
const START = { model: 0, rank: 0.9, size: 3 }; // an image with a larger gap than most, and K = 8
const NAMES = { 1: "w = 1", 0.06: "w = 0.06, sharp" };
const BARS = { left: 8, top: 4, right: 8, bottom: 40, apart: 42, thick: 16 }; // CSS pixels
const CURVES = { left: 38, top: 22, right: 8, bottom: 38 };
const LEAST = 0.01; // nats: what is less, or below 0 by the noise of the draws, is drawn there

/** Starts the figure in place of what stands in `host`. */
export async function evidence(host) {
  const folder = new URL(host.dataset.packs, document.baseURI);
  const place = element("p", { class: "live-error", role: "alert", hidden: "" });
  const file = await attempts(place)(() => fetchSafetensors(new URL("evidence.safetensors", folder)));
  if (!file) {
    host.append(place); // the still picture stays
    return;
  }
  const models = readModels(file);
  const { sizes } = file.metadata;
  const view = build(models, sizes);
  const plane = new PosteriorPlane(view.plane);
  const chosen = { model: START.model, size: START.size };
  chosen.image = models[START.model].order[Math.round(START.rank * (models[0].order.length - 1))];

  function show() {
    const model = models[chosen.model];
    const { order, images } = model;
    const image = images[chosen.image];
    const rank = order.indexOf(chosen.image);
    const K = sizes[chosen.size];
    showDigits(view.given, image.given);
    showDigits(view.decoded, image.decoded);
    plane.show(image.posterior, image.q);
    view.image.value = rank;
    view.imageText.textContent = `${rank + 1} of ${order.length}, a ${image.label}`;
    view.image.setAttribute("aria-valuetext", view.imageText.textContent);
    view.size.value = chosen.size;
    view.sizeText.textContent = `K = ${K}`;
    view.size.setAttribute("aria-valuetext", view.sizeText.textContent);
    const short = [image.short[0], image.short[chosen.size], 0];
    short.forEach((nats, row) =>
      view.numbers.set(row, number(image.logEvidence - nats), number(nats)));
    view.boundName.textContent = `IWAE-${K}`;
    paintBars(view.bars, short, K);
    paintCurves(view.curves, models, chosen, K);
  }

  view.image.addEventListener("input", () => {
    chosen.image = models[chosen.model].order[Number(view.image.value)];
    show();
  });
  view.size.addEventListener("input", () => {
    chosen.size = Number(view.size.value);
    show();
  });
  view.models.forEach(({ input }, k) => input.addEventListener("change", () => {
    chosen.model = k; // the image stays, its rank may change
    show();
  }));
  draggable(view.curves, {
    move: ([x]) => {
      const { order } = models[chosen.model];
      const rank = Math.round(curveScales(view.curves, models).rank.invert(x));
      chosen.image = order[Math.min(order.length - 1, Math.max(0, rank))];
      show();
    },
  });

  host.replaceChildren(view.root);
  show();
  new ResizeObserver(show).observe(view.curves);
  onThemeChange(show);
  host.dataset.ready = "true";
}

/**
 * What a file holds, model by model and image by image.
 *
 * @param {{metadata: object, arrays: object}} file as `readSafetensors` gives it
 * @returns {{weight: number, order: number[], images: object[]}[]} `order` of the images is that of
 *   their gaps, the smallest first; of an image, `short` is how many nats each bound misses
 */
export function readModels({ metadata, arrays }) {
  const count = arrays.labels.values.length;
  const part = (name, index) => {
    const { shape, values } = arrays[name];
    const size = values.length / (name === "images" ? count : shape[0] * count);
    return values.subarray(index * size, (index + 1) * size);
  };
  const gray = (levels) => levels.map((level) => level / 255);
  return metadata.runs.map(({ kl_weight: weight }, model) => {
    const images = Array.from({ length: count }, (_, image) => {
      const of = (name) => part(name, model * count + image);
      const logEvidence = of("log_evidence")[0];
      return {
        label: arrays.labels.values[image],
        given: gray(part("images", image)),
        decoded: gray(of("decoded")),
        q: { mu: [...of("mu")], sigma: [...of("sigma")] },
        logEvidence,
        short: [...of("bounds")].map((bound) => logEvidence - bound),
        posterior: {
          logDensity: of("posteriors").map((steps) => -metadata.nats * steps),
          side: arrays.posteriors.shape.at(-1),
          start: [...of("starts")],
          spacing: [...of("spacings")],
        },
      };
    });
    const order = [...images.keys()].sort((a, b) => images[a].short[0] - images[b].short[0]);
    return { weight, order, images };
  });
}

/** Three bars that end at the ELBO, at the bound of K samples and at log p(x), which is 0. */
function paintBars(canvas, short, K) {
  const { context, width, height } = sharpen(canvas);
  if (!width) return;
  const look = colors();
  const widest = roundStep(1.15 * Math.max(short[0], 0.1)); // nats along the axis
  const bottom = height - BARS.bottom;
  const toX = linearScale([-widest, 0], [BARS.left, width - BARS.right]);
  context.clearRect(0, 0, width, height);
  context.font = NUMBERS;
  [["ELBO", Q], [`IWAE-${K}`, BOUND], ["log p(x)", POSTERIOR]].forEach(([name, color], row) => {
    const top = BARS.top + 16 + row * BARS.apart;
    const end = toX(-short[row]);
    // What is missed is pale. The bars go on to the left: the axis is cut, and they fade there.
    const fade = context.createLinearGradient(BARS.left, 0, BARS.left + 0.15 * width, 0);
    fade.addColorStop(0, `${color}00`);
    fade.addColorStop(1, color);
    context.fillStyle = fade;
    context.fillRect(BARS.left, top, Math.max(end - BARS.left, 1), BARS.thick);
    context.fillStyle = `${color}33`;
    context.fillRect(end, top, Math.max(0, toX(0) - end), BARS.thick);
    context.fillStyle = look.text;
    context.fillText(name, BARS.left, top - 4);
    context.textAlign = "right";
    context.fillText(row < 2 ? `${number(short[row])} nats below` : "exact", toX(0), top - 4);
    context.textAlign = "left";
  });
  context.fillStyle = look.muted;
  context.fillRect(BARS.left, bottom, width - BARS.left - BARS.right, 1);
  context.strokeStyle = look.text;
  context.lineWidth = 1;
  context.setLineDash([4, 3]);
  line(context, [[toX(0), BARS.top + 16], [toX(0), bottom]]);
  context.setLineDash([]);
  const step = roundStep(widest / 5);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  xTicks(context, toX, multiples(step, -widest, 0), {
    color: look.text, markColor: look.muted, marks: [bottom, bottom + 4], baseline: bottom + 17,
    format: (value) => number(-value, digits), shown: (x) => BARS.left + 12 < x && x < width - BARS.right - 4,
  });
  context.textAlign = "right";
  context.fillText("0", toX(0), bottom + 17);
  context.textAlign = "center";
  context.fillText("nats below log p(x)", width / 2, bottom + 34);
  context.textAlign = "left";
}

/** Where ranks and nats lie on the canvas; the same for every model, so that they can be compared. */
function curveScales(canvas, models) {
  const box = boxWithin(canvas.clientWidth, canvas.clientHeight, CURVES);
  const most = Math.max(...models.flatMap(({ images }) => images.map(({ short }) => short[0])));
  const count = models[0].order.length;
  return {
    box, most,
    rank: linearScale([-0.7, count - 0.3], [box.left, box.right]),
    nats: logScale([0.8 * LEAST, 1.5 * most], [box.bottom, box.top]),
  };
}

/** The images in the order of their gaps, with what both bounds miss. */
function paintCurves(canvas, models, chosen, K) {
  const { context, width, height } = sharpen(canvas);
  if (!width) return;
  const look = colors();
  const { order, images } = models[chosen.model];
  const { box, most, rank, nats } = curveScales(canvas, models);
  const toY = (value) => nats(Math.max(LEAST, value));
  context.clearRect(0, 0, width, height);
  const decades = [0.01, 0.1, 1, 10, 100, 1_000].filter((value) => value <= 1.5 * most);
  boxedAxes(context, look, box, { scale: rank, values: [0, 9, 19, 29, 39].filter((k) => k < order.length),
    format: (value) => String(value + 1) }, { scale: nats, values: decades });
  context.fillText("nats below log p(x)", box.left, box.top - 8);
  context.textAlign = "center";
  context.fillText("test image, sorted by its gap", (box.left + box.right) / 2, box.bottom + 32);
  context.textAlign = "left";
  const at = rank(order.indexOf(chosen.image));
  context.strokeStyle = look.text;
  context.lineWidth = 1;
  context.setLineDash([4, 3]);
  line(context, [[at, box.top], [at, box.bottom]]);
  context.setLineDash([]);
  for (const [size, color] of [[0, Q], [chosen.size, BOUND]]) {
    context.fillStyle = context.strokeStyle = color;
    order.forEach((image, k) => dot(context, rank(k), toY(images[image].short[size]), 3));
    context.lineWidth = 2;
    ring(context, at, toY(images[chosen.image].short[size]), 6.5);
  }
  [["ELBO", Q], [`IWAE-${K}`, BOUND]].forEach(([name, color], k) => {
    const x = box.right - 132 + 62 * k;
    context.fillStyle = color;
    dot(context, x, box.top - 12, 4);
    context.fillStyle = look.text;
    context.fillText(name, x + 8, box.top - 8);
  });
}

function build(models, sizes) {
  const image = slider("Test image", { min: "0", max: models[0].order.length - 1, step: "1" });
  const size = slider("Samples", { min: "0", max: sizes.length - 1, step: "1", "aria-label": "Samples K" });
  const picture = (label) => element("canvas", { class: "live-digit", role: "img", "aria-label": label });
  const swatch = (color, text) => element("span", {},
    element("span", { class: "live-swatch", style: `background: ${color}` }), text);
  const boundName = element("span", {}, "IWAE");
  const view = {
    models: models.map(({ weight }, k) => radio("model", k, NAMES[weight] ?? `w = ${weight}`)),
    image: image.input, imageText: image.output, size: size.input, sizeText: size.output,
    plane: element("canvas", {
      class: "live-plane live-fixed", role: "img",
      "aria-label": "The true posterior of the image and the encoder's q in the latent plane, each with the " +
        "regions that hold half and nine tenths of its mass",
    }),
    given: picture("The test image x"),
    decoded: picture("The image that the decoder makes of the mean of q"),
    bars: element("canvas", {
      class: "live-bars", role: "img", "aria-label": "ELBO, bound of K samples and log p(x) as bars",
    }),
    curves: element("canvas", {
      class: "live-curves live-low", role: "img",
      "aria-label": "How far the ELBO and the bound of K samples are below log p(x), for every test image",
    }),
    boundName,
    numbers: table(["", "nats", "missing"], ["ELBO", boundName, "log p(x)"]),
  };
  view.models[START.model].input.checked = true;
  view.root = element("div", { class: "live-explorer" },
    element("div", { class: "live-row", role: "group", "aria-label": "Model" },
      element("span", {}, "Model"), ...view.models.map(({ label }) => label)),
    grid(image, size),
    element("div", { class: "live-columns" },
      element("div", { class: "live-beside" }, view.plane,
        element("div", { class: "live-row" }, swatch(POSTERIOR, "true posterior p(z | x)"), swatch(Q, "q(z | x)"))),
      element("div", { class: "live-beside" },
        element("div", { class: "live-pair" }, panel("Image x", view.given), panel("Decoded", view.decoded)),
        view.bars, view.numbers.root)),
    view.curves);
  return view;
}

startWhenNear("evidence", evidence);

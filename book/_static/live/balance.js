// The balance of the ELBO: a slider over trained KL weights; reconstruction, KL, latents and
// samples change together, beside what the linear theory predicts.

import { NUMBERS, boxedAxes, linearScale, logScale, multiples } from "./axes.js";
import { grid, slider, table } from "./controls.js";
import { draggable } from "./drag.js";
import { network } from "./network.js";
import { Plane } from "./plane.js";
import { attempts, fetchSafetensors } from "./safetensors.js";
import {
  colors, dot, element, legend, line, normals, number, onThemeChange, sharpen, showDigits,
  startWhenNear,
} from "./surface.js";

const DIGITS = 10; // images in a strip
const LARGER = "#3f90da"; // of the two latents, the one with the larger KL
const SMALLER = "#e76300";
const START = 1; // the weight that is shown first; there is a run of it
const MARGIN = { left: 34, right: 10, top: 40, between: 34, bottom: 42 }; // CSS pixels

/** Starts the figure in place of what stands in `host`. */
export async function balance(host) {
  const folder = new URL(host.dataset.packs, document.baseURI);
  const view = build();
  const attempt = attempts(view.error);
  const decoders = new Map();
  let wanted = 0; // counts what was asked for: only the last answer is shown

  async function decoderOf(index) {
    if (!decoders.has(index)) {
      const file = await fetchSafetensors(new URL(`decoder-${index}.safetensors`, folder));
      decoders.set(index, network(file, "decoder"));
    }
    return decoders.get(index);
  }

  const file = await attempt(() => fetchSafetensors(new URL("balance.safetensors", folder)));
  const start = file?.metadata.rows.findIndex((row) => row.kl_weight === START);
  if (!file || !(await attempt(() => decoderOf(start)))) {
    host.append(view.error); // the still picture stays
    return;
  }
  const { rows, limits } = file.metadata;
  const labels = file.arrays.labels.values;
  const latents = file.arrays.latents.values;
  const noise = normals(2 * DIGITS, 2);
  // One test image of each class.
  const shown = Array.from({ length: DIGITS }, (_, digit) => labels.indexOf(digit));
  const plane = new Plane(view.plane);
  const codesAt = (index) =>
    latents.subarray(2 * labels.length * index, 2 * labels.length * (index + 1));

  async function show(index) {
    const mine = ++wanted;
    const decode = await attempt(() => decoderOf(index));
    if (!decode || mine !== wanted) return;
    const row = rows[index];
    const mu = codesAt(index);
    plane.showCodes({ mu, labels }, limits);
    const decoded = (z) => Float32Array.from(decode(z));
    showDigits(view.rebuilt, ...shown.map((image) => decoded(mu.subarray(2 * image, 2 * image + 2))));
    showDigits(view.samples,
      ...shown.map((_, k) => decoded(noise.subarray(2 * k, 2 * k + 2))));
    view.weight.value = index;
    view.weight.setAttribute("aria-valuetext", `w = ${row.kl_weight}`);
    view.weightText.textContent = `w = ${row.kl_weight}`;
    const linear = row.affine_vae;
    const linearKl = linear.kl.reduce((sum, kl) => sum + kl, 0);
    view.numbers.set(0, number(row.test_squared_error), number(linear.squared_error));
    view.numbers.set(1, number(row.test_kl), number(linearKl));
    view.numbers.set(2, number(row.test_loss),
      number(linear.squared_error + row.kl_weight * linearKl));
    view.numbers.set(3, ...[row.kl_per_latent, linear.kl].map((kls) => `${count(kls)} of 2`));
    paint(view.curves, file, index);
  }

  view.weight.max = rows.length - 1;
  view.weight.addEventListener("input", () => show(Number(view.weight.value)));
  draggable(view.curves, {
    move: ([x]) => {
      const at = scales(view.curves, file).weight.invert(x);
      const distance = (row) => Math.abs(Math.log(row.kl_weight / at));
      const nearest = rows.reduce((best, row) => (distance(row) < distance(best) ? row : best));
      show(rows.indexOf(nearest));
    },
  });

  host.replaceChildren(view.root);
  await show(start);
  const redraw = () => {
    plane.redraw();
    paint(view.curves, file, Number(view.weight.value));
  };
  new ResizeObserver(redraw).observe(view.curves);
  onThemeChange(redraw);
  host.dataset.ready = "true";
}

const largestFirst = (values) => [...values].sort((a, b) => b - a);

/** How many latents carry more than a hundredth of a nat. */
const count = (kls) => kls.filter((kl) => kl > 0.01).length;

/** Where weights, errors and KLs lie on the canvas: two panels, one above the other. */
function scales(canvas, { metadata: { rows, total_variance: total }, arrays }) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const half = (height - MARGIN.top - MARGIN.between - MARGIN.bottom) / 2;
  const bottoms = [MARGIN.top + half, height - MARGIN.bottom];
  const weights = arrays.theory_kl_weight.values;
  const highestError = 1.35 * total;
  const highestKl = 1.08 * Math.max(...rows.flatMap((row) => row.kl_per_latent),
    ...rows[0].affine_vae.kl);
  return {
    width, height, half, bottoms, highestKl, highestError,
    weight: logScale([weights[0], weights.at(-1)], [MARGIN.left, width - MARGIN.right]),
    error: linearScale([0, highestError], [bottoms[0], bottoms[0] - half]),
    kl: linearScale([0, highestKl], [bottoms[1], bottoms[1] - half]),
  };
}

function paint(canvas, file, chosen) {
  const { context, width } = sharpen(canvas);
  if (!width) return;
  const { metadata: { rows, collapse_weights: deaths, total_variance: total }, arrays } = file;
  const look = colors();
  const at = scales(canvas, file);
  context.clearRect(0, 0, at.width, at.height);
  context.font = NUMBERS;
  drawAxes(context, look, at, total);

  // The deaths that the linear theory predicts.
  context.strokeStyle = look.accent;
  context.fillStyle = look.accent;
  context.lineWidth = 1.5;
  deaths.forEach((w, direction) => {
    const x = at.weight(w);
    context.setLineDash([4, 3]);
    line(context, [[x, MARGIN.top - 16], [x, at.bottoms[1]]]);
    context.textAlign = direction === 0 ? "left" : "right";
    const name = `2λ${"₁₂₃₄"[direction]} = ${number(w, 1)}`;
    context.fillText(name, x + (direction === 0 ? 3 : -3), MARGIN.top - 22);
  });
  context.textAlign = "left";

  // Linear theory dotted, the trained networks solid with a dot for each.
  const grid = [...arrays.theory_kl_weight.values];
  const predicted = arrays.theory_kl.values;
  const sorted = rows.map((row) => largestFirst(row.kl_per_latent));
  const curves = [
    [look.text, at.error, [...arrays.theory_squared_error.values],
      rows.map((row) => row.test_squared_error)],
    ...[LARGER, SMALLER].map((color, k) => [
      color, at.kl, grid.map((_, j) => predicted[deaths.length * j + k]),
      sorted.map((kl) => kl[k])]),
  ];
  for (const [color, scale, theory, found] of curves) {
    context.strokeStyle = context.fillStyle = color;
    context.setLineDash([2, 3]);
    context.lineWidth = 1.5;
    line(context, grid.map((w, j) => [at.weight(w), scale(theory[j])]));
    context.setLineDash([]);
    context.lineWidth = 2;
    line(context, rows.map((row, k) => [at.weight(row.kl_weight), scale(found[k])]));
    rows.forEach((row, k) =>
      dot(context, at.weight(row.kl_weight), scale(found[k]), k === chosen ? 6 : 3));
  }
}

function drawAxes(context, look, at, total) {
  const right = at.width - MARGIN.right;
  const [upper, lower] = at.bottoms;
  const weights = { scale: at.weight, values: [0.1, 1, 10, 100] };
  const frame = (bottom) => ({ left: MARGIN.left, right, top: bottom - at.half, bottom });
  boxedAxes(context, look, frame(upper), { ...weights, format: () => "" },
    { scale: at.error, values: multiples(20, 0, at.highestError) });
  boxedAxes(context, look, frame(lower), weights,
    { scale: at.kl, values: multiples(1, 0, at.highestKl) });
  context.fillStyle = look.text;
  context.fillText("squared error S of an image", MARGIN.left, upper - at.half - 6);
  context.fillText("KL of each latent, in nats", MARGIN.left, lower - at.half - 6);
  context.textAlign = "center";
  context.fillText("KL weight w", (MARGIN.left + right) / 2, lower + 34);
  context.textAlign = "left";
  ["larger", "smaller"].forEach((text, k) => {
    const [x, y] = [right - 66, lower - at.half + 16 + 16 * k];
    context.fillStyle = [LARGER, SMALLER][k];
    context.fillRect(x, y - 5, 10, 3);
    context.fillStyle = look.text;
    context.fillText(text, x + 14, y);
  });
  context.strokeStyle = look.muted;
  context.setLineDash([1, 3]);
  line(context, [[MARGIN.left, at.error(total)], [right, at.error(total)]]);
  context.setLineDash([]);
  context.fillText("mean image", MARGIN.left + 5, at.error(total) - 5);
}

function build() {
  const strip = (label) => element("canvas", { class: "live-strip", role: "img", "aria-label": label });
  const weight = slider("KL weight", { min: "0", value: "0", step: "1" });
  const view = {
    weight: weight.input,
    weightText: weight.output,
    plane: element("canvas", {
      class: "live-plane live-fixed", role: "img",
      "aria-label": "Latents of 2,000 test images at the chosen KL weight",
    }),
    curves: element("canvas", {
      class: "live-curves", role: "img",
      "aria-label":
        "Squared error and KL of each latent against the KL weight, for the trained VAEs and the best affine VAE",
    }),
    numbers: table(["per test image", "trained VAE", "best affine VAE"],
      ["squared error S", "KL, in nats", "loss S + w KL", "latents used"]),
    rebuilt: strip("One test image of each class, reconstructed"),
    samples: strip("Ten latents drawn from the prior, decoded"),
    error: element("p", { class: "live-error", role: "alert", hidden: "" }),
  };
  view.root = element("div", { class: "live-explorer" },
    grid(weight),
    view.error,
    element("div", { class: "live-columns" }, view.curves,
      element("div", { class: "live-beside" }, view.plane, legend())),
    view.numbers.root,
    element("p", { class: "live-heading" }, "One test image of each digit from 0 to 9, reconstructed"),
    view.rebuilt,
    element("p", { class: "live-heading" }, "Ten draws from the prior, always the same, decoded"),
    view.samples);
  return view;
}

startWhenNear("balance", balance);

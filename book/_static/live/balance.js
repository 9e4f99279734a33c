// The balance of the ELBO: a slider over trained KL weights; reconstruction, KL, latents and
// samples change together, beside what the linear theory predicts.

import { network } from "./network.js";
import { attempts, fetchPack } from "./pack.js";
import { Plane } from "./plane.js";
import {
  colors, element, legend, normals, number, onThemeChange, sharpen, showDigits, startWhenNear,
} from "./surface.js";

const DIGITS = 10; // images in a strip
const LARGER = "#3f90da"; // of the two latents, the one with the larger KL
const SMALLER = "#e76300";
const START = 1; // the weight that is shown first; there is a run of it
const MARGIN = { left: 34, right: 10, top: 30, between: 34, bottom: 24 }; // CSS pixels

/**
 * What the best linear VAE of KL weight w scores (chapter 5, "Could we have known?").
 *
 * @param {number} w the KL weight
 * @param {number[]} variances of the images along the directions that the latents may take
 * @param {number} total the total variance of the images
 * @returns {{squaredError: number, kl: number[]}} nats per image; a KL for each latent
 */
export function linearTheory(w, variances, total) {
  const used = variances.filter((lambda) => w < 2 * lambda);
  return {
    squaredError: used.reduce((error, lambda) => error - (lambda - w / 2), total),
    kl: variances.map((lambda) => Math.max(0, 0.5 * Math.log((2 * lambda) / w))),
  };
}

/** Starts the figure in place of what stands in `host`. */
export async function balance(host) {
  const folder = new URL(host.dataset.packs, document.baseURI);
  const view = build();
  const attempt = attempts(view.error);
  const decoders = new Map();
  let wanted = 0; // counts what was asked for: only the last answer is shown

  async function decoderOf(index) {
    if (!decoders.has(index)) {
      const file = await fetchPack(new URL(`decoder-${index}.bin`, folder));
      decoders.set(index, network(file, "decoder"));
    }
    return decoders.get(index);
  }

  const pack = await attempt(() => fetchPack(new URL("balance.bin", folder)));
  const start = pack?.head.rows.findIndex((row) => row.kl_weight === START);
  if (!pack || !(await attempt(() => decoderOf(start)))) {
    host.append(view.error); // the still picture stays
    return;
  }
  const { rows, variances, total_variance: total, limits } = pack.head;
  const labels = pack.arrays.labels.values;
  const latents = pack.arrays.latents.values;
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
    view.weightText.textContent = `KL weight w = ${row.kl_weight}`;
    view.loss.textContent =
      `loss ${number(row.test_loss)} = squared error ${number(row.test_squared_error)} + ` +
      `${row.kl_weight} × KL ${number(row.test_kl)}`;
    const ours = largestFirst(row.kl_per_latent);
    const linear = linearTheory(row.kl_weight, variances, total);
    view.latents.textContent =
      `This network uses ${count(ours)}: KL ${ours.map((kl) => number(kl)).join(" and ")}.`;
    view.theory.textContent =
      `The best linear VAE uses ${count(linear.kl)}: KL ` +
      `${linear.kl.map((kl) => number(kl)).join(" and ")}, ` +
      `squared error ${number(linear.squaredError)}.`;
    paint(view.curves, pack.head, index);
  }

  view.weight.max = rows.length - 1;
  view.weight.addEventListener("input", () => show(Number(view.weight.value)));
  const choose = (event) => {
    const box = view.curves.getBoundingClientRect();
    const at = scales(view.curves, pack.head).toWeight(event.clientX - box.left);
    const distance = (row) => Math.abs(Math.log(row.kl_weight / at));
    const nearest = rows.reduce((best, row) => (distance(row) < distance(best) ? row : best));
    show(rows.indexOf(nearest));
  };
  view.curves.addEventListener("pointerdown", (event) => {
    view.curves.setPointerCapture(event.pointerId);
    choose(event);
  });
  view.curves.addEventListener("pointermove", (event) => {
    if (event.buttons) choose(event);
  });

  host.replaceChildren(view.root);
  await show(start);
  const redraw = () => {
    plane.redraw();
    paint(view.curves, pack.head, Number(view.weight.value));
  };
  new ResizeObserver(redraw).observe(view.curves);
  onThemeChange(redraw);
  host.dataset.ready = "true";
}

const largestFirst = (values) => [...values].sort((a, b) => b - a);

/** How many latents carry more than a hundredth of a nat, in words. */
function count(kls) {
  return ["no latent", "one latent", "both latents"][kls.filter((kl) => kl > 0.01).length];
}

/** Where weights, errors and KLs lie on the canvas: two panels, one above the other. */
function scales(canvas, { rows, variances, total_variance: total }) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const [low, high] = [rows[0].kl_weight / 1.3, rows.at(-1).kl_weight * 1.3].map(Math.log);
  const half = (height - MARGIN.top - MARGIN.between - MARGIN.bottom) / 2;
  const span = width - MARGIN.left - MARGIN.right;
  const highestKl = 1.08 * Math.max(
    ...rows.flatMap((row) => row.kl_per_latent),
    ...linearTheory(rows[0].kl_weight, variances, total).kl);
  const highestError = 1.12 * total;
  const bottoms = [MARGIN.top + half, height - MARGIN.bottom];
  return {
    width, height, half, bottoms, highestKl, highestError,
    toX: (w) => MARGIN.left + ((Math.log(w) - low) / (high - low)) * span,
    toWeight: (x) => Math.exp(low + ((x - MARGIN.left) / span) * (high - low)),
    toErrorY: (value) => bottoms[0] - (value / highestError) * half,
    toKlY: (value) => bottoms[1] - (value / highestKl) * half,
  };
}

function paint(canvas, head, chosen) {
  const { context, width } = sharpen(canvas);
  if (!width) return;
  const { rows, variances, total_variance: total } = head;
  const look = colors();
  const at = scales(canvas, head);
  context.clearRect(0, 0, at.width, at.height);
  context.font = "12px sans-serif";
  drawAxes(context, look, at, total);

  // The deaths that the linear theory predicts.
  context.strokeStyle = look.accent;
  context.fillStyle = look.accent;
  context.lineWidth = 1.5;
  variances.forEach((lambda, direction) => {
    const x = at.toX(2 * lambda);
    context.setLineDash([4, 3]);
    line(context, [[x, MARGIN.top - 8], [x, at.bottoms[1]]]);
    context.textAlign = direction === 0 ? "left" : "right";
    const name = `2λ${"₁₂₃₄"[direction]} = ${number(2 * lambda, 1)}`;
    context.fillText(name, x + (direction === 0 ? 3 : -3), MARGIN.top - 14);
  });
  context.textAlign = "left";

  // Linear theory dotted, the trained networks solid with a dot for each.
  const grid = Array.from({ length: 121 }, (_, k) =>
    at.toWeight(MARGIN.left + (k / 120) * (at.width - MARGIN.left - MARGIN.right)));
  const theory = grid.map((w) => [w, linearTheory(w, variances, total)]);
  const sorted = rows.map((row) => largestFirst(row.kl_per_latent));
  const curves = [
    [look.text, at.toErrorY, theory.map(([w, t]) => [w, t.squaredError]),
      rows.map((row) => row.test_squared_error)],
    ...[LARGER, SMALLER].map((color, k) => [
      color, at.toKlY, theory.map(([w, t]) => [w, t.kl[k]]), sorted.map((kl) => kl[k])]),
  ];
  for (const [color, toY, predicted, found] of curves) {
    context.strokeStyle = context.fillStyle = color;
    context.setLineDash([2, 3]);
    context.lineWidth = 1.5;
    line(context, predicted.map(([w, value]) => [at.toX(w), toY(value)]));
    context.setLineDash([]);
    context.lineWidth = 2;
    line(context, rows.map((row, k) => [at.toX(row.kl_weight), toY(found[k])]));
    rows.forEach((row, k) => {
      context.beginPath();
      context.arc(at.toX(row.kl_weight), toY(found[k]), k === chosen ? 6 : 3, 0, 2 * Math.PI);
      context.fill();
    });
  }
}

function drawAxes(context, look, at, total) {
  context.strokeStyle = look.muted;
  context.fillStyle = look.text;
  context.lineWidth = 1;
  const right = at.width - MARGIN.right;
  for (const bottom of at.bottoms) line(context, [[MARGIN.left, bottom], [right, bottom]]);
  context.textAlign = "center";
  for (const w of [0.1, 1, 10, 100]) {
    const x = at.toX(w);
    for (const bottom of at.bottoms) line(context, [[x, bottom], [x, bottom + 4]]);
    context.fillText(String(w), x, at.bottoms[1] + 16);
  }
  context.textAlign = "right";
  for (const [toY, values] of [
    [at.toErrorY, [0, 20, 40, 60].filter((value) => value <= at.highestError)],
    [at.toKlY, [0, 1, 2, 3, 4, 5, 6].filter((value) => value <= at.highestKl)],
  ]) {
    for (const value of values) {
      line(context, [[MARGIN.left - 4, toY(value)], [MARGIN.left, toY(value)]]);
      context.fillText(String(value), MARGIN.left - 7, toY(value) + 4);
    }
  }
  context.fillText("KL weight w", right, at.bottoms[1] - 6);
  context.textAlign = "left";
  context.fillText("squared error per image", MARGIN.left + 4, at.toErrorY(0) - 8);
  context.fillText("KL of each latent, nats", MARGIN.left + 4, at.bottoms[1] - at.half - 6);
  ["larger", "smaller"].forEach((text, k) => {
    const [x, y] = [right - 62, at.bottoms[1] - at.half + 6 + 16 * k];
    context.fillStyle = [LARGER, SMALLER][k];
    context.fillRect(x, y - 5, 10, 3);
    context.fillStyle = look.text;
    context.fillText(text, x + 14, y);
  });
  context.strokeStyle = look.muted;
  context.setLineDash([1, 3]);
  line(context, [[MARGIN.left, at.toErrorY(total)], [right, at.toErrorY(total)]]);
  context.setLineDash([]);
  context.fillText("mean image", MARGIN.left + 4, at.toErrorY(total) - 5);
}

function line(context, points) {
  context.beginPath();
  points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}

function build() {
  const strip = (label) => element("canvas", { class: "live-strip", role: "img", "aria-label": label });
  const view = {
    weight: element("input", {
      type: "range", min: "0", value: "0", step: "1", "aria-label": "KL weight",
    }),
    weightText: element("output"),
    plane: element("canvas", {
      class: "live-plane live-fixed", role: "img",
      "aria-label": "Codes of 2,000 test images in the latent plane, at the chosen KL weight",
    }),
    curves: element("canvas", {
      class: "live-curves", role: "img",
      "aria-label":
        "Squared error and KL of each latent against the KL weight, trained and by linear theory",
    }),
    loss: element("output"),
    latents: element("output"),
    theory: element("output", { class: "live-muted" }),
    rebuilt: strip("One test image of each class, as the decoder rebuilds it from its code"),
    samples: strip("Ten latents drawn from the prior, decoded"),
    error: element("p", { class: "live-error", role: "alert", hidden: "" }),
  };
  view.root = element("div", { class: "live-explorer" },
    element("div", { class: "live-slider" }, view.weightText, view.weight),
    view.error,
    element("div", { class: "live-lines" }, view.loss, view.latents, view.theory),
    element("div", { class: "live-columns" }, view.curves,
      element("div", { class: "live-side live-grow" }, view.plane, legend())),
    element("p", { class: "live-heading" },
      "A test image of each class, from 0 to 9, rebuilt from its code"),
    view.rebuilt,
    element("p", { class: "live-heading" }, "The same ten draws from the prior, decoded"),
    view.samples);
  return view;
}

startWhenNear("balance", balance);

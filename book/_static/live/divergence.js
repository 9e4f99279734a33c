// The KL playground: two Gaussians to drag, both directions of the KL, and the KL as a surface.

import { NUMBERS, boxWithin, boxedAxes, haloed, linearScale, logScale, multiples } from "./axes.js";
import { contourLines } from "./contours.js";
import { grid, radio, slider, table } from "./controls.js";
import { draggable } from "./drag.js";
import { integrand, density, kl, klBySum } from "./gaussian.js";
import { colors, dot, element, handle, line, number, onThemeChange, sharpen, startWhenNear } from "./surface.js";

const X = [-6, 6];
const MU = [-4, 4];
const SIGMA = [0.2, 3];
const P_COLOR = "#3f90da";
const Q_COLOR = "#e76300";
const ROOM = { above: 1.1, below: 0.42 }; // for the shaded area, in units of density
const CURVES = { left: 34, top: 8, right: 8, bottom: 24 }; // margins in CSS pixels
const SURFACE = { left: 34, top: 8, right: 8, bottom: 24 };
const FINE = 64; // points along an edge of the grid on which the surface is known
const LABELS_APART = 26; // CSS pixels at least
const LEVELS = [0.05, 0.2, 0.5, 1, 2, 4, 8]; // nats: lines on the surface

const clamp = (value, [low, high]) => Math.min(high, Math.max(low, value));

/** Starts the playground in place of what stands in `host`. */
export function divergence(host) {
  const p = { mu: -1, sigma: 0.7 };
  const q = { mu: 1, sigma: 1.4 };
  const view = build();
  host.replaceChildren(view.root);

  function draw() {
    const [from, to] = view.reverse.checked ? [q, p] : [p, q];
    drawCurves(view.curves, p, q, from, to);
    drawSurface(view.surface, p, q);
    for (const [name, g] of [["p", p], ["q", q]]) {
      view[`${name}Mu`].value = g.mu;
      view[`${name}Sigma`].value = g.sigma;
      view[`${name}MuText`].textContent = number(g.mu);
      view[`${name}SigmaText`].textContent = number(g.sigma);
    }
    [[p, q], [q, p]].forEach(([first, second], row) =>
      view.numbers.set(row, number(kl(first, second), 3), number(klBySum(first, second), 3)));
  }

  for (const [name, g] of [["p", p], ["q", q]]) {
    view[`${name}Mu`].addEventListener("input", (event) => {
      g.mu = Number(event.target.value);
      draw();
    });
    view[`${name}Sigma`].addEventListener("input", (event) => {
      g.sigma = Number(event.target.value);
      draw();
    });
  }
  for (const choice of [view.forward, view.reverse]) choice.addEventListener("change", draw);

  // Dragging sideways moves the nearer mean; up and down makes that Gaussian narrow or wide.
  let held = null;
  const curves = () => curveScales(view.curves.clientWidth, view.curves.clientHeight);
  draggable(view.curves, {
    start: ([x]) => {
      const at = curves().x.invert(x);
      held = Math.abs(at - p.mu) <= Math.abs(at - q.mu) ? p : q;
    },
    move: ([x, y]) => {
      if (!held) return;
      held.mu = clamp(curves().x.invert(x), MU);
      const top = Math.max(0.05, curves().y.invert(y));
      held.sigma = clamp(1 / (top * Math.sqrt(2 * Math.PI)), SIGMA); // a curve with its top here
      draw();
    },
  });
  draggable(view.surface, {
    move: ([x, y]) => {
      const { mu, sigma } = surfaceScales(view.surface.clientWidth, view.surface.clientHeight);
      p.mu = clamp(mu.invert(x), MU);
      p.sigma = clamp(sigma.invert(y), SIGMA);
      draw();
    },
  });
  new ResizeObserver(draw).observe(view.curves);
  onThemeChange(draw);
  draw();
  host.dataset.ready = "true";
}

/** Where values of x and densities lie on the canvas of the curves. */
function curveScales(width, height) {
  const box = boxWithin(width, height, CURVES);
  return {
    box,
    x: linearScale(X, [box.left, box.right]),
    y: linearScale([-ROOM.below, ROOM.above], [box.bottom, box.top]),
  };
}

/** Where the mean and the standard deviation of p lie on the surface. */
function surfaceScales(width, height) {
  const box = boxWithin(width, height, SURFACE);
  return {
    box,
    mu: linearScale(MU, [box.left, box.right]),
    sigma: logScale(SIGMA, [box.bottom, box.top]),
  };
}

function drawCurves(canvas, p, q, from, to) {
  const { context, width, height } = sharpen(canvas);
  if (!width) return;
  const look = colors();
  const { box, x: toX, y: toY } = curveScales(width, height);
  const base = toY(0);
  const points = Array.from({ length: 401 }, (_, k) => X[0] + (k / 400) * (X[1] - X[0]));
  context.clearRect(0, 0, width, height);
  boxedAxes(context, look, box, { scale: toX, values: multiples(2, -4, 4), name: "x" },
    { scale: toY, values: [0, 0.5, 1] });
  context.save();
  context.beginPath();
  context.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  context.clip();

  // The integrand, shaded: what lies below the axis counts against what lies above.
  const values = points.map((x) => integrand(x, from, to));
  const shrink = Math.max(1, Math.ceil(Math.max(...values) / ROOM.above),
    Math.ceil(-Math.min(...values) / ROOM.below));
  for (const sign of [1, -1]) {
    context.beginPath();
    context.moveTo(toX(X[0]), base);
    points.forEach((x, k) =>
      context.lineTo(toX(x), toY(sign * values[k] > 0 ? values[k] / shrink : 0)));
    context.lineTo(toX(X[1]), base);
    context.globalAlpha = 0.35;
    context.fillStyle = sign > 0 ? look.text : "#bd1f01";
    context.fill();
    context.globalAlpha = 1;
  }
  context.strokeStyle = look.muted;
  context.lineWidth = 1;
  line(context, [[box.left, base], [box.right, base]]);
  for (const [g, color, name] of [[p, P_COLOR, "p"], [q, Q_COLOR, "q"]]) {
    context.strokeStyle = color;
    context.lineWidth = 2.5;
    line(context, points.map((x) => [toX(x), toY(density(x, g))]));
    context.fillStyle = look.text;
    context.font = "italic 16px serif";
    context.fillText(name, toX(g.mu) - 4, Math.max(box.top + 16, toY(density(g.mu, g)) - 6));
  }
  context.restore();
  context.fillStyle = look.text;
  context.font = NUMBERS;
  if (shrink > 1) {
    context.fillText(`shaded area drawn at 1/${shrink} of its height`, box.left + 8, box.bottom - 8);
  }
}

function drawSurface(canvas, p, q) {
  const { context, width, height } = sharpen(canvas);
  if (!width) return;
  const look = colors();
  context.clearRect(0, 0, width, height);
  const { box, mu, sigma } = surfaceScales(width, height);
  const [cellWidth, cellHeight] = [(box.right - box.left) / (FINE - 1), (box.bottom - box.top) / (FINE - 1)];
  const values = Array.from({ length: FINE ** 2 }, (_, k) => kl({
    mu: mu.invert(box.left + (k % FINE) * cellWidth),
    sigma: sigma.invert(box.top + Math.floor(k / FINE) * cellHeight),
  }, q));
  shade(context, values, box);
  context.strokeStyle = look.text;
  context.lineWidth = 1;
  for (const level of LEVELS) {
    for (const points of contourLines(values, FINE, level)) {
      line(context, points.map(([column, row]) =>
        [box.left + column * cellWidth, box.top + row * cellHeight]));
    }
  }
  boxedAxes(context, look, box, { scale: mu, values: multiples(2, ...MU), name: "μ" },
    { scale: sigma, values: [0.2, 0.5, 1, 2], name: "σ" });
  labelLevels(context, look, q, { box, mu, sigma });
  context.fillStyle = Q_COLOR;
  dot(context, mu(q.mu), sigma(q.sigma), 4);
  handle(context, look, mu(p.mu), sigma(p.sigma), 8);
}

/** Colors the surface, the stronger the smaller the divergence. */
function shade(context, values, box) {
  const fine = element("canvas", { width: FINE, height: FINE });
  const pixels = fine.getContext("2d").createImageData(FINE, FINE);
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(P_COLOR.slice(at, at + 2), 16));
  values.forEach((value, k) =>
    pixels.data.set([red, green, blue, 165 / (1 + value)], 4 * k));
  fine.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(fine, box.left, box.top, box.right - box.left, box.bottom - box.top);
}

/**
 * Writes their values on the lines, where p has q's standard deviation: there the divergence is
 * half the square of the distance of the means in standard deviations.
 */
function labelLevels(context, look, q, { box, mu, sigma }) {
  const side = q.mu > 0 ? -1 : 1; // where there is more room
  const y = sigma(q.sigma);
  context.font = NUMBERS;
  context.fillStyle = look.text;
  context.textAlign = "center";
  let last = mu(q.mu);
  for (const level of LEVELS) {
    const x = mu(q.mu + side * q.sigma * Math.sqrt(2 * level));
    const apart = Math.abs(x - last) >= LABELS_APART;
    if (!apart || x < box.left + 12 || x > box.right - 12) continue;
    haloed(context, look.background, String(level), x, Math.min(Math.max(y, box.top + 8), box.bottom - 8) + 4);
    last = x;
  }
  context.textAlign = "left";
}

function build() {
  const range = (name, label, [min, max]) =>
    slider(name, { min, max, step: "0.01", "aria-label": label });
  const [pMu, pSigma] = [range("p: mean", "mean of p", MU), range("p: std. dev.", "standard deviation of p", SIGMA)];
  const [qMu, qSigma] = [range("q: mean", "mean of q", MU), range("q: std. dev.", "standard deviation of q", SIGMA)];
  const forward = radio("direction", "forward", "KL(p‖q)");
  const reverse = radio("direction", "reverse", "KL(q‖p)");
  const view = {
    curves: element("canvas", {
      class: "live-curves", role: "img",
      "aria-label": "Densities of p and q, and the integrand of the chosen KL, shaded",
    }),
    surface: element("canvas", {
      class: "live-kl-surface", role: "img",
      "aria-label": "KL(p‖q) for every mean (horizontal) and standard deviation (vertical) of p",
    }),
    pMu: pMu.input, pSigma: pSigma.input, qMu: qMu.input, qSigma: qSigma.input,
    pMuText: pMu.output, pSigmaText: pSigma.output, qMuText: qMu.output, qSigmaText: qSigma.output,
    forward: forward.input,
    reverse: reverse.input,
    numbers: table(["integrand shaded", "closed form, nats", "400 rectangles, nats"], [forward.label, reverse.label]),
  };
  view.forward.checked = true;
  view.root = element("div", { class: "live-explorer" },
    element("div", { class: "live-columns" },
      element("div", { class: "live-main" },
        element("p", { class: "live-heading" }, "The densities"), view.curves),
      element("div", { class: "live-beside" },
        element("p", { class: "live-heading" }, "KL(p‖q) for every p"), view.surface)),
    grid(pMu, pSigma, qMu, qSigma),
    view.numbers.root);
  return view;
}

startWhenNear("divergence", divergence);

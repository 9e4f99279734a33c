// The KL playground: two Gaussians to drag, both directions of the KL, and the KL as a surface.

import { linearScale, logScale, multiples, xTicks } from "./axes.js";
import { draggable } from "./drag.js";
import { integrand, density, kl, klBySum } from "./gaussian.js";
import {
  colors, element, handle, line, number, onThemeChange, sharpen, startWhenNear,
} from "./surface.js";

const X = [-6, 6];
const MU = [-4, 4];
const SIGMA = [0.2, 3];
const P_COLOR = "#3f90da";
const Q_COLOR = "#e76300";
const ROOM = { above: 1.1, below: 0.42 }; // for the shaded area, in units of density
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
      view[`${name}MuText`].textContent = `${name}: mean ${number(g.mu)}`;
      view[`${name}SigmaText`].textContent = `${name}: sd ${number(g.sigma)}`;
    }
    view.forwardText.textContent =
      `= ${number(kl(p, q), 3)} nats by the formula, the sum of 400 rectangles gives ${number(klBySum(p, q), 3)}`;
    view.reverseText.textContent =
      `= ${number(kl(q, p), 3)} nats by the formula, the sum of 400 rectangles gives ${number(klBySum(q, p), 3)}`;
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
      const above = 1.15 * (1 - y / view.curves.clientHeight);
      held.sigma = clamp(0.4 / Math.max(0.05, above), SIGMA); // about the curve's top
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
  const base = 0.72 * height;
  return { x: linearScale(X, [0, width]), y: linearScale([0, 1], [base, base - 0.6 * height]) };
}

/** Where the mean and the standard deviation of p lie on the surface. */
function surfaceScales(width, height) {
  return { mu: linearScale(MU, [0, width]), sigma: logScale(SIGMA, [height, 0]) };
}

function drawCurves(canvas, p, q, from, to) {
  const { context, width, height } = sharpen(canvas);
  if (!width) return;
  const look = colors();
  const { x: toX, y: toY } = curveScales(width, height);
  const base = toY(0);
  const points = Array.from({ length: 401 }, (_, k) => X[0] + (k / 400) * (X[1] - X[0]));
  context.clearRect(0, 0, width, height);

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
  line(context, [[0, base], [width, base]]);
  for (const [g, color, name] of [[p, P_COLOR, "p"], [q, Q_COLOR, "q"]]) {
    context.strokeStyle = color;
    context.lineWidth = 2.5;
    line(context, points.map((x) => [toX(x), toY(density(x, g))]));
    context.fillStyle = look.text;
    context.font = "italic 16px serif";
    context.fillText(name, toX(g.mu) - 4, Math.max(14, toY(density(g.mu, g)) - 6));
  }
  context.fillStyle = look.text;
  context.font = "12px sans-serif";
  if (shrink > 1) context.fillText(`shaded area at 1/${shrink} of its height`, 4, 14);
  xTicks(context, toX, multiples(2, -4, 4), { color: look.text, baseline: height - 4 });
}

function drawSurface(canvas, p, q) {
  const { context, width, height } = sharpen(canvas);
  if (!width) return;
  const look = colors();
  const cell = 2;
  context.clearRect(0, 0, width, height);
  const { mu, sigma } = surfaceScales(width, height);
  const at = (x, y) => kl({ mu: mu.invert(x), sigma: sigma.invert(y) }, q);
  for (let x = 0; x < width; x += cell) {
    for (let y = 0; y < height; y += cell) {
      const value = at(x + cell / 2, y + cell / 2);
      // A line runs where the level changes towards a neighbour.
      const level = levelOf(value);
      const edge = level !== levelOf(at(x + 1.5 * cell, y + cell / 2)) ||
        level !== levelOf(at(x + cell / 2, y + 1.5 * cell));
      context.globalAlpha = edge ? 0.9 : 0.6 * (1 - level / LEVELS.length);
      context.fillStyle = edge ? look.text : P_COLOR;
      context.fillRect(x, y, cell, cell);
    }
  }
  context.globalAlpha = 1;
  handle(context, look, mu(p.mu), sigma(p.sigma), 8);
}

function levelOf(value) {
  const above = LEVELS.findIndex((level) => value < level);
  return above < 0 ? LEVELS.length : above;
}

function build() {
  const slider = (label, [min, max]) =>
    element("input", { type: "range", min, max, step: "0.01", "aria-label": label });
  const choice = (value) => element("input", { type: "radio", name: "direction", value });
  const view = {
    curves: element("canvas", {
      class: "live-curves", role: "img",
      "aria-label": "Densities of p and q, and the integrand of the chosen KL, shaded",
    }),
    surface: element("canvas", {
      class: "live-kl-surface", role: "img",
      "aria-label": "KL(p‖q) for every mean (across) and standard deviation (upwards) of p",
    }),
    pMu: slider("mean of p", MU), pSigma: slider("standard deviation of p", SIGMA),
    qMu: slider("mean of q", MU), qSigma: slider("standard deviation of q", SIGMA),
    pMuText: element("output"), pSigmaText: element("output"),
    qMuText: element("output"), qSigmaText: element("output"),
    forward: choice("forward"), reverse: choice("reverse"),
    forwardText: element("output"), reverseText: element("output"),
  };
  view.forward.checked = true;
  view.root = element("div", { class: "live-explorer" },
    element("div", { class: "live-columns" }, view.curves,
      element("div", { class: "live-side" }, view.surface,
        element("span", { class: "live-muted" },
          "KL(p‖q) for every mean (across) and standard deviation (up) of p; lines at 0.05, 0.2, " +
            "0.5, 1, 2, 4, 8 nats. Drag the ring, too."))),
    ...["pMu", "pSigma", "qMu", "qSigma"].map((name) =>
      element("div", { class: "live-slider" }, view[`${name}Text`], view[name])),
    element("fieldset", { class: "live-choices" },
      element("legend", { class: "live-muted" }, "Shade the integrand of"),
      element("label", {}, view.forward, " KL(p‖q) ", view.forwardText),
      element("label", {}, view.reverse, " KL(q‖p) ", view.reverseText)));
  return view;
}

startWhenNear("divergence", divergence);

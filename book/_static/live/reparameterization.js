// Reparameterization: the noise is drawn once; mu and log_var carry the same noise elsewhere.

import { NUMBERS, linearScale, multiples, xTicks } from "./axes.js";
import { button, grid, slider, table } from "./controls.js";
import { draggable } from "./drag.js";
import { density } from "./gaussian.js";
import {
  PALETTE, colors, dot, element, line, normals, number, onThemeChange, sharpen, startWhenNear,
} from "./surface.js";

const COUNT = 7; // numbers of noise
const TALLEST = 0.44; // of a density, as a share of the figure's height
const SPAN = 8; // the axes go from -SPAN to SPAN

/** z = mu + sigma eps, and its derivatives with respect to mu and log_var. */
export function reparameterize(mu, logVar, eps) {
  const sigma = Math.exp(logVar / 2);
  return { z: mu + sigma * eps, byMu: 1, byLogVar: 0.5 * sigma * eps };
}

/** Starts the figure in place of what stands in `host`. */
export function reparameterization(host) {
  const view = build();
  host.replaceChildren(view.root);
  let seed = 3;
  let noise = normals(COUNT, seed);
  let chosen = 0; // whose derivatives are written out

  function draw() {
    const mu = Number(view.mu.value);
    const logVar = Number(view.logVar.value);
    const sigma = Math.exp(logVar / 2);
    view.muText.textContent = number(mu);
    view.logVarText.textContent = number(logVar);
    view.logVar.setAttribute("aria-valuetext", `${number(logVar)}, σ = ${number(sigma)}`);
    const { z, byLogVar } = reparameterize(mu, logVar, noise[chosen]);
    view.numbers.set(0, number(noise[chosen]), number(sigma), number(z), "1", number(byLogVar));
    paint(view.canvas, mu, logVar, noise, chosen);
  }

  for (const slider of [view.mu, view.logVar]) slider.addEventListener("input", draw);
  view.again.addEventListener("click", () => {
    noise = normals(COUNT, ++seed);
    draw();
  });
  view.next.addEventListener("click", () => {
    chosen = (chosen + 1) % COUNT;
    draw();
  });
  // Dragging over the lower axis moves mu; up and down changes log_var.
  draggable(view.canvas, {
    move: ([x, y], last) => {
      if (!last) return;
      const perPixel = (2 * SPAN) / view.canvas.clientWidth;
      view.mu.value = Number(view.mu.value) + (x - last[0]) * perPixel;
      view.logVar.value = Number(view.logVar.value) - (y - last[1]) / 60;
      draw();
    },
  });
  new ResizeObserver(draw).observe(view.canvas);
  onThemeChange(draw);
  draw();
  host.dataset.ready = "true";
}

function paint(canvas, mu, logVar, noise, chosen) {
  const { context, width, height } = sharpen(canvas);
  if (!width) return;
  const look = colors();
  const toX = linearScale([-SPAN, SPAN], [0, width]);
  const upper = 0.36 * height;
  const lower = 0.84 * height;
  const sigma = Math.exp(logVar / 2);
  context.clearRect(0, 0, width, height);
  axis(context, look, toX, upper, { mu: 0, sigma: 1 }, height, "ε ~ N(0, 1), drawn once", -0.24);
  axis(context, look, toX, lower, { mu, sigma }, height, "z = μ + σε", 0.14);
  noise.forEach((eps, index) => {
    const { z } = reparameterize(mu, logVar, eps);
    const color = PALETTE[index % PALETTE.length];
    context.globalAlpha = index === chosen ? 1 : 0.55;
    context.strokeStyle = context.fillStyle = color;
    context.lineWidth = index === chosen ? 3 : 1.5;
    line(context, [[toX(eps), upper], [toX(z), lower]]);
    for (const [value, y] of [[eps, upper], [z, lower]]) {
      dot(context, toX(value), y, index === chosen ? 6 : 4);
    }
    context.globalAlpha = 1;
  });
  context.font = NUMBERS;
  for (const y of [upper, lower]) {
    xTicks(context, toX, multiples(2, 2 - SPAN, SPAN - 2), {
      color: look.text, markColor: look.muted, marks: [y, y + 5], baseline: y + 18, halo: look.background,
    });
  }
}

function axis(context, look, toX, y, gaussian, height, title, below) {
  context.strokeStyle = look.muted;
  context.lineWidth = 1;
  line(context, [[toX(-SPAN), y], [toX(SPAN), y]]);
  context.strokeStyle = look.text;
  context.lineWidth = 2;
  line(context, Array.from({ length: 301 }, (_, k) => {
    const x = -SPAN + (2 * SPAN * k) / 300;
    return [toX(x), y - Math.min(0.5 * density(x, gaussian), TALLEST) * height];
  }));
  context.fillStyle = look.text;
  context.font = "14px sans-serif";
  const cut = 0.5 * density(gaussian.mu, gaussian) > TALLEST ? " (the peak is cut off)" : "";
  context.fillText(title + cut, 4, y + below * height);
}

function build() {
  const mu = slider("μ", { min: "-4", max: "4", step: "0.01", value: "1.5", "aria-label": "mu" });
  const logVar = slider("log σ²",
    { min: "-5", max: "1", step: "0.01", value: "-1", "aria-label": "log variance" });
  const view = {
    canvas: element("canvas", {
      class: "live-curves", role: "img",
      "aria-label": "Seven numbers of noise on the upper axis, each joined to its z on the lower axis",
    }),
    mu: mu.input,
    logVar: logVar.input,
    muText: mu.output,
    logVarText: logVar.output,
    numbers: table(["", "ε", "σ", "z", "∂z/∂μ", "∂z/∂(log σ²)"], ["bold line"]),
    again: button("Draw new noise"),
    next: button("Follow another ε"),
  };
  view.root = element("div", { class: "live-explorer" }, view.canvas, grid(mu, logVar),
    view.numbers.root,
    element("div", { class: "live-row" }, view.next, view.again));
  return view;
}

startWhenNear("reparameterization", reparameterization);

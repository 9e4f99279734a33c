// A plane of latents: codes in class colors, the prior's circles, and perhaps a point to move, in a
// frame with the axes outside.

import { boxedAxes, boxWithin, equalScales, multiples, roundStep } from "./axes.js";
import { arrowKeys, draggable } from "./drag.js";
import { PALETTE, colors, handle, line, number, ring, sharpen } from "./surface.js";

const TICKS_APART = 36; // CSS pixels at least
const MARGINS = { left: 34, top: 6, right: 6, bottom: 24 }; // CSS pixels
const NEAR = 10; // CSS pixels from the pointer to a code that counts as "under" it

/** Draws a latent plane; with listeners it has a point, and reports where that is moved to. */
export class Plane {
  /**
   * @param {HTMLCanvasElement} canvas where to draw; it gets the focus and the pointer
   * @param {{onMove: (z: number[]) => void, onHover: (index: number | null) => void}} [listeners]
   */
  constructor(canvas, { onMove, onHover } = {}) {
    this.canvas = canvas;
    this.onMove = onMove;
    this.onHover = onHover;
    this.limits = [[-4, 4], [-4, 4]];
    this.codes = { mu: new Float32Array(), labels: new Float32Array() };
    this.z = [0, 0];
    this.cloud = null; // q(z | x): {mu, sigma, samples}
    this.still = document.createElement("canvas"); // all but the point and the cloud
    if (onMove) this.listen();
  }

  /** Shows other codes: `mu` holds z1, z2 of one image after the other. */
  showCodes(codes, limits) {
    this.codes = codes;
    this.limits = limits;
    this.redraw();
  }

  /** Moves the point without telling anybody. */
  place(z) {
    this.z = z;
    this.draw();
  }

  listen() {
    const move = (z) => {
      this.z = this.limits.map(([low, high], axis) => Math.min(high, Math.max(low, z[axis])));
      this.draw();
      this.onMove(this.z);
    };
    draggable(this.canvas, {
      move: (point) => move(this.toLatent(point)),
      hover: (point) => this.onHover(point && this.nearest(this.toLatent(point))),
    });
    arrowKeys(this.canvas, (direction, large) => {
      const share = large ? 0.05 : 0.01;
      move(this.z.map((value, axis) => {
        const [low, high] = this.limits[axis];
        return value + direction[axis] * share * (high - low);
      }));
    });
  }

  /** The code nearest to z, if it is near on the screen. */
  nearest(z) {
    const { mu } = this.codes;
    let best = null;
    let least = (NEAR / this.scales().perUnit) ** 2;
    for (let at = 0; at < mu.length; at += 2) {
      const distance = (mu[at] - z[0]) ** 2 + (mu[at + 1] - z[1]) ** 2;
      if (distance < least) [best, least] = [at / 2, distance];
    }
    return best;
  }

  /** The frame, in CSS pixels. */
  box() {
    return boxWithin(this.canvas.clientWidth, this.canvas.clientHeight, MARGINS);
  }

  /** The same number of CSS pixels per unit along both axes. */
  scales() {
    return equalScales(this.limits, this.box());
  }

  toScreen([z1, z2]) {
    const { x, y } = this.scales();
    return [x(z1), y(z2)];
  }

  toLatent([left, top]) {
    const { x, y } = this.scales();
    return [x.invert(left), y.invert(top)];
  }

  /** Draws everything anew: other codes, another size, another theme. */
  redraw() {
    const { context, width, height } = sharpen(this.canvas);
    if (!width) return;
    const look = colors();
    context.clearRect(0, 0, width, height);
    this.drawAxes(context, look);
    this.clip(context);
    const { mu, labels } = this.codes;
    const size = mu.length > 8_000 ? 2 : 3;
    const { x, y } = this.scales();
    for (let index = 0; index < labels.length; index++) {
      const [left, top] = [x(mu[2 * index]), y(mu[2 * index + 1])];
      context.fillStyle = PALETTE[labels[index]];
      context.fillRect(left - size / 2, top - size / 2, size, size);
    }
    this.drawPrior(context, look);
    context.restore();
    this.still.width = this.canvas.width;
    this.still.height = this.canvas.height;
    this.still.getContext("2d").drawImage(this.canvas, 0, 0);
    this.draw();
  }

  /** Draws the point, and the cloud if there is one, over the rest. */
  draw() {
    const { context, width, height } = sharpen(this.canvas);
    if (!width || !this.still.width) return;
    const look = colors();
    context.clearRect(0, 0, width, height);
    context.drawImage(this.still, 0, 0, width, height);
    this.clip(context);
    if (this.cloud) this.drawCloud(context, look);
    context.restore();
    if (this.onMove) handle(context, look, ...this.toScreen(this.z), 9);
  }

  /** Keeps what is drawn inside the frame, until the context is restored. */
  clip(context) {
    const { left, top, right, bottom } = this.box();
    context.save();
    context.beginPath();
    context.rect(left, top, right - left, bottom - top);
    context.clip();
  }

  drawAxes(context, look) {
    const box = this.box();
    const { x, y, perUnit } = this.scales();
    context.strokeStyle = look.muted;
    context.lineWidth = 1;
    context.globalAlpha = 0.35;
    line(context, [[x(0), box.top], [x(0), box.bottom]]);
    line(context, [[box.left, y(0)], [box.right, y(0)]]);
    context.globalAlpha = 1;
    const step = roundStep(TICKS_APART / perUnit);
    const digits = Math.max(0, -Math.floor(Math.log10(step)));
    const format = (value) => number(value, digits);
    boxedAxes(context, look, box,
      { scale: x, values: multiples(step, x.invert(box.left), x.invert(box.right)), name: "z₁", format },
      { scale: y, values: multiples(step, y.invert(box.bottom), y.invert(box.top)), name: "z₂", format });
  }

  /** Circles of radius 1, 2, 3 around 0: the prior N(0, I). */
  drawPrior(context, look) {
    const [x, y] = this.toScreen([0, 0]);
    const { perUnit } = this.scales();
    context.strokeStyle = look.text;
    context.lineWidth = 1.2;
    context.setLineDash([5, 4]);
    for (const radius of [1, 2, 3]) ring(context, x, y, radius * perUnit);
    context.setLineDash([]);
  }

  drawCloud(context, look) {
    const { mu, sigma, samples } = this.cloud;
    const [x, y] = this.toScreen(mu);
    const { perUnit } = this.scales();
    context.strokeStyle = look.text;
    context.lineWidth = 2;
    for (const radius of [1, 2]) {
      context.beginPath();
      context.ellipse(x, y, radius * sigma[0] * perUnit, radius * sigma[1] * perUnit, 0, 0, 7);
      context.stroke();
    }
    context.fillStyle = look.text;
    for (const sample of samples) {
      const [sampleX, sampleY] = this.toScreen(sample);
      context.fillRect(sampleX - 1.5, sampleY - 1.5, 3, 3);
    }
  }
}

// A plane of latents: axes, codes in class colors, the prior's circles, and perhaps a point to move.

import { PALETTE, colors, number, sharpen } from "./surface.js";

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const TICKS_APART = 45; // CSS pixels at least
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
    const { canvas } = this;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return this.toLatent(event.clientX - box.left, event.clientY - box.top);
    };
    const move = (z) => {
      this.z = this.limits.map(([low, high], axis) => Math.min(high, Math.max(low, z[axis])));
      this.draw();
      this.onMove(this.z);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      move(at(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) move(at(event));
      else this.onHover(this.nearest(at(event)));
    });
    canvas.addEventListener("pointerleave", () => this.onHover(null));
    canvas.addEventListener("keydown", (event) => {
      const direction = KEYS[event.key];
      if (!direction) return;
      event.preventDefault(); // the page must not scroll
      const share = event.shiftKey ? 0.05 : 0.01;
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
    let least = (NEAR / this.geometry().scale) ** 2;
    for (let at = 0; at < mu.length; at += 2) {
      const distance = (mu[at] - z[0]) ** 2 + (mu[at + 1] - z[1]) ** 2;
      if (distance < least) [best, least] = [at / 2, distance];
    }
    return best;
  }

  /** The middle of the plane and CSS pixels per unit: the same along both axes. */
  geometry() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const [[left, right], [bottom, top]] = this.limits;
    const scale = Math.min(width / (right - left), height / (top - bottom));
    return { width, height, scale, center: [(left + right) / 2, (bottom + top) / 2] };
  }

  toScreen([z1, z2]) {
    const { width, height, scale, center } = this.geometry();
    return [width / 2 + (z1 - center[0]) * scale, height / 2 - (z2 - center[1]) * scale];
  }

  toLatent(x, y) {
    const { width, height, scale, center } = this.geometry();
    return [center[0] + (x - width / 2) / scale, center[1] - (y - height / 2) / scale];
  }

  /** Draws everything anew: other codes, another size, another theme. */
  redraw() {
    const { context, width, height } = sharpen(this.canvas);
    if (!width) return;
    const look = colors();
    context.clearRect(0, 0, width, height);
    this.drawAxes(context, look);
    const { mu, labels } = this.codes;
    const size = mu.length > 8_000 ? 2 : 3;
    const [zeroX, zeroY] = this.toScreen([0, 0]);
    const { scale } = this.geometry();
    for (let index = 0; index < labels.length; index++) {
      const x = zeroX + mu[2 * index] * scale;
      const y = zeroY - mu[2 * index + 1] * scale;
      context.fillStyle = PALETTE[labels[index]];
      context.fillRect(x - size / 2, y - size / 2, size, size);
    }
    this.drawPrior(context, look);
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
    if (this.cloud) this.drawCloud(context, look);
    if (!this.onMove) return;
    const [x, y] = this.toScreen(this.z);
    context.lineWidth = 5;
    context.strokeStyle = look.background;
    ring(context, x, y, 9);
    context.lineWidth = 2.5;
    context.strokeStyle = look.text;
    ring(context, x, y, 9);
  }

  drawAxes(context, look) {
    const { width, height } = this.geometry();
    const [x, y] = this.toScreen([0, 0]);
    context.strokeStyle = look.muted;
    context.globalAlpha = 0.5;
    context.lineWidth = 1;
    for (const [from, to] of [[[x, 0], [x, height]], [[0, y], [width, y]]]) {
      context.beginPath();
      context.moveTo(...from);
      context.lineTo(...to);
      context.stroke();
    }
    this.drawTicks(context, x, y);
    context.globalAlpha = 1;
    context.fillStyle = look.text;
    context.font = "italic 15px serif";
    context.fillText("z₁", width - 20, Math.min(height - 6, y + 17));
    context.fillText("z₂", Math.min(width - 20, x + 6), 16);
  }

  /** Numbers along both axes, at steps of 1, 2 or 5 times a power of ten. */
  drawTicks(context, x, y) {
    const { width, height, scale } = this.geometry();
    const least = TICKS_APART / scale;
    const power = 10 ** Math.floor(Math.log10(least));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= least);
    context.fillStyle = context.strokeStyle;
    context.globalAlpha = 1;
    context.font = "11px sans-serif";
    for (let k = 1; k * step * scale < 2 * Math.max(width, height); k++) {
      for (const value of [-k * step, k * step]) {
        const text = number(value, Math.max(0, -Math.floor(Math.log10(step))));
        const [atX, atY] = [x + value * scale, y - value * scale];
        context.fillRect(atX - 0.5, y - 3, 1, 6);
        context.fillRect(x - 3, atY - 0.5, 6, 1);
        context.textAlign = "center";
        if (atX > 12 && atX < width - 30) context.fillText(text, atX, y + 14);
        context.textAlign = "right";
        if (atY > 24 && atY < height - 6) context.fillText(text, x - 6, atY + 4);
      }
    }
    context.textAlign = "left";
  }

  /** Circles of radius 1, 2, 3 around 0: the prior N(0, I). */
  drawPrior(context, look) {
    const [x, y] = this.toScreen([0, 0]);
    const { scale } = this.geometry();
    context.strokeStyle = look.text;
    context.lineWidth = 1.2;
    context.setLineDash([5, 4]);
    for (const radius of [1, 2, 3]) ring(context, x, y, radius * scale);
    context.setLineDash([]);
  }

  drawCloud(context, look) {
    const { mu, sigma, samples } = this.cloud;
    const [x, y] = this.toScreen(mu);
    const { scale } = this.geometry();
    context.strokeStyle = look.text;
    context.lineWidth = 2;
    for (const radius of [1, 2]) {
      context.beginPath();
      context.ellipse(x, y, radius * sigma[0] * scale, radius * sigma[1] * scale, 0, 0, 7);
      context.stroke();
    }
    context.fillStyle = look.text;
    for (const sample of samples) {
      const [sampleX, sampleY] = this.toScreen(sample);
      context.fillRect(sampleX - 1.5, sampleY - 1.5, 3, 3);
    }
  }
}

function ring(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.stroke();
}

// A canvas to draw a digit on, and the drawing as an image like those of MNIST.

import { draggable } from "./drag.js";
import { SIDE, line } from "./surface.js";

const PAPER = 256; // pixels along an edge of the canvas
const PEN = 20; // pixels, about as thick as MNIST's lines
const BOX = (20 / 28) * SIDE; // MNIST fits every digit into 20 of 28 pixels

/**
 * Lets the reader draw on a canvas with mouse, pen or finger.
 *
 * @param {HTMLCanvasElement} canvas where to draw
 * @param {(image: Float32Array) => void} onDrawn gets 32 x 32 gray levels after each stroke
 * @returns {{clear: () => void}}
 */
export function sketch(canvas, onDrawn) {
  canvas.width = canvas.height = PAPER;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const clear = () => {
    context.fillStyle = "black";
    context.fillRect(0, 0, PAPER, PAPER);
  };
  clear();
  const onPaper = (point) => point.map((pixels) => (pixels * PAPER) / canvas.offsetWidth);
  draggable(canvas, {
    move: (point, last) => {
      if (!last) return;
      context.strokeStyle = "white";
      context.lineWidth = PEN;
      context.lineCap = "round";
      line(context, [onPaper(last), onPaper(point)]);
    },
    end: () => {
      const levels = context.getImageData(0, 0, PAPER, PAPER).data;
      onDrawn(likeMnist(Float32Array.from({ length: PAPER ** 2 }, (_, i) => levels[4 * i] / 255)));
    },
  });
  return { clear };
}

/**
 * The drawing as MNIST shows digits: fitted into a box, its center of mass in the middle.
 *
 * @param {Float32Array} ink gray levels in [0, 1] of a square drawing
 * @returns {Float32Array} 32 x 32 gray levels in [0, 1]
 */
export function likeMnist(ink) {
  const side = Math.sqrt(ink.length);
  let [mass, massX, massY] = [0, 0, 0];
  let [left, right, top, bottom] = [side, -1, side, -1];
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const level = ink[y * side + x];
      if (level < 0.1) continue;
      mass += level;
      massX += level * (x + 0.5);
      massY += level * (y + 0.5);
      [left, right] = [Math.min(left, x), Math.max(right, x)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
    }
  }
  const image = new Float32Array(SIDE * SIDE);
  if (!mass) return image;
  const scale = Math.max(right - left + 1, bottom - top + 1) / BOX; // drawing per image pixel
  const at = (pixel, center) => center / mass + (pixel - SIDE / 2) * scale;
  for (let row = 0; row < SIDE; row++) {
    for (let column = 0; column < SIDE; column++) {
      image[row * SIDE + column] = mean(
        ink, side,
        at(column, massX), at(column + 1, massX), at(row, massY), at(row + 1, massY),
      );
    }
  }
  return image;
}

/** The mean gray level in a rectangle, at its whole pixels; outside of the drawing it is 0. */
function mean(ink, side, left, right, top, bottom) {
  const columns = [Math.round(left), Math.max(Math.round(right), Math.round(left) + 1)];
  const rows = [Math.round(top), Math.max(Math.round(bottom), Math.round(top) + 1)];
  let sum = 0;
  for (let y = Math.max(0, rows[0]); y < Math.min(side, rows[1]); y++) {
    for (let x = Math.max(0, columns[0]); x < Math.min(side, columns[1]); x++) {
      sum += ink[y * side + x];
    }
  }
  return sum / ((columns[1] - columns[0]) * (rows[1] - rows[0]));
}

// Axes of the figures: scales between values and pixels, ticks and their numbers.

/**
 * A linear scale from a domain of values to a range of pixels.
 *
 * @param {[number, number]} domain two different values
 * @param {[number, number]} range the pixels where they lie
 * @returns {((value: number) => number) & {invert: (pixel: number) => number}}
 */
export function linearScale([low, high], [from, to]) {
  const scale = (value) => from + ((value - low) / (high - low)) * (to - from);
  scale.invert = (pixel) => low + ((pixel - from) / (to - from)) * (high - low);
  return scale;
}

/** A scale of positive values on which equal factors are equally far apart. */
export function logScale(domain, range) {
  const linear = linearScale(domain.map(Math.log), range);
  const scale = (value) => linear(Math.log(value));
  scale.invert = (pixel) => Math.exp(linear.invert(pixel));
  return scale;
}

/** The part of a canvas within margins, in pixels. */
export function boxWithin(width, height, { left, top, right, bottom }) {
  return { left, top, right: width - right, bottom: height - bottom };
}

/**
 * Scales of a plane with the same number of pixels per unit along both axes.
 *
 * @param {[[number, number], [number, number]]} limits what must be visible along x and y
 * @param {{left: number, top: number, right: number, bottom: number}} box where, in pixels
 * @returns {{x: Function, y: Function, perUnit: number}} the limits lie in the middle of the box
 */
export function equalScales([[left, right], [bottom, top]], box) {
  const [width, height] = [box.right - box.left, box.bottom - box.top];
  const perUnit = Math.min(width / (right - left), height / (top - bottom));
  const around = (low, high, pixels) =>
    [-1, 1].map((side) => (low + high + (side * pixels) / perUnit) / 2);
  return {
    x: linearScale(around(left, right, width), [box.left, box.right]),
    y: linearScale(around(bottom, top, height), [box.bottom, box.top]),
    perUnit,
  };
}

/** The smallest of 1, 2 and 5 times a power of ten that is at least `least`. */
export function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least);
}

/** The multiples of `step` from `low` to `high`. */
export function multiples(step, low, high) {
  const first = Math.ceil(low / step);
  const count = Math.max(0, Math.floor(high / step) - first + 1);
  return Array.from({ length: count }, (_, k) => (first + k) * step);
}

const plain = (value) => String(value).replace("-", "−");
const always = () => true;

/**
 * Ticks along a horizontal axis.
 *
 * @param {CanvasRenderingContext2D} context its font is used
 * @param {Function} scale from values to pixels
 * @param {number[]} values where the ticks are
 * @param {object} style `color` of the text; `marks`, [top, bottom] in pixels, with `markColor`;
 *   `baseline` of the numbers, `format` from a value to its text, and `shown`, which says whether a
 *   number at a pixel has room; `halo`, a color around the numbers. Without marks or baseline there are no marks or numbers.
 */
export function xTicks(context, scale, values, style) {
  const { color, markColor = color, marks, baseline, format = plain, shown = always, halo } = style;
  for (const value of values) {
    const x = scale(value);
    context.fillStyle = markColor;
    if (marks) context.fillRect(x - 0.5, marks[0], 1, marks[1] - marks[0]);
    context.fillStyle = color;
    context.textAlign = "center";
    if (baseline === undefined || !shown(x)) continue;
    if (halo) haloed(context, halo, format(value), x, baseline);
    else context.fillText(format(value), x, baseline);
  }
  context.textAlign = "left";
}

/** Ticks along a vertical axis; `marks` are [left, right], and the numbers end at `right`. */
export function yTicks(context, scale, values, style) {
  const { color, markColor = color, marks, right, format = plain, shown = always } = style;
  for (const value of values) {
    const y = scale(value);
    context.fillStyle = markColor;
    context.fillRect(marks[0], y - 0.5, marks[1] - marks[0], 1);
    context.fillStyle = color;
    context.textAlign = "right";
    if (shown(y)) context.fillText(format(value), right, y + 4);
  }
  context.textAlign = "left";
}

/** Text that can be read over lines: a seam in the color of the ground runs around it. */
export function haloed(context, ground, text, x, y) {
  context.strokeStyle = ground;
  context.lineWidth = 4;
  context.lineJoin = "round";
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
}

export const NUMBERS = "12px sans-serif";
export const NAMES = "italic 15px serif";

/**
 * A frame with ticks and numbers outside of it, where nothing that is drawn inside hides them.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {{text: string, muted: string}} look colors
 * @param {{left: number, top: number, right: number, bottom: number}} box the frame
 * @param {{scale: Function, values: number[], name?: string, format?: Function}} x
 * @param {{scale: Function, values: number[], name?: string, format?: Function}} y the name of an
 *   axis stands in its row of numbers, at the end; a number without room beside it is left out
 */
export function boxedAxes(context, look, box, x, y) {
  context.strokeStyle = look.muted;
  context.lineWidth = 1;
  context.strokeRect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  const style = { color: look.text, markColor: look.muted };
  const within = (low, high) => (at) => low - 1 <= at && at <= high + 1;
  context.font = NAMES;
  context.fillStyle = look.text;
  const nameWidth = x.name ? context.measureText(x.name).width : 0;
  if (x.name) context.fillText(x.name, box.right - nameWidth, box.bottom + 17);
  context.textAlign = "right";
  if (y.name) context.fillText(y.name, box.left - 6, box.top + 12);
  context.textAlign = "left";
  context.font = NUMBERS;
  xTicks(context, x.scale, x.values, {
    ...style, marks: [box.bottom, box.bottom + 4], baseline: box.bottom + 16, format: x.format,
    shown: within(box.left, x.name ? box.right - nameWidth - 12 : box.right),
  });
  yTicks(context, y.scale, y.values, {
    ...style, marks: [box.left - 4, box.left], right: box.left - 7, format: y.format,
    shown: within(y.name ? box.top + 22 : box.top, box.bottom),
  });
}

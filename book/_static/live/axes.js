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

/**
 * Scales of a plane with the same number of pixels per unit along both axes.
 *
 * @param {[[number, number], [number, number]]} limits what must be visible along x and y
 * @returns {{x: Function, y: Function, perUnit: number}} the limits lie in the middle of the canvas
 */
export function equalScales([[left, right], [bottom, top]], width, height) {
  const perUnit = Math.min(width / (right - left), height / (top - bottom));
  const around = (low, high, pixels) =>
    [-1, 1].map((side) => (low + high + (side * pixels) / perUnit) / 2);
  return {
    x: linearScale(around(left, right, width), [0, width]),
    y: linearScale(around(bottom, top, height), [height, 0]),
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
 *   number at a pixel has room. Without marks or baseline there are no marks or numbers.
 */
export function xTicks(context, scale, values, style) {
  const { color, markColor = color, marks, baseline, format = plain, shown = always } = style;
  for (const value of values) {
    const x = scale(value);
    context.fillStyle = markColor;
    if (marks) context.fillRect(x - 0.5, marks[0], 1, marks[1] - marks[0]);
    context.fillStyle = color;
    context.textAlign = "center";
    if (baseline !== undefined && shown(x)) context.fillText(format(value), x, baseline);
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

// What the live figures share: colors of the page, sharp canvases, digits as pixels.

/** The colors of the classes: PALETTE of lecture_vae/drawing.py. */
export const PALETTE = [
  "#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#717581",
  "#e76300", "#94a4a2", "#b9ac70", "#a96b59", "#92dadd",
];

export const SIDE = 32; // pixels along an edge of an image

/** Text, background and lines in the colors of the page, which may be dark. */
export function colors() {
  const style = getComputedStyle(document.documentElement);
  const read = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
  return {
    text: read("--pst-color-text-base", "#222"),
    muted: read("--pst-color-text-muted", "#666"),
    background: read("--pst-color-background", "#fff"),
    accent: read("--pst-color-primary", "#0a7d91"),
  };
}

/** Calls `draw` whenever the page turns dark or light. */
export function onThemeChange(draw) {
  new MutationObserver(draw).observe(document.documentElement, {
    attributes: true,
    attributeFilter: ["data-theme"],
  });
}

/** Starts every figure of a kind when it is less than a screen away: most of a page comes before. */
export function startWhenNear(name, start) {
  if (!globalThis.document) return; // a test
  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      start(target);
    }
  }, { rootMargin: "100%" });
  for (const host of document.querySelectorAll(`[data-live=${name}]`)) watch.observe(host);
}

/** An element with attributes and children. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A number for the text: a true minus sign, and none before a zero. */
export function number(value, digits = 2) {
  const text = value.toFixed(digits);
  return text.replace("-", Number(text) === 0 ? "" : "−");
}

/** Which color is which digit. */
export function legend() {
  const entries = PALETTE.map((color, digit) => {
    const swatch = element("span", { class: "live-swatch", style: `background: ${color}` });
    return element("span", {}, swatch, String(digit));
  });
  return element("div", { class: "live-legend" }, ...entries);
}

/** Gives a canvas as many pixels as the screen has for it; the context measures in CSS pixels. */
export function sharpen(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}

/** A line through points. */
export function line(context, points) {
  context.beginPath();
  points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}

/** A circle, to be stroked. */
export function ring(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.stroke();
}

/** A filled circle. */
export function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

/** A ring that can be dragged, seen on any ground. */
export function handle(context, look, x, y, radius) {
  for (const [color, width] of [[look.background, 5], [look.text, 2.5]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    ring(context, x, y, radius);
  }
}

/** Shows images of 32 x 32 gray levels in [0, 1] side by side on a canvas. */
export function showDigits(canvas, ...images) {
  canvas.width = SIDE * images.length;
  canvas.height = SIDE;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, SIDE);
  images.forEach((image, number) => {
    for (let at = 0; at < SIDE * SIDE; at++) {
      const row = Math.floor(at / SIDE);
      const target = 4 * (row * canvas.width + number * SIDE + (at % SIDE));
      const level = 255 * Math.min(1, Math.max(0, image[at]));
      pixels.data.set([level, level, level, 255], target);
    }
  });
  context.putImageData(pixels, 0, 0);
}

/** Numbers from [0, 1), one at each call, the same ones for the same seed (mulberry32). */
export function uniforms(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Numbers from N(0, 1), the same ones for the same seed (Box-Muller). */
export function normals(count, seed) {
  const uniform = uniforms(seed);
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    return radius * Math.cos(2 * Math.PI * uniform());
  });
}

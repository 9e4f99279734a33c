// Distributions of the codes of an image: what each code costs given those before it, and draws.

/**
 * A prior: the log-probabilities of each code at a position, given the codes before it.
 *
 * @typedef {(codes: ArrayLike<number>, position: number) => Float64Array} Prior
 */

/** All of `entries` codes are equally likely, everywhere. */
export function uniformPrior(entries) {
  const logP = new Float64Array(entries).fill(-Math.log(entries));
  return () => logP;
}

/** The positions do not know of each other: `independent` of a file, [d, M], rounded logarithms. */
export function independentPrior({ arrays: { independent: { shape: [, entries], values } } }) {
  return (codes, position) =>
    logSoftmax(Float64Array.from(values.subarray(position * entries, (position + 1) * entries)));
}

/** The autoregressive prior of a file: for each position a hidden layer that reads the codes before. */
export function autoregressivePrior({ arrays }) {
  const [read, bias, write, level] = ["read", "bias", "write", "level"].map(
    (name) => arrays[`prior.${name}`].values);
  const [positions, entries, , hidden] = arrays["prior.read"].shape;
  return (codes, position) => {
    const h = Float64Array.from(bias.subarray(position * hidden, (position + 1) * hidden));
    for (let before = 0; before < position; before++) {
      const start = ((before * entries + codes[before]) * positions + position) * hidden;
      for (let unit = 0; unit < hidden; unit++) h[unit] += read[start + unit];
    }
    const logits = Float64Array.from(level.subarray(position * entries, (position + 1) * entries));
    for (let unit = 0; unit < hidden; unit++) {
      if (h[unit] <= 0) continue;
      const start = (position * hidden + unit) * entries;
      for (let entry = 0; entry < entries; entry++) logits[entry] += h[unit] * write[start + entry];
    }
    return logSoftmax(logits);
  };
}

function logSoftmax(logits) {
  const highest = Math.max(...logits);
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - highest), 0);
  return logits.map((logit) => logit - highest - Math.log(total));
}

/**
 * What each code of a grid costs, given those before it: -log2 p, in bits.
 *
 * @param {Prior} prior
 * @param {ArrayLike<number>} codes row by row
 * @returns {number[]} their sum is the price of the grid
 */
export function bitsOf(prior, codes) {
  return Array.from(codes, (code, position) => -prior(codes, position)[code] / Math.LN2);
}

/**
 * Draws a grid, one position after the other.
 *
 * @param {Prior} prior
 * @param {ArrayLike<number>} uniforms for each position a number from [0, 1)
 * @returns {number[]} the codes
 */
export function drawCodes(prior, uniforms) {
  const codes = [];
  for (const uniform of uniforms) {
    const logP = prior(codes, codes.length);
    let [code, below] = [0, Math.exp(logP[0])];
    while (below <= uniform && code < logP.length - 1) below += Math.exp(logP[++code]);
    codes.push(code);
  }
  return codes;
}

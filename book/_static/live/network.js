// The networks of the figures: affine layers and transposed convolutions, an activation after each.

/**
 * A network out of a file.
 *
 * @param {{metadata: object, arrays: object}} file as `readSafetensors` gives it
 * @param {string} name "encoder", "to_mu", "to_log_var" or "decoder"
 * @returns {(x: ArrayLike<number>) => Float32Array} from one input to its output; the result is
 *   overwritten by the next call
 */
export function network({ metadata, arrays }, name) {
  const layers = metadata.networks[name].map(({ layer, activation, ...sizes }) => {
    const weight = arrays[`${layer}.weight`];
    const shared = {
      weight: weight.values,
      bias: arrays[`${layer}.bias`].values,
      activate: ACTIVATIONS[activation],
    };
    if (sizes.kernel) {
      const [inputs, outputs] = weight.shape;
      return { ...shared, ...sizes, run: transposed, inputs, outputs };
    }
    const [outputs, inputs] = weight.shape;
    return { ...shared, run: affine, inputs, y: new Float32Array(outputs) };
  });
  return (x) => layers.reduce((y, layer) => layer.run(y, layer), x);
}

/**
 * Which pixels along an edge of the image one place of the decoder's grid can change.
 *
 * @param {object[]} layers of a file: `metadata.networks.decoder`
 * @param {number} place from 0
 * @returns {[number, number]} the first and the last pixel; they may lie outside of the image
 */
export function reach(layers, place) {
  return layers.reduce(([first, last], { stride, padding, kernel }) =>
    [first * stride - padding, last * stride - padding + kernel - 1], [place, place]);
}

const ACTIVATIONS = {
  identity: (a) => a,
  relu: (a) => (a > 0 ? a : 0),
  sigmoid: (a) => 1 / (1 + Math.exp(-a)),
};

/** y = activate(W x + b) */
function affine(x, { inputs, weight, bias, activate, y }) {
  for (let row = 0, at = 0; row < y.length; row++) {
    let sum = bias[row];
    for (let column = 0; column < inputs; column++, at++) sum += weight[at] * x[column];
    y[row] = activate(sum);
  }
  return y;
}

/** Of square maps, channel by channel: each input adds its multiple of the kernel to the output. */
function transposed(x, layer) {
  const { inputs, outputs, kernel, stride, padding, bias, activate } = layer;
  const side = Math.sqrt(x.length / inputs);
  const wide = (side - 1) * stride + kernel - 2 * padding;
  const y = (layer.y ??= new Float32Array(outputs * wide * wide));
  for (let to = 0; to < outputs; to++) y.fill(bias[to], to * wide * wide, (to + 1) * wide * wide);
  for (let from = 0, input = 0; from < inputs; from++) {
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++, input++) {
        for (let to = 0; to < outputs; to++) {
          spread(y, x[input], layer, from * outputs + to, to * wide * wide, wide,
            row * stride - padding, column * stride - padding);
        }
      }
    }
  }
  for (let at = 0; at < y.length; at++) y[at] = activate(y[at]);
  return y;
}

/** Adds a multiple of one kernel to a map that begins at `start`; its corner may lie outside. */
function spread(y, factor, { kernel, weight }, which, start, wide, top, left) {
  for (let i = Math.max(0, -top); i < kernel && top + i < wide; i++) {
    for (let j = Math.max(0, -left); j < kernel && left + j < wide; j++) {
      y[start + (top + i) * wide + left + j] += factor * weight[(which * kernel + i) * kernel + j];
    }
  }
}

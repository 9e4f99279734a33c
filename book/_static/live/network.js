// The networks of the linear models: affine layers with ReLU or sigmoid between them.

/**
 * A network out of a file.
 *
 * @param {{metadata: object, arrays: object}} file as `readSafetensors` gives it
 * @param {string} name "encoder", "to_mu", "to_log_var" or "decoder"
 * @returns {(x: ArrayLike<number>) => Float32Array} from one input to its output; the result is
 *   overwritten by the next call
 */
export function network({ metadata, arrays }, name) {
  const layers = metadata.networks[name].map(({ layer, activation }) => {
    const weight = arrays[`${layer}.weight`];
    const [outputs, inputs] = weight.shape;
    return {
      inputs,
      weight: weight.values,
      bias: arrays[`${layer}.bias`].values,
      activate: ACTIVATIONS[activation],
      y: new Float32Array(outputs),
    };
  });
  return (x) => layers.reduce(affine, x);
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

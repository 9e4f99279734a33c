// Gaussians in one dimension, each given as {mu, sigma}.

/** Density of N(mu, sigma^2) at x. */
export function density(x, { mu, sigma }) {
  return Math.exp(logDensity(x, { mu, sigma }));
}

/** Its logarithm. */
export function logDensity(x, { mu, sigma }) {
  return -0.5 * ((x - mu) / sigma) ** 2 - Math.log(sigma) - 0.5 * Math.log(2 * Math.PI);
}

/** KL(p || q) in nats, in closed form. */
export function kl(p, q) {
  const ratio = (p.sigma / q.sigma) ** 2;
  return 0.5 * (ratio + ((p.mu - q.mu) / q.sigma) ** 2 - 1 - Math.log(ratio));
}

/** What the integral of KL(p || q) adds up: p(x) ln(p(x) / q(x)). */
export function integrand(x, p, q) {
  return density(x, p) * (logDensity(x, p) - logDensity(x, q));
}

/** KL(p || q) as a sum of `count` rectangles over the ten standard deviations around p's mean. */
export function klBySum(p, q, count = 400) {
  const width = (20 * p.sigma) / count;
  let sum = 0;
  for (let k = 0; k < count; k++) {
    sum += integrand(p.mu - 10 * p.sigma + (k + 0.5) * width, p, q) * width;
  }
  return sum;
}

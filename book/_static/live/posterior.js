// The true posterior of an image and the encoder's q(z | x) in one plane, as regions that hold equal
// shares of their mass.

import { contourLines } from "./contours.js";
import { Plane } from "./plane.js";
import { dot } from "./surface.js";

export const POSTERIOR = "#3f90da";
export const Q = "#e76300";
export const SHARES = [0.9, 0.5]; // of the mass, the outer line first
const LEAST = 0.2; // latent units along an edge of the plane: a narrower one needs too long numbers
const REACH = 3; // standard deviations of q that the plane shows at least

/**
 * The value of a density on the border of its smallest region with a share of the mass.
 *
 * @param {ArrayLike<number>} logDensity at the points of a regular grid; a constant may be missing
 * @param {number} share between 0 and 1
 * @returns {number} halfway between the smallest value within the region and the next one outside
 */
export function levelOfMass(logDensity, share) {
  const largestFirst = Float64Array.from(logDensity).sort().reverse();
  const mass = largestFirst.map((value) => Math.exp(value - largestFirst[0]));
  const wanted = share * mass.reduce((sum, each) => sum + each, 0);
  let seen = 0;
  const within = largestFirst[mass.findIndex((each) => (seen += each) >= wanted)];
  return (within + (largestFirst.find((value) => value < within) ?? within)) / 2;
}

/** The radius, in standard deviations, within which a normal density in a plane has a share. */
export const radiusOfMass = (share) => Math.sqrt(-2 * Math.log(1 - share));

/**
 * What the plane must show: the grid of the posterior, and q.
 *
 * @param {{start: number[], spacing: number[], side: number}} grid
 * @param {{mu: number[], sigma: number[]}} q
 * @returns {number[][]} the ends of both axes
 */
export function limitsOf({ start, spacing, side }, { mu, sigma }) {
  return [0, 1].map((axis) => {
    const low = Math.min(start[axis], mu[axis] - REACH * sigma[axis]);
    const high = Math.max(start[axis] + (side - 1) * spacing[axis], mu[axis] + REACH * sigma[axis]);
    const [middle, half] = [(low + high) / 2, Math.max(high - low, LEAST) / 2];
    return [middle - half, middle + half];
  });
}

/** A plane that shows a posterior and a q. */
export class PosteriorPlane extends Plane {
  /**
   * @param {{logDensity: ArrayLike<number>, side: number, start: number[], spacing: number[]}} posterior
   *   row after row, z2 from row to row
   * @param {{mu: number[], sigma: number[]}} q
   */
  show(posterior, q) {
    const { logDensity, side, start, spacing } = posterior;
    const lines = SHARES.map((share) =>
      contourLines(logDensity, side, levelOfMass(logDensity, share)).map((points) =>
        points.map((point) => point.map((at, axis) => start[axis] + at * spacing[axis]))));
    this.cloud = { lines, q };
    this.showCodes({ mu: [], labels: [] }, limitsOf(posterior, q));
  }

  drawPrior() {} // so near, an arc of its circles would only puzzle

  drawCloud(context) {
    const { lines, q: { mu, sigma } } = this.cloud;
    context.fillStyle = context.strokeStyle = POSTERIOR;
    context.lineWidth = 1.5;
    for (const region of lines) {
      const path = new Path2D();
      for (const points of region) {
        points.forEach((z, k) => path[k ? "lineTo" : "moveTo"](...this.toScreen(z)));
      }
      context.globalAlpha = 0.35; // the inner region lies on the outer one
      context.fill(path, "evenodd");
      context.globalAlpha = 1;
      context.stroke(path);
    }
    const [x, y] = this.toScreen(mu);
    const { perUnit } = this.scales();
    context.fillStyle = context.strokeStyle = Q;
    context.lineWidth = 2.5;
    for (const share of SHARES) {
      const [across, up] = sigma.map((each) => radiusOfMass(share) * each * perUnit);
      context.beginPath();
      context.ellipse(x, y, across, up, 0, 0, 2 * Math.PI);
      context.stroke();
    }
    dot(context, x, y, 3.5);
  }
}

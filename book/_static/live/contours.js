// Lines of equal value of a function that is known on a grid (marching squares).

/**
 * The lines along which a function has a value; between the points of the grid it is taken as linear.
 *
 * @param {ArrayLike<number>} values of the function, row after row
 * @param {number} columns points in a row
 * @param {number} level the value
 * @returns {number[][][]} each line as points [column, row]; a closed one ends where it begins
 */
export function contourLines(values, columns, level) {
  const rows = values.length / columns;
  const at = (column, row) => values[row * columns + column];
  const points = new Map(); // edge of the grid -> where the line crosses it
  const neighbors = new Map(); // edge -> the edges that a piece of line joins it to
  const share = (from, to) => (level - from) / (to - from);
  // An edge is named by the point at its start: 2 k to the right of point k, 2 k + 1 below it.
  const across = (column, row) => {
    const edge = 2 * (row * columns + column);
    points.set(edge, [column + share(at(column, row), at(column + 1, row)), row]);
    return edge;
  };
  const down = (column, row) => {
    const edge = 2 * (row * columns + column) + 1;
    points.set(edge, [column, row + share(at(column, row), at(column, row + 1))]);
    return edge;
  };
  const join = (a, b) => {
    for (const [from, to] of [[a, b], [b, a]]) {
      neighbors.set(from, [...(neighbors.get(from) ?? []), to]);
    }
  };
  for (let row = 0; row < rows - 1; row++) {
    for (let column = 0; column < columns - 1; column++) {
      const corners = [at(column, row), at(column + 1, row), at(column + 1, row + 1), at(column, row + 1)];
      const above = corners.map((value) => value >= level);
      const edges = []; // top, right, bottom, left, those that the line crosses
      if (above[0] !== above[1]) edges.push(across(column, row));
      if (above[1] !== above[2]) edges.push(down(column + 1, row));
      if (above[2] !== above[3]) edges.push(across(column, row + 1));
      if (above[3] !== above[0]) edges.push(down(column, row));
      if (edges.length === 2) join(...edges);
      if (edges.length < 4) continue;
      // A saddle: the middle of the cell decides which corners belong together.
      const middle = corners.reduce((sum, value) => sum + value, 0) / 4 >= level;
      const [top, right, bottom, left] = edges;
      for (const pair of middle === above[0] ? [[top, right], [bottom, left]] : [[left, top], [right, bottom]]) {
        join(...pair);
      }
    }
  }
  return chains(neighbors).map((edges) => edges.map((edge) => points.get(edge)));
}

/** Pieces joined to lines: open ones from one end to the other, then the closed ones. */
function chains(neighbors) {
  const seen = new Set();
  const lines = [];
  const follow = (start) => {
    const chain = [start];
    seen.add(start);
    for (let last = start; ; chain.push(last)) {
      const next = neighbors.get(last).find((edge) => !seen.has(edge));
      if (next === undefined) break;
      seen.add((last = next));
    }
    return chain;
  };
  for (const [edge, joined] of neighbors) if (joined.length === 1 && !seen.has(edge)) lines.push(follow(edge));
  for (const [edge] of neighbors) if (!seen.has(edge)) lines.push([...follow(edge), edge]);
  return lines;
}

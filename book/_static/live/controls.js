// Controls and tables that all figures share, so that they look and line up alike.

import { element } from "./surface.js";

/**
 * A slider with its name before and its value behind it. Sliders in one `grid` line up.
 *
 * @param {string} name as it is shown
 * @param {object} attributes of the input: min, max, step, value, aria-label
 * @returns {{input: HTMLInputElement, output: HTMLOutputElement, cells: HTMLElement[]}}
 */
export function slider(name, attributes) {
  const input = element("input", { type: "range", "aria-label": name, ...attributes });
  const output = element("output");
  return { input, output, cells: [element("span", {}, name), input, output] };
}

/** Sliders below each other. */
export function grid(...sliders) {
  return element("div", { class: "live-grid" }, ...sliders.flatMap(({ cells }) => cells));
}

/** A button. */
export function button(text) {
  return element("button", { type: "button" }, text);
}

/** Radio buttons of one name, as cells of a table's first column. */
export function radio(name, value, label) {
  const input = element("input", { type: "radio", name, value });
  return { input, label: element("label", {}, input, ` ${label}`) };
}

/**
 * A table of numbers that keep their place when they change.
 *
 * @param {string[]} columns headings; the first stands above the names of the rows
 * @param {(string | Node)[]} rows their names
 * @returns {{root: HTMLElement, set: (row: number, ...texts: string[]) => void}}
 */
export function table(columns, rows) {
  const cells = rows.map(() => columns.slice(1).map(() => element("td")));
  const head = element("tr", {}, ...columns.map(
    (text) => text ? element("th", { scope: "col" }, text) : element("td"))); // a corner heads nothing
  const body = rows.map((name, row) =>
    element("tr", {}, element("th", { scope: "row" }, name), ...cells[row]));
  const root = element("table", { class: "live-table" },
    element("thead", {}, head), element("tbody", {}, ...body));
  const set = (row, ...texts) => texts.forEach((text, k) => (cells[row][k].textContent = text));
  return { root, set };
}

/** Several things under a heading. */
export function panel(heading, ...content) {
  return element("div", { class: "live-panel" }, element("p", { class: "live-heading" }, heading), ...content);
}

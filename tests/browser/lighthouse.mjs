// What Lighthouse says about pages: {chrome, addresses, settings} comes as JSON on stdin; out goes
// a line of JSON for each page, with its scores and each audit that cost it points.

import { text } from "node:stream/consumers";

import { launch } from "chrome-launcher";
import lighthouse from "lighthouse";

const PLACES = 3; // of each failing audit, to look at

const asked = JSON.parse(await text(process.stdin));
const chrome = await launch({
  chromePath: asked.chrome,
  // Chromium's own sandbox does not start for root; the pages are ours.
  chromeFlags: ["--headless=new", "--no-sandbox", "--disable-gpu"],
});
try {
  for (const address of asked.addresses) {
    const { lhr } = await lighthouse(address, {
      ...asked.settings, port: chrome.port, logLevel: "error", disableFullPageScreenshot: true,
    });
    if (lhr.runtimeError) throw new Error(`${address}: ${lhr.runtimeError.message}`);
    console.log(JSON.stringify({ address, scores: scores(lhr), failed: failed(lhr) }));
  }
} finally {
  chrome.kill();
}

/** Each category's score, of 100. */
function scores({ categories }) {
  return Object.fromEntries(
    Object.entries(categories).map(([name, { score }]) => [name, Math.floor(100 * score)]),
  );
}

/** The audits that cost points: what they ask for, and where it is missing. */
function failed({ categories, audits }) {
  return Object.entries(categories).flatMap(([category, { auditRefs }]) =>
    auditRefs
      .filter(({ id, weight }) => weight > 0 && audits[id].score !== null && audits[id].score < 1)
      .map(({ id }) => ({ category, id, title: audits[id].title, where: places(audits[id]) })));
}

/** What an audit points to: an element, a file, or what it says itself. */
function places({ details }) {
  return (details?.items ?? []).slice(0, PLACES).map((item) =>
    item.node?.snippet ?? item.url ?? item.description ?? JSON.stringify(item));
}

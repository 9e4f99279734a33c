// The first thing that a reader of the site can touch: a plane of latents, and the digit that a VAE
// decodes at the ring. One small file shows it; the decoder is fetched at the first touch.

import { panel } from "./controls.js";
import { network } from "./network.js";
import { Plane } from "./plane.js";
import { attempts, fetchSafetensors } from "./safetensors.js";
import { element, legend, number, onThemeChange, showDigits, startWhenNear } from "./surface.js";

const GROUND = 3.3; // the plane reaches so far at least, to show the circles of the prior

/** Starts the map in place of what stands in `host`. */
export async function latentMap(host) {
  const folder = new URL(host.dataset.packs, document.baseURI);
  const view = build();
  const attempt = attempts(view.error);
  const preview = await attempt(() => fetchSafetensors(new URL("preview.safetensors", folder)));
  if (!preview) {
    host.append(view.error); // the still picture stays
    return;
  }
  let decode = null;
  let asked = false;

  /** Fetches the decoder once, and shows what it makes of the place where the ring is by then. */
  async function wake() {
    if (asked) return;
    asked = true;
    const model = await attempt(() => fetchSafetensors(new URL("model.safetensors", folder)));
    asked = Boolean(model);
    if (!model) return;
    decode = network(model, "decoder");
    show(plane.z);
  }

  function show(z) {
    if (decode) showDigits(view.digit, decode(z));
    view.where.textContent = `z = (${number(z[0])}, ${number(z[1])})`;
  }

  const plane = new Plane(view.plane, {
    onMove: (z) => {
      wake();
      show(z);
    },
    onHover: () => {},
  });
  for (const event of ["pointerenter", "focus"]) view.plane.addEventListener(event, wake);

  const { limits, start } = preview.metadata;
  host.replaceChildren(view.root);
  plane.showCodes({ mu: preview.arrays.mu.values, labels: preview.arrays.labels.values },
    limits.map(([low, high]) => [Math.max(-4, Math.min(low, -GROUND)), Math.min(4, Math.max(high, GROUND))]));
  plane.place(start);
  showDigits(view.digit, preview.arrays.image.values.map((level) => level / 255));
  show(start);
  new ResizeObserver(() => plane.redraw()).observe(view.plane);
  onThemeChange(() => plane.redraw());
  host.dataset.ready = "true";
}

function build() {
  const view = {
    plane: element("canvas", {
      class: "live-plane", tabindex: "0", role: "application",
      "aria-label": "Latent plane. The arrow keys move the ring, with Shift in larger steps.",
    }),
    digit: element("canvas", {
      class: "live-digit", role: "img", "aria-label": "The digit that the decoder draws for z",
    }),
    where: element("output", { class: "live-where" }),
    error: element("p", { class: "live-error", role: "alert", hidden: "" }),
  };
  view.root = element("div", { class: "live-explorer" }, view.error,
    element("div", { class: "live-map live-small-map" },
      view.plane,
      panel("Decoded", view.digit, view.where)),
    legend());
  return view;
}

startWhenNear("latent-map", latentMap);

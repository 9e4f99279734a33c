// The latent explorer: drag a point over the codes of the test set and watch what the decoder
// makes of it; go back in the training; change the model; draw a digit and see its q(z | x).

import { button, grid, panel, slider, table } from "./controls.js";
import { network } from "./network.js";
import { Plane } from "./plane.js";
import { attempts, fetchSafetensors } from "./safetensors.js";
import { sketch } from "./sketch.js";
import {
  element, legend, normals, number, onThemeChange, showDigits, startWhenNear,
} from "./surface.js";

const SAMPLES = 32; // of q(z | x), for the variance of the pixels
const SHOWN_SAMPLES = 5; // of them decoded one by one
const GROUND = 3.3; // a VAE's plane reaches so far at least, to show the circles of its prior
const LEAST_VARIANCE = 0.002; // drawn white; what a decoder that ignores z varies is far below
const FRAME = 150; // ms between two evaluations while the training plays

const DATA_NAMES = { mnist: "MNIST", digits: "scikit-learn's digits" };

const steps = (value) => value.toLocaleString("en");

/** Starts the explorer in place of what stands in `host`. */
export async function explorer(host) {
  const folder = new URL(host.dataset.packs, document.baseURI);
  const names = JSON.parse(host.dataset.runs); // folder of each run -> what to call it
  const view = build(Object.entries(names));
  const attempt = attempts(view.error, () => stop());
  const runs = new Map();
  let run; // the one that is shown
  let current; // what its slider points to: {step, decode, codes}
  let drawing = null; // as the encoder sees it
  let wanted = 0; // counts what was asked for: only the last answer is shown

  const plane = new Plane(view.plane, {
    onMove: (z) => {
      hideAnswer();
      hover(null);
      show(z);
    },
    onHover: hover,
  });

  function hover(index) {
    view.hoverDigit.hidden = index === null;
    view.hoverText.textContent = index === null
      ? "Point at a dot to see what its latents are decoded to."
      : `The dot under the pointer: a test image of a ${current.codes.labels[index]}, decoded from its latents.`;
    if (index === null) return;
    const { mu } = current.codes;
    showDigits(view.hoverDigit, current.decode([mu[2 * index], mu[2 * index + 1]]));
  }

  function show(z) {
    showDigits(view.digit, current.decode(z));
    view.where.textContent = `z = (${number(z[0])}, ${number(z[1])})`;
  }

  /** The model of a run, fetched when first chosen. */
  async function load(name) {
    if (!runs.has(name)) {
      const at = (file) => new URL(`${name}/${file}`, folder);
      const model = await fetchSafetensors(at("model.safetensors"));
      runs.set(name, {
        model,
        at,
        decode: network(model, "decoder"),
        codes: { mu: model.arrays.mu.values, labels: model.arrays.labels.values },
        decoders: new Map(),
      });
    }
    return runs.get(name);
  }

  async function choose(name) {
    stop();
    hideAnswer();
    const mine = ++wanted;
    const chosen = await attempt(() => load(name));
    if (!chosen || mine !== wanted) return;
    run = chosen;
    const { steps: last, data, kl_weight: weight } = run.model.metadata.run;
    view.step.value = view.step.max;
    view.about.textContent =
      `${DATA_NAMES[data] ?? data}, ${steps(last)} steps` +
      (weight === null ? ", no KL" : `, KL weight ${weight}`) + `; ${host.dataset.whose}.`;
    present({ step: last, decode: run.decode, codes: run.codes, from: last });
    plane.place(plane.limits.map(([low, high]) => (low + high) / 2));
    show(plane.z);
    if (drawing) await encode();
  }

  function present(next) {
    current = next;
    const { limits, run: { kl_weight: weight } } = run.model.metadata;
    const ground = weight === null ? 0 : GROUND;
    plane.showCodes(current.codes, limits.map(([low, high]) =>
      [Math.min(low, -ground), Math.max(high, ground)]));
    view.stepText.textContent =
      `step ${steps(current.step)}` +
      (current.from === current.step ? "" : `, decoder from step ${steps(current.from)}`);
    show(plane.z);
  }

  /** The codes, and the latest decoder, at a share of the training. */
  async function goTo(share) {
    const mine = ++wanted;
    const training = (run.training ??=
      await attempt(() => fetchSafetensors(run.at("training.safetensors"))));
    if (!training || mine !== wanted) return;
    const { rows, decoders } = training.metadata;
    const index = Math.round(share * (rows.length - 1));
    if (index === rows.length - 1) {
      return present({ ...run, step: rows[index].step, from: rows[index].step });
    }
    const { step } = rows[index];
    const from = decoders.filter((each) => each <= step).pop();
    if (!run.decoders.has(from)) {
      const file = await attempt(() => fetchSafetensors(run.at(`decoder-${from}.safetensors`)));
      if (!file || mine !== wanted) return;
      run.decoders.set(from, network(file, "decoder"));
    }
    const count = training.arrays.labels.values.length;
    const mu = training.arrays.latents.values.subarray(2 * count * index, 2 * count * (index + 1));
    present({
      step, from, decode: run.decoders.get(from),
      codes: { mu, labels: training.arrays.labels.values },
    });
  }

  /** What the drawing means to the encoder, which was kept as it is after the last step. */
  async function encode() {
    stop();
    const image = drawing;
    if (view.step.value !== view.step.max) {
      view.step.value = view.step.max;
      await goTo(1);
    }
    const mine = ++wanted;
    run.encoder ??= await attempt(() => fetchSafetensors(run.at("encoder.safetensors")));
    if (!run.encoder || mine !== wanted) return;
    view.drawn.hidden = false;
    view.prompt.hidden = true;
    const parts = run.encoder.metadata.networks;
    const isVae = Boolean(parts.to_mu);
    view.variance.hidden = !isVae;
    if (!isVae) {
      const code = [...network(run.encoder, "encoder")(image)];
      plane.cloud = null;
      plane.place(code);
      show(code);
      view.latents.set(0, ...code.map((value) => number(value)));
      view.latents.set(1, "–", "–");
      showDigits(view.samples, current.decode(code));
      view.samplesText.textContent =
        "An autoencoder returns one point, not a distribution; above, its reconstruction.";
      return;
    }
    const features = network(run.encoder, "trunk")(image);
    const mean = [...network(run.encoder, "to_mu")(features)];
    const sigma = [...network(run.encoder, "to_log_var")(features)].map((v) => Math.exp(v / 2));
    const eps = normals(2 * SAMPLES, 1);
    const samples = Array.from({ length: SAMPLES }, (_, k) =>
      mean.map((value, axis) => value + sigma[axis] * eps[2 * k + axis]));
    const images = samples.map((z) => Float32Array.from(current.decode(z)));
    plane.cloud = { mu: mean, sigma, samples };
    plane.place(mean);
    show(mean);
    view.latents.set(0, ...mean.map((value) => number(value)));
    view.latents.set(1, ...sigma.map((value) => number(value)));
    showDigits(view.samples, ...images.slice(0, SHOWN_SAMPLES));
    const variance = varianceOf(images);
    const largest = Math.max(...variance);
    showDigits(view.variance, variance.map((value) => value / Math.max(largest, LEAST_VARIANCE)));
    view.samplesText.textContent =
      `${SHOWN_SAMPLES} samples of z, decoded, and the variance of each pixel over ${SAMPLES} ` +
      `samples (at most ${number(largest, 4)}). The ellipses in the plane are one and two standard ` +
      "deviations wide.";
  }

  /** Takes away what the encoder said of the drawing; the drawing stays on the paper. */
  function hideAnswer() {
    plane.cloud = null;
    view.drawn.hidden = true;
    view.prompt.hidden = false;
    for (const row of [0, 1]) view.latents.set(row, "–", "–");
  }

  let playing = null;
  function stop() {
    clearInterval(playing);
    playing = null;
    view.play.textContent = "Play the training";
  }
  function play() {
    if (playing) return stop();
    if (view.step.value === view.step.max) view.step.value = 0;
    hideAnswer();
    view.play.textContent = "Stop";
    // Who asked for less motion gets the same evaluations, one a second.
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    playing = setInterval(async () => {
      await goTo(Number(view.step.value) / Number(view.step.max));
      if (view.step.value === view.step.max) return stop();
      view.step.value = Number(view.step.value) + 1;
    }, calm ? 1000 : FRAME);
  }

  const paper = sketch(view.paper, (image) => {
    drawing = image;
    encode();
  });
  view.clear.addEventListener("click", () => {
    drawing = null;
    hideAnswer();
    paper.clear();
    plane.draw();
  });
  view.play.addEventListener("click", play);
  view.step.addEventListener("input", () => {
    stop();
    hideAnswer();
    goTo(Number(view.step.value) / Number(view.step.max));
  });
  view.model.addEventListener("change", () => choose(view.model.value));

  const first = await attempt(() => load(view.model.value));
  if (!first) {
    host.append(view.error); // the still picture stays
    return;
  }
  host.replaceChildren(view.root);
  await choose(view.model.value);
  hover(null);
  new ResizeObserver(() => plane.redraw()).observe(view.plane);
  onThemeChange(() => plane.redraw());
  host.dataset.ready = "true";
}

/** The variance of each pixel over images. */
function varianceOf(images) {
  return Float32Array.from(images[0], (_, pixel) => {
    const values = images.map((image) => image[pixel]);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  });
}

/** The elements of the figure. */
function build(names) {
  const picture = (name, label) => element("canvas", { class: name, role: "img", "aria-label": label });
  const training = slider("Training", { min: "0", max: "60", value: "60" });
  const view = {
    model: element("select", {}, ...names.map(([value, text]) =>
      element("option", { value }, text))),
    about: element("p", { class: "live-muted" }),
    plane: element("canvas", {
      class: "live-plane", tabindex: "0", role: "application",
      "aria-label": "Latent plane. The arrow keys move the point, with Shift in larger steps.",
    }),
    digit: picture("live-digit", "The image that the decoder returns for z"),
    where: element("output", { class: "live-where" }),
    hoverDigit: picture("live-small", "The image of the dot under the pointer"),
    hoverText: element("span", { class: "live-muted" }),
    step: training.input,
    stepText: training.output,
    play: button("Play the training"),
    paper: picture("live-paper", "Draw a digit here with the mouse or a finger"),
    clear: button("Clear"),
    prompt: element("p", { class: "live-muted" },
      "Draw a digit from 0 to 9 on the black square. You will see the mean and the standard deviations " +
        "of q(z | x) here, and images decoded from samples of it."),
    latents: table(["q(z | x)", "z₁", "z₂"], ["mean", "standard deviation"]),
    samplesText: element("p", { class: "live-muted" }),
    samples: picture("live-samples", "Samples from q(z | x), decoded"),
    variance: picture("live-variance", "Variance of each pixel"),
    error: element("p", { class: "live-error", role: "alert", hidden: "" }),
  };
  view.drawn = element("div", { hidden: "" },
    element("div", { class: "live-drawn" }, view.samples, view.variance), view.samplesText);
  view.root = element("div", { class: "live-explorer" },
    element("div", { class: "live-row" }, element("label", {}, "Model ", view.model), view.about),
    view.error,
    element("div", { class: "live-map" },
      view.plane,
      element("div", { class: "live-side" },
        panel("Decoded", view.digit, view.where),
        panel("Classes", legend()),
        element("div", { class: "live-hovered live-pointed" }, view.hoverDigit, view.hoverText))),
    element("div", { class: "live-row live-play" }, grid(training), view.play),
    element("div", { class: "live-sketch" },
      panel("Draw a digit", view.paper, view.clear),
      panel("The encoder’s answer", view.latents.root, view.prompt, view.drawn)));
  return view;
}

startWhenNear("explorer", explorer);

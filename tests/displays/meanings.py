"""What the symbols of each display mean: numbers, distributions and functions, never the formula.

A meaning is found on another way than the display's: by quadrature, by torch or scipy, or by
counting. `MEANINGS` has one function for each display, by its label or, without one, by its first
words; it makes a new small instance from each generator.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from displays.values import (
    Change,
    Family,
    Given,
    Later,
    Law,
    OfLaws,
    Parts,
    column,
    cross_entropy,
    entropy,
    equally,
    finite,
    independent,
    mean,
    nodes_between,
    normal,
    normal_density,
    plain,
    stacked,
)
from numpy.random import Generator
from scipy.spatial.distance import cdist
from scipy.stats import norm
from torch import distributions as dist

Names = dict[str, Any]

MEANINGS: dict[str, Callable[[Generator], Names]] = {}


def means(*labels: str) -> Callable[[Callable[[Generator], Names]], Callable[[Generator], Names]]:
    def enter(make: Callable[[Generator], Names]) -> Callable[[Generator], Names]:
        MEANINGS.update(dict.fromkeys(labels, make))
        return make

    return enter


def vector(rng: Generator, size: int) -> np.ndarray:
    return rng.normal(size=(size, 1))


def covariance(rng: Generator, size: int) -> np.ndarray:
    root = rng.normal(size=(size, size)) * 0.5
    return root @ root.T + 0.3 * np.eye(size)


def positive(rng: Generator, low: float = 0.5, high: float = 1.6) -> float:
    return float(rng.uniform(low, high))


def chances(rng: Generator, size: int) -> np.ndarray:
    return rng.dirichlet(np.full(size, 3.0))


def torch_kl(mu: Any, sigma: Any, mu_p: Any = 0.0, sigma_p: Any = 1.0) -> float:
    """The divergence of two normal distributions, summed over their entries, as torch has it."""
    each = [torch.as_tensor(np.ravel(v), dtype=torch.float64) for v in (mu, sigma, mu_p, sigma_p)]
    first, second = dist.Normal(each[0], each[1]), dist.Normal(each[2], each[3])
    return float(dist.kl_divergence(first, second).sum())


def integral(of: Callable[[float], float]) -> float:
    return sum(w * of(z) for z, w in nodes_between(-np.inf, np.inf))


# ---------------------------------------------------------------------------- chapter 1


@means("eq-def-ae-pixels")
def _(rng: Generator) -> Names:
    return {"D": 1024}


@means("eq-def-autoencoder", "eq-def-ae-moved", "eq-ae-invariance")
def _(rng: Generator) -> Names:
    a, b, c = rng.normal(size=(2, 3)), rng.normal(size=(3, 2)), vector(rng, 2)
    x, matrix = vector(rng, 3), rng.normal(size=(2, 2))
    names: Names = {"x": x, "A": matrix, "c": c, "b": c, "I": np.eye(2)}
    code = torch.tanh(torch.tensor(a @ x)).numpy()
    names["z"] = code
    names[r"e_\phi"] = lambda x: np.tanh(a @ x)
    decode = lambda z: np.sin(b @ z)  # noqa: E731
    names[r"g_\theta"] = decode
    names[r"\hat x(z)"] = decode
    names[r"\hat x"] = np.sin(b @ code)
    names["e'"] = lambda x: torch.nn.functional.linear(
        torch.tensor(np.tanh(a @ x)).T, torch.tensor(matrix), torch.tensor(c[:, 0])
    ).T.numpy()
    names["g'"] = lambda z: decode(np.linalg.solve(matrix, z - c))
    names[r"\hat x'(z)"] = names["g'"]
    return names


@means("eq-ae-parameters")
def _(rng: Generator) -> Names:
    """The layers of the package's autoencoder, counted."""
    from lecture_vae import build_model

    net = build_model("linear-ae")
    layers = [each for each in net.modules() if isinstance(each, torch.nn.Linear)]
    names: Names = {r"\sum_layers": list(range(len(layers)))}
    names |= {"inputs": Given(lambda s: layers[s["layers"]].in_features)}
    return names | {"outputs": Given(lambda s: layers[s["layers"]].out_features), "layers": 0}


@means("eq-def-squared-error", "eq-ae-pixel-mean")
def _(rng: Generator) -> Names:
    x, x_hat = rng.random((1024, 1)), rng.random((1024, 1))
    return {"D": 1024, "x": x, r"\hat x": x_hat, "S": float(((x - x_hat) ** 2).sum())}


@means("eq-def-ae-pca")
def _(rng: Generator) -> Names:
    from sklearn.decomposition import PCA

    images = rng.normal(size=(20, 4))
    pca = PCA(2).fit(images)
    z = pca.transform(images[:1])
    middle = images.mean(axis=0)[:, None]
    names: Names = {"z": z.T, "V": pca.components_.T, r"\bar x": middle}
    return names | {r"\hat x(z)": pca.inverse_transform(z).T}


@means("eq-ae-absorbed")
def _(rng: Generator) -> Names:
    names: Names = {name: rng.normal(size=(2, 2)) for name in ("A", "W_e", "W_d")}
    return names | {name: vector(rng, 2) for name in ("h", "c", "z", "b_e", "b_d")}


# ---------------------------------------------------------------------------- chapter 2


@means("eq-def-normal-density")
def _(rng: Generator) -> Names:
    return {"x": rng.normal(), r"\mu": rng.normal(), r"\sigma": positive(rng)}


@means("eq-gauss-integral")
def _(rng: Generator) -> Names:
    nodes = [(float(t), 0.25) for t in np.arange(-9, 9.01, 0.25)]
    return {rf"\int_\varepsilon_{i}": nodes for i in (1, 2)}


@means("eq-normal-moments", "eq-normal-affine")
def _(rng: Generator) -> Names:
    mu, sigma = rng.normal(), positive(rng)
    law = normal("x", mu, sigma**2)
    names: Names = {r"\mu": mu, r"\sigma": sigma, "E": law, r"\varphi": norm.pdf, "x": 0.0}
    standard = normal(r"\varepsilon")
    return names | {r"~\varepsilon": standard, r"~\mu+\sigma\varepsilon": law}


@means("eq-def-covariance")
def _(rng: Generator) -> Names:
    mu, sigma = vector(rng, 2), covariance(rng, 2)
    return {r"\mu": mu, r"\Sigma": sigma, "E": normal("x", mu, sigma), "i": 1, "j": 2}


@means("eq-def-mvn-density", "eq-diagonal-product")
def _(rng: Generator) -> Names:
    names: Names = {"x": vector(rng, 2), r"\mu": vector(rng, 2), "d": 2}
    sigma = np.exp(0.3 * vector(rng, 2))
    diagonal = np.diag(np.ravel(sigma**2))
    return names | {r"\sigma": sigma, r"\Sigma": diagonal}


@means("eq-def-mvn-density")
def _(rng: Generator) -> Names:
    return {"x": vector(rng, 2), r"\mu": vector(rng, 2), "d": 2, r"\Sigma": covariance(rng, 2)}


@means("eq-mvn-affine")
def _(rng: Generator) -> Names:
    root = rng.normal(size=(2, 2))
    law = normal(r"\varepsilon", column(0, 0))
    return {"A": root, "L": root, r"\Sigma": np.cov(root @ _white(rng)), "E": law}


def _white(rng: Generator) -> np.ndarray:
    """Draws whose sample covariance is the identity to the last digit."""
    draws = rng.normal(size=(2, 50))
    draws -= draws.mean(axis=1, keepdims=True)
    return np.linalg.solve(np.linalg.cholesky(np.cov(draws)), draws)


@means("eq-ellipse", "eq-ellipse-mass")
def _(rng: Generator) -> Names:
    mu, sigma = vector(rng, 2), covariance(rng, 2)
    x = vector(rng, 2)
    values, vectors = np.linalg.eigh(sigma)
    along = vectors.T @ (x - mu)
    whitened = np.linalg.solve(np.linalg.cholesky(sigma), x - mu)
    names: Names = {"x": x, r"\mu": mu, r"\Sigma": sigma, "d": 2, r"\lambda": values[:, None]}
    names |= {"u": along, "r": float(np.linalg.norm(whitened))}
    return names | {"E": normal("x", mu, sigma)}


@means("eq-def-information")
def _(rng: Generator) -> Names:
    p = chances(rng, 4)
    surprise = -dist.Categorical(torch.tensor(p)).log_prob(torch.tensor(1)).item()
    return {"P": finite("x", p), "x": 2, "alone": surprise}


@means(
    "eq-def-entropy",
    "eq-def-cross-entropy",
    "eq-def-kl",
    "eq-kl-cross-entropy",
    "eq-gibbs",
    "eq-uniform-entropy",
)
def _(rng: Generator) -> Names:
    p, q = finite("x", chances(rng, 4)), finite("x", chances(rng, 4))
    names: Names = {"P": p, "Q": q, r"\sum_x": [1, 2, 3, 4], "S": [1, 2, 3, 4], "n": 4, "K": 4}
    h = OfLaws(lambda first, *second: cross_entropy(first, *second) if second else entropy(first))
    names |= {"H": h, "M": 4, "m": 4, r"\mathcal X": [1, 2, 3, 4]}
    return names


@means("eq-def-differential-entropy", "eq-normal-entropy", "eq-max-entropy")
def _(rng: Generator) -> Names:
    mu, sigma = rng.normal(), positive(rng)
    law = normal("x", mu, sigma**2)
    # two normal curves with the mean and the variance of one
    shift = 0.6 * sigma
    rest = np.sqrt(sigma**2 - shift**2)
    halves = [normal("x", mu - shift, rest**2), normal("x", mu + shift, rest**2)]
    mixed = Law(
        "x",
        lambda x: (halves[0](x) + halves[1](x)) / 2,
        [(w / 2, x) for half in halves for w, x in half.points],
    )
    from scipy.integrate import quad

    def surprise(one: Law) -> float:
        return quad(
            lambda x: -one(x) * np.log(one(x)),
            mu - 9 * sigma,
            mu + 9 * sigma,
            epsabs=1e-11,
            limit=200,
        )[0]

    names: Names = {r"\mu": mu, r"\sigma": sigma, "p": mixed, "n": law, "q": law, "E": law}
    return names | {"h": OfLaws(surprise), "H": OfLaws(surprise)}


@means("eq-def-kl-density", "eq-kl-monte-carlo")
def _(rng: Generator) -> Names:
    p, q = normal("x", rng.normal(), positive(rng)), normal("x", rng.normal() + 3, positive(rng))
    count = 1000
    middles = (np.arange(count) + 0.5) / count
    center = p.points[0][1] / 2 + p.points[-1][1] / 2
    width = np.sqrt(sum(w * (x - center) ** 2 for w, x in p.points))
    draws = [float(center + width * norm.ppf(u)) for u in middles]
    return {"p": p, "q": q, "n": count, "K": count, "x": Parts(draws)}


@means("eq-log-bound")
def _(rng: Generator) -> Names:
    return {"t": positive(rng, 0.9, 1.1)}


@means("eq-jensen-log")
def _(rng: Generator) -> Names:
    values = np.exp(rng.normal(size=5))
    return {"E": finite("t", chances(rng, 5), list(values)), "t": 1.0}


@means("eq-kl-shift")
def _(rng: Generator) -> Names:
    one, other = rng.normal(), rng.normal()
    return {"a": one, "b": other, r"\mu_q": one, r"\mu_p": other, r"\mu_1": one, r"\mu_2": other}


@means("eq-moment-matching")
def _(rng: Generator) -> Names:
    p = _mixture(rng, "x")
    mu = mean(p, lambda at: at["x"])
    variance = mean(p, lambda at: (at["x"] - mu) ** 2)
    names: Names = {"p": p, r"\mu_p": mu, r"\sigma_p": np.sqrt(variance)}
    m, s = rng.normal(), positive(rng)
    return names | {"m": m, "s": s, r"\mu": m, r"\sigma": s, r"\mu_q": m, r"\sigma_q": s}


def _mixture(rng: Generator, variable: str) -> Law:
    share = positive(rng, 0.3, 0.7)
    halves = [normal(variable, rng.normal(), positive(rng)) for _ in range(2)]
    return Law(
        variable,
        lambda x: share * halves[0](x) + (1 - share) * halves[1](x),
        [
            (s * w, x)
            for s, half in zip((share, 1 - share), halves, strict=True)
            for w, x in half.points
        ],
    )


@means("eq-kl-additive")
def _(rng: Generator) -> Names:
    def product_of(variable: str) -> Law:
        return stacked(
            variable,
            [normal("x_i", rng.normal(), positive(rng, 0.6, 1.2)) for _ in range(2)],
            spacing=3,
        )

    range_: Names = {r"\sum_i": [1, 2], r"\sum_j": [1, 2], "d": 2}
    return range_ | {"p": product_of("x"), "q": product_of("x")}


# ---------------------------------------------------------------------------- chapter 3


def on_grid(variable: str, density: Callable[[float], float]) -> Law:
    """A distribution of one number that is known by its density only."""
    return Law(
        variable,
        density,
        Later(
            lambda: [
                (w * density(z), z)
                for z, w in nodes_between(-np.inf, np.inf)
                if density(z) > 1e-300
            ]
        ),
    )


def bent_model(rng: Generator) -> Names:
    """A decoder that is not linear, so that nothing but quadrature finds its evidence."""
    slope, bend, x = rng.normal(), positive(rng, 0.2, 0.6), float(rng.normal())
    v, sigma = positive(rng, 0.6, 1.2), positive(rng, 0.9, 1.1)
    prior = normal("z")

    def decoder(z: float) -> Law:
        return normal("x", slope * np.tanh(z) + bend * np.sin(z), v)

    def encoder(x: float) -> Law:
        return normal("z", 0.6 * x + 0.1, sigma**2)

    def joint(x: float, z: float) -> float:
        return decoder(z)(x) * prior(z)

    @cache
    def evidence(x: float) -> float:
        return integral(lambda z: joint(x, z))

    at_x = evidence(x)

    def posterior(x_: float) -> Law:
        whole = at_x if x_ == x else evidence(x_)
        return on_grid("z", lambda z: joint(x_, z) / whole)

    q = encoder(x)
    distortion = -mean(q, lambda at: np.log(decoder(at["z"])(x)))
    elbo = -distortion - torch_kl(0.6 * x + 0.1, sigma)
    names: Names = {"x": x, "z": float(rng.normal()), "q": q, "p": prior}
    names |= {"p(z)": prior, r"p_\theta(x|z)": Family(decoder), r"p_\theta(x,z)": joint}
    names |= {r"p_\theta(x)": evidence, r"p_\theta(z|x)": Family(posterior)}
    names |= {r"q_\phi(z|x)": Family(encoder), "ELBO(x)": elbo, "q(z)": q}
    names |= {r"\mu_\phi": lambda x: 0.6 * x + 0.1, r"\sigma_\phi": lambda x: sigma}
    names |= {"KL": torch_kl(0.6 * x + 0.1, sigma), "gap(x)": np.log(at_x) - elbo}
    names |= {r"\rho": Given(lambda s: joint(x, s["z"]) / q(s["z"]))}
    return names


@means(
    "eq-def-joint",
    "eq-def-evidence",
    "eq-bayes",
    "eq-importance",
    "eq-def-encoder",
    "eq-def-elbo",
    "eq-elbo-derivation",
    "eq-elbo-identity",
    "eq-elbo-jensen",
    "eq-elbo-split",
    "eq-def-gkl-bound",
)
def _(rng: Generator) -> Names:
    return bent_model(rng)


@means("eq-naive-monte-carlo")
def _(rng: Generator) -> Names:
    names = bent_model(rng)
    draws = [float(norm.ppf((k + 0.5) / 500)) for k in range(500)]
    return names | {"n": 500, "K": 500, "z": Parts(draws), "~z": normal("z_k")}


@means("eq-def-grid-cost")
def _(rng: Generator) -> Names:
    return {"M": 7, "d": 3, "alone": float(np.prod(np.meshgrid(*[np.arange(7)] * 3)[0].shape))}


@means("eq-naive-variance")
def _(rng: Generator) -> Names:
    from scipy.integrate import quad

    # one coordinate: x | z ~ N(z, 1/2)
    x, v = 0.4, 0.5
    evidence = normal_density(x, 0.0, 1 + v)
    ratio = lambda z: normal_density(x, z, v)  # noqa: E731
    square = quad(lambda z: norm.pdf(z) * ratio(z) ** 2, -12, 12)[0] / evidence**2
    law = stacked("z", [normal("z")] * 2)
    names: Names = {"E": Law("z", law.density, law.points), "d": 2, "r": square, "z": column(0, 0)}
    names |= {r"\rho": Given(lambda s: ratio(s["z"][0, 0]) * ratio(s["z"][1, 0]))}
    names |= {r"\rho_j": Given(lambda s: ratio(s["z"][round(s["j"]) - 1, 0]))}
    names |= {"x": column(x, x), "j": 1}
    return names | {"p": lambda x: evidence ** np.size(x)}


@means("eq-bayes-events")
def _(rng: Generator) -> Names:
    """A table of one hundred digits and their descriptions, counted."""
    table = {("seven", "hook"): 21, ("seven", ""): 9, ("", "hook"): 12, ("", ""): 58}

    def chance(event: str, given: str = "") -> float:
        within = {both: n for both, n in table.items() if not given or given in both}
        return sum(n for both, n in within.items() if event in both) / sum(within.values())

    return {"Pr": chance}


@means("eq-likelihood-kl")
def _(rng: Generator) -> Names:
    from scipy.integrate import quad

    data, model = normal("x", rng.normal(), 1.0), normal("x", rng.normal(), positive(rng))

    def surprise(law: Law) -> float:
        return quad(lambda x: -law(x) * np.log(law(x)), -15, 15, epsabs=1e-11, limit=200)[0]

    return {"x": 0.0, "p_data": data, r"p_\theta": model, "H": OfLaws(surprise)}


@means("eq-proposal-width")
def _(rng: Generator) -> Names:
    center, width, c = float(rng.normal()), positive(rng, 0.5, 1.0), positive(rng, 0.85, 1.3)
    posterior, evidence = normal("z", center, width**2), positive(rng)
    q = normal("z", center, (c * width) ** 2)
    ratio = Given(lambda s: evidence * posterior(s["z"]) / q(s["z"]))
    names: Names = {"x": 0.0, "q": q, "c": c, "p(z|x)": Family(lambda x: posterior)}
    return names | {r"\rho": ratio, "p(x)": evidence, "z": center}


@means("eq-elbo-argmax")
def _(rng: Generator) -> Names:
    """An encoder with one weight, the mean of its answer."""
    names = bent_model(rng)
    x, decoder = names["x"], names[r"p_\theta(x|z)"]

    def encoder(phi: float) -> Law:
        return normal("z", phi, 0.9)

    def elbo(scope: Any) -> float:
        q = encoder(scope[r"\phi"])
        error = mean(q, lambda at: np.log(decoder.of(at["z"])(x)))
        return error - torch_kl(scope[r"\phi"], np.sqrt(0.9))

    family = Given(lambda s: Family(lambda x, phi=s[r"\phi"]: encoder(phi)))
    return names | {r"\phi": 0.0, "ELBO(x)": Given(elbo), r"q_\phi(z|x)": family}


@means("eq-posterior-average")
def _(rng: Generator) -> Names:
    names = bent_model(rng)
    nodes = [(float(x), 0.6) for x in np.arange(-9, 9.01, 0.6)]
    decoder, prior, evidence = (names[k] for k in (r"p_\theta(x|z)", "p(z)", r"p_\theta(x)"))

    def posterior(x: float) -> Law:
        return Law("z", lambda z: decoder.of(z)(x) * prior(z) / evidence(x), ())

    return names | {r"\int_x": nodes, r"p_\theta(z|x)": Family(posterior)}


@means("eq-hole-cost")
def _(rng: Generator) -> Names:
    """Five values of z; the aggregate never takes the last one."""
    prior, used = chances(rng, 5), chances(rng, 4)
    hole = prior[4]
    laws = {"p": prior, "p_out": [*(prior[:4] / prior[:4].sum()), 0.0], r"\bar q": [*used, 0.0]}
    return {"e": hole} | {name: finite("z", each) for name, each in laws.items()}


def linear_gaussian(rng: Generator) -> Names:
    slope, v, x = positive(rng, 0.6, 1.5), positive(rng, 0.5, 1.2), float(rng.normal())
    prior = normal("z")

    def decoder(z: float) -> Law:
        return normal("x", slope * z, v)

    def joint(x: float, z: float) -> float:
        return prior(z) * decoder(z)(x)

    @cache
    def evidence(x: float) -> float:
        return integral(lambda z: joint(x, z))

    whole = evidence(x)
    m = integral(lambda z: z * joint(x, z)) / whole
    spread = integral(lambda z: (z - m) ** 2 * joint(x, z)) / whole
    mu, sigma = float(rng.normal()), positive(rng)
    q = normal("z", mu, sigma**2)
    elbo = mean(q, lambda at: np.log(decoder(at["z"])(x))) - torch_kl(mu, sigma)
    exact = on_grid("z", lambda z: joint(x, z) / whole)
    names: Names = {"x": x, "z": float(rng.normal()), "a": slope, r"\mu": mu, r"\sigma": sigma}
    for theta in ("p", r"p_\theta"):
        names |= {f"{theta}(x|z)": Family(decoder), f"{theta}(x,z)": joint}
        names |= {f"{theta}(x)": evidence, f"{theta}(z|x)": Family(lambda x: exact)}
    names |= {"p(z)": prior, "ELBO(x)": elbo, r"\mu^*": m, r"\sigma^*": np.sqrt(spread)}
    free = np.log(joint(x, 0.0)) + x**2 / (2 * v)
    return names | {"v": v, "c": free, r"\mathrm{const}": free, "const": free}


@means(
    "eq-def-linear-gaussian",
    "eq-def-lg-posterior",
    "eq-lg-square",
    "eq-lg-exact",
    "eq-lg-elbo",
    "eq-lg-remainder",
)
def _(rng: Generator) -> Names:
    return linear_gaussian(rng)


@means("eq-elbo-change")
def _(rng: Generator) -> Names:
    state = rng.bit_generator.state
    before = bent_model(rng)
    rng.bit_generator.state = state
    after = bent_model(rng)
    x = before["x"]
    moved = bent_model(np.random.default_rng(int(rng.integers(1e6))))
    changed = {key: moved[key] for key in ("ELBO(x)", r"p_\theta(x)", "gap(x)")}
    changed |= {"gap": np.log(moved[r"p_\theta(x)"](x)) - moved["ELBO(x)"]}
    changed["gap(x)"] = changed["gap"]
    after |= {"gap": after["gap(x)"], r"\Delta": Change(changed)}
    return after


@means("eq-def-aggregate-posterior", "eq-aggregate")
def _(rng: Generator) -> Names:
    centers, widths = rng.normal(size=3), [positive(rng, 0.5, 1.0) for _ in range(3)]
    laws = [normal("z", m, s**2) for m, s in zip(centers, widths, strict=True)]
    mixed = Law(
        "z",
        lambda z: sum(law(z) for law in laws) / 3,
        [(w / 3, z) for law in laws for w, z in law.points],
    )
    images = [0.1, 0.2, 0.3]
    family = Family(lambda x: laws[images.index(x)])
    names: Names = {"N": 3, r"\sum_n": [1, 2, 3], "q": Parts(laws), "p": normal("z")}
    names |= {r"\bar q": mixed, r"\bar q(z)": mixed, "p(z)": names["p"], r"q_\phi(z)": mixed}
    names |= {r"q_\phi": mixed, r"q_\phi(z|x)": family, "x": Parts(images), "z": 0.3}
    count, parts = 0.0, 0.0
    for law in laws:
        count += mean(law, lambda at: np.log(mixed(at["z"]))) / 3
        parts += mean(law, lambda at, law=law: np.log(law(at["z"]))) / 3
    return names | {"I": lambda *_: parts - count, "I(x; z)": parts - count}


# ---------------------------------------------------------------------------- chapter 4


def two_normals(rng: Generator) -> Names:
    names: Names = {r"\mu_q": rng.normal(), r"\mu_p": rng.normal(), "z": rng.normal()}
    names |= {r"\sigma_q": positive(rng), r"\sigma_p": positive(rng)}

    def law(which: str) -> Law:
        mu, sigma = names[rf"\mu_{which}"], names[rf"\sigma_{which}"]
        density = dist.Normal(*torch.tensor([mu, sigma], dtype=torch.float64)).log_prob
        rule = normal("z", mu, sigma**2)
        return Law(
            "z",
            lambda z: float(density(torch.tensor(plain(z), dtype=torch.float64)).exp()),
            rule.points,
        )

    return names | {which: law(which) for which in "qp"}


@means(
    "eq-def-gkl-integral",
    "eq-gkl-without-factor",
    "eq-normal-log-ratio",
    "eq-shifted-moment",
    "eq-normal-kl",
)
def _(rng: Generator) -> Names:
    return two_normals(rng)


@means("eq-gkl-standard-normal", "eq-normal-kl-standard")
def _(rng: Generator) -> Names:
    return {r"\mu": rng.normal(), r"\sigma": positive(rng)}


def kl_of_one(rng: Generator, ell: float | None = None) -> Names:
    ell = float(rng.normal()) if ell is None else ell
    names: Names = {r"\mu": float(rng.normal()), r"\ell": ell}
    names[r"\sigma"] = Given(lambda s: np.exp(s.meaning(r"\ell") / 2))

    def value(mu: Any, ell: Any) -> float:
        return torch_kl(mu, np.exp(ell / 2))

    here = Given(lambda s: torch_kl(s.meaning(r"\mu"), s.meaning(r"\sigma")))
    for letter in ("K", "KL"):
        names |= {letter: here, f"{letter}({chr(92)}mu,{chr(92)}ell)": value}
    return names | {r"D_KL": here}


@means("eq-gkl-in-log-variance", "eq-gkl-gradient", "eq-gkl-three-slopes")
def _(rng: Generator) -> Names:
    return kl_of_one(rng)


@means("eq-gkl-near-optimum")
def _(rng: Generator) -> Names:
    return kl_of_one(rng, 0.05)


@means("eq-gkl-latent-sum", "eq-lvae-kl", "eq-gkl-spellings")
def _(rng: Generator) -> Names:
    mu, sigma = vector(rng, 2), np.exp(0.4 * vector(rng, 2))
    laws = [normal("z", m, s**2) for m, s in zip(mu[:, 0], sigma[:, 0], strict=True)]
    priors = [normal("z")] * 2
    q, p = (stacked("z", each, spacing=3) for each in (laws, priors))
    names: Names = {"d": 2, r"\mu": mu, r"\sigma": sigma, r"\ell": 2 * np.log(sigma), "q": q}
    names |= {"p": p, "KL": torch_kl(mu, sigma), "p(z)": p, "x": 0.0, "D": 3}
    names |= {"KL_j": Given(lambda s: torch_kl(mu[s["j"] - 1], sigma[s["j"] - 1]))}
    return names | {r"q_\phi(z|x)": Family(lambda x: q)}


@means("eq-gkl-multivariate-density")
def _(rng: Generator) -> Names:
    return {"z": vector(rng, 2), r"\mu": vector(rng, 2), r"\Sigma": covariance(rng, 2), "d": 2}


@means("eq-gkl-quadratic-form", "eq-gkl-multivariate")
def _(rng: Generator) -> Names:
    names: Names = {"c": vector(rng, 2), "A": rng.normal(size=(2, 2)), "d": 2, "t": vector(rng, 2)}
    names |= {"b": names["c"], "M": names["A"], "B": names["A"]}
    for which in "qp":
        mu, sigma = vector(rng, 2), covariance(rng, 2)
        names |= {rf"\mu_{which}": mu, rf"\Sigma_{which}": sigma, which: normal("z", mu, sigma)}
    return names


def gaussian_pixels(rng: Generator) -> Names:
    """An image of three pixels, decoded from one latent, and the terms of its loss."""
    x, slope, v = rng.random((3, 1)), vector(rng, 3), positive(rng, 0.3, 1.0)
    mu, sigma, z = float(rng.normal()), positive(rng), float(rng.normal())
    q = normal("z", mu, sigma**2)

    def decode(z: Any) -> np.ndarray:
        return slope * z + 0.1

    def nll(z: float, v: float) -> float:
        at = torch.tensor(decode(z))
        return -float(dist.Normal(at, v**0.5).log_prob(torch.tensor(x)).sum())

    def squared(z: float) -> float:
        return float(((x - decode(z)) ** 2).sum())

    kl = torch_kl(mu, sigma)
    names: Names = {"x": x, "z": z, "D": 3, "v": v, "s": np.sqrt(v), "I": np.eye(3), "q": q}
    names |= {r"\hat x": Given(lambda s: decode(s["z"])), r"\hat x(z)": decode, r"D_KL": kl}
    names |= {"KL": kl, "S": Given(lambda s: squared(s["z"])), "p(z)": normal("z")}
    density = Family(lambda z: Law("x", lambda x: np.exp(-nll(z, v)), ()))
    names |= {r"p_\theta(x|z)": density, r"q_\phi(z|x)": Family(lambda x: q), "E": q}
    w = positive(rng)

    def negative_elbo(v: float) -> float:
        return mean(q, lambda at: nll(at["z"], v)) + kl

    names |= {"w": w, "ELBO_w/2(x)": -negative_elbo(w / 2), "w'": w / 3}
    return names | {"ELBO(x)": -negative_elbo(w / 2)}


@means(
    "eq-def-gkl-decoder",
    "eq-gkl-decoder-nll",
    "eq-gkl-sse-half",
    "eq-gkl-weight-is-variance",
    "eq-lvae-scale",
    "eq-lvae-weight-is-variance",
)
def _(rng: Generator) -> Names:
    return gaussian_pixels(rng)


@means("eq-gkl-sigma")
def _(rng: Generator) -> Names:
    ell = float(rng.normal())
    return {r"\ell": ell, r"\sigma": dist.Normal(0, torch.exp(torch.tensor(ell) / 2)).stddev.item()}


def reparameterized(rng: Generator) -> Names:
    names: Names = {r"\mu": rng.normal(), r"\sigma": positive(rng, 0.6, 1.0), "t": rng.normal()}
    names |= {r"\varepsilon": 0.7, r"~\varepsilon": normal(r"\varepsilon")}
    names |= {"F": norm.cdf, r"\Phi": norm.cdf, "F^-1": norm.ppf, r"\Phi^-1": norm.ppf}

    def law(s: Any) -> Law:
        return normal("z", s.meaning(r"\mu"), s.meaning(r"\sigma") ** 2)

    return names | {"q": Given(law), "z": 0.3, "q(z)": Given(law)}


@means("eq-def-gkl-reparameterization")
def _(rng: Generator) -> Names:
    names = reparameterized(rng)
    shift = dist.AffineTransform(names[r"\mu"], names[r"\sigma"])
    return names | {"z": float(shift(torch.tensor(0.7, dtype=torch.float64)))}


@means("eq-gkl-pathwise-mu", "eq-gkl-pathwise-sigma", "eq-gkl-score")
def _(rng: Generator) -> Names:
    return reparameterized(rng) | {"f": np.sin, "f'": np.cos}


@means("eq-gkl-pathwise-variance", "eq-gkl-score-variance", "eq-gkl-score-square")
def _(rng: Generator) -> Names:
    names = reparameterized(rng)
    mu, sigma = names[r"\mu"], names[r"\sigma"]
    names["E"] = Law(r"\varepsilon", norm.pdf, normal(r"\varepsilon").points)
    weight = Given(lambda s: (mu + sigma * s[r"\varepsilon"]) ** 2 * s[r"\varepsilon"] / sigma)
    names |= {letter: weight for letter in ("g", "G", "Y", "T", "t", "y")}
    return names | {"z": Given(lambda s: mu + sigma * s[r"\varepsilon"])}


@means("eq-def-gkl-loss")
def _(rng: Generator) -> Names:
    names: Names = {"x": vector(rng, 3), r"\mu": vector(rng, 2), r"\ell": vector(rng, 2)}
    weights = rng.normal(size=(3, 2))
    decode = lambda z: weights @ z  # noqa: E731
    names |= {"d": 2, "w": positive(rng), r"\varepsilon": vector(rng, 2), r"\hat x(z)": decode}
    std = np.exp(names[r"\ell"] / 2)
    z = torch.distributions.AffineTransform(torch.tensor(names[r"\mu"]), torch.tensor(std))(
        torch.tensor(names[r"\varepsilon"])
    ).numpy()
    kl = torch_kl(names[r"\mu"], std)
    loss = float(((names["x"] - decode(z)) ** 2).sum()) + names["w"] * kl
    return names | {"KL": kl, "S": loss - names["w"] * kl}


@means("eq-gkl-bernoulli")
def _(rng: Generator) -> Names:
    x, x_hat = rng.random((3, 1)), rng.random((3, 1))
    nats = torch.nn.functional.binary_cross_entropy
    loss = float(nats(torch.tensor(x_hat), torch.tensor(x), reduction="sum"))
    names: Names = {"x": x, "z": 0.0, r"\hat x": x_hat, "D": 3}
    return names | {r"p_\theta(x|z)": Family(lambda z: Law("x", lambda x: np.exp(-loss), ()))}


# ---------------------------------------------------------------------------- chapter 5


@means("eq-def-lvae-heads")
def _(rng: Generator) -> Names:
    names: Names = {"x": vector(rng, 3)}
    features = np.abs(names["x"])
    head = {name: torch.nn.Linear(3, 2, dtype=torch.float64) for name in (r"\mu", r"\sigma")}
    for name, layer in head.items():
        names |= {f"W_{name}": layer.weight.detach().numpy()}
        names |= {f"b_{name}": layer.bias.detach().numpy()[:, None]}
    given = torch.tensor(features).T
    out = {name: layer(given).detach().numpy().T for name, layer in head.items()}
    names |= {r"\mu": out[r"\mu"], r"\sigma": np.exp(out[r"\sigma"] / 2), "h": np.abs}
    return names | {r"\ell": out[r"\sigma"], "h(x)": np.abs}


@means("eq-lvae-parameters")
def _(rng: Generator) -> Names:
    return {}


@means("eq-lvae-affine")
def _(rng: Generator) -> Names:
    names: Names = {r"W_\mu": rng.normal(size=(2, 3)), "W_3": rng.normal(size=(3, 4))}
    names |= {"b_3": vector(rng, 3), r"b_\mu": vector(rng, 2)}
    return names | {"r": vector(rng, 4)}


@means("eq-def-lvae-sample")
def _(rng: Generator) -> Names:
    mu, sigma, eps = vector(rng, 2), np.exp(vector(rng, 2)), vector(rng, 2)
    shift = dist.AffineTransform(torch.tensor(mu), torch.tensor(sigma))
    names: Names = {r"\mu": mu, r"\sigma": sigma, r"\varepsilon": eps, "I": np.eye(2)}
    names |= {"z": shift(torch.tensor(eps)).numpy(), r"\ell": 2 * np.log(sigma)}
    return names | {r"~\varepsilon": normal(r"\varepsilon", column(0, 0), 1.0)}


@means("eq-def-lvae-loss")
def _(rng: Generator) -> Names:
    x, x_hat = [vector(rng, 3) for _ in range(4)], [vector(rng, 3) for _ in range(4)]
    laws = [normal("z", rng.normal(), positive(rng)) for _ in range(4)]
    prior, w = normal("z"), positive(rng)
    kl = [mean(q, lambda at, q=q: np.log(q(at["z"]) / prior(at["z"]))) for q in laws]
    batch = [torch.tensor(np.hstack(each)) for each in (x, x_hat)]
    error = float(torch.nn.functional.mse_loss(*batch, reduction="sum")) / 4
    names: Names = {"B": 4, "x": Parts(x), r"\hat x": Parts(x_hat), "w": w, "p(z)": prior}
    find = lambda image: laws[next(i for i, each in enumerate(x) if each is image)]  # noqa: E731
    names |= {r"q_\phi(z|x)": Family(find), "L": error + w * sum(kl) / 4, "KL": Parts(kl)}
    return names | {
        "S": Parts([float(((a - b) ** 2).sum()) for a, b in zip(x, x_hat, strict=True)])
    }


@means("eq-lvae-ratio")
def _(rng: Generator) -> Names:
    names = gaussian_pixels(rng)
    return names | {letter: positive(rng) for letter in ("c_1", "c_2")}


@means("eq-def-lvae-adam", "eq-lvae-adam-scaled")
def _(rng: Generator) -> Names:
    """One first step of torch's Adam: its running means are the gradient and its square."""
    gradient, eta = positive(rng, 1e-7, 3e-7), 5e-4
    scale = positive(rng)
    names: Names = {r"\eta": eta, "mean": gradient, "mean of squares": gradient**2}
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    weight.grad = torch.tensor([gradient], dtype=torch.float64)
    torch.optim.Adam([weight], lr=eta, eps=1e-8).step()
    return names | {r"\Delta": weight.item(), "c": scale}


@means("eq-lvae-mean-image")
def _(rng: Generator) -> Names:
    images = [vector(rng, 3) for _ in range(5)]
    middle = torch.tensor(np.hstack(images)).mean(dim=1, keepdim=True).numpy()
    names: Names = {"N": 5, "x": Parts(images), "m": middle, r"\bar x": middle, "i": 1, "n": 1}
    names |= {r"\sum_i": [1, 2, 3, 4, 5], r"\sum_n": [1, 2, 3, 4, 5]}
    return names | {"x_0": vector(rng, 3)}


def one_direction(rng: Generator, best: bool = False) -> Names:
    """One latent for one coordinate, the cost by quadrature; at its minimum if `best`."""
    w, variance = positive(rng, 0.4, 0.9), positive(rng, 0.8, 1.6)
    slope = positive(rng)
    if best:
        from scipy.optimize import minimize

        def at(values: np.ndarray) -> float:
            return price(values[0], values[1], np.exp(values[2]), variance, w)

        found = minimize(at, [0.8, 0.6, -1.0], tol=1e-14, options={"gtol": 1e-9})
        slope, g, sigma = found.x[0], found.x[1], float(np.exp(found.x[2]))
    else:
        g, sigma = positive(rng), positive(rng)
    names: Names = {"w": w, r"\lambda": variance, "a": slope}
    names |= {letter: g for letter in ("b", "g")}
    names |= {letter: sigma for letter in ("s", r"\sigma")}
    total = Given(
        lambda s: price(
            s["a"],
            s["g"] if s["b"] == g else s["b"],
            s["s"] if s[r"\sigma"] == sigma else s[r"\sigma"],
            variance,
            w,
        )
    )
    return names | {letter: total for letter in ("C", "L", "J")}


def price(a: float, g: float, sigma: float, variance: float, w: float) -> float:
    """The mean loss of u = N(0, variance), q = N(g u, sigma^2) and the answer a z."""
    weights, nodes = (np.array(each) for each in zip(*normal("t").points[::3], strict=True))
    u = np.sqrt(variance) * nodes
    error = (u[:, None] - a * (g * u[:, None] + sigma * nodes)) ** 2
    kl = [torch_kl(mean, sigma) for mean in g * u]
    return float(9 * weights @ error @ weights + 3 * w * weights @ kl)


@means("eq-lvae-one-direction")
def _(rng: Generator) -> Names:
    return one_direction(rng)


@means("eq-lvae-threshold", "eq-lvae-best-encoder", "eq-lvae-used-latent")
def _(rng: Generator) -> Names:
    return one_direction(rng, best=True)


@means("eq-lvae-best-cost", "eq-lvae-slope")
def _(rng: Generator) -> Names:
    """The best encoder for a slope a, found by least squares over its two numbers."""
    names = one_direction(rng)
    w, variance = names["w"], names[r"\lambda"]

    def best(a: float) -> float:
        from scipy.optimize import minimize

        found = minimize(
            lambda v: price(a, v[0], np.exp(v[1]), variance, w),
            [0.5, -0.5],
            tol=1e-13,
            options={"gtol": 1e-9},
        )
        return float(found.fun)

    cost = Given(lambda s: best(np.sqrt(s["t"] - w / 2)))
    names |= {letter: cost for letter in ("C", "L", "J")}
    return names | {"t": names["a"] ** 2 + w / 2, "r": names["a"] ** 2 + w / 2}


@means("eq-lvae-small-decoder")
def _(rng: Generator) -> Names:
    names: Names = {"w": positive(rng), "u": positive(rng), "c": 0.01, "p(z)": normal("z")}
    return names | {"f": lambda z: (z**2 - 1) / np.sqrt(2), r"\dots": 2e-5}


@means("eq-lvae-saddle")
def _(rng: Generator) -> Names:
    names = one_direction(rng)
    a, g, sigma = 0.01, -0.013, np.sqrt(1.011)
    cost = price(a, g, sigma, names[r"\lambda"], names["w"])
    return names | {"a": a, "g": g, r"\sigma": sigma, "C": cost, r"\dots": 4e-6}


# ---------------------------------------------------------------------------- chapter 6


@means("eq-def-line")
def _(rng: Generator) -> Names:
    a, b = vector(rng, 2), vector(rng, 2)
    line = lambda t: torch.lerp(torch.tensor(a), torch.tensor(b), float(t)).numpy()  # noqa: E731
    names: Names = {
        "z_a": a,
        "z_b": b,
        "t": positive(rng, 0.1, 0.9),
        "z(t)": line,
        "z": Parts([a, b]),
    }
    return names | {"z_1": a, "z_2": b}


@means("eq-square-mass")
def _(rng: Generator) -> Names:
    side = positive(rng)
    names: Names = {"E": normal("z", column(0, 0)), "F": norm.cdf, r"\Phi": norm.cdf}
    return names | dict.fromkeys(("a", "c", "t", "b", "s"), side)


@means("eq-def-quantile-grid", "eq-quantile-mass")
def _(rng: Generator) -> Names:
    names: Names = {"F": norm.cdf, r"\Phi": norm.cdf, "F^-1": norm.ppf, r"\Phi^-1": norm.ppf}
    names |= {"r": 2, "m": 5, "E": normal("z")}
    grid = [
        float(dist.Normal(0.0, 1.0).icdf(torch.tensor((k + 0.5) / 5, dtype=torch.float64)))
        for k in range(5)
    ]
    return names | {"z": Parts(grid)}


@means("eq-norm-moments")
def _(rng: Generator) -> Names:
    return {"d": 2, "E": normal("z", column(0, 0))}


@means("eq-midpoint-norm")
def _(rng: Generator) -> Names:
    laws = [normal(name, column(0, 0)) for name in ("z_a", "z_b")]
    both = independent(*laws)
    # the sum over both is a sum of squares: four nodes for each entry are exact
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    from itertools import product as every

    points = [
        (
            float(np.prod([weights[i] for i in at])) / (2 * np.pi) ** 2,
            (column(nodes[at[0]], nodes[at[1]]), column(nodes[at[2]], nodes[at[3]])),
        )
        for at in every(range(3), repeat=4)
    ]
    middle = Given(lambda s: torch.lerp(*map(torch.tensor, (s["z_a"], s["z_b"])), 0.5).numpy())
    names: Names = {"d": 2, "E": Law("z_a z_b", both.density, points)}
    return names | {letter: middle for letter in ("m", r"\bar z", "z_m", r"z_{1/2}", "z_1/2")}


@means("eq-decoder-noise")
def _(rng: Generator) -> Names:
    noise = normal(r"\varepsilon", column(0, 0))
    s = positive(rng)
    x_hat = vector(rng, 2)
    names: Names = {"D": 2, "s": s, "v": s**2, "E": noise, r"\hat x": x_hat}
    return names | {"x": Given(lambda scope: x_hat + s * scope[r"\varepsilon"])}


@means("eq-prior-rotation", "eq-kl-rotation")
def _(rng: Generator) -> Names:
    turn = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    names: Names = {"R": turn, "z": vector(rng, 2), "d": 2, "p(z)": normal("z", column(0, 0))}
    return names | {r"\mu": vector(rng, 2), r"\Sigma": covariance(rng, 2), "I": np.eye(2)}


@means("eq-marginal-rotation")
def _(rng: Generator) -> Names:
    turn, x = np.linalg.qr(rng.normal(size=(2, 2)))[0], float(rng.normal())
    slope, prior = rng.normal(size=(1, 2)) / 2, normal("z", column(0, 0))
    grid = np.arange(-6, 6.01, 0.5)
    nodes = [(column(a, b), 0.25) for a in grid for b in grid]

    def decoder(z: np.ndarray) -> Law:
        return normal("x", float(np.sin(slope @ z).item()), 0.8)

    def evidence(x: float, turned: np.ndarray) -> float:
        return sum(w * decoder(turned @ z)(x) * prior(z) for z, w in nodes)

    names: Names = {"R": turn, "x": x, "p(z)": prior, r"p_\theta(x|z)": Family(decoder)}
    names |= {
        r"p_\theta(x)": lambda x: evidence(x, np.eye(2)),
        "p'(x)": lambda x: evidence(x, turn.T),
    }
    names |= {rf"\int_{name}": nodes for name in ("z", "z'")}
    return names | {"p_\\theta'(x)": names["p'(x)"]}


# ---------------------------------------------------------------------------- chapter 7


def convolution_sizes(rng: Generator) -> Names:
    kernel, stride = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    padding, size = int(rng.integers(1, kernel // 2 + 1)), int(rng.integers(8, 15))
    return {"kernel": kernel, "stride": stride, "padding": padding, "size": size}


@means("eq-conv-size")
def _(rng: Generator) -> Names:
    at = convolution_sizes(rng)
    layer = torch.nn.Conv2d(1, 1, at["kernel"], at["stride"], at["padding"])
    size = layer(torch.zeros(1, 1, at["size"], at["size"])).shape[-1]
    return at | {"size_out": size}


@means("eq-conv-transpose-size")
def _(rng: Generator) -> Names:
    at = convolution_sizes(rng)
    layer = torch.nn.ConvTranspose2d(1, 1, at["kernel"], at["stride"], at["padding"])
    size = layer(torch.zeros(1, 1, at["size"], at["size"])).shape[-1]
    return at | {"size_out": size}


@means("eq-conv-matrix")
def _(rng: Generator) -> Names:
    layer = torch.nn.Conv1d(1, 1, 3, 2, 1, bias=False, dtype=torch.float64)
    back = torch.nn.ConvTranspose1d(1, 1, 3, 2, 1, bias=False, dtype=torch.float64)
    back.weight.data = layer.weight.data

    def through(net: torch.nn.Module) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: net(torch.tensor(x.T)[None]).detach().numpy()[0].T

    matrix = np.hstack([through(layer)(np.eye(7)[:, [i]]) for i in range(7)])
    names: Names = {"a": vector(rng, 7), "b": vector(rng, 4), "C": matrix, "x": vector(rng, 7)}
    names |= {"h": vector(rng, 7), "h'": vector(rng, 4), "y": vector(rng, 4), "t": vector(rng, 4)}
    return names | {"conv": through(layer), r"conv\_transpose": through(back), "W": matrix}


@means("eq-conv-parameters")
def _(rng: Generator) -> Names:
    at, bias = convolution_sizes(rng), int(rng.integers(2))
    layer = torch.nn.Conv2d(3, 5, at["kernel"], bias=bool(bias))
    at |= {"channels_in": 3, "channels_out": 5, "if it has a bias": bias}
    return at | {"alone": sum(p.numel() for p in layer.parameters())}


@means("eq-def-batch-norm", "eq-batch-norm-bias")
def _(rng: Generator) -> Names:
    batch = torch.tensor(rng.normal(size=(8, 1)))
    layer = torch.nn.BatchNorm1d(1, dtype=torch.float64)
    scale, shift, bias = positive(rng), float(rng.normal()), float(rng.normal())
    layer.weight.data.fill_(scale)
    layer.bias.data.fill_(shift)
    normed = {float(a): float(b) for a, b in zip(batch, layer(batch).detach(), strict=True)}
    normed |= {
        float(a) + bias: float(b) for a, b in zip(batch, layer(batch + bias).detach(), strict=True)
    }
    nearest = lambda a: normed[min(normed, key=lambda key: abs(key - a))]  # noqa: E731
    middle, spread = float(batch.mean()), float(batch.var(unbiased=False))
    names: Names = {"a": float(batch[0]), "b": bias, r"\gamma": scale, r"\beta": shift}
    names |= {r"\varepsilon": 1e-5, r"\epsilon": 1e-5, "m": middle, "v": spread, "BN": nearest}
    names |= {"scale": scale, "shift": shift, "mean": middle, "variance": spread, "h": names["a"]}
    return names | {"batch mean": middle, "batch variance": spread, "t": names["a"]}


@means("eq-channel-price")
def _(rng: Generator) -> Names:
    # a channel that pays: leaving it out costs more error than it saves
    w, error, kl, share = positive(rng), 20.0, 30.0, positive(rng)
    names: Names = {"w": w, "S": error, "K": kl, "K_c": share, "S_c": error + w * share * 1.0001}
    return names | {"KL": kl, "KL_c": share, "S_j": names["S_c"], "KL_j": share}


@means("eq-def-perplexity")
def _(rng: Generator) -> Names:
    from scipy.stats import entropy as scipy_entropy

    p = np.column_stack([chances(rng, 3) for _ in range(3)])
    names: Names = {"p": p, "i": 2, "n": 2, r"\sum_j": [1, 2, 3], r"\sum_m": [1, 2, 3]}
    return names | {"Perp": lambda p: 2.0 ** float(scipy_entropy(np.ravel(p), base=2))}


@means("eq-def-tsne")
def _(rng: Generator) -> Names:
    p, q = (chances(rng, 9).reshape(3, 3) for _ in range(2))
    for each in (p, q):
        np.fill_diagonal(each, 0.0)
        each /= each.sum()
    off = [(n, m) for n in range(3) for m in range(3) if n != m]
    law = {name: finite("x", [each[at] for at in off]) for name, each in (("P", p), ("Q", q))}
    names: Names = {"p": p, "q": q, "i": 2, "n": 2, **law}
    return names | {rf"\sum_{i}": [1, 2, 3] for i in "ijnm"}


@means("eq-mean-minimizes")
def _(rng: Generator) -> Names:
    images = [vector(rng, 3) for _ in range(6)]
    middle = torch.tensor(np.hstack(images)).mean(dim=1, keepdim=True).numpy()
    names: Names = {"E": equally("x", images), "m": middle, r"\bar x": middle}
    return names | {letter: vector(rng, 3) for letter in ("c", "t", "a", "b", r"\hat x")}


@means("eq-optimal-decoder")
def _(rng: Generator) -> Names:
    images = [vector(rng, 2) for _ in range(3)]
    laws = [normal("z", rng.normal(), positive(rng)) for _ in range(3)]
    slope = vector(rng, 2)
    whole = lambda z: sum(law(z) for law in laws) / 3  # noqa: E731
    share = lambda z: [law(z) / (3 * whole(z)) for law in laws]  # noqa: E731
    blend = lambda z: sum(r * x for r, x in zip(share(z), images, strict=True))  # noqa: E731
    names: Names = {"N": 3, r"\sum_n": [1, 2, 3], "q": Parts(laws), "x": Parts(images)}
    names |= {r"\bar q(z)": whole, r"\hat x(z)": lambda z: slope * z, "E[x|z]": blend}
    return names | {"r": Parts([lambda z, n=n: share(z)[n] for n in range(3)])}


@means("eq-weight-bound")
def _(rng: Generator) -> Names:
    return {
        "S": positive(rng),
        "K": positive(rng),
        "KL": positive(rng),
        "w": positive(rng, 0.5, 0.9),
    }


# ---------------------------------------------------------------------------- chapter 10


@means("eq-def-codes-nearest")
def _(rng: Generator) -> Names:
    """Positive numbers, so that a sum is far from a difference."""
    book = [1 + rng.random((2, 1)) for _ in range(3)]
    given = [1 + rng.random((2, 1)) for _ in range(4)]
    tree = cdist(np.hstack(given).T, np.hstack(book).T)
    code = [int(row) + 1 for row in tree.argmin(axis=1)]
    names: Names = {"e": Parts(given), "s": Parts(book), "c": Parts(code), "j": 2}
    return names | {"m": int(rng.integers(1, 4)), "z": Parts([book[c - 1] for c in code])}


@means("eq-codes-straight-through")
def _(rng: Generator) -> Names:
    """What `detach` lets through: e and the gradient that arrives at it, by torch."""
    e = torch.tensor(float(rng.normal()), requires_grad=True)
    s = float(rng.normal()) + 3
    z = e + (s - e).detach()
    z.backward()
    frozen = s - e.item()
    names: Names = {"e_j": e.item(), "s_c_j": s, "sg": lambda _: frozen, "I": e.grad.item()}
    return names | {"z_j": Given(lambda scope: scope["e_j"] + frozen)}


@means("eq-def-codes-loss")
def _(rng: Generator) -> Names:
    """The package's objective, of one image with 3 positions and a codebook of 2 entries."""
    from lecture_vae import Quantized, QuantizedError

    e, s, target = (torch.tensor(rng.normal(size=size)) for size in ((3, 2), (2, 2), (3, 2)))
    code, gamma = torch.cdist(e, s).argmin(dim=1), positive(rng)
    q = Quantized(code[None], e[None], s[code][None], 2)
    model: Any = type("Model", (), {"encode": lambda _, x: q, "decode": lambda _, z: z.sin()})()
    objective = QuantizedError(gamma)
    loss = objective.loss(objective.terms(model, target[None], torch.zeros(1)), 1)
    error = float((s[code].sin() - target).square().sum())
    names: Names = {"S": error, "d": 3, r"\gamma": gamma, "sg": lambda value: value}
    names |= {"e": Parts([column(*row) for row in e.tolist()])}
    names |= {"s": Parts([column(*row) for row in s.tolist()])}
    return names | {"c": Parts((code + 1).tolist()), "alone": float(loss)}


@means("eq-codes-gradient-codebook")
def _(rng: Generator) -> Names:
    """One number for each position; the loss is torch's."""
    e, s = rng.normal(size=5), float(rng.normal())
    members = [1, 3, 4]
    fixed = torch.tensor([e[m - 1] for m in members])

    def loss(scope: Any) -> float:
        return float((fixed - scope["s_m"]).square().sum())

    names: Names = {"s_m": s, "L": Given(loss), "G_m": members}
    return names | {"e": Parts([float(each) for each in e])}


@means("eq-codes-gradient-encoder")
def _(rng: Generator) -> Names:
    """One position with one number."""
    s, target, gamma = float(rng.normal()), 2.0 + rng.random(), positive(rng)
    start = float(rng.normal())

    def loss(scope: Any) -> float:  # by straight through, z moves as e does
        z = s + (scope["e_j"] - start)
        return (z - target) ** 2 + gamma * (scope["e_j"] - s) ** 2

    names: Names = {"z_j": s, "s_c_j": s, r"\gamma": gamma, "L": Given(loss)}
    return names | {"S": Given(lambda scope: (scope["z_j"] - target) ** 2), "e_j": start}


@means("eq-codes-rest")
def _(rng: Generator) -> Names:
    s, target, gamma = float(rng.normal()), 2.0 + rng.random(), positive(rng)
    e = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    descent = torch.optim.SGD([e], lr=0.1)
    for _ in range(2_000):
        descent.zero_grad()
        z = e + (s - e).detach()
        ((z - target).square() + gamma * (e - s).square()).backward()
        descent.step()
    names: Names = {"z_j": s, "s_c_j": s, r"\gamma": gamma, "e_j": e.item()}
    return names | {"S": Given(lambda scope: (scope["z_j"] - target) ** 2)}


@means("eq-codes-kl")
def _(rng: Generator) -> Names:
    prior, grid = finite("c", chances(rng, 5)), int(rng.integers(1, 6))
    certain = finite("c", [float(m == grid) for m in range(1, 6)])
    return {"q_\\phi(c|x)": Family(lambda x: certain), "p(c)": prior, "c": grid, "x": 0.0}


@means("eq-codes-rate")
def _(rng: Generator) -> Names:
    grids = [int(g) for g in rng.integers(1, 5, size=12)]
    used = np.bincount(grids, minlength=6)[1:] / 12
    names: Names = {"N": 12, "c": Parts(grids), r"\bar q": finite("c", used)}
    return names | {"p": finite("c", chances(rng, 5)), "H": OfLaws(entropy)}


@means("eq-codes-autoregressive")
def _(rng: Generator) -> Names:
    """Three codes of two values each, as a table of eight probabilities."""
    table = chances(rng, 8).reshape(2, 2, 2)
    code = [int(c) for c in rng.integers(0, 2, size=3)]

    def factor(scope: Any) -> Callable[[float], float]:
        before = table[tuple(code[: round(scope["j"]) - 1])]
        return lambda m: float(before[round(m) - 1].sum() / before.sum())

    names: Names = {"d": 3, "c": Parts([c + 1 for c in code]), "p_j": Given(factor), "j": 1}
    return names | {"p(c)": float(table[tuple(code)])}


# ---------------------------------------------------------------------------- chapter 8


def claimed_variance(rng: Generator) -> Names:
    """S, KL and D of a decoder with one variance; the negative ELBO by the density, and fitted."""
    size = 6
    error, kl = positive(rng, 0.6, 2.0), positive(rng)
    each = np.sqrt(error / size)

    def cost(v: float) -> float:
        pixels = dist.Normal(0.0, float(np.sqrt(v))).log_prob(torch.tensor([each] * size))
        return float(-pixels.double().sum()) + kl

    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda v: size / 2 * np.log(v) + error / (2 * v), bounds=(0.01, 3), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    names: Names = {"D": size, "S": error, "KL": kl, "v": positive(rng), "v^*": found.x}
    return names | {"cost": cost, "w^*": 2 * found.x}


@means("eq-def-col-nats")
def _(rng: Generator) -> Names:
    names = claimed_variance(rng)
    cost = names.pop("cost")
    return names | {"ELBO": -cost(names["v"])}


@means("eq-col-best-variance", "eq-col-variance-slope")
def _(rng: Generator) -> Names:
    names = claimed_variance(rng)
    names.pop("cost")
    return names


@means("eq-col-fitted-loss")
def _(rng: Generator) -> Names:
    names = claimed_variance(rng)
    return names | {"ELBO": -names.pop("cost")(names["v^*"])}


@means("eq-col-fitted-gradient")
def _(rng: Generator) -> Names:
    one, other = positive(rng), positive(rng)
    names: Names = {"D": 6, r"\theta": positive(rng)}
    names["S"] = Given(lambda s: 1 + (s[r"\theta"] - one) ** 2)
    return names | {"KL": Given(lambda s: other * np.exp(s[r"\theta"]))}


@means("eq-def-col-bits")
def _(rng: Generator) -> Names:
    from lecture_vae import bits_per_dim

    names = bent_model(rng)
    bits = bits_per_dim(float(np.log(names[r"p_\theta(x)"](names["x"]))), 5)
    return {key: names[key] for key in ("x", r"p_\theta(x)", "ELBO(x)")} | {"D": 5, "bits(x)": bits}


@means("eq-col-affine", "eq-col-affine-slope", "eq-col-ppca")
def _(rng: Generator) -> Names:
    """Images that are normal; the best affine model of variance v, by its covariance matrix."""
    variances = np.sort(rng.uniform(0.2, 3.0, size=6))[::-1] + np.arange(6)[::-1] * 0.05
    size, d = 6, 3

    def cost(v: float) -> float:
        model = np.where((np.arange(size) < d) & (variances > v), variances, v)
        law = dist.Normal(torch.zeros(size, dtype=torch.float64), torch.tensor(model).sqrt())
        nodes, weights = np.polynomial.hermite_e.hermegauss(4)
        images = torch.tensor(nodes[:, None] * np.sqrt(variances))
        return float(-(law.log_prob(images).sum(dim=1) @ torch.tensor(weights / weights.sum())))

    v = float(variances[2] + 0.3 * (variances[1] - variances[2]))
    names: Names = {"D": size, "d": d, "m": int((variances[:d] > v).sum()), "v": v}
    tried = np.linspace(0.01, 4, 200)
    from scipy.optimize import minimize_scalar

    middle = tried[np.argmin([cost(each) for each in tried])]
    found = minimize_scalar(cost, bounds=(middle - 0.03, middle + 0.03), method="bounded",
                            options={"xatol": 1e-9})  # fmt: skip
    names |= {"G": cost, "v^*": found.x, r"\lambda_d": float(variances[d - 1])}
    return names | {r"\lambda": Parts(list(map(float, variances)))}


@means("eq-def-col-warm-up")
def _(rng: Generator) -> Names:
    from lecture_vae import KLWarmUp

    error, kl, w = positive(rng), positive(rng), positive(rng)
    terms = {"squared_error": torch.tensor([error]).double(), "kl": torch.tensor([kl]).double()}
    loss = KLWarmUp(w, warm_up=120).loss(terms, step=30)
    return {"S": error, "KL": kl, "w": w, "t": 30.0, "t_1": 120.0, "L": float(loss)}


@means("eq-def-col-free-bits")
def _(rng: Generator) -> Names:
    from lecture_vae import FreeBits

    error, kl, w = positive(rng), [0.1, positive(rng, 0.7, 2)], positive(rng)
    terms = {"squared_error": torch.tensor([error]).double(), "kl": torch.tensor([kl]).double()}
    loss = FreeBits(w, free=0.4).loss(terms, step=1)
    names: Names = {"S": error, "KL": Parts(kl), "w": w, "d": 2, r"\tau": 0.4}
    return names | {"L": float(loss)}


@means("eq-col-forced")
def _(rng: Generator) -> Names:
    variance = positive(rng)
    names: Names = {r"\lambda": variance, r"\tau": positive(rng, 0.1, 0.3)}
    return names | {"w": 2.0 * variance}


@means("eq-col-flow", "eq-col-growth")
def _(rng: Generator) -> Names:
    """Near the collapsed state, by torch's derivatives of the cost of one direction."""
    w, variance = positive(rng, 0.4, 0.9), positive(rng, 0.8, 1.6)
    nodes, weights = map(torch.tensor, np.polynomial.hermite_e.hermegauss(5))
    u, share = np.sqrt(variance) * nodes, weights / weights.sum()

    def cost(at: torch.Tensor) -> torch.Tensor:
        a, g = at
        error = (u[:, None] - a * (g * u[:, None] + nodes)) ** 2
        kl = dist.kl_divergence(dist.Normal(g * u, 1.0), dist.Normal(0.0, 1.0))
        return share @ error @ share + w * share @ kl

    here = torch.zeros(2, dtype=torch.float64)
    matrix = -torch.autograd.functional.hessian(cost, here).numpy()
    names: Names = {"w": w, r"\lambda": variance, "r": float(np.linalg.eigvals(matrix).real.max())}
    a, g = positive(rng), positive(rng)
    moved = matrix @ np.array([a, g])
    names |= {"t": 0.0}
    names["a"] = Given(lambda s: a + moved[0] * s["t"])
    names["g"] = Given(lambda s: g + moved[1] * s["t"])
    return names


@means("eq-col-curvature")
def _(rng: Generator) -> Names:
    """The cost of one direction at the posterior of a linear decoder, which is the best encoder."""
    variance = positive(rng, 0.8, 1.6)
    w = variance * positive(rng, 0.3, 0.9)

    def cost(scope: Any) -> float:
        a = scope["a"]
        posterior = np.linalg.inv([[1 + a * a / (w / 2)]])[0, 0]  # of z, given u
        g = posterior * a / (w / 2)
        mu, sigma = torch.tensor([g * np.sqrt(variance), np.sqrt(posterior)])  # at u^2 = its mean
        kl = float(dist.kl_divergence(dist.Normal(mu, sigma), dist.Normal(0.0 * mu, 0 * mu + 1)))
        # At u^2 = its mean; in double precision, because two derivatives are taken.
        at = torch.tensor([g * np.sqrt(variance), np.sqrt(posterior)], dtype=torch.float64)
        kl = float(dist.kl_divergence(dist.Normal(*at), dist.Normal(0.0, 1.0)))
        return variance * (1 - a * g) ** 2 + a * a * posterior + w * kl

    names: Names = {"w": w, r"\lambda": variance, "a": float(np.sqrt(variance - w / 2))}
    return names | {"C": Given(cost)}


# ---------------------------------------------------------------------------- chapter 9


@means("eq-ev-grid")
def _(rng: Generator) -> Names:
    names = bent_model(rng)
    middles = [float(z) for z in np.arange(-7.95, 8, 0.1)]
    return (
        names
        | {"z": Parts(middles), r"\delta": 0.1, "d": 1}
        | {r"\sum_m": range(1, len(middles) + 1)}
    )


@means("eq-ev-spacing")
def _(rng: Generator) -> Names:
    """A mean in the middle between two points or on one, where the sum is furthest from 1."""
    spacing = positive(rng)
    sigma = spacing * positive(rng, 0.3, 0.5)
    rate = 2 * np.pi**2 * sigma**2 / spacing**2
    t = 2 * sum(np.exp(-rate * k) for k in range(1, 200))
    names: Names = {r"\delta": spacing, r"\sigma": sigma, "t": t, r"\sum_m": range(-40, 41)}
    return names | {r"\mu": spacing * float(rng.choice([2.0, 2.5])), "m": 0.0}


def iwae(names: Names, count: int) -> float:
    """The bound of `count` samples of the bent model, by a rule for normal densities."""
    q = names["q"]
    points = [(w, z) for w, z in q.points if w > 1e-15]
    weights = np.array([w for w, _ in points])
    rho = np.array([names[r"p_\theta(x,z)"](names["x"], z) / q(z) for _, z in points])
    ratios = sum(
        rho.reshape([-1 if axis == k else 1 for axis in range(count)]) for k in range(count)
    )
    whole = np.log(ratios / count)
    for _ in range(count):
        whole = whole @ weights
    return float(whole)


@means("eq-def-ev-iwae")
def _(rng: Generator) -> Names:
    names = bent_model(rng)
    joint, q, x = names[r"p_\theta(x,z)"], names["q"], names["x"]
    both = stacked("z", [q, q])
    names |= {"E": Law("z", both.density, both.points), "z": column(0, 0), "K": 2, "k": 1}
    names |= {
        r"\rho_k": Given(lambda s: (lambda z: joint(x, z) / q(z))(s["z"][round(s["k"]) - 1, 0]))
    }
    return names | {"IWAE_K(x)": iwae(names, 2)}


@means("eq-ev-chain")
def _(rng: Generator) -> Names:
    names = bent_model(rng)
    bounds = {f"IWAE_{which}(x)": iwae(names, k) for which, k in (("1", 1), ("K", 2), ("K+1", 3))}
    return (
        {"x": names["x"], r"p_\theta(x)": names[r"p_\theta(x)"], "K": 2}
        | {"ELBO(x)": names["ELBO(x)"]}
        | bounds
    )


@means("eq-ev-merge")
def _(rng: Generator) -> Names:
    return {r"\rho": positive(rng, 0.2, 0.6), r"\rho'": positive(rng, 1.0, 2.0)}


@means("eq-ev-gap-split")
def _(rng: Generator) -> Names:
    from scipy.optimize import minimize

    names = bent_model(rng)
    x, joint = names["x"], names[r"p_\theta(x,z)"]

    def negative(parameters: np.ndarray) -> float:
        mu, log_sigma = parameters
        law = normal("z", float(mu), float(np.exp(2 * log_sigma)))
        return -sum(w * np.log(joint(x, z) / law(z)) for w, z in law.points[::3])

    best = minimize(negative, [0.6 * x + 0.1, 0.0], method="Nelder-Mead")
    q = normal("z", float(best.x[0]), float(np.exp(2 * best.x[1])))
    star = sum(w * np.log(joint(x, z) / q(z)) for w, z in q.points)
    return {"x": x, r"p_\theta(x)": names[r"p_\theta(x)"], "ELBO(x)": names["ELBO(x)"]} | {
        "ELBO^*(x)": star
    }


@means("eq-ev-information")
def _(rng: Generator) -> Names:
    centers, widths = rng.normal(size=3), [positive(rng, 0.5, 1.0) for _ in range(3)]
    laws = [normal("z", m, s**2) for m, s in zip(centers, widths, strict=True)]
    mixed = Law(
        "z",
        lambda z: sum(law(z) for law in laws) / 3,
        [(w / 3, z) for law in laws for w, z in law.points],
    )
    names: Names = {"N": 3, r"\sum_n": [1, 2, 3], "q": Parts(laws), r"\bar q": mixed}

    def surprise(law: Law) -> float:
        return -integral(lambda z: law(z) * np.log(max(law(z), 1e-300)))

    return names | {"H": OfLaws(surprise)}


@means("eq-ev-hole")
def _(rng: Generator) -> Names:
    """Five values of z; the region is the last two."""
    prior, part = chances(rng, 5), positive(rng, 0.05, 0.2)
    share = prior[3:].sum()  # within both parts shaped as the prior, which costs the least
    used = np.r_[prior[:3] / (1 - share) * (1 - part), prior[3:] / share * part]
    names: Names = {"p": finite("z", prior), r"\bar q": finite("z", used)}
    return names | {"e": float(prior[3:].sum()), "e'": float(used[3:].sum())}


@means("eq-ev-dequantized")
def _(rng: Generator) -> Names:
    """One pixel, on the falling side of a normal density."""
    center, width, level = 0.3, positive(rng, 0.03, 0.06), int(rng.integers(85, 100))
    low, high = norm.cdf([level / 256, (level + 1) / 256], center, width)
    noise = equally(r"\zeta", [(k + 0.5) / 400 for k in range(400)])
    names: Names = {"x": level / 255, "P": lambda x: high - low, "D": 1, r"~\zeta": noise}
    return names | {r"p_\theta": lambda x: norm.pdf(x, center, width), r"\zeta": 0.5}


@means("eq-ev-bits")
def _(rng: Generator) -> Names:
    """Three pixels, decoded from one latent."""
    x, slope, v = rng.random((3, 1)), vector(rng, 3), positive(rng, 0.1, 0.5)
    cov = slope @ slope.T + v * np.eye(3)
    at_x = normal_density(x, np.zeros((3, 1)), cov)
    names: Names = {"x": x, r"p_\theta(x)": at_x, "D": 3, "v": v}
    return names | {"bits(x)": np.log2(256) - np.log2(at_x) / 3}


@means("eq-ev-peak")
def _(rng: Generator) -> Names:
    x_hat, v = vector(rng, 2), positive(rng, 0.1, 0.6)
    names: Names = {r"\hat x": x_hat, "v": v, "D": 2, "I": np.eye(2), r"\varepsilon": column(0, 0)}
    return names | {r"~\varepsilon": normal(r"\varepsilon", column(0, 0))}


# ---------------------------------------------------------------------------- other pages


@means("eq-notation-units", "eq-def-notation-loss")
def _(rng: Generator) -> Names:
    names = gaussian_pixels(rng)
    z = names["z"]
    error = float(((names["x"] - names[r"\hat x(z)"](z)) ** 2).sum())
    loss = error / names["w"] + names["w"] * names["KL"]
    return names | {"v": names["w"] / 2, "alone": loss}


@means("eq-def-own-loss")
def _(rng: Generator) -> Names:
    x, x_hat = ([rng.random((3, 1)) for _ in range(4)] for _ in range(2))
    kl, t, warm = rng.random(4), 30.0, 120.0
    nats = torch.nn.functional.binary_cross_entropy
    error = sum(
        float(nats(torch.tensor(b), torch.tensor(a), reduction="sum"))
        for a, b in zip(x, x_hat, strict=True)
    )
    weight = float(np.interp(t, [0, warm], [0, 1]))
    pixel = lambda a, b: float(nats(torch.tensor(b), torch.tensor(a)))  # noqa: E731
    names: Names = {"B": 4, "D": 3, "x": Parts(x), r"\hat x": Parts(x_hat), "H": pixel, "t": t}
    names |= {"KL": Parts(list(kl)), "L": (error + weight * kl.sum()) / 4, "t_1": warm}
    return names | {"w": lambda t: float(np.interp(t, [0, warm], [0, 1]))}

"""What the symbols of a display may stand for: numbers, arrays, distributions and functions."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from scipy.stats import norm

# A vector is a column, so that a product of matrices is always `@`.


def column(*entries: float) -> np.ndarray:
    return np.array(entries, dtype=float)[:, None]


def plain(value: Any) -> Any:
    """A 1 x 1 matrix as the number that it is."""
    if isinstance(value, np.ndarray) and value.size == 1:
        return float(value.reshape(()))
    return value


def broadcast(mean: Any, variance: Any) -> Any:
    """The mean 0 of N(0, I) as a vector."""
    if np.ndim(mean) == 0 and np.ndim(variance) == 2 and np.size(variance) > 1:
        return np.full((len(variance), 1), float(mean))
    return mean


def normal_density(x: Any, mean: Any, variance: Any) -> float:
    """The density of a normal distribution; scipy's takes a hundred times as long for one value."""
    mean = broadcast(mean, variance)
    if np.ndim(mean) == 0:
        variance = plain(variance)
        return math.exp(-((plain(x) - mean) ** 2) / (2 * variance)) / math.sqrt(math.tau * variance)
    cov = variance if np.ndim(variance) == 2 else variance * np.eye(len(mean))
    off = np.ravel(x) - np.ravel(mean)
    volume = math.sqrt(math.tau ** len(off) * np.linalg.det(cov))
    return math.exp(-off @ np.linalg.solve(cov, off) / 2) / volume


@dataclass(frozen=True)
class Law:
    """A distribution: its density (or probabilities), and a rule for means.

    `points` holds pairs of a weight and a value; `cloud` holds values of equal weight, for
    probabilities of events.
    """

    variable: str
    density: Callable[[Any], float]
    points: Sequence[tuple[float, Any]]
    cloud: Sequence[Any] = ()
    parts: Sequence["Law"] = ()

    def __call__(self, value: Any) -> float:
        return self.density(value)

    def bound(self, node: Any, variable: str = "") -> dict[str, Any]:
        """What a value of the variable means for the names in it."""
        names = (variable or self.variable).split()
        return dict(zip(names, node, strict=True)) if len(names) > 1 else {names[0]: node}


# The trapezoid rule, which is exact to the last digits for smooth functions beside a normal curve.
_NODES = [
    (float(t), float(0.25 * np.exp(-(t**2) / 2) / math.sqrt(math.tau)))
    for t in np.arange(-8.75, 8.76, 0.25)
]
_SMALL = np.polynomial.hermite_e.hermegauss(12)


def normal(variable: str, mean: Any = 0.0, variance: Any = 1.0) -> Law:
    """A normal distribution in one dimension or, for a column of means, in two."""
    mean = broadcast(mean, variance)
    if np.ndim(mean) == 0:
        width = np.sqrt(plain(variance))
        points = Later(lambda: [(w, float(mean + width * t)) for t, w in _NODES])
        middles = norm.ppf((np.arange(2_000) + 0.5) / 2_000)
        cloud = Later(lambda: [mean + width * t for t in middles])
        return Law(variable, lambda x: normal_density(x, mean, variance), points, cloud)
    cov = variance if np.ndim(variance) == 2 else variance * np.eye(len(mean))
    root = np.linalg.cholesky(cov)
    nodes, weights = _SMALL
    points = [
        (
            float(np.prod([weights[i] for i in at])) / (2 * np.pi) ** (len(mean) / 2),
            mean + root @ column(*(nodes[i] for i in at)),
        )
        for at in product(range(len(nodes)), repeat=len(mean))
    ]
    cloud = Later(lambda: [mean + root @ column(*norm.ppf(u)) for u in even_square(4_000)])
    return Law(variable, lambda x: normal_density(x, mean, cov), points, cloud)


def even_square(count: int) -> np.ndarray:
    """Points that fill the unit square evenly, by multiples of powers of the plastic number."""
    plastic = 1.32471795724474602596
    steps = np.array([1 / plastic, 1 / plastic**2])
    return (0.5 + np.arange(1, count + 1)[:, None] * steps) % 1


@dataclass(frozen=True)
class Later(Sequence[Any]):
    """A list that is made when it is first looked at."""

    make: Callable[[], list[Any]]

    @cached_property
    def made(self) -> list[Any]:
        return self.make()

    def __getitem__(self, at: Any) -> Any:
        return self.made[at]

    def __len__(self) -> int:
        return len(self.made)


def finite(variable: str, probabilities: Iterable[float], values: Sequence[Any] = ()) -> Law:
    """A distribution with finitely many values, 1, 2, ... if none are given."""
    p = list(probabilities)
    values = values or list(range(1, len(p) + 1))
    table = dict(zip(values, p, strict=True))
    return Law(variable, lambda x: table[x], list(zip(p, values, strict=True)))


def equally(variable: str, values: Sequence[Any]) -> Law:
    """The distribution that draws one of these values, each as likely as the others."""
    weighted = [(1 / len(values), value) for value in values]
    return Law(variable, lambda x: sum(w for w, v in weighted if np.all(v == x)), weighted)


def independent(*laws: Law) -> Law:
    """Several variables that do not depend on each other, as one distribution."""
    points = [
        (float(np.prod([w for w, _ in each])), tuple(v for _, v in each))
        for each in product(*(law.points for law in laws))
    ]
    names = " ".join(law.variable for law in laws)
    return Law(
        names, lambda x: float(np.prod([f(v) for f, v in zip(laws, x, strict=True)])), points
    )


def stacked(variable: str, laws: Sequence[Law], spacing: int = 1) -> Law:
    """A vector of independent entries; `parts` are the distributions of the entries.

    Of the nodes of each entry every `spacing`-th is taken: enough for polynomials.
    """
    points = [
        (math.prod(w for w, _ in each), column(*(x for _, x in each)))
        for each in product(*(law.points[::spacing] for law in laws))
    ]
    points = [(w * spacing ** len(laws), x) for w, x in points]

    def density(x: Any) -> float:
        return math.prod(law(each) for law, each in zip(laws, np.ravel(x), strict=True))

    return Law(variable, density, points, parts=laws)


@dataclass(frozen=True)
class Family:
    """A distribution that depends on what stands behind the bar: q(z | x)."""

    of: Callable[..., Law]

    def __call__(self, *values: Any) -> float:
        raise TypeError("the density of a family needs both sides of its bar")


@dataclass(frozen=True)
class Given:
    """A meaning that is computed from the other symbols, so that derivatives reach through it."""

    of: Callable[[Any], Any]


@dataclass(frozen=True)
class OfLaws:
    """A function of distributions, like an entropy."""

    of: Callable[..., float]


@dataclass(frozen=True)
class Parts:
    """What an index picks from: x_n is `Parts(images)` at n; the first index is 1 if not named."""

    items: Sequence[Any]
    first: int = 1

    def __getitem__(self, index: float) -> Any:
        at = round(index) - self.first
        if not 0 <= at < len(self.items):
            raise IndexError(f"there is no part {index}")
        return self.items[at]


@dataclass(frozen=True)
class Change:
    """Delta as an operator: what changes when these symbols take these other values."""

    to: dict[str, Any] = field(default_factory=dict)


def mean(law: Law, of: Callable[[dict[str, Any]], Any], variable: str = "") -> Any:
    total: Any = 0.0
    for weight, node in law.points:
        total = total + weight * of(law.bound(node, variable))
    return total


def entropy(law: Law) -> float:
    return -sum(w * np.log(law(x)) for w, x in law.points if w)


def cross_entropy(first: Law, second: Law) -> float:
    return -sum(w * np.log(second(x)) for w, x in first.points if w)


def divergence(first: Law, second: Law) -> float:
    return sum(w * (np.log(first(x)) - np.log(second(x))) for w, x in first.points if w)


def nodes_between(low: float, high: float) -> Iterator[tuple[float, float]]:
    """Nodes and weights of an integral; a side without an end is cut where densities are zero."""
    if low == -np.inf and high == np.inf:
        step = 0.1
        for at in np.arange(-12, 12 + step / 2, step):
            yield float(at), step
        return
    low, high = max(low, -12.0), min(high, 12.0)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    for t, w in zip(nodes, weights, strict=True):
        yield float((high - low) / 2 * t + (high + low) / 2), float(w * (high - low) / 2)

r"""A reader of the LaTeX that the lecture's displays are written in: it computes what they say.

A display is split into statements, a statement into the sides of its relations. A side is parsed
by recursive descent into a function of a `Scope`, the meanings of its symbols. What a product
means follows from the meanings, and so does whether `f(x)` is a value or a product; therefore the
scope is known while parsing. What cannot be read is an `Unreadable`, never a guess.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from string import ascii_letters
from typing import Any

import numpy as np
from displays.values import (
    Change,
    Given,
    Law,
    OfLaws,
    Parts,
    divergence,
    mean,
    nodes_between,
    normal,
    normal_density,
    plain,
)
from scipy.optimize import minimize_scalar

RELATIONS = {
    "=": "=", r"\le": "<=", r"\leq": "<=", "<": "<", r"\ge": ">=", r"\geq": ">=", ">": ">",
    r"\approx": "~", r"\sim": "law", r"\in": "in", r"\ne": "!=", r"\gg": "in", r"\ll": "in",
}  # fmt: skip
BREAKS = {r"\\", r"\quad", r"\qquad", r"\Longrightarrow", r"\Rightarrow", r"\longmapsto", "&&"}
OPEN, CLOSE = (
    set("([{") | {r"\lfloor", r"\lVert", r"\{"},
    set(")]}") | {r"\rfloor", r"\rVert", r"\}"},
)
ACCENTS = {r"\hat", r"\bar", r"\tilde"}
WORDS = re.compile(r"\\(?:mathrm|text|operatorname|mathit|textit)\{([^{}]*)\}")
TOKEN = re.compile(
    r"\\(?:mathrm|text|operatorname|mathit|textit)\{[^{}]*\}|\\[A-Za-z]+|\\\\|\\.|&&|"
    r"\d+(?:\{,\}\d{3})*(?:\.\d+)?|\S"
)
IGNORED = {
    r"\left", r"\right", r"\big", r"\Big", r"\bigl", r"\bigr", r"\Bigl", r"\Bigr", r"\bigg",
    r"\Bigg", r"\biggl", r"\biggr", r"\displaystyle", r"\textstyle", r"\limits", r"\,", r"\;",
    r"\!", r"\:", "~",
}  # fmt: skip


class Unreadable(Exception):
    """What this reader cannot read, or a symbol without a meaning."""


class Scope(dict[str, Any]):
    """Meanings by the way a symbol is written, without spaces; `slack` is what an O() hides."""

    slack = 0.0

    def with_(self, bound: dict[str, Any]) -> "Scope":
        inner = Scope(self)
        inner.update(bound)
        return inner

    def meaning(self, name: str) -> Any:
        if name not in self:
            raise Unreadable(f"{name} has no meaning here")
        value = self[name]
        return value.of(self) if isinstance(value, Given) else value

    def signatures(self, head: str) -> list[str]:
        return [key for key in self if key.startswith(head + "(")]


Node = Callable[[Scope], Any]


def tokens(text: str) -> list[str]:
    text = re.sub(r"\\mathrm\s*(?:\{\s*d\s*\}|d(?![A-Za-z]{2}))", " d ", text)
    text = re.sub(r"\\mathsf\s*(?:T|\{T\})", r"\\top ", text)
    text = re.sub(r"\\(?:begin|end)\{aligned\}|\\(?:begin|end)\{gathered\}", " ", text)
    text = re.sub(r"\\[lr]Vert", r"\\Vert", text).replace("{}", " ")
    text = re.sub(r"\\(mathcal|mathbb)\s*\{([A-Z])\}", r"\\\1 \2", text)
    text = re.sub(r"\\operatorname\*\{arg\\,(max|min)\}", r"\\arg\1", text)
    return [t for t in TOKEN.findall(text) if t not in IGNORED]


def written(parts: list[str]) -> str:
    """Tokens as a name: a lone group loses its braces, a word its command."""
    joined = "".join(WORDS.sub(r"\1", part) for part in parts)
    return joined.replace("{", "").replace("}", "")


# ---------------------------------------------------------------------------- statements


@dataclass
class Statement:
    """The sides of a chain of relations: one relation fewer than sides."""

    sides: list[list[str]]
    relations: list[str] = field(default_factory=list)
    text: str = ""


def at_top(stream: list[str]) -> Iterator[tuple[int, str]]:
    """Tokens outside of all brackets, with their places."""
    depth = 0
    for at, token in enumerate(stream):
        if token in CLOSE:
            depth -= 1
        if depth == 0:
            yield at, token
        if token in OPEN:
            depth += 1


def is_prose(token: str, names: Collection[str] = ()) -> bool:
    """Whether a token is words that are not the name of a symbol."""
    return token.startswith((r"\text{", r"\textit{")) and written([token]) not in names


def segments(stream: list[str]) -> list[tuple[str, list[str]]]:
    """The display's pieces, each with what it follows: a break of the row, a comma, ..."""
    cuts: list[tuple[int, str]] = []
    top = list(at_top(stream))
    for (at, token), (_, after) in zip(top, [*top[1:], (0, r"\\")], strict=True):
        listed = after == r"\dots" or (stream[at - 1] == r"\dots" and at < top[-1][0])
        if token in BREAKS or (token == "," and not listed) or token == "." or token == ";":
            cuts.append((at, token))
    pieces, start, before = [], 0, ""
    for at, token in [*cuts, (len(stream), "")]:
        piece = [t for t in stream[start:at] if t != "&"]
        if piece:
            pieces.append((before, piece))
            before = token
        elif token in (",", r"\Longrightarrow", "&&") or not before:
            before = token
        start = at + 1
    return pieces


def statements(text: str, names: Collection[str] = ()) -> list[Statement]:
    """The statements of a display, in their order."""
    joined: list[list[str]] = []
    for before, piece in segments(tokens(text)):
        top = [token for _, token in at_top(piece)]
        relations = [token for token in top if token in RELATIONS]
        starts = piece[0] in RELATIONS
        carries_on = before == r"\\" and (not relations or piece[0] in "+-")
        if before == "&&" and (not relations or any(is_prose(t, names) for t in top)):
            continue  # a remark beside a step
        if (joined and (starts or carries_on) and before != ",") or (joined and starts):
            joined[-1] += piece
        else:
            joined.append(list(piece))
    return [statement(piece) for piece in joined]


def statement(piece: list[str]) -> Statement:
    if piece[0] == "(" and list(at_top(piece))[-1][1] == ")" and len(list(at_top(piece))) == 2:
        piece = piece[1:-1]  # a condition in brackets
    made = Statement([[]], text=" ".join(piece))
    top = dict(at_top(piece))
    for at, token in enumerate(piece):
        if at in top and token in RELATIONS:
            made.relations.append(RELATIONS[token])
            made.sides.append([])
        else:
            made.sides[-1].append(token)
    return made


# ---------------------------------------------------------------------------- arithmetic


def is_matrix(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 2


def times(a: Any, b: Any) -> Any:
    a, b = plain(a), plain(b)
    return plain(a @ b) if is_matrix(a) and is_matrix(b) else a * b


def add(a: Any, b: Any, sign: int = 1) -> Any:
    a, b = plain(a), plain(b)
    if is_matrix(a) and is_matrix(b) and a.shape != b.shape:
        raise Unreadable(f"a sum of shapes {a.shape} and {b.shape}")
    return a + sign * b


def power(base: Any, exponent: Any) -> Any:
    if exponent is TRANSPOSE:
        return base.T if is_matrix(base) else base
    if is_matrix(base) and exponent == -1:
        return np.linalg.inv(base)
    return base**exponent


def length(value: Any) -> float:
    return float(np.linalg.norm(value))


def derivative(of: Node, scope: Scope, name: str, exponent: int = 1) -> float:
    """By the central difference of fourth order; for the exponent 2 with respect to name^2."""
    at = plain(scope.meaning(name)) ** exponent
    step = 1e-3 * max(1.0, abs(at))

    def value(shift: float) -> Any:
        return of(scope.with_({name: (at + shift) ** (1 / exponent)}))

    return (8 * (value(step) - value(-step)) - (value(2 * step) - value(-2 * step))) / (12 * step)


TRANSPOSE = object()
FUNCTIONS: dict[str, Callable[..., Any]] = {
    r"\log": np.log,
    r"\exp": np.exp,
    r"\det": lambda m: float(np.linalg.det(m)) if is_matrix(m) else m,
    r"\operatorname{tr}": lambda m: float(np.trace(m)) if is_matrix(m) else m,
    r"\operatorname{diag}": lambda m: np.diag(np.ravel(m)),
    r"\max": max,
    r"\min": min,
    r"\tanh": np.tanh,
    r"\sin": np.sin,
    r"\cos": np.cos,
}
LETTERS = set(ascii_letters) | {
    "\\" + name
    for name in [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "varepsilon",
        "zeta",
        "eta",
        "theta",
        "lambda",
        "mu",
        "nu",
        "pi",
        "rho",
        "sigma",
        "tau",
        "phi",
        "varphi",
        "psi",
        "omega",
        "ell",
        "infty",
        "Delta",
        "Lambda",
        "Phi",
        "Sigma",
        "Omega",
    ]
}


# ---------------------------------------------------------------------------- expressions


class Parser:
    """One side of a relation: each method reads a piece and returns the function computing it."""

    def __init__(self, stream: list[str], scope: Scope) -> None:
        self.stream, self.at, self.scope = list(stream), 0, scope

    # -- tokens

    @property
    def next(self) -> str:
        return self.stream[self.at] if self.at < len(self.stream) else ""

    def take(self, expected: str = "") -> str:
        token = self.next
        if not token or (expected and token != expected):
            here = " ".join(self.stream[max(0, self.at - 6) : self.at + 4])
            raise Unreadable(f"{expected or 'more'} expected near: {here}")
        self.at += 1
        return token

    def accept(self, *which: str) -> str:
        return self.take() if self.next in which else ""

    def group(self) -> list[str]:
        """The tokens of one argument: a group in braces, or the next token (one digit of many)."""
        if self.next != "{":
            token = self.take()
            if token.isdigit() and len(token) > 1:
                self.at -= 1
                self.stream[self.at] = token[1:]
                return [token[0]]
            if token in ACCENTS:
                return [token, *self.group()]
            return [token]
        return self.enclosed("{", "}")

    def enclosed(self, opening: str, closing: str) -> list[str]:
        self.take(opening)
        depth, inside = 1, []
        while depth:
            token = self.take()
            depth += (token == opening) - (token == closing)
            inside.append(token)
        return inside[:-1]

    def inner(self, stream: list[str], scope: Scope | None = None) -> Node:
        parser = Parser(stream, scope or self.scope)
        node = parser.expression()
        if parser.next:
            raise Unreadable(f"{parser.next} is not expected in: {' '.join(stream)}")
        return node

    def argument(self) -> Node:
        return self.inner(self.group())

    # -- sums and products

    def expression(self) -> Node:
        sign = -1 if self.accept("-", "+") == "-" else 1
        first = self.product()
        terms = [(sign, first)]
        while self.next in ("+", "-"):
            sign = 1 if self.take() == "+" else -1
            terms.append((sign, self.product()))

        def value(scope: Scope) -> Any:
            total = terms[0][1](scope)
            total = total if terms[0][0] == 1 else -plain(total)
            for each, term in terms[1:]:
                total = add(total, term(scope), each)
            return total

        return value

    def starts_factor(self) -> bool:
        token = self.next
        if not token or token in "+-,;/&])}" or token in CLOSE or token in RELATIONS:
            return False
        return token not in (r"\mid", r"\odot", r"\cdot", r"\times", r"\cdots", "|")

    def product(self) -> Node:
        self.accept("+")
        if self.accept("-"):
            rest = self.product()
            return lambda scope: -plain(rest(scope))
        steps: list[tuple[str, Node]] = [("*", self.factor())]
        while True:
            if self.accept(r"\cdot", r"\times"):
                steps.append(("*", self.factor()))
            elif self.accept(r"\odot"):
                steps.append((".", self.factor()))
            elif self.accept("/"):
                steps.append(("/", self.factor()))
            elif self.next == r"\cdots":
                steps[-1] = ("*", self.all_between(steps[-1][1]))
            elif self.starts_factor():
                steps.append(("*", self.factor()))
            else:
                break

        def value(scope: Scope) -> Any:
            result = steps[0][1](scope)
            for sign, step in steps[1:]:
                other = step(scope)
                if sign == "*":
                    result = times(result, other)
                elif sign == ".":
                    result = result * other
                else:
                    result = plain(result) / plain(other)
            return result

        return value

    def all_between(self, first: Node) -> Node:
        r"""a_1 \cdots a_d: the factors before and after it must be its first and its last."""
        self.take(r"\cdots")
        start = self.at
        last = self.factor()
        pattern = self.stream[start : self.at]
        places = [i for i, t in enumerate(pattern) if t == "_"]
        if len(places) != 1:
            raise Unreadable("an ellipsis needs one index")
        end = Parser([pattern[places[0] + 1]], self.scope).expression()
        factors = [
            self.inner([*pattern[: places[0] + 1], str(i), *pattern[places[0] + 2 :]])
            for i in range(1, round(end(self.scope)) + 1)
        ]

        def value(scope: Scope) -> Any:
            values = [factor(scope) for factor in factors]
            if not (np.isclose(values[0], first(scope)) and np.isclose(values[-1], last(scope))):
                raise Unreadable("the ends of an ellipsis do not belong together")
            return float(np.prod(values))

        return value

    # -- factors

    def factor(self) -> Node:
        node = self.primary()
        while self.next in ("^", "_") or self.next == "'":
            self.take("^")
            exponent = self.exponent()
            node = (lambda base, e: lambda s: power(plain(base(s)), e(s)))(node, exponent)
        return node

    def exponent(self) -> Node:
        stream = self.group()
        return (lambda scope: TRANSPOSE) if stream == [r"\top"] else self.inner(stream)

    def primary(self) -> Node:
        token = self.next
        if re.fullmatch(r"\d.*", token):
            number = float(self.take().replace("{,}", ""))
            return lambda scope: number
        if token in ("(", "{"):
            return self.inner(self.enclosed(token, ")" if token == "(" else "}"))
        if token == "[":
            return self.bracket()
        if token in (r"\frac", r"\tfrac", r"\dfrac"):
            return self.fraction()
        if token == r"\sqrt":
            self.take()
            inside = self.argument()
            return lambda scope: np.sqrt(plain(inside(scope)))
        if token in (r"\sum", r"\prod"):
            return self.running()
        if token == r"\int":
            return self.integral()
        if token in (r"\underbrace", r"\overbrace"):
            self.take()
            inside = self.argument()
            if self.accept("_", "^"):
                self.group()
            return inside
        if token in (r"\Vert", r"\|"):
            return self.norm()
        if token in (r"\argmax", r"\argmin"):
            return self.extremum()
        if token == r"\lfloor":
            inside = self.inner(self.enclosed(r"\lfloor", r"\rfloor"))
            return lambda scope: float(np.floor(inside(scope)))
        if token == r"\mathbb" or token == r"\operatorname{Var}":
            return self.expectation()
        if token == r"\Pr":
            return self.probability()
        if token == r"\mathcal":
            return self.calligraphic()
        if token in FUNCTIONS:
            return self.function()
        if token == "D" and self.stream[self.at + 1 : self.at + 3] == ["_", "{"]:
            named = self.divergence()
            if named is not None:
                return named
        if token == r"\Delta" and isinstance(self.scope.get(r"\Delta"), Change):
            self.take()
            body, change = self.product(), self.scope[r"\Delta"]
            return lambda scope: body(scope.with_(change.to)) - body(scope)
        return self.symbol()

    def bracket(self) -> Node:
        """[f]_a^b is f(b) - f(a), in the one symbol of f that has no meaning."""
        inside = self.enclosed("[", "]")
        if self.next != "_":
            return self.inner(inside)
        self.take("_")
        low = self.argument()
        self.take("^")
        high = self.argument()
        free = {t for t in inside if re.fullmatch("[a-z]", t) and t not in self.scope} - {"e"}
        if len(free) != 1:
            raise Unreadable(f"one free symbol expected, not {free}")
        name = free.pop()
        body = self.inner(inside, self.scope.with_({name: 0.0}))
        return lambda s: body(s.with_({name: high(s)})) - body(s.with_({name: low(s)}))

    def fraction(self) -> Node:
        self.take()
        above, below = self.group(), self.group()
        if below and below[0] in (r"\partial", "d") and (above[0] == below[0]):
            if len(below) < 2:
                raise Unreadable("a derivative needs a variable")
            squared = below[-2:] == ["^", "2"]  # d f / d x^2 unless the d above is squared, too
            twice = squared and above[1:3] == ["^", "2"]
            name, above = written(below[1:-2] if squared else below[1:]), above[1 + 2 * twice :]
            scope = self.scope if name in self.scope else self.scope.with_({name: 0.0})
            body = self.inner(above, scope) if above else self.product()
            if twice:
                return lambda s: derivative(lambda at: derivative(body, at, name), s, name)
            return lambda s: derivative(body, s, name, 2 if squared else 1)
        top, bottom = self.inner(above), self.inner(below)
        return lambda scope: plain(top(scope)) / plain(bottom(scope))

    def running(self) -> Node:
        """A sum or a product; without bounds the index runs over what the scope says."""
        total = self.take() == r"\sum"
        below = self.accept("_") and self.group()
        above = self.accept("^") and self.group()
        if not below:
            raise Unreadable("a sum without an index")
        if "=" in below:
            cut = below.index("=")
            name, first = written(below[:cut]), self.inner(below[cut + 1 :])
            last = self.inner(above or [])

            def run(scope: Scope) -> list[dict[str, Any]]:
                return [{name: i} for i in range(round(first(scope)), round(last(scope)) + 1)]

        elif r"\ne" in below:
            one, other = below[0], below[-1]

            def run(scope: Scope) -> list[dict[str, Any]]:
                every = scope.meaning(rf"\sum_{one}")
                return [{one: i, other: j} for i in every for j in every if i != j]

        else:
            name, _, where = written(below).partition(r"\in")

            def run(scope: Scope) -> list[dict[str, Any]]:
                return [{name: i} for i in scope.meaning(where or rf"\sum_{name}")]

        names = {key: 1.0 for each in [run(self.scope)[:1]] for one in each for key in one}
        self.scope, outer = self.scope.with_(names), self.scope
        body = self.product()
        self.scope = outer

        def value(scope: Scope) -> Any:
            results = [body(scope.with_(each)) for each in run(scope)]
            if not total:
                return float(np.prod(results))
            result: Any = 0.0
            for each in results:
                result = result + each
            return plain(result)

        return value

    def extremum(self) -> Node:
        """Where the rest is largest or smallest, as a function of one number."""
        sign = -1 if self.take() == r"\argmax" else 1
        self.take("_")
        name = written(self.group())
        body = self.product()

        def value(scope: Scope) -> float:
            Scope.slack = max(Scope.slack, 1e-5)
            found = minimize_scalar(
                lambda at: sign * body(scope.with_({name: at})),
                bounds=(-3, 3),
                method="bounded",
                options={"xatol": 1e-7},
            )
            return float(found.x)

        return value

    def integral(self) -> Node:
        self.take()
        low = high = None
        if self.accept("_"):
            low = self.argument()
        if self.accept("^"):
            high = self.argument()
        depth, start = 1, self.at
        level = 0
        while depth:
            token = self.take()
            level += (token in OPEN) - (token in CLOSE)
            if token == r"\int":
                depth += 1
            elif token == "d" and level == 0 and self.next in LETTERS:
                depth -= 1
        body_tokens = self.stream[start : self.at - 1]
        start = self.at
        self.take()
        while self.next in ("_", "'"):
            if self.take() == "_":
                self.group()
        name = written(self.stream[start : self.at])
        body = self.inner(body_tokens, self.scope.with_({name: self.scope.get(name, 1.0)}))

        def value(scope: Scope) -> Any:
            if rf"\int_{name}" in scope:
                nodes = scope[rf"\int_{name}"]
            else:
                ends = (low(scope), high(scope)) if low and high else (-np.inf, np.inf)
                nodes = nodes_between(*ends)
            return sum(weight * plain(body(scope.with_({name: node}))) for node, weight in nodes)

        return value

    def norm(self) -> Node:
        bar = self.take()
        start = self.at
        while self.next != bar:
            self.take()
        inside = self.inner(self.stream[start : self.at])
        self.take(bar)
        return lambda scope: length(inside(scope))

    def function(self) -> Node:
        name = self.take()
        exponent = self.exponent() if self.accept("^") else None
        if self.next == "(":
            parts = split(self.enclosed("(", ")"), ",")
            given = [self.inner(part) for part in parts]
        elif self.next == "[":
            given = [self.inner(self.enclosed("[", "]"))]
        elif re.fullmatch(r"\d+", self.next):  # log 2 pi is the log of both
            start = self.at
            self.take()
            while self.starts_factor() and self.next != "(":
                self.factor()
            given = [self.inner(self.stream[start : self.at])]
        else:
            given = [self.factor()]
        apply = FUNCTIONS[name]

        def value(scope: Scope) -> Any:
            result = apply(*(plain(each(scope)) for each in given))
            return result if exponent is None else power(result, exponent(scope))

        return value

    # -- distributions

    def law(self, stream: list[str]) -> Callable[[Scope], Law]:
        """A distribution: by its name, as q(z | x) or as N(mean, variance)."""
        parser = Parser(stream, self.scope)
        if parser.next == r"\mathcal":
            parser.take()
            parser.take("N")
            inside = parser.enclosed("(", ")")
            about = split(inside, ";")
            mean_, variance = (self.inner(part) for part in split(about[-1], ","))
            name = written(about[0]) if len(about) == 2 else "x"
            return lambda s: normal(name, plain(mean_(s)), variance(s))
        name, indices = parser.name()
        if parser.next == "(":
            before, after = sides_of_bar(parser.enclosed("(", ")"))
            found = signature(self.scope, name, before, after)
            given = [self.inner(part) for part in after]

            def conditional(scope: Scope) -> Law:
                meaning = scope.meaning(found)
                return meaning.of(*(g(scope) for g in given)) if after else meaning

            return conditional

        def named(scope: Scope) -> Law:
            meaning = looked_up(scope, name, indices)
            if not isinstance(meaning, Law):
                raise Unreadable(f"{name} is not a distribution")
            return meaning

        return named

    def expectation(self) -> Node:
        squared = self.take() == r"\operatorname{Var}"
        if not squared:
            self.take("E")
        law, variable = self.subscript_law() if self.accept("_") else (None, "")
        scope = self.scope
        if law is None:
            if r"\mid" in self.stream[self.at :][: self.stream[self.at :].index("]")]:
                return self.conditional_mean()
            if "E" not in scope:
                raise Unreadable("a mean over what?")

            def law(scope: Scope) -> Law:
                return scope.meaning("E")

        names = law(scope).bound(law(scope).points[0][1], variable)
        body = self.inner(self.enclosed("[", "]"), scope.with_(names))

        def value(scope: Scope) -> Any:
            over = law(scope)
            first = mean(over, lambda bound: plain(body(scope.with_(bound))), variable)
            if not squared:
                return plain(first)
            second = mean(over, lambda bound: plain(body(scope.with_(bound))) ** 2, variable)
            return second - first**2

        return value

    def conditional_mean(self) -> Node:
        before, after = sides_of_bar(self.enclosed("[", "]"))
        key = f"E[{written(before[0])}|{written(after[0])}]"
        given = self.inner(after[0])
        return lambda scope: scope.meaning(key)(given(scope))

    def subscript_law(self) -> tuple[Any, str]:
        below = self.group()
        if r"\sim" in below:
            cut = below.index(r"\sim")
            return self.law(below[cut + 1 :]), written(below[:cut])
        name = "~" + written(below)
        if name in self.scope:
            return (lambda scope: scope.meaning(name)), written(below)
        return self.law(below), ""

    def probability(self) -> Node:
        """Of an event under the display's distribution: the share of its cloud where it is true."""
        self.take()
        closing = {"[": "]", "(": ")"}[self.next]
        inside = self.enclosed(self.next, closing)
        if callable(named := self.scope.get("Pr")):
            events = [written(part) for part in split(inside, r"\mid")]
            return lambda scope: named(*events)
        law = self.scope.meaning("E")
        scope = self.scope.with_(law.bound(law.points[0][1]))
        event = statement(inside)
        if event.relations == ["in"]:
            return self.chance_of_box(law, event.sides)
        sides = [self.inner(side, scope) for side in event.sides]

        def value(scope: Scope) -> float:
            over = scope.meaning("E")
            hits = 0
            for node in over.cloud:
                values = [plain(side(scope.with_(over.bound(node)))) for side in sides]
                hits += all(
                    {"<=": a <= b, "<": a < b, ">=": a >= b, ">": a > b}[relation]
                    for (a, b), relation in zip(pairwise(values), event.relations, strict=True)
                )
            Scope.slack = max(Scope.slack, 4e-3)
            return hits / len(over.cloud)

        return value

    def chance_of_box(self, law: Law, sides: list[list[str]]) -> Node:
        """The probability that all entries lie in an interval, which is written [low, high]^d."""
        name, box = written(sides[0]), sides[1]
        parser = Parser(box, self.scope)
        low, high = (self.inner(part) for part in split(parser.enclosed("[", "]"), ","))
        dimensions = parser.exponent() if parser.accept("^") else (lambda scope: 1.0)
        nodes = [np.ravel(law.bound(node)[name]) for node in law.cloud]

        def value(scope: Scope) -> float:
            if any(len(node) != dimensions(scope) for node in nodes[:1]):
                raise Unreadable("the box has another dimension than its points")
            Scope.slack = max(Scope.slack, 4e-3)
            inside = [np.all((low(scope) <= node) & (node <= high(scope))) for node in nodes]
            return float(np.mean(inside))

        return value

    def calligraphic(self) -> Node:
        self.take()
        which = self.take()
        inside = self.enclosed("(", ")")
        if which == "O":
            size = self.inner(inside)

            def hidden(scope: Scope) -> float:
                Scope.slack = max(Scope.slack, abs(size(scope)))
                return 0.0

            return hidden
        if which != "N" or ";" not in inside:
            raise Unreadable(f"a density {which}(...; ...) expected")
        at, rest = split(inside, ";")
        where = self.inner(at)
        mean_, variance = (self.inner(part) for part in split(rest, ","))
        return lambda s: normal_density(where(s), plain(mean_(s)), plain(variance(s)))

    def divergence(self) -> Node | None:
        """D_KL(q || p); None for the symbol without arguments, which is a number."""
        start = self.at
        self.take()
        self.take("_")
        if written(self.group()) != "KL" or self.next != "(":
            self.at = start
            return None
        inside = self.enclosed("(", ")")
        bar = next((t for t in (r"\|", r"\Vert") if t in inside), "")
        first, second = (self.law(part) for part in split(inside, bar))
        return lambda scope: divergence(first(scope), second(scope))

    # -- symbols

    def name(self) -> tuple[str, list[list[str]]]:
        """A symbol as it is written, and its indices if the scope knows it only without them."""
        base = self.take()
        if base in ACCENTS:
            base += " " + written(self.group())
        elif WORDS.fullmatch(base):
            base = written([base])
        elif base not in LETTERS:
            raise Unreadable(f"{base} is not a symbol")
        indices: list[list[str]] = []
        full = base
        while True:
            token, following = self.next, self.stream[self.at + 1 : self.at + 3]
            if token == "'":
                full += self.take()
                base += "'"
            elif token == "_":
                self.take()
                inside = self.group()
                full += "_" + written(inside)
                indices.append(inside)
            elif token == "^" and (following[:1] == ["*"] or following == ["{", "("]):
                self.take()
                inside = self.group()
                full += "^" + written(inside)
                if inside != ["*"]:
                    indices.append(inside[1:-1])
                else:
                    base += "^*"
            else:
                break
        known = full in self.scope or self.scope.signatures(full)
        return (full, []) if known or not indices else (base, indices)

    def symbol(self) -> Node:
        name, raw = self.name()
        indices = [part for each in raw for part in index_parts(each)]
        exponent = None
        if self.next == "^" and self.is_function(name, indices):
            mark = self.at
            self.take()
            exponent = self.exponent()
            inverse = f"{name}^-1"
            if self.next != "(":
                self.at, exponent = mark, None
            elif inverse in self.scope and self.stream[mark + 1 : mark + 5] == ["{", "-", "1", "}"]:
                name, exponent = inverse, None
        if self.next == "(" and self.is_function(name, indices):
            node = self.call(name, indices)
        elif name in self.scope or not self.scope.signatures(name):
            if name not in self.scope and name not in ("e", r"\pi", r"\infty"):
                raise Unreadable(f"{name} has no meaning here")
            node = self.named(name, indices)
        else:
            raise Unreadable(f"{name} is a function, and not of anything here")
        if exponent is None:
            return node
        return lambda scope: power(plain(node(scope)), exponent(scope))

    def is_function(self, name: str, indices: list[list[str]]) -> bool:
        if self.scope.signatures(name):
            return True
        meaning = self.scope.get(name)
        if isinstance(meaning, Given):
            meaning = meaning.of(self.scope)
        if isinstance(meaning, Parts) and indices:
            meaning = meaning.items[0]
        return callable(meaning) or isinstance(meaning, OfLaws | Law)

    def named(self, name: str, indices: list[list[str]]) -> Node:
        nodes = [self.inner(part) for part in indices]
        constants = {"e": np.e, r"\pi": np.pi, r"\infty": np.inf}

        def value(scope: Scope) -> Any:
            if name not in scope and name in constants:
                return constants[name]
            return picked(scope.meaning(name), [node(scope) for node in nodes])

        return value

    def call(self, name: str, indices: list[list[str]]) -> Node:
        inside = self.enclosed("(", ")")
        if isinstance(self.scope.get(name), OfLaws):
            laws = [self.law(part) for part in split(inside, ",")]
            return lambda scope: scope.meaning(name).of(*(law(scope) for law in laws))
        before, after = sides_of_bar(inside)
        key = signature(self.scope, name, before, after) if self.scope.signatures(name) else name
        values = [self.inner(part) for part in before]
        given = [self.inner(part) for part in after]
        nodes = [self.inner(part) for part in indices]

        def value(scope: Scope) -> Any:
            meaning = picked(scope.meaning(key), [node(scope) for node in nodes])
            if after:
                meaning = meaning.of(*(each(scope) for each in given))
            if not callable(meaning):  # a number that is written with what it belongs to
                return meaning
            return meaning(*(plain(each(scope)) for each in values))

        return value


def split(stream: list[str], at: str) -> list[list[str]]:
    """The pieces between these signs, outside of brackets."""
    cuts = [i for i, token in at_top(stream) if token == at]
    return [stream[a + 1 : b] for a, b in pairwise([-1, *cuts, len(stream)])]


def sides_of_bar(inside: list[str]) -> tuple[list[list[str]], list[list[str]]]:
    halves = split(inside, r"\mid")
    before = split(halves[0], ",")
    return before, split(halves[1], ",") if len(halves) == 2 else []


def index_parts(inside: list[str]) -> list[list[str]]:
    """The single indices of a subscript: `n,i` and `ij` have two, `l-1` has one."""
    parts = []
    for half in split(inside, r"\mid"):
        for part in split(half, ","):
            letters = all(re.fullmatch("[a-z]", token) for token in part)
            whole = part == [r"\cdot"]  # every value of this index
            parts += [["0"]] if whole else [[token] for token in part] if letters else [part]
    return parts


def signature(scope: Scope, head: str, before: list[list[str]], after: list[list[str]]) -> str:
    """The written form, say p(x | z), that these arguments belong to."""

    def fits(key: str) -> bool:
        inside = key[len(head) + 1 : -1]
        first, _, second = inside.partition("|")
        left, right = first.split(","), second.split(",") if second else []
        if len(left) != len(before) or len(right) != len(after):
            return False
        pairs = [*zip(left, before, strict=True), *zip(right, after, strict=True)]
        known = {letter for key in scope.signatures(head) for letter in re.findall(r"[a-z]", key)}
        for expected, found in pairs:
            letter = found[0]
            if letter in known and len(found) != 2 and letter != expected:
                return False
        return True

    fitting = [key for key in scope.signatures(head) if fits(key)]
    if len(fitting) != 1:
        raise Unreadable(f"{head} of {before} given {after} is one of {fitting}")
    return fitting[0]


def looked_up(scope: Scope, name: str, indices: list[list[str]]) -> Any:
    parts = [part for each in indices for part in index_parts(each)]
    values = [Parser(part, scope).expression()(scope) for part in parts]
    return picked(scope.meaning(name), values)


def picked(value: Any, indices: list[Any]) -> Any:
    """What indices, counted from 1, pick from a vector, a matrix, a list or a product of laws."""
    for at, index in enumerate(indices):
        if isinstance(value, Parts):
            value = value[index]
        elif isinstance(value, Law):
            value = value.parts[round(index) - 1]
        elif is_matrix(value) and value.shape[1] == 1:
            if not 1 <= index <= len(value):
                raise Unreadable(f"a vector of {len(value)} has no entry {index}")
            value = float(value[round(index) - 1, 0])
        elif is_matrix(value) and len(indices) - at == 2 and index == 0:
            return value[:, [round(indices[at + 1]) - 1]]
        elif is_matrix(value) and len(indices) - at == 2:
            return float(value[round(index) - 1, round(indices[at + 1]) - 1])
        else:
            raise Unreadable("an index on a number")
    return value


# ---------------------------------------------------------------------------- checking


def law_differs(given: Law, claimed: Law) -> bool:
    """Whether two distributions of one variable differ somewhere."""
    nodes = [node for _, node in given.points][::7]
    return not np.allclose([given(x) for x in nodes], [claimed(x) for x in nodes])


def agree(a: Any, relation: str, b: Any, slack: float) -> bool:
    a, b = np.asarray(plain(a), dtype=float), np.asarray(plain(b), dtype=float)
    if a.shape != b.shape:
        return False
    room = slack + 1e-7 * max(1.0, float(np.abs(b).max()))
    if relation == "=":
        return bool(np.allclose(a, b, rtol=1e-7, atol=room))
    if relation == "~":
        return bool(np.allclose(a, b, rtol=0.05, atol=0))
    if relation == "<=":
        return bool(np.all(a <= b + room))
    if relation == ">=":
        return bool(np.all(a >= b - room))
    return bool(np.all({"<": a < b, ">": a > b, "!=": a != b}[relation]))


def is_condition(one: Statement, names: Collection[str] = ()) -> bool:
    """What only says for which values the rest holds."""
    tokens_ = [token for side in one.sides for _, token in at_top(side)]
    return "in" in one.relations or r"\dots" in tokens_ or any(is_prose(t, names) for t in tokens_)


def faults(text: str, scope: Scope, alone: Any = None) -> list[str]:
    """What is wrong with a display, given what its symbols mean; one line for each fault.

    `alone` is what a display without a relation must be worth.
    """
    found, compared = [], 0
    names = {key.partition("(")[0] for key in scope}
    for one in statements(text, names):
        if alone is not None and not one.relations:
            one.sides = [[t for t in one.sides[0] if not is_prose(t, names)]]
        open_end = one.sides[-1][-2:] == ["+", r"\dots"] and r"\dots" in scope
        if open_end:
            one.sides[-1] = one.sides[-1][:-2]
        if is_condition(one, names) or one.sides == [[]]:
            continue
        if one.relations == ["law"]:
            name = "~" + written(one.sides[0]).split("_")[0]
            claimed = Parser([], scope).law(one.sides[1])(scope)
            compared += 1
            if name not in scope:
                raise Unreadable(f"{name[1:]} is drawn from nothing here")
            if law_differs(scope.meaning(name), claimed):
                found.append(f"not so: {one.text}")
            continue
        Scope.slack = scope[r"\dots"] if open_end else 0.0
        values = [Parser(side, scope).inner(side)(scope) for side in one.sides]
        if not one.relations:
            if alone is None:
                continue
            values, one.relations = [alone, *values], ["="]
        for (a, b), relation in zip(pairwise(values), one.relations, strict=True):
            compared += 1
            if not agree(a, relation, b, Scope.slack):
                found.append(f"not so: {a} {relation} {b} in: {one.text}")
    if not compared:
        raise Unreadable("no relation in it")
    return found

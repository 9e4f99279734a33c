"""Drawing primitives: shapes, arrows and formulas as SVG text.

The drawings of models (`figures/models.py`) are made of these, so that they look alike. All
lengths are units of the drawing, which are CSS pixels at its natural size.
"""

import math
import re
from collections.abc import Sequence
from html import escape

INK, GRAY = "#1f2328", "#6e7781"
ENCODER, ENCODER_FILL = "#b84e00", "#fff1e5"  # what depends on phi
DECODER, DECODER_FILL = "#1c6cb8", "#e6f1fc"  # what depends on theta
LOSS, LOSS_FILL = "#832db6", "#f6ebfb"
PLAIN_FILL = "#f6f8fa"

SANS = "Helvetica Neue,Arial,Liberation Sans,Nimbus Sans,sans-serif"
SERIF = "STIX Two Text,Times New Roman,Liberation Serif,Nimbus Roman,serif"
SIZE = 15  # of the text
HEAD = 8  # length of an arrow's head
WIDTH = 400  # of every drawing: it fits a phone
SCALE = 1.2  # CSS pixels per unit where there is room

Point = tuple[float, float]

# A formula's pieces: a subscript, a superscript, a word, a letter that may carry a hat, the rest.
PIECE = re.compile(
    r"(?P<sub>_\{[^}]*\}|_.)|(?P<sup>\^\{[^}]*\}|\^.)|(?P<word>[^\W\d_]{2,})|"
    r"(?P<letter>[^\W\d_]\u0302?)|(?P<rest>.)"
)


def drawing(size: tuple[float, float], title: str, description: str, parts: Sequence[str]) -> str:
    """An SVG file with a white ground.

    Args:
        size: width and height in units of the drawing.
        title: what is drawn, in a few words.
        description: what is to be seen, for those who cannot see it.
        parts: the elements, in the order in which they are drawn.
    """
    width, height = size
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(SCALE * width)}" '
            f'height="{_n(SCALE * height)}" viewBox="0 0 {_n(width)} {_n(height)}" role="img" '
            f'aria-labelledby="title desc" font-family="{SANS}" font-size="{SIZE}" fill="{INK}">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="desc">{escape(description)}</desc>',
            f'<rect width="{_n(width)}" height="{_n(height)}" fill="#fff"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def box(
    center: Point, size: tuple[float, float], fill: str, stroke: str, *, dashed: bool = False
) -> str:
    """A rounded rectangle."""
    (x, y), (width, height) = center, size
    return (
        f'<rect x="{_n(x - width / 2)}" y="{_n(y - height / 2)}" width="{_n(width)}" '
        f'height="{_n(height)}" rx="5" fill="{fill}" stroke="{stroke}" stroke-width="1.5"'
        f"{_dashes(dashed)}/>"
    )


def circle(center: Point, radius: float, fill: str, stroke: str) -> str:
    """A circle."""
    return (
        f'<circle cx="{_n(center[0])}" cy="{_n(center[1])}" r="{_n(radius)}" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="1.5"/>'
    )


def words(
    at: Point, text: str, *, anchor: str = "middle", color: str = INK, size: float = SIZE,
    bold: bool = False,
) -> str:  # fmt: skip
    """A line of words, centered vertically at a point."""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{_n(at[0])}" y="{_n(at[1] + 0.35 * size)}" text-anchor="{anchor}" '
        f'font-size="{_n(size)}" fill="{color}"{weight}>{escape(text)}</text>'
    )


def formula(
    at: Point, text: str, *, anchor: str = "middle", color: str = INK, size: float = SIZE + 2
) -> str:
    """A formula: single letters in italics; `_` and `^` as in TeX, before a character or `{}`."""
    shift, parts = 0.0, []
    for piece in PIECE.finditer(text):
        kind, content = str(piece.lastgroup), piece[0]
        wanted = {"sub": 0.22, "sup": -0.36}.get(kind, 0) * size
        small = f' font-size="{_n(0.7 * size)}"' if wanted else ""
        if wanted:
            content = content[1:].strip("{}")
        move = f' dy="{_n(wanted - shift)}"' if wanted != shift else ""
        letter = len(content.strip("\u0302")) == 1 and content[0].isalpha()
        italic = ' font-style="italic"' if letter else ""
        parts.append(f"<tspan{move}{small}{italic}>{escape(content)}</tspan>")
        shift = wanted
    return (
        f'<text x="{_n(at[0])}" y="{_n(at[1] + 0.3 * size)}" text-anchor="{anchor}" '
        f'font-family="{SERIF}" font-size="{_n(size)}" fill="{color}" xml:space="preserve">'
        f"{''.join(parts)}</text>"
    )


def arrow(*points: Point, color: str = INK, width: float = 1.5, dashed: bool = False) -> str:
    """Straight lines through points, with a head at the last one."""
    (x1, y1), (x2, y2) = points[-2:]
    length = math.hypot(x2 - x1, y2 - y1)
    end = x2 - (x2 - x1) / length * HEAD * 0.8, y2 - (y2 - y1) / length * HEAD * 0.8
    path = "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in (*points[:-1], end))
    return _path(path, color, width, dashed) + head(points[-1], math.atan2(y2 - y1, x2 - x1), color)


def line(start: Point, end: Point, *, color: str) -> str:
    """A dashed straight line without a head."""
    path = f"M{_n(start[0])} {_n(start[1])}L{_n(end[0])} {_n(end[1])}"
    return _path(path, color, 1.5, dashed=True)


def bow(start: Point, bend: Point, end: Point, color: str = INK, *, dashed: bool = False) -> str:
    """A curved arrow that is pulled towards a point."""
    angle = math.atan2(end[1] - bend[1], end[0] - bend[0])
    stop = end[0] - math.cos(angle) * HEAD * 0.8, end[1] - math.sin(angle) * HEAD * 0.8
    numbers = [_n(value) for point in (start, bend, stop) for value in point]
    path = f"M{numbers[0]} {numbers[1]}Q{' '.join(numbers[2:])}"
    return _path(path, color, 1.5, dashed) + head(end, angle, color)


def head(tip: Point, angle: float, color: str) -> str:
    """The head of an arrow that points in a direction."""
    corners = [tip]
    for side in (-1, 1):
        back = angle + math.pi + side * 0.42
        corners.append((tip[0] + HEAD * math.cos(back), tip[1] + HEAD * math.sin(back)))
    points = " ".join(f"{_n(x)},{_n(y)}" for x, y in corners)
    return f'<polygon points="{points}" fill="{color}"/>'


def cross(center: Point, color: str, reach: float = 5) -> str:
    """A cross: something ends here."""
    x, y = center
    path = "".join(
        f"M{_n(x - reach)} {_n(y - side * reach)}L{_n(x + reach)} {_n(y + side * reach)}"
        for side in (1, -1)
    )
    return _path(path, color, 2.5, dashed=False)


def _path(path: str, color: str, width: float, dashed: bool) -> str:
    return (
        f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{_n(width)}"'
        f"{_dashes(dashed)}/>"
    )


def _dashes(dashed: bool) -> str:
    return ' stroke-dasharray="5 4"' if dashed else ""


def _n(value: float) -> str:
    """A number as short text, the same on every machine."""
    return f"{round(value, 1):g}"

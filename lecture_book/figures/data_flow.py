"""A drawing of how the book is built: which files become which."""

from lecture_book.figures.svg import (
    GRAY,
    INK,
    PLAIN_FILL,
    WIDTH,
    Point,
    arrow,
    box,
    drawing,
    words,
)

SMALL = 13  # size of the text
LINE = 17  # from one line of it to the next
HIGH = 42  # a box
FIRST, SECOND, THIRD, FOURTH = 50, 150, 250, 350  # columns
ROWS = [31, 119, 207, 295, 371, 447]


def data_flow() -> str:
    """From chapters, images and exercises to the notebooks, the site and the PDF."""
    sources, made, records, sphinx, site, pdf = ROWS
    return drawing(
        (WIDTH, 512),
        "How the book is built, from its sources to the site",
        "Written by hand: chapters in book, exercises with solutions, _config.yml and _toc.yml. "
        "Chapters become notebooks, and their cells are executed with runs that are trained on "
        "images and stored. Full runs are recorded in results. Exercises become pages without "
        "solutions. Sphinx makes the site of executed cells, records, exercise pages and the two "
        "settings files; the site is printed as a PDF.",
        [
            *_box((100, sources), ["book/*.md"], by_hand=True),
            *_box((THIRD, sources), ["images"]),
            *_box((FOURTH, sources), ["exercises/", "*.md"], by_hand=True),
            *_box((FIRST, made), ["notebooks", "*.ipynb"]),
            *_box((SECOND, made), ["executed", "cells"]),
            *_box((THIRD, made), ["stored", "runs"]),
            *_box((FOURTH, made), ["exercises,", "unsolved"]),
            *_box((THIRD, records), ["results/", "*.json"]),
            *_box((FIRST, sphinx), ["_config.yml", "_toc.yml"], by_hand=True),
            *_box((THIRD, sphinx), ["Sphinx, with the hooks of lecture_book"], width=270),
            *_box((THIRD, site), ["_build/html"], width=120),
            *_box((THIRD, pdf), ["_build/lecture.pdf"], width=134),
            arrow((84, _below(sources)), (FIRST, _above(made))),
            arrow((116, _below(sources)), (SECOND, _above(made))),
            arrow((THIRD, _below(sources)), (THIRD, _above(made))),
            arrow((FOURTH, _below(sources)), (FOURTH, _above(made))),
            arrow((THIRD - 42, made), (SECOND + 42, made)),
            arrow((THIRD, _below(made)), (THIRD, _above(records))),
            arrow((SECOND, _below(made)), (SECOND, _above(sphinx))),
            arrow((FOURTH, _below(made)), (FOURTH, _above(sphinx))),
            arrow((THIRD, _below(records)), (THIRD, _above(sphinx))),
            arrow((FIRST + 42, sphinx), (THIRD - 135, sphinx)),
            arrow((THIRD, _below(sphinx)), (THIRD, _above(site))),
            arrow((THIRD, _below(site)), (THIRD, _above(pdf))),
            *_label((142, 70), "execute"),
            *_label((THIRD + 8, 70), "train"),
            *_label((THIRD + 8, 163), "record"),
            *_label((THIRD + 8, 409), "print"),
            *_legend(492),
        ],
    )


def _above(row: float) -> float:
    return row - HIGH / 2


def _below(row: float) -> float:
    return row + HIGH / 2


def _box(at: Point, lines: list[str], *, width: float = 84, by_hand: bool = False) -> list[str]:
    fill, stroke = ("#fff", INK) if by_hand else (PLAIN_FILL, GRAY)
    top = at[1] - LINE * (len(lines) - 1) / 2
    texts = [words((at[0], top + LINE * n), line, size=SMALL) for n, line in enumerate(lines)]
    return [box(at, (width, HIGH), fill, stroke), *texts]


def _label(at: Point, text: str) -> list[str]:
    return [words(at, text, anchor="start", size=SMALL, color=GRAY)]


def _legend(y: float) -> list[str]:
    return [
        box((26, y), (34, 20), "#fff", INK),
        words((50, y), "written by hand", anchor="start", size=SMALL),
        box((190, y), (34, 20), PLAIN_FILL, GRAY),
        words((214, y), "made, or downloaded", anchor="start", size=SMALL),
    ]

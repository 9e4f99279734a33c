"""The two pages that grading leaves: what a student is told, and what the teacher learns.

Both are functions of the results alone. What a student may have written, the name included,
reaches them only through :func:`~lecture_vae.grading.markup.tag`, which escapes it.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean, median
from urllib.parse import quote

from lecture_vae.grading.markup import Markup, one_line, page, shorten, tag
from lecture_vae.grading.verdict import OUTCOMES, Result

__all__ = ["ATTENTION", "feedback_page", "graded", "summary_page", "total"]

ATTENTION = ("tampered", "unreadable", "infrastructure")  # a person should look at these
# In the order of OUTCOMES: correct, wrong, error, timeout, crash (K), memory, output, unanswered,
# missing (N), unreadable (R), tampered (X), infrastructure.
MARKS = dict(zip(OUTCOMES, "CWETKMOUNRXI", strict=True))
FOUND_BY = {"id": "its cell id", "tag": "its cell tag", "source": "its text"}
MESSAGE_LIMIT, ANSWER_LIMIT, PRINTED_LIMIT = 4_000, 20_000, 4_000  # characters shown


def graded(results: Sequence[Result]) -> list[Result]:
    """Those that say something about an answer: all but failures of the grading itself."""
    return [result for result in results if result.outcome != "infrastructure"]


def total(results: Sequence[Result]) -> float | None:
    """Points of one student, or None while an exercise is not graded."""
    if len(graded(results)) < len(results):
        return None
    return math.fsum(result.points for result in results)


def feedback_page(assignment_title: str, results: Sequence[Result]) -> str:
    """The page for one student. It holds no wall time, so grading again gives the same page.

    Args:
        assignment_title: Of the assignment.
        results: All exercises of this student, in order.
    """
    first = results[0]
    reached, possible = total(results), sum(result.possible for result in results)
    if reached is None:
        line = tag("p", f"Not all of the {possible} points are graded yet.", class_="total")
    else:
        line = tag("p", tag("strong", f"{reached:g}"), f" of {possible} points", class_="total")
    provenance = (
        f"Graded from submission {first.submission} against version {first.assignment} of the "
        f"assignment and version {first.checks} of its checks."
    )
    return page(
        f"{first.student}: {assignment_title}",
        tag(
            "header",
            tag("p", assignment_title, class_="over"),
            tag("h1", one_line(first.student, 200) or "(no name)"),
            line,
        ),
        *[_feedback(result) for result in results],
        tag("footer", provenance),
    )


def _feedback(result: Result) -> Markup:
    """One exercise on a student's page."""
    if result.outcome == "infrastructure":
        points = f"not graded yet ({result.possible})"
    else:
        points = f"{result.points:g} of {result.possible}"
    meaning = f"{result.outcome.capitalize()}: {OUTCOMES[result.outcome]}."
    parts = [
        tag(
            "div",
            tag("h2", f"{result.number}. {result.title}", style="margin: 0"),
            tag("span", points),
            class_="head",
        ),
        tag("p", meaning, class_=f"outcome {_tone(result.outcome)}"),
    ]
    if result.message:
        text = shorten(result.message, MESSAGE_LIMIT)
        parts.append(_block(text) if "\n" in text.strip() else tag("p", text))
    if result.resembles:
        alike = f"It behaves like a known mistake: {_words(result.resembles)}."
        parts.append(tag("p", alike))
    if result.hint:
        parts.append(tag("p", tag("strong", "Hint. "), result.hint, class_="hint"))
    if result.answer:
        found = FOUND_BY.get(result.matched_by)
        title = f"Your answer as graded (found by {found})" if found else "Your answer as graded"
        parts.append(_folded(title, shorten(result.answer, ANSWER_LIMIT)))
    if result.printed:
        parts.append(_folded("What it printed", shorten(result.printed, PRINTED_LIMIT)))
    return tag("section", *parts, class_="exercise")


def summary_page(
    assignment_title: str,
    students: Mapping[str, Sequence[Result]],
    links: Mapping[str, str],
) -> str:
    """The page for the teacher.

    Args:
        assignment_title: Of the assignment.
        students: For every student the exercises in order; the same exercises for all.
        links: For every student the file in the folder ``feedback``.
    """
    title = f"Gradebook: {assignment_title}"
    head = [tag("p", "Gradebook", class_="over"), tag("h1", assignment_title)]
    if not students:
        return page(title, *head, tag("p", "There were no submissions."))
    hrefs = {student: f"feedback/{quote(name)}" for student, name in links.items()}
    rows = list(students.values())
    possible = sum(result.possible for result in rows[0])
    totals = [reached for row in rows if (reached := total(row)) is not None]
    facts = f"{_count(len(rows), 'student')}."
    if totals:
        facts += f" {mean(totals):.1f} of {possible} points on average, "
        facts += f"median {median(totals):.1f}."
    head.append(tag("p", facts, class_="total"))
    if totals:
        head.append(_histogram(totals, possible))
    if len(totals) < len(rows):
        waiting = f"Not fully graded, and not in these figures: {len(rows) - len(totals)}."
        head.append(tag("p", waiting, class_="warn"))
    needy = [(name, text) for name, row in students.items() if (text := attention(row))]
    listed = [
        tag("li", tag("a", _name(name), href=hrefs[name]), f": {text}") for name, text in needy
    ]
    return page(
        title,
        tag("header", *head),
        tag("h2", f"Need attention ({len(needy)})"),
        tag("ul", *listed) if listed else tag("p", "Nobody."),
        tag("h2", "Exercises"),
        *[_exercise([row[place] for row in rows]) for place in range(len(rows[0]))],
        tag("h2", "Students", id="students"),
        _table(students, hrefs),
        _provenance([result for row in rows for result in row]),
    )


def attention(results: Sequence[Result]) -> str:
    """Why a person should look at this student, in words; empty if nothing calls for it."""
    reasons = []
    for outcome in ATTENTION:
        numbers = [str(result.number) for result in results if result.outcome == outcome]
        if len(numbers) == len(results):
            reasons.append(f"{outcome} (all exercises)")
        elif numbers:
            reasons.append(f"{outcome} ({', '.join(numbers)})")
    return ", ".join(reasons)


def _exercise(results: Sequence[Result]) -> Markup:
    """What the whole class did with one exercise."""
    first, counted = results[0], graded(results)
    passed = sum(result.outcome == "correct" for result in counted)
    share = passed / len(counted) if counted else 0.0
    outcomes = Counter(result.outcome for result in results)
    alike = Counter(result.resembles for result in results if result.resembles)
    seconds = [result.seconds for result in results]
    rate = f"{passed} of {len(counted)} correct"
    found = ", ".join(
        f"{outcomes[name]}\N{NO-BREAK SPACE}{name}" for name in OUTCOMES if outcomes[name]
    )
    likeness = [
        tag("li", f"{n} of {len(results)} behave like: {_words(name)}")
        for name, n in sorted(alike.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    return tag(
        "section",
        tag(
            "div",
            tag("h3", f"{first.number}. {first.title}"),
            tag("span", f"{passed}/{len(counted)}, {share:.0%}"),
            class_="head",
        ),
        tag("div", tag("span", style=f"width: {share:.1%}"), **_image(rate), class_="bar"),
        tag("p", f"{_count(first.possible, 'point')}. {found}."),
        *([tag("ul", *likeness)] if likeness else []),
        tag("p", f"{median(seconds):.1f} s median, {max(seconds):.1f} s at most.", class_="soft"),
        class_="exercise",
    )


def _histogram(totals: Sequence[float], possible: int) -> Markup:
    """How the totals are spread, in at most 13 columns of a whole number of points each."""
    width = possible // 13 + 1
    columns = Counter(int(min(reached, possible) // width) for reached in totals)
    counts = [columns[place] for place in range(possible // width + 1)]
    bars = []
    for place, n in enumerate(counts):
        height = f"height: {8 * n / max(counts):.2f}rem"
        label = tag("b", str(place * width))
        bars.append(tag("span", str(n) if n else "", tag("i", style=height), label))
    text = "; ".join(f"from {place * width}: {n}" for place, n in enumerate(counts) if n)
    return tag(
        "figure",
        tag("div", *bars, **_image(f"Students by total points. {text}."), class_="histogram"),
        tag("figcaption", "Students by total points", class_="soft"),
        style="margin: 0",
    )


def _table(students: Mapping[str, Sequence[Result]], hrefs: Mapping[str, str]) -> Markup:
    """All students and exercises, a letter each, with the letters explained."""
    rows = list(students.items())
    columns = [
        tag("th", tag("abbr", str(result.number), title=result.title), scope="col")
        for result in rows[0][1]
    ]
    body = []
    for name, row in rows:
        cells = [
            tag(
                "td",
                tag("abbr", MARKS[result.outcome], title=_cell_title(result)),
                class_=_tone(result.outcome),
            )
            for result in row
        ]
        reached = total(row)
        cells.append(tag("td", "not yet" if reached is None else f"{reached:g}"))
        link = tag("a", _name(name), href=hrefs[name])
        body.append(tag("tr", tag("th", link, scope="row"), *cells))
    met = {result.outcome for _, row in rows for result in row}
    legend = [
        part
        for outcome, meaning in OUTCOMES.items()
        if outcome in met
        for part in (tag("dt", MARKS[outcome]), tag("dd", f"{outcome}: {meaning}"))
    ]
    corner, last = tag("th", "Student", scope="col"), tag("th", "Total", scope="col")
    table = tag("table", tag("thead", tag("tr", corner, *columns, last)), tag("tbody", *body))
    region = tag(
        "div", table, class_="wide", role="region", tabindex="0", aria_labelledby="students"
    )
    return Markup(region + tag("dl", *legend, class_="soft"))


def _provenance(results: Sequence[Result]) -> Markup:
    """What these grades rest on; several values where runs were mixed."""
    facts = {
        "Sandbox": {result.sandbox for result in results},
        "Seed": {result.seed for result in results},
        "Assignment": {result.assignment for result in results},
        "Checks": {result.checks for result in results},
    }
    parts = [
        part
        for label, values in facts.items()
        for part in (tag("dt", label), tag("dd", ", ".join(sorted(values))))
    ]
    return tag("footer", tag("dl", *parts))


def _tone(outcome: str) -> str:
    if outcome == "correct":
        return "good"
    if outcome in ATTENTION:
        return "warn"
    return "soft" if outcome in ("unanswered", "missing") else "bad"


def _cell_title(result: Result) -> str:
    return f"{result.title}: {result.outcome}, {result.points:g} of {result.possible} points"


def _image(text: str) -> dict[str, str]:
    return {"role": "img", "aria_label": text}


def _name(student: str) -> str:
    return one_line(student) or "(no name)"


def _words(name: str) -> str:
    return name.replace("-", " ")


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _block(text: str) -> Markup:
    # Inside `code`, because browsers drop a newline that directly follows <pre>.
    return tag("pre", tag("code", text))


def _folded(title: str, text: str) -> Markup:
    return tag("details", tag("summary", title), _block(text))

"""The page for the teacher: how the class did, who needs a person, and what was not graded.

It is a function of the results and of what lay beside them. What a student may have written, the
name included, reaches it only through :func:`~lecture_grader.reporting.markup.tag`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean, median
from urllib.parse import quote

from lecture_grader.reporting.markup import Markup, one_line, page, tag
from lecture_grader.reporting.pages import (
    ATTENTION,
    common_remarks,
    graded,
    shown_name,
    tone,
    total,
    words,
)  # fmt: skip
from lecture_grader.reporting.result import OUTCOMES, Result
from lecture_grader.submissions.submission import HANDED_IN_LATE, OTHER_NOTEBOOK

__all__ = ["MARKS", "attention", "summary_page"]

# In the order of OUTCOMES: correct, wrong, error, timeout, crash (K), memory, output, unanswered,
# missing (N), unreadable (R), tampered (X), infrastructure.
MARKS = dict(zip(OUTCOMES, "CWETKMOUNRXI", strict=True))
ALARMING = (HANDED_IN_LATE, OTHER_NOTEBOOK)  # how remarks begin that call for a person


def summary_page(
    assignment_title: str,
    students: Mapping[str, Sequence[Result]],
    links: Mapping[str, str],
    not_graded: Sequence[tuple[str, str]] = (),
) -> str:
    """The page for the teacher.

    Args:
        assignment_title: Of the assignment.
        students: For every student the exercises in order; the same exercises for all.
        links: For every student the file in the folder ``feedback``.
        not_graded: The path of every file that is nobody's, and why.
    """
    title = f"Gradebook: {assignment_title}"
    head = [tag("p", "Gradebook", class_="over"), tag("h1", assignment_title)]
    passed_over = _not_graded(not_graded)
    if not students:
        return page(title, *head, tag("p", "There were no submissions."), *passed_over)
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
    remarked = [
        (name, " ".join(texts))
        for name, row in students.items()
        if (texts := [text for text in common_remarks(row) if not text.startswith(ALARMING)])
    ]
    return page(
        title,
        tag("header", *head),
        tag("h2", f"Need attention ({len(needy)})"),
        _listed(needy, hrefs) if needy else tag("p", "Nobody."),
        *passed_over,
        *([_folded(f"Remarks ({len(remarked)})", _listed(remarked, hrefs))] if remarked else []),
        tag("h2", "Exercises"),
        *[_exercise([row[place] for row in rows]) for place in range(len(rows[0]))],
        tag("h2", "Students", id="students"),
        _table(students, hrefs),
        _provenance([result for row in rows for result in row]),
    )


def _listed(said: Sequence[tuple[str, str]], hrefs: Mapping[str, str]) -> Markup:
    """Students, each with what is said of them."""
    items = [
        tag("li", tag("a", shown_name(name), href=hrefs[name]), f": {text}") for name, text in said
    ]
    return tag("ul", *items)


def _folded(title: str, content: Markup) -> Markup:
    """What is there to look up: in a large class it is long."""
    return tag("details", tag("summary", title), content)


def _not_graded(files: Sequence[tuple[str, str]]) -> list[Markup]:
    """What lay among the submissions and is nobody's."""
    if not files:
        return []
    items = [tag("li", tag("code", one_line(path, 200)), f": {why}") for path, why in files]
    return [tag("h2", f"Not graded, and why ({len(files)})"), tag("ul", *items)]


def attention(results: Sequence[Result]) -> str:
    """Why a person should look at this student, in words; empty if nothing calls for it."""
    reasons = [
        text[0].lower() + text[1:].rstrip(".")
        for text in common_remarks(results)
        if text.startswith(ALARMING)
    ]
    if all(result.outcome == "missing" for result in results):
        reasons.append("missing (all exercises): usually this is the wrong file")
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
        tag("li", f"{n} of {len(results)} behave like: {words(name)}")
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
                class_=tone(result.outcome),
            )
            for result in row
        ]
        reached = total(row)
        cells.append(tag("td", "not yet" if reached is None else f"{reached:g}"))
        link = tag("a", shown_name(name), href=hrefs[name])
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


def _cell_title(result: Result) -> str:
    return f"{result.title}: {result.outcome}, {result.points:g} of {result.possible} points"


def _image(text: str) -> dict[str, str]:
    return {"role": "img", "aria_label": text}


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"

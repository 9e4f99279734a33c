import csv
import json
import os
import re
import stat
import unicodedata
from dataclasses import fields, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markupsafe import Markup

from lecture_grader.reporting import markup
from lecture_grader.reporting.gradebook import (
    by_student,
    feedback_names,
    figures,
    summarize,
    write_gradebook,
)
from lecture_grader.reporting.result import OUTCOMES, Result
from lecture_grader.reporting.summary import MARKS

RESULT = Result(
    student="anna", exercise="discrete-kl", number=1, title="Discrete KL", points=3.0, possible=3,
    outcome="correct", message="", resembles=None, hint=None, matched_by="id", seconds=0.5,
    submission="5" * 16, assignment="a" * 16, checks="c" * 16, sandbox="namespaces", seed="s7",
    attempts=1, answer="def kl(p, q):\n    return p", printed="",
)  # fmt: skip
PAGES = ("markup.py", "pages.py", "summary.py")  # the modules that make them
SECOND = replace(RESULT, exercise="elbo", number=2, title="Negative ELBO", points=2, possible=2)
WRONG = {"points": 0.0, "outcome": "wrong", "resembles": "sign-flipped", "hint": "Mind the sign."}
HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@x",
    "\tx",
    "\rx",
    "\nx",
    "＝1+1",
    "\x1b[0m=1+1",
    "\x00=1+1",
    'a,b"c\nd',
    "a;b",
    "<script>alert(1)</script>",
    '"><img src=https://x.example/a.png onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</pre></code></details><iframe src=//x.example>",
    "</title><meta http-equiv=refresh content=0>",
    "</style><link rel=stylesheet href=//x.example>",
    "<!-- ]]> {{7*7}} ${7*7} &lt;b&gt;",
    "javascript:alert(1)",
    "\x1b[31mred\x1b[0m \x9b1mbold \x1b]8;;https://x.example\x07link\x1b]8;;\x07",
    "nul\x00bell\x07back\x08",
    "one\u202egpj.exe",
    "zero\u200bwidth\ufeff \u2066isolate\u2069",
    "not utf-8 \udcff",
    "../../x",
    "..\\..\\x",
    "/etc/passwd",
    ".hidden",
    "Points Possible",
    "Zoë Müller 李",
    "x" * 300,
]


def graded_class(names=("anna", "s2", "s10", "ben")):
    """Two exercises for each: all right, wrong, unreadable, and a failure of the grading."""
    kinds = [{}, WRONG, {"points": 0.0, "outcome": "unreadable", "answer": ""}]
    rows = [
        replace(result, student=name, **kinds[place % 3])
        for place, name in enumerate(names)
        for result in (RESULT, SECOND)
    ]
    rows[-1] = replace(rows[-1], points=0.0, outcome="infrastructure", seconds=9.0)
    return rows


def write(out, results):
    write_gradebook("Divergences", "divergences", results, out)
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.*")}


def read_csv(out):
    with (out / "gradebook.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def feedback(out, **changes):
    """The page of one student with one exercise, parsed."""
    write_gradebook("Divergences", "divergences", [replace(RESULT, **changes)], out)
    (path,) = (out / "feedback").iterdir()
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


class Inspector(HTMLParser):
    """Collects what could act in a page: every element, and every attribute with its value."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        self.attributes += attributes


def assert_harmless(text):
    found = Inspector(text)
    assert set(found.elements) <= {
        "html", "head", "meta", "title", "style", "body", "main", "header", "footer", "section",
        "figure", "figcaption", "div", "span", "p", "h1", "h2", "h3", "strong", "ul", "li", "a",
        "details", "summary", "pre", "code", "dl", "dt", "dd", "table", "thead", "tbody", "tr",
        "th", "td", "abbr", "b", "i",
    }  # fmt: skip
    assert found.elements.count("meta") == 3 and found.elements.count("style") == 1
    for name, value in found.attributes:
        assert not name.startswith("on") and name not in ("src", "srcset", "action", "formaction")
        if name == "href":
            assert re.fullmatch(r"feedback/[\w.%-]+\.html", value, re.ASCII)
        if name == "style":
            assert re.fullmatch(r"(width: [\d.]+%|height: [\d.]+rem|margin: 0)", value)
    assert "url(" not in text and "@import" not in text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]", text)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert ("content", policy) in found.attributes


def test_the_order_of_the_results_does_not_matter(tmp_path):
    results = graded_class()
    first = write(tmp_path / "first", results)
    assert set(first) == {
        "gradebook.csv", "results.jsonl", "summary.html", "feedback/anna.html",
        "feedback/ben.html", "feedback/s2.html", "feedback/s10.html",
    }  # fmt: skip

    @settings(max_examples=10)
    @given(st.permutations(results))
    def writes_the_same(shuffled):
        assert write(tmp_path / "again", shuffled) == first

    writes_the_same()


def test_gradebook_and_feedback_hold_no_wall_time(tmp_path):
    slow = [replace(result, seconds=77.7) for result in graded_class()]
    first, second = write(tmp_path / "a", graded_class()), write(tmp_path / "b", slow)
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"results.jsonl", "summary.html"}


def test_the_gradebook_is_what_canvas_imports(tmp_path):
    write(tmp_path, graded_class())
    assert read_csv(tmp_path) == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section",
         "divergences 1: Discrete KL", "divergences 2: Negative ELBO", "Final Points"],
        ["    Points Possible", "", "", "", "", "3", "2", "5"],
        ["anna", "", "", "anna", "", "3", "2", "5"],
        # Not graded is not zero: Canvas leaves an empty cell alone.
        ["ben", "", "", "ben", "", "3", "", ""],
        ["s2", "", "", "s2", "", "0", "0", "0"],
        ["s10", "", "", "s10", "", "0", "0", "0"],
    ]  # fmt: skip


def test_part_of_a_point_is_kept(tmp_path):
    write(tmp_path, [replace(RESULT, points=0.1), replace(SECOND, points=0.2)])
    assert read_csv(tmp_path)[2][-3:] == ["0.1", "0.2", "0.3"]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_cell_is_a_formula_and_names_survive(tmp_path, name):
    write(tmp_path, [replace(RESULT, student=name, title=name), replace(SECOND, student=name)])
    rows = read_csv(tmp_path)
    assert len(rows) == 3 and {len(row) for row in rows} == {8}
    for row in rows:
        for cell in row:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝"))
    assert rows[2][3].replace("'", "") == markup.plain(name).replace("'", "")
    assert rows[2][0].replace("Points_Possible", "Points Possible") == rows[2][3]
    # Canvas would take such a row for the points possible, and the student would lose them.
    assert sum("Points Possible" in row[0] for row in rows) == 1
    frame = pd.read_csv(tmp_path / "gradebook.csv", dtype=str, keep_default_na=False)
    assert frame.shape == (2, 8) and frame["SIS Login ID"][1] == rows[2][3]


SEPARATORS = [*',;\t| \n:/#^~!?*&%$(<>{["\\_', "\xa0", "；", "，", "", "a;b\t", '";', "; ", "--"]
SIGNS = [*"=+-@", "＝", "＋", "－", "＠", "﹢", "﹦", "﹣", "﹫", "−"]


@pytest.mark.parametrize("separator", SEPARATORS)
def test_no_separator_makes_a_formula_of_a_part_of_a_cell(tmp_path, separator):
    names = [f"ada{separator}{sign}1+2" for sign in SIGNS]
    names = [name for name in names if separator or name.startswith("ada")]
    write(tmp_path, [replace(RESULT, student=name, title="x;=1") for name in names])
    text = (tmp_path / "gradebook.csv").read_text(encoding="utf-8")
    # As somebody splits the lines who knows nothing of quotes, and as somebody who does.
    parts = [part for row in read_csv(tmp_path) for cell in row for part in [cell]]
    parts += text.splitlines()
    for by in (*',;\t| \n:/#^~!?*&%$<>{"\\_\xa0；，', '","', '"\n"'):
        split = [part.strip('"') for whole in parts for part in whole.split(by)]
        acting = [part for part in split if part.startswith(tuple(SIGNS))]
        # a sign itself is no separator: "a--b" is a name
        assert not [part for part in acting if part.strip("".join(SIGNS))], (by, acting)


@pytest.mark.parametrize(
    "name",
    ["Anne-Marie", "J.-P. Sartre", "Zoë Müller-Lüdenscheidt", "O'Neil, Sean", "ada@x.example",
     "a+b@c.d",
     "lovelace_ada", "李 小龙", "elbo-and-gap--sign-flipped", "Doe (2nd), Jane", "x=1", "s-01"],
)  # fmt: skip
def test_ordinary_names_stay_as_they_are(tmp_path, name):
    write(tmp_path, [replace(RESULT, student=name)])
    assert read_csv(tmp_path)[2][0] == read_csv(tmp_path)[2][3] == name


def test_the_number_of_canvas_goes_to_its_column_and_nothing_else_does(tmp_path):
    ids = {"ada": "12345", "ben": "", "cem": "=1", "dan": "12-a", "eve": "１２"}
    write(tmp_path, [replace(RESULT, student=name, id=number) for name, number in ids.items()])
    assert [row[:4] for row in read_csv(tmp_path)[2:]] == [
        ["ada", "12345", "", ""], ["ben", "", "", "ben"], ["cem", "", "", "cem"],
        ["dan", "", "", "dan"], ["eve", "", "", "eve"],
    ]  # fmt: skip


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277])
def test_all_files_are_private_whatever_the_umask(tmp_path, umask):
    out = tmp_path / "new" / "marks"
    (tmp_path / "new").mkdir()
    before = os.umask(umask)
    try:
        write_gradebook("Divergences", "divergences", graded_class(), out)
        (out / "feedback").chmod(0o755)  # as an earlier version left it
        write_gradebook("Divergences", "divergences", graded_class(), out)
    finally:
        os.umask(before)
    rights = {path: stat.S_IMODE(path.stat().st_mode) for path in (out, *out.rglob("*"))}
    assert len(rights) == 9
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in rights.items())


def summary_of(out):
    return BeautifulSoup((out / "summary.html").read_text(encoding="utf-8"), "html.parser")


@pytest.mark.parametrize("students", [graded_class(), []])
def test_the_summary_says_what_was_not_graded_and_why(tmp_path, students):
    lines = [("ben/a.pdf", "a notebook is needed"), ("<script>\x1b[0m.py", "<b>no</b>")]
    write_gradebook("Divergences", "divergences", students, tmp_path, lines)
    assert_harmless((tmp_path / "summary.html").read_text(encoding="utf-8"))
    heading = summary_of(tmp_path).find("h2", string="Not graded, and why (2)")
    items = [item.get_text() for item in heading.find_next("ul").select("li")]
    assert items == ["ben/a.pdf: a notebook is needed", "<script>.py: <b>no</b>"]
    write(tmp_path, students)
    assert "Not graded, and why" not in summary_of(tmp_path).get_text()


def test_who_needs_attention_and_of_whom_there_is_only_a_remark(tmp_path):
    other, late = "This is the notebook of x, not of y.", "Handed in late, as the file says."
    several, own = "2 notebooks: graded a; not b.", "The cell is a Markdown cell."
    missing = {"outcome": "missing", "points": 0.0, "answer": ""}
    results = [
        replace(result, student=name, **changes)
        for name, changes in {
            "ada": {"remarks": (several,)}, "ben": missing | {"remarks": (other, several)},
            "cem": {"remarks": (late,)}, "dan": missing, "eve": {},
        }.items()
        for result in (RESULT, SECOND)
    ]  # fmt: skip
    results[-1] = replace(results[-1], remarks=(own,))
    write(tmp_path, results)
    wrong_file = "missing (all exercises): usually this is the wrong file"
    assert figures(results)["attention"] == {
        "ben": f"this is the notebook of x, not of y, {wrong_file}",
        "cem": "handed in late, as the file says", "dan": wrong_file,
    }  # fmt: skip
    soup = summary_of(tmp_path)
    heading = soup.find("summary", string="Remarks (2)")
    items = [item.get_text() for item in heading.find_next("ul").select("li")]
    assert items == [f"ada: {several}", f"ben: {several}"]
    page = BeautifulSoup((tmp_path / "feedback" / "ben.html").read_text("utf-8"), "html.parser")
    assert page.get_text().count(other) == page.get_text().count(several) == 1
    page = BeautifulSoup((tmp_path / "feedback" / "eve.html").read_text("utf-8"), "html.parser")
    assert own not in page.header.get_text() and own in page.select("section")[1].get_text()


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_sentence_is_printed_once(tmp_path, outcome):
    soup = feedback(tmp_path, outcome=outcome, message=OUTCOMES[outcome])
    assert soup.get_text().count(OUTCOMES[outcome]) == 1


def test_a_name_that_was_no_formula_gets_no_apostrophe(tmp_path):
    write(tmp_path, [replace(RESULT, student='a,b"c\nZoë'), replace(SECOND, student='a,b"c\nZoë')])
    assert read_csv(tmp_path)[2][3] == 'a,b"c\nZoë'


def texts_of(result):
    """The fields of a result that hold any text."""
    free = {field.name for field in fields(result) if field.type in (str, str | None)}
    return free - {"outcome"}


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_acts_in_a_page(tmp_path, text):
    hostile = dict.fromkeys(texts_of(RESULT), text)
    remarks = [(text,), (text, f"{text} again")]
    results = [
        replace(result, **hostile, remarks=said, outcome=outcome)
        for result, said, outcome in zip((RESULT, SECOND), remarks, ("wrong", "error"), strict=True)
    ]
    write_gradebook(text, text, results, tmp_path, [(text, text)])
    (page,) = (tmp_path / "feedback").iterdir()
    seen = " ".join(markup.plain(text).replace("-", " ").split())  # as the name of a mistake is
    for path, times in ((page, 21), (tmp_path / "summary.html", 15)):
        content = path.read_text(encoding="utf-8")
        assert_harmless(content)
        words = BeautifulSoup(content, "html.parser").get_text().replace("-", " ").split()
        shown = " ".join(words)
        assert shown.count(seen[:50].strip()) >= times
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    assert soup.select("details pre code")[0].get_text() == markup.plain(text)


def test_what_calls_itself_markup_is_escaped_too():
    bold = markup.TEMPLATES.from_string(
        "{% set b %}<b>{% endset %}{{ b }}{{ text|safe }}{{ text }}"
    )
    assert bold.render(text="<i>") == "&lt;b&gt;&lt;i&gt;&lt;i&gt;"
    assert bold.render(text=Markup("<i>")) == "&lt;b&gt;&lt;i&gt;&lt;i&gt;"


def test_no_template_and_no_module_has_a_way_around_the_escaping():
    folder = Path(markup.__file__).parent
    sources = {
        path: path.read_text(encoding="utf-8")
        for path in [*(folder / "templates").iterdir(), *map(folder.joinpath, PAGES)]
    }
    assert len(sources) == 8
    for path, source in sources.items():
        assert not re.search(r"\|\s*safe|Markup\b|autoescape (false|true)|__html__", source), path
        if path.suffix == ".py":
            continue
        # Escaped text is harmless between elements and in quoted attributes, and nowhere else.
        expressions = re.sub(r"\{\{.*?\}\}", "\0", re.sub(r"\{[%#].*?[%#]\}", "", source))
        unquoted = re.sub(r'="[^"]*"', "", expressions)
        assert not re.search("<[^>]*\0", unquoted), path
    assert "{{" not in sources[folder / "templates" / "page.css"]


def test_a_page_that_lacks_what_its_template_names_is_an_error():
    with pytest.raises(UndefinedError, match="'assignment_title' is undefined"):
        markup.render("feedback.html", "title")


def test_what_a_reader_sees_of_deceptive_text():
    assert markup.plain("a\u202eb\u200b\udcff") == "a[U+202E]b[U+200B][U+DCFF]"
    assert markup.plain("\x1b[1;31mred\x1b[0m\x1b]0;title\x07 \x1bcx\x9b4m.") == "red x."
    assert markup.plain("a\r\nb\rc\u2028d\x00\x07\te\x85f") == "a\nb\nc\nd\te\nf"
    assert (
        markup.plain("naïve 李 \N{ZERO WIDTH JOINER} <b>") == "naïve 李 \N{ZERO WIDTH JOINER} <b>"
    )


def test_the_first_newline_of_an_answer_is_shown(tmp_path):
    soup = feedback(tmp_path, answer="\nx = 1")
    # A browser drops a newline that directly follows <pre>, so it must stand inside <code>.
    assert "<pre><code>\nx = 1</code></pre>" in str(soup)


def test_a_huge_message_makes_no_huge_file(tmp_path):
    huge = "<&\x1b[31m" * 1_500_000
    files = write(
        tmp_path, [replace(RESULT, message=huge, answer=huge, printed=huge, outcome="error")]
    )
    assert sum(map(len, files.values())) < 300_000
    assert b"characters left out" in files["feedback/anna.html"]


def test_shortening_keeps_both_ends_and_counts_the_rest():
    text = markup.shorten("a" * 50 + "b" * 50, 40)
    assert text == "a" * 30 + "\n[60 characters left out]\n" + "b" * 10
    assert markup.shorten("ab", 2) == "ab"
    assert markup.one_line("a\nb" * 40, 10) == "a ba ba..."


def test_feedback_says_what_was_misunderstood(tmp_path):
    soup = feedback(tmp_path, **WRONG, message="case 2: got -0.69\nnot 0.69", printed="shape (3,)")
    text = soup.get_text("\n")
    for part in (
        "Divergences", "anna", " of 3 points", "1. Discrete KL", "0 of 3",
        "Wrong: the answer ran, and at least one case came out wrong.",
        "case 2: got -0.69\nnot 0.69", "It behaves like a known mistake: sign flipped.",
        "Mind the sign.", "Your answer as graded (found by its cell id)",
    ):  # fmt: skip
        assert part in text
    folded = {part.summary.get_text(): part.code.get_text() for part in soup.select("details")}
    assert list(folded.values()) == [RESULT.answer, "shape (3,)"]
    assert not any(part.has_attr("open") for part in soup.select("details"))


def test_a_failure_of_the_grading_is_no_zero(tmp_path):
    soup = feedback(tmp_path, outcome="infrastructure", points=0.0)
    assert "0 of 3" not in soup.get_text()
    assert "Not all of the 3 points are graded yet." in soup.get_text()


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_has_words_a_letter_and_a_page(tmp_path, outcome):
    soup = feedback(tmp_path, outcome=outcome)
    assert f"{outcome.capitalize()}: {OUTCOMES[outcome]}." in soup.get_text()
    table = BeautifulSoup((tmp_path / "summary.html").read_text(encoding="utf-8"), "html.parser")
    cell = table.select_one("tbody abbr")
    assert cell.get_text() == MARKS[outcome] and outcome in cell["title"]
    assert f"{outcome}: {OUTCOMES[outcome]}" in [dd.get_text() for dd in table.select("dd")]


def test_letters_are_distinct_and_fit_their_outcomes():
    assert len(set(MARKS.values())) == len(MARKS)
    unlike = {name for name, letter in MARKS.items() if letter != name[0].upper()}
    assert unlike == {"crashed", "missing", "unreadable", "tampered"}
    assert [MARKS[name] for name in ("crashed", "missing", "unreadable", "tampered")] == [*"KNRX"]


def test_file_names_stay_in_their_folder_and_apart(tmp_path):
    names = feedback_names(HOSTILE)
    assert len({name.casefold() for name in names.values()}) == len(HOSTILE)
    for name in names.values():
        assert re.fullmatch(r"[\w-][\w.-]*\.html", name) and len(name.encode()) < 140
    write(tmp_path / "out", [replace(RESULT, student=name) for name in HOSTILE])
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert {path.name for path in (tmp_path / "out" / "feedback").iterdir()} == set(names.values())


def test_names_that_would_be_one_file_get_a_hash():
    assert feedback_names(["a/b", "a_b", "c", "Ä", "A\u0308"])["c"] == "c.html"
    for pair in (["a/b", "a_b"], ["Anna", "anna"], ["Ä", "A\u0308"], ["x" * 90, "x" * 91]):
        names = feedback_names(pair)
        assert names == feedback_names(pair[::-1])
        assert all(re.search(r"-[0-9a-f]{8}\.html$", name) for name in names.values())
        assert len({name.casefold() for name in names.values()}) == 2
    assert feedback_names(["../..", "..."])["..."].startswith("student-")


ALIKE = [*"aAäÄßſK\u212a\u0131iİI.-_ /!\u0301\u0308①1１\ufb01", "ss", "fi", "\u1fd3", "\u0390"]
NAMES = st.lists(st.sampled_from(ALIKE) | st.characters(), max_size=3).map("".join)


@given(st.sets(NAMES, max_size=30))
def test_names_that_differ_only_by_case_or_signs_have_a_page_each(names):
    pages = feedback_names(names).values()
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        same = {unicodedata.normalize(form, unicodedata.normalize(form, page).casefold())
                for page in pages}  # fmt: skip
        assert len(same) == len(names)
        assert len({unicodedata.normalize(form, page.upper()) for page in pages}) == len(names)


def test_nobody_gets_the_page_of_somebody_else_by_name():
    victim = feedback_names(["a/b", "a_b"])["a/b"].removesuffix(".html")
    names = feedback_names(["a/b", "a_b", victim])
    assert len(set(names.values())) == 3
    whole = next(name for name in names.values() if len(name) > 60).removesuffix(".html")
    assert len(set(feedback_names(["a/b", "a_b", victim, whole]).values())) == 4


def test_results_hold_every_field_but_the_long_ones(tmp_path):
    results = graded_class(("s10", "s2", "\udcff"))
    write(tmp_path, results)
    lines = (tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["student"], row["number"]) for row in rows] == [
        ("s2", 1), ("s2", 2), ("s10", 1), ("s10", 2), ("\udcff", 1), ("\udcff", 2),
    ]  # fmt: skip
    for row in rows:
        (whole,) = [
            result
            for result in results
            if (result.student, result.number) == (row["student"], row["number"])
        ]
        long = {"answer": whole.answer, "printed": whole.printed, "steps": whole.steps}
        assert row | long | {"remarks": tuple(row["remarks"])} == whole.__dict__


def test_students_come_in_natural_order():
    names = ["s10", "S9", "s2", "s02", "t1", "10", "9", "a" + "9" * 5000]
    order = list(by_student([replace(RESULT, student=name) for name in names]))
    assert order == ["9", "10", "a" + "9" * 5000, "s02", "s2", "S9", "s10", "t1"]


def test_the_summary_adds_up(tmp_path):
    # anna 5 of 5, s2 wrong, s10 unreadable, ben right in 1 and not graded in 2
    write(tmp_path, graded_class())
    soup = BeautifulSoup((tmp_path / "summary.html").read_text(encoding="utf-8"), "html.parser")
    first, second = soup.select("section")
    assert first.span.get_text() == "2/4, 50%" and second.span.get_text() == "1/3, 33%"
    assert first.select_one(".bar span")["style"] == "width: 50.0%"
    assert first.select_one(".bar")["aria-label"] == "2 of 4 correct"
    said = second.get_text(" ").replace("\N{NO-BREAK SPACE}", " ")
    assert "2 points. 1 correct, 1 wrong, 1 unreadable, 1 infrastructure." in said
    assert "1 of 4 behave like: sign flipped" in said and "0.5 s median, 9.0 s at most." in said
    head = soup.header.get_text(" ")
    assert "4 submissions. 1.7 of 5 points on average, median 0.0." in head  # 5, 0 and 0 points
    assert "Not fully graded, and not in these figures: 1." in head
    label = soup.select_one(".histogram")["aria-label"]
    assert label == "Students by total points. from 0: 2; from 5: 1."
    needy = {item.a.get_text(): item.get_text() for item in soup.select("h2 + ul li")}
    assert needy == {"ben": "ben: infrastructure (2)", "s10": "s10: unreadable (all exercises)"}
    rows = [[cell.get_text() for cell in row.select("th, td")] for row in soup.select("tr")]
    assert rows == [
        ["Student", "1", "2", "s", "Total"], ["anna", "C", "C", "1.0", "5"],
        ["ben", "C", "I", "9.5", "not yet"], ["s2", "W", "W", "1.0", "0"],
        ["s10", "R", "R", "1.0", "0"],
    ]  # fmt: skip
    assert [dd.get_text() for dd in soup.select("footer dd")] == [
        "namespaces", "s7", "a" * 16, "c" * 16,
    ]  # fmt: skip


def test_every_link_of_the_summary_leads_to_a_page(tmp_path):
    write(tmp_path, graded_class(HOSTILE))
    soup = BeautifulSoup((tmp_path / "summary.html").read_text(encoding="utf-8"), "html.parser")
    links = [unquote(link["href"]) for link in soup.select("tbody a")]
    assert len(set(links)) == len(HOSTILE)
    assert all((tmp_path / link).is_file() for link in links)


def test_values_of_two_runs_are_both_named(tmp_path):
    write(tmp_path, [RESULT, replace(RESULT, student="ben", sandbox="none", seed="s8")])
    soup = BeautifulSoup((tmp_path / "summary.html").read_text(encoding="utf-8"), "html.parser")
    said = [dd.get_text() for dd in soup.select("footer dd")]
    assert said[:2] == ["namespaces, none", "s7, s8"]


@pytest.mark.parametrize("possible", [1, 2, 12, 13, 14, 40, 100, 1000])
def test_the_histogram_counts_everybody_in_few_columns(tmp_path, possible):
    results = [
        replace(RESULT, student=str(points), points=points, possible=possible)
        for points in {0, 0.5, possible / 2, possible - 0.5, possible}
    ]
    write(tmp_path, results)
    soup = BeautifulSoup((tmp_path / "summary.html").read_text(encoding="utf-8"), "html.parser")
    columns = soup.select(".histogram > span")
    counts = [int(column.find(string=True, recursive=False) or 0) for column in columns]
    assert sum(counts) == len(results) and 2 <= len(columns) <= 14
    labels = [int(column.b.get_text()) for column in columns]
    assert labels == sorted(set(labels)) and labels[0] == 0 and labels[-1] <= possible
    last = f"from {labels[-1]}: {counts[-1]}."
    assert soup.select_one(".histogram")["aria-label"].endswith(last)


def test_a_page_can_be_read_by_a_screen_reader(tmp_path):
    write(tmp_path, graded_class())
    for path in [tmp_path / "summary.html", *(tmp_path / "feedback").iterdir()]:
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        assert soup.html["lang"] == "en" and soup.title.get_text() and soup.main
        levels = [int(head.name[1]) for head in soup.select("h1, h2, h3")]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(b - a <= 1 for a, b in pairwise(levels))
        assert all(cell.has_attr("scope") for cell in soup.select("th"))
        assert all(part["aria-label"] for part in soup.select("[role=img]"))


def luminance(color):
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(tmp_path, scheme):
    style = feedback(tmp_path).style.get_text()
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w{6})", rule))
        for rule in re.findall(r"^:root \{(.*?)\}", style, re.DOTALL | re.MULTILINE)
    )
    colors = {"light": light, "dark": dark}[scheme]
    assert set(colors) == {
        "paper", "tint", "ink", "soft", "rule", "accent", "good", "bad", "warn",
    }  # fmt: skip
    for text in ("ink", "soft", "accent", "good", "bad", "warn"):
        for ground in ("paper", "tint"):
            pair = sorted(luminance(colors[name]) + 0.05 for name in (text, ground))
            assert pair[1] / pair[0] >= 4.5, (text, ground)


def test_no_submissions_are_a_gradebook_too(tmp_path):
    write(tmp_path, [])
    assert len(read_csv(tmp_path)) == 2
    assert (tmp_path / "results.jsonl").read_bytes() == b""
    content = (tmp_path / "summary.html").read_text(encoding="utf-8")
    assert_harmless(content)
    assert "There were no submissions." in content
    assert summarize([]) == "no submissions"


def test_a_class_of_which_nothing_was_graded(tmp_path):
    results = [replace(RESULT, outcome="infrastructure", points=0.0)]
    write(tmp_path, results)
    content = (tmp_path / "summary.html").read_text(encoding="utf-8")
    assert_harmless(content)
    assert ">1 submission.<" in content and "on average" not in content
    assert figures(results)["mean"] is None
    assert summarize(results).splitlines() == [
        "1 submission, none fully graded",
        "  1. Discrete KL     0 of 0 correct     -",
        "attention: anna: infrastructure (all exercises)",
    ]


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([RESULT, SECOND, replace(RESULT, student="ben")], r"\[1, 2\]; 'ben' has \[1\]"),
        ([RESULT, RESULT], r"'anna' has \[1, 1\]"),
        ([RESULT, replace(RESULT, student="ben", possible=4)], "two versions"),
        ([RESULT, replace(RESULT, student="ben", title="Other")], "two versions"),
    ],
)
def test_results_that_are_no_class_are_refused(tmp_path, results, said):
    with pytest.raises(ValueError, match=said):
        write(tmp_path / "out", results)
    assert not (tmp_path / "out").exists()


def test_the_terminal_gets_a_few_lines_and_no_escapes():
    results = [*graded_class(), *graded_class(("\x1b[2Jeve\nx", "\x1b[2Jeve\nx"))[:2]]
    assert summarize([replace(result, outcome="tampered") for result in results[-2:]]) == (
        "1 submission, mean 5.0 of 5 points\n"
        "  1. Discrete KL       0 of 1 correct    0%\n"
        "  2. Negative ELBO     0 of 1 correct    0%\n"
        "attention: eve x: tampered (all exercises)"
    )
    assert summarize(results).splitlines()[0] == "5 submissions, mean 2.5 of 5 points"


def test_the_figures_are_json():
    found = figures(graded_class())
    assert json.loads(json.dumps(found)) == found
    assert found["students"] == 4 and found["possible"] == 5
    assert found["mean"] == pytest.approx(5 / 3)
    assert found["exercises"][1] == {
        "number": 2, "name": "elbo", "title": "Negative ELBO", "possible": 2, "graded": 3,
        "outcomes": {"correct": 1, "infrastructure": 1, "unreadable": 1, "wrong": 1},
        "resembles": {"sign-flipped": 1},
    }  # fmt: skip
    assert found["attention"] == {"ben": "infrastructure (2)", "s10": "unreadable (all exercises)"}


def test_a_failed_write_leaves_the_last_gradebook(tmp_path, monkeypatch):
    before = write(tmp_path, graded_class())
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, [replace(result, message="new") for result in graded_class()])
    monkeypatch.undo()
    after = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert after == before


def test_a_letter_of_the_summary_says_the_points_reached_and_possible(tmp_path):
    summary = write(tmp_path, [replace(RESULT, **WRONG)])["summary.html"].decode()
    assert "Discrete KL: wrong, 0 of 3 points" in summary

"""The lecture as one PDF: its pages joined, printed, opened again."""

import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from unicodedata import normalize

import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import BROWSER, SITE
from pypdf import PageObject, PdfReader

from lecture_book import pdf as making
from lecture_book.joined import Book, Heading, JoinError, joined, page_id
from lecture_book.pdf import PrintError, main, print_html, sheets_of, with_outline, write_pdf
from lecture_book.project import toc_pages
from lecture_book.site import read_stamp, sources_digest

ROOT = Path(__file__).resolve().parents[1]
MARGIN = 15 / 25.4 * 72  # points, left and right
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no chromium (Debian: apt install chromium)"
)

# ---------------------------------------------------------------------------- joining

STYLE = '<link rel="stylesheet" href="{up}_static/styles.css?v=1">'
FORMULA = (  # as KaTeX writes it
    '<span class="katex"><span class="katex-mathml"><math><semantics><mi>x</mi><mn>2</mn>'
    '<annotation encoding="application/x-tex">x^2</annotation></semantics></math></span>'
    '<span class="katex-html" aria-hidden="true">x2</span></span>'
)
FIRST = """
<section id="start"><h1>One<a class="headerlink" href="#start">#</a></h1>
<p><a class="external" href="https://example.org/a#b">out</a> <a href="#own">own</a>
<a href="more/two.html#own">there</a> <a href="more/two.html">page</a> <a href="#start">top</a>
<a href="mailto:a@example.org">write</a> <a href="_downloads/a.ipynb">file</a></p>
<p id="own" aria-labelledby="start own">text</p><p id="own">again</p>
<img loading="lazy" src="_images/a%20b.png"><img src="data:image/png;base64,AA==">
<script>const a = 1</script><details class="hide"><summary>s</summary>folded</details>
<figure class="live"><img class="on-paper" src="_images/a%20b.png"><div data-live="x">moves</div>
</figure></section>"""
SECOND = f"""
<section id="start"><h1>Two</h1><section id="sec"><h2>A {FORMULA}<br>and b</h2>
<section id="sub"><h3>Small</h3></section></section>
<p id="own"><a href="../one.html#own">back</a> <a href="../one.html">all</a></p></section>"""
DOCNAMES = ["one", "more/two"]


@pytest.fixture
def small(tmp_path) -> Path:
    """A site of two pages."""
    for folder in ("_static", "_images", "_downloads", "more"):
        (tmp_path / folder).mkdir()
    for file in ("_static/styles.css", "_images/a b.png", "_downloads/a.ipynb"):
        (tmp_path / file).touch()
    put(tmp_path, "one", FIRST)
    put(tmp_path, "more/two", SECOND)
    return tmp_path


def put(site: Path, docname: str, article: str) -> None:
    head = STYLE.format(up="../" * docname.count("/"))
    page = f'<html><head>{head}</head><body><nav id="own"></nav><article class="bd-article">'
    (site / f"{docname}.html").write_text(f"{page}{article}</article></body></html>", "utf8")


def faults(html: str) -> list[str]:
    """Ids that a document has twice, and its own links that lead nowhere."""
    soup = BeautifulSoup(html, "html.parser")
    ids = Counter(str(tag["id"]) for tag in soup.find_all(id=True))
    named = [i for tag in soup.select("[aria-labelledby]") for i in tag["aria-labelledby"].split()]
    links = [str(tag["href"]) for tag in soup.find_all("a", href=True)]
    named += [link.removeprefix("#") for link in links if link.startswith("#")]
    found = [f"twice: {name}" for name, count in ids.items() if count > 1]
    found += [f"nowhere: {name}" for name in named if name not in ids]
    return found + [f"a file: {link}" for link in links if not re.match(r"#|https?:|mailto:", link)]


def test_faults_are_reported():
    html = '<p id="a"></p><p id="a"></p><a href="#b">b</a><a href="c.html">c</a>'
    assert faults(html) == ["twice: a", "nowhere: b", "a file: c.html"]


def test_joined_pages_have_unique_ids_and_every_link_has_its_target(small):
    html = joined(small, DOCNAMES, "T").html({})
    assert faults(html) == []
    links = [tag.get("href") for tag in BeautifulSoup(html, "html.parser").select("article a")]
    assert links == [
        "https://example.org/a#b", "#one--own", "#more-two--own", "#more-two", "#one--start",
        "mailto:a@example.org", None, "#one--own", "#one",
    ]  # fmt: skip


def test_images_and_styles_are_found_and_none_waits_for_a_reader(small):
    soup = BeautifulSoup(joined(small, DOCNAMES, "T").html({}), "html.parser")
    image = (small / "_images" / "a b.png").as_uri()
    assert [tag["src"] for tag in soup.select("img")] == [
        image,
        "data:image/png;base64,AA==",
        image,
    ]
    assert soup.select("[loading]") == []
    styles = [tag["href"] for tag in soup.select("link[rel=stylesheet]")]
    assert styles == [(small / "_static" / "styles.css").as_uri()]


def test_what_paper_does_not_show_is_left_out(small):
    html = joined(small, DOCNAMES, "T").html({})
    assert "again" in html and "on-paper" in html
    assert [word for word in ("const a", "folded", "moves", "headerlink") if word in html] == []


def test_headings_have_their_level_their_place_and_each_formula_once(small):
    book = joined(small, DOCNAMES, "T & U")
    assert [(h.level, h.title, h.id) for h in book.headings] == [
        (1, "One", "one"), (1, "Two", "more-two"), (2, "A x2and b", "more-two--sec"),
    ]  # fmt: skip
    soup = BeautifulSoup(book.html({"more-two": 7}), "html.parser")
    entries = [tag.get_text() for tag in soup.select(".book-contents li")]
    assert entries == ["One0", "Two7", "A x2and b0"]
    assert soup.title.get_text() == "T & U"


@pytest.mark.parametrize(
    ("article", "message"),
    [
        ('<a href="more/two.html#gone">x</a>', "one: the link more/two.html#gone leads nowhere"),
        ('<a href="#gone">x</a>', "one: the link #gone leads nowhere"),
        ('<a href="gone.html">x</a>', "one: there is no file gone.html"),
        ('<img src="_images/gone.png">', "one: there is no file _images/gone.png"),
        ('<details class="hide"><p id="p"></p></details><a href="#p">x</a>', "link #p leads"),
    ],
)
def test_what_leads_nowhere_is_an_error(small, article, message):
    put(small, "one", f'<p id="own"></p>{article}')
    with pytest.raises(JoinError, match=re.escape(message)):
        joined(small, DOCNAMES, "T")


def test_a_page_that_is_missing_or_has_no_article_is_an_error(small):
    with pytest.raises(JoinError, match="the site has no page three"):
        joined(small, ["one", "three"], "T")
    (small / "one.html").write_text("<html></html>", encoding="utf8")
    with pytest.raises(JoinError, match="the page one has no article"):
        joined(small, DOCNAMES, "T")


def test_formulas_that_wait_for_a_script_are_an_error(small):
    put(small, "one", r'<p id="own"><span class="math">\(x\)</span></p>')
    with pytest.raises(JoinError, match="the page one leaves its formulas to the browser"):
        joined(small, DOCNAMES, "T")
    put(small, "one", f'<p id="own"><span class="math">{FORMULA}</span></p>')
    joined(small, DOCNAMES, "T")


# ---------------------------------------------------------------------------- printing


def test_without_chromium_one_line_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(making, "browser_path", lambda: None)
    monkeypatch.setattr(making, "build_book", lambda *_: pytest.fail("built before the question"))
    assert main() == 1
    assert capsys.readouterr().err == (
        "The PDF cannot be made: it is printed by Chromium, which is missing "
        "(Debian: apt install chromium)\n"
    )


@pytest.fixture
def project(tmp_path) -> Path:
    """A project with the two pages, and a PDF of before in its folder `out`."""
    folder = tmp_path / "project"
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "lecture.pdf").write_text("old", encoding="utf8")
    (folder / "_config.yml").write_text("title: T\n", encoding="utf8")
    toc = {"root": DOCNAMES[0], "parts": [{"chapters": [{"file": DOCNAMES[1]}]}]}
    (folder / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf8")
    return folder


def files_in(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf8") for path in folder.iterdir()}


def test_a_chromium_that_fails_leaves_the_old_pdf_and_nothing_else(small, project, monkeypatch):
    monkeypatch.setattr(making, "browser_path", lambda: "false")
    with pytest.raises(PrintError, match=r"Chromium wrote no PDF \(exit status 1\)"):
        write_pdf(project, small, project / "out" / "lecture.pdf")
    assert files_in(project / "out") == {"lecture.pdf": "old"}


@needs_browser
def test_a_disk_that_is_full_leaves_the_old_pdf_and_nothing_else(small, project, monkeypatch):
    def half(path: Path) -> None:
        path.write_text("half", encoding="utf8")
        raise OSError("no space left on device")

    monkeypatch.setattr(making, "with_outline", lambda *_: SimpleNamespace(write=half))
    with pytest.raises(OSError, match="no space left"):
        write_pdf(project, small, project / "out" / "lecture.pdf")
    assert files_in(project / "out") == {"lecture.pdf": "old"}


@needs_browser
def test_two_pages_are_printed_with_numbers_links_and_outline(small, tmp_path):
    book = joined(small, DOCNAMES, "T")
    document, pdf = tmp_path / "joined.html", tmp_path / "small.pdf"
    document.write_text(book.html({}), encoding="utf8")
    print_html(BROWSER, document, pdf)
    read = PdfReader(pdf)
    assert sheets_of(read, book) == {"one": 1, "more-two": 3, "more-two--sec": 3}
    with_outline(read, book).write(pdf)
    assert outline_of(PdfReader(pdf)) == [(0, "One", 1), (0, "Two", 3), (1, "A x2and b", 3)]
    assert lost_links(PdfReader(pdf)) == []
    more = Book("T", (), book.articles, (*book.headings, Heading(1, "Lost", "lost")))
    with pytest.raises(PrintError, match="these headings are not in it: Lost"):
        sheets_of(read, more)


def test_a_pdf_without_numbers_is_refused():
    blank = SimpleNamespace(extract_text=lambda: "some text\nwithout a number")
    with pytest.raises(PrintError, match="Chromium 131 or newer"):
        sheets_of(SimpleNamespace(named_destinations={}, pages=[blank]), Book("T", (), (), ()))


# ---------------------------------------------------------------------------- the lecture


def outline_of(pdf: PdfReader) -> list[tuple[int, str, int]]:
    """The depth, the title and the sheet of each bookmark."""

    def walk(items: list, depth: int) -> list[tuple[int, str, int]]:
        found = []
        for item in items:
            if isinstance(item, list):
                found += walk(item, depth + 1)
            else:
                found.append((depth, item.title, pdf.get_destination_page_number(item) + 1))
        return found

    return walk(pdf.outline, 0)


def links_of(pdf: PdfReader) -> list[str]:
    """Where each link leads: an address, or # and the name of a place."""
    found = []
    for page in pdf.pages:
        for annotation in map(lambda a: a.get_object(), page.get("/Annots", [])):
            action = annotation.get("/A", {})
            found.append(str(action.get("/URI") or f"#{annotation.get('/Dest')}"))
    return found


def lost_links(pdf: PdfReader) -> list[str]:
    """Links of a PDF to places that it does not have, or to files."""
    places = {f"#{name}" for name in pdf.named_destinations}
    return [
        link
        for link in links_of(pdf)
        if link not in places and not re.match(r"https?:|mailto:", link)
    ]


def beside_the_sheet(page: PageObject) -> list[str]:
    """Pieces of text that begin outside of the margins."""
    found = []

    def visit(text: str, user: list, place: list, *_: object) -> None:
        x = user[0] * place[4] + user[2] * place[5] + user[4]
        if text.strip() and not MARGIN - 2 <= x <= float(page.mediabox.width) - MARGIN:
            found.append(f"{x:.0f}: {text[:40]}")

    page.extract_text(visitor_text=visit)
    return found


@pytest.fixture(scope="module")
def lecture(tmp_path_factory) -> PdfReader:
    """The PDF of the built site."""
    if read_stamp(SITE.parent).get("sources") != sources_digest(ROOT):
        pytest.fail(f"{SITE} is stale: run `make book` again", pytrace=False)
    path = tmp_path_factory.mktemp("pdf") / "lecture.pdf"
    write_pdf(ROOT, SITE, path)
    return PdfReader(path)


@pytest.mark.site
@pytest.mark.slow
@needs_browser
def test_the_pdf_of_the_lecture_is_whole(lecture):
    # Chromium sets ligatures, which NFKC spells out.
    texts = [normalize("NFKC", page.extract_text()) for page in lecture.pages]
    assert 300 < len(texts) < 500  # ten chapters, exercises, reference
    assert [n for n, text in enumerate(texts, 1) if text.splitlines()[:1] != [str(n)]] == []
    assert [
        n for n, text in enumerate(texts, 1) if len(text) < 30 and not picture(lecture, n)
    ] == []
    assert {
        n: found for n, p in enumerate(lecture.pages, 1) if (found := beside_the_sheet(p))
    } == {}
    assert "".join(texts).count("�") == 0

    docnames = [name for name, _ in toc_pages(ROOT)]
    outline = outline_of(lecture)
    titles = [title for depth, title, _ in outline if depth == 0]
    assert len(titles) == len(docnames)
    expected = joined(SITE, docnames, "").headings
    assert [(depth + 1, title) for depth, title, _ in outline] == [
        (heading.level, heading.title) for heading in expected
    ]
    numbers = [sheet for _, _, sheet in outline]
    assert numbers == sorted(numbers)
    for (_, title, sheet), heading in zip(outline, expected, strict=True):
        assert lecture.named_destinations[f"/{heading.id}"]
        words = re.sub(r"\W", "", normalize("NFKC", title))
        assert heading.level > 1 or words in re.sub(r"\W", "", texts[sheet - 1]), title

    assert lost_links(lecture) == []
    links = links_of(lecture)
    assert sum(link.startswith("#") for link in links) > 700
    assert sum(link.startswith("http") for link in links) > 20
    # The ELBO, as KaTeX sets it, on a sheet of its chapter.
    first = lecture.named_destinations[f"/{page_id('book/03_elbo')}"]
    chapter = texts[lecture.get_destination_page_number(first) :]
    assert "logp" in "".join(chapter[:20]).replace(" ", "")


def picture(pdf: PdfReader, sheet: int) -> bool:
    return len(pdf.pages[sheet - 1].images) > 0

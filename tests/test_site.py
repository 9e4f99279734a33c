"""The built site: complete, self-contained, and it shows what it should."""

import html
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, unquote, urlsplit

import imageio_ffmpeg
import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup, NavigableString, Tag
from sphinx_book_theme.header_buttons.launch import add_launch_buttons

from lecture_book.hooks.formulas import rendered
from lecture_book.hooks.launching import LINK_GENERATOR, add_hub_button
from lecture_book.notebooks.book import read_book
from lecture_book.notebooks.cells import install_cell
from lecture_book.notebooks.exercises import assignments, page_text
from lecture_book.notebooks.flatten import flatten_page
from lecture_book.project import toc_pages
from lecture_book.site import budget_of, read_stamp, sources_digest
from lecture_grader.authoring.handout import student_notebook

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"
SITE = BUILD / "html"

site = pytest.mark.site

# What a browser loads by itself. Links that a reader may follow (a href) are not among them.
RESOURCES = {
    "script": ["src"],
    "img": ["src", "srcset"],
    "iframe": ["src"],
    "embed": ["src"],
    "object": ["data"],
    "audio": ["src"],
    "video": ["src", "poster"],
    "source": ["src", "srcset"],
    "track": ["src"],
    "input": ["src"],
    "use": ["href", "xlink:href"],
}
LOADED_LINKS = {
    "stylesheet",
    "icon",
    "preload",
    "modulepreload",
    "prefetch",
    "preconnect",
    "manifest",
}
OFF_SITE = re.compile(r"\s*(https?:)?//", re.IGNORECASE)
CSS_URL = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")
# In scripts of a page itself: a request, or an address that some library would load later.
SCRIPT_REQUEST = re.compile(
    r"""(?:fetch|import|open|Worker|importScripts)\(\s*["'`](https?:)?//"""
    r"""|["'`]https?://[^"'`]*\.m?js["'`]|\bfrom\s+["']https?://"""
)


@dataclass(frozen=True)
class Page:
    """One page of the site."""

    path: Path
    html: str

    @cached_property
    def soup(self) -> BeautifulSoup:
        return BeautifulSoup(self.html, "html.parser")

    @cached_property
    def anchors(self) -> set[str]:
        """What a link can point to within the page."""
        return {str(tag["id"]) for tag in self.soup.find_all(id=True)} | {
            str(tag["name"]) for tag in self.soup.find_all("a", attrs={"name": True})
        }


def page_of(html: str, path: Path = Path("page.html")) -> Page:
    return Page(path, html)


@pytest.fixture(scope="session")
def pages() -> list[Page]:
    if not (SITE / "index.html").exists():
        pytest.fail(f"{SITE} is missing: run `make book` first", pytrace=False)
    if read_stamp(BUILD).get("sources") != sources_digest(ROOT):
        pytest.fail(f"{SITE} is stale: run `make book` again", pytrace=False)
    return [
        Page(path, path.read_text(encoding="utf8"))
        for path in sorted(SITE.rglob("*.html"))
        if "_static" not in path.relative_to(SITE).parts
    ]


def values(tag: Tag, name: str) -> list[str]:
    """The addresses in an attribute; `srcset` holds several."""
    text = str(tag.get(name) or "")
    if name == "srcset":
        return [part.split()[0] for part in text.split(",") if part.strip()]
    return [text] if text else []


# ---------------------------------------------------------------------------- nothing from outside


def loaded(page: Page) -> Iterator[str]:
    """Every address that a browser loads for a page, as the page writes it."""
    for name, attributes in RESOURCES.items():
        for tag in page.soup.find_all(name):
            for attribute in attributes:
                yield from values(tag, attribute)
    for link in page.soup.find_all("link"):
        if LOADED_LINKS & {str(each).lower() for each in link.get("rel") or []}:
            yield str(link.get("href"))
    for style in [*page.soup.find_all("style"), *page.soup.find_all(style=True)]:
        text = style.get_text() if style.name == "style" else str(style["style"])
        yield from css_urls(text)


def css_urls(text: str) -> list[str]:
    return [first or second for first, second in CSS_URL.findall(text)]


def requests_off_site(page: Page) -> list[str]:
    """What a page would ask other sites for; one line each."""
    lines = [address for address in loaded(page) if OFF_SITE.match(address)]
    for script in page.soup.find_all("script"):
        lines += [match[0] for match in SCRIPT_REQUEST.finditer(script.get_text())]
    for refresh in page.soup.find_all("meta", attrs={"http-equiv": re.compile("refresh", re.I)}):
        lines += [m[0] for m in re.finditer(r"https?://\S+", str(refresh.get("content")))]
    return lines


@site
def test_no_page_asks_another_site_for_anything(pages):
    assert {p.path.name: r for p in pages if (r := requests_off_site(p))} == {}


@site
def test_no_stylesheet_asks_another_site_for_anything(pages):
    found = {
        path.name: [url for url in css_urls(path.read_text(encoding="utf8")) if OFF_SITE.match(url)]
        for path in SITE.rglob("*.css")
    }
    assert {name: urls for name, urls in found.items() if urls} == {}


@site
def test_our_own_scripts_ask_no_other_site_for_anything(pages):
    ours = [*(ROOT / "book" / "_static").rglob("*.js")]
    assert len(ours) > 10
    found = {path.name: SCRIPT_REQUEST.search(path.read_text(encoding="utf8")) for path in ours}
    assert [name for name, match in found.items() if match] == []


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://unpkg.com/thebe"></script>',
        '<script src="//cdn.example.org/x.js"></script>',
        '<link rel="stylesheet" href="https://fonts.googleapis.com/css">',
        '<link rel="preconnect" href="https://fonts.gstatic.com">',
        '<img src="local.png" srcset="a.png 1x, https://example.org/b.png 2x">',
        '<video poster="https://example.org/a.png"></video>',
        '<video><source src="https://example.org/a.mp4"></video>',
        '<iframe src="https://www.youtube.com/embed/x"></iframe>',
        "<style>@import 'https://example.org/a.css';</style>",
        '<p style="background: url(https://example.org/a.png)">x</p>',
        "<script>fetch('https://example.org/data.json')</script>",
        '<script>const THEBE_JS_URL = "https://unpkg.com/thebe@0.8.2/lib/index.js"</script>',
        '<script type="module">import x from "https://cdn.example.org/y.mjs"</script>',
    ],
)
def test_a_request_to_another_site_is_reported(html):
    assert len(requests_off_site(page_of(html))) == 1


def test_what_stays_on_the_site_and_plain_links_are_not_reported():
    html = (
        '<a href="https://arxiv.org">x</a><img src="a.png"><link rel="canonical" '
        'href="https://example.org"><link rel="stylesheet" href="a.css">'
        "<script>var x = 'https://github.com/a/b'</script>"
    )
    assert requests_off_site(page_of(html)) == []


# ---------------------------------------------------------------------------- pictures and videos


def poor_images(page: Page) -> list[str]:
    """The images without a description, or with a file name for one."""
    lines = []
    for image in page.soup.find_all("img"):
        alt = str(image.get("alt") or "").strip()
        if not alt or re.search(r"_images|\.(png|svg|jpe?g)$", alt):
            lines.append(str(image.get("src")))
    return lines


@site
def test_every_image_is_described(pages):
    assert {p.path.name: lines for p in pages if (lines := poor_images(p))} == {}


def test_an_image_without_description_is_reported():
    html = (
        '<img src="a"><img src="b" alt=" "><img src="c" alt="_images/c.png"><img src="d" alt="D">'
    )
    assert poor_images(page_of(html)) == ["a", "b", "c"]


def poor_headings(page: Page) -> list[str]:
    """The headings of tables without a word, such as those of mathematics alone."""
    return [
        heading.get_text(" ", strip=True)
        for heading in page.soup.find_all("th")
        if not re.search(r"\w", "".join(map(str, words_of(heading))))
    ]


def words_of(tag: Tag) -> Iterator[NavigableString]:
    """The text of an element outside of its formulas."""
    for text in tag.find_all(string=True):
        if text.find_parent(class_="math") is None:
            yield text


@site
def test_every_heading_of_a_table_has_words(pages):
    assert {p.path.name: lines for p in pages if (lines := poor_headings(p))} == {}


def test_a_heading_without_words_is_reported():
    formula = '<span class="math">S</span>'
    html = (
        f"<table><tr><th>Run</th><th>{formula}</th><th>Loss {formula}</th><th> </th></tr></table>"
    )
    assert poor_headings(page_of(html)) == ["S", ""]


def poor_figures(page: Page) -> list[str]:
    """The outputs that show an image or a video without a caption."""
    return [
        str(tag.get("src") or tag.get("poster"))
        for output in page.soup.select(".cell_output")
        for tag in output.find_all(["img", "video"])
        if (figure := tag.find_parent("figure")) is None or figure.find("figcaption") is None
    ]


@site
def test_every_figure_has_a_caption(pages):
    assert {p.path.name: lines for p in pages if (lines := poor_figures(p))} == {}


def test_a_figure_without_caption_is_reported():
    html = (
        '<div class="cell_output"><img src="a"><figure><img src="b"></figure>'
        '<figure><img src="c"><figcaption>C</figcaption></figure></div>'
    )
    assert poor_figures(page_of(html)) == ["a", "b"]


def poor_videos(page: Page) -> list[str]:
    """What the videos of a page lack; one line each."""
    lines = []
    for video in page.soup.find_all("video"):
        sources = [*values(video, "src"), *(str(s.get("src")) for s in video.find_all("source"))]
        name = sources[0] if sources else "a video without a source"
        lines += [
            f"{name}: no {attribute}"
            for attribute in ("controls", "loop", "muted", "playsinline", "poster")
            if not video.has_attr(attribute)
        ]
        if not str(video.get("aria-label") or "").strip() or not video.get_text().strip():
            lines.append(f"{name}: no description")
        files = [*sources, *values(video, "poster")]
        for file in [file for file in files if not (page.path.parent / file).is_file()]:
            lines.append(f"{name}: {file[:60]} is no file")
        for file in [file for file in sources if (page.path.parent / file).is_file()]:
            if frames(page.path.parent / file) < 2:
                lines.append(f"{name}: it does not decode to several frames")
    return lines


def frames(path: Path) -> int:
    """How many frames a video decodes to; 0 if it does not."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-xerror", "-i", str(path)]
    options = ["-f", "framecrc", "-"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return 0
    return sum(not line.startswith("#") for line in done.stdout.splitlines())


@site
def test_videos_play_are_described_and_decode(pages):
    assert {p.path.name: lines for p in pages if (lines := poor_videos(p))} == {}


@site
def test_the_lecture_shows_videos(pages):
    assert sum(len(page.soup.find_all("video")) for page in pages) >= 2


def test_a_poor_video_is_reported(tmp_path):
    for seconds, name in ((1, "long.mp4"), (0.1, "one.mp4")):
        source = f"testsrc=size=32x32:rate=10:duration={seconds}"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source]
        subprocess.run([*command, str(tmp_path / name)], check=True)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "long.mp4").read_bytes()[:200])
    good = '<video controls loop muted playsinline poster="long.mp4" aria-label="A">'
    html = (
        f'{good}<source src="long.mp4">A</video>{good}<source src="one.mp4">A</video>'
        f'{good}<source src="cut.mp4">A</video>{good}<source src="gone.mp4">A</video>'
        '<video loop muted playsinline poster="long.mp4"><source src="long.mp4"></video>'
    )
    assert poor_videos(page_of(html, tmp_path / "page.html")) == [
        "one.mp4: it does not decode to several frames",
        "cut.mp4: it does not decode to several frames",
        "gone.mp4: gone.mp4 is no file",
        "long.mp4: no controls",
        "long.mp4: no description",
    ]


@site
def test_videos_are_files_beside_the_pages_not_in_them(pages):
    assert [page.path.name for page in pages if "data:video" in page.html] == []


# ---------------------------------------------------------------------------- links


def broken_links(page: Page, others: dict[Path, Page], root: Path) -> list[str]:
    """The addresses of a page that lead nowhere on the site."""
    lines = []
    links = [str(tag["href"]) for tag in page.soup.find_all("a", href=True)]
    for address in [*links, *loaded(page)]:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc or address in ("", "#"):
            continue
        target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
        if target.is_dir():
            target /= "index.html"
        if not target.exists() or not target.is_relative_to(root):
            lines.append(address)
            continue
        page_there = others.get(target)
        if parts.fragment and page_there and unquote(parts.fragment) not in page_there.anchors:
            lines.append(address)
    return lines


@site
def test_every_link_within_the_site_leads_somewhere(pages):
    others = {page.path.resolve(): page for page in pages}
    broken = {p.path.name: broken_links(p, others, SITE.resolve()) for p in pages}
    assert {name: lines for name, lines in broken.items() if lines} == {}


def test_a_broken_link_is_reported(tmp_path):
    path = tmp_path / "a.html"
    html = (
        '<h1 id="here">x</h1><a href="#here">1</a><a href="#gone">2</a><a href="b.html">3</a>'
        '<a href="a.html#here">4</a><a href="a.html#gone">5</a><a href="https://x.org/#y">6</a>'
        '<a href="../outside.html">7</a><img src="gone.png" alt="x">'
    )
    path.write_text(html)
    (tmp_path.parent / "outside.html").touch()
    page = page_of(html, path)
    assert broken_links(page, {path: page}, tmp_path) == [
        "#gone", "b.html", "a.html#gone", "../outside.html", "gone.png",
    ]  # fmt: skip


@site
def test_previous_and_next_go_through_the_table_of_contents(pages):
    by_name = {page.path.relative_to(SITE).with_suffix("").as_posix(): page for page in pages}
    order = [docname for docname, _ in toc_pages(ROOT)]
    for docname, before, after in zip(order, [None, *order], [*order[1:], None], strict=False):
        page = by_name[docname]
        for button, wanted in (("a.left-prev", before), ("a.right-next", after)):
            links = [str(link["href"]) for link in page.soup.select(f".prev-next-area {button}")]
            there = [(page.path.parent / link).resolve() for link in links]
            assert there == ([(SITE / f"{wanted}.html").resolve()] if wanted else []), docname


def launched(address: str, repository: dict[str, str]) -> str:
    """The file of the repository that a launch button opens; '?' where it is none."""
    url, branch = urlsplit(address), repository["branch"]
    query = {key: values[0] for key, values in parse_qs(url.query).items()}
    owner, name = repository["url"].split("/")[-2:]
    colab = f"/github/{owner}/{name}/blob/{branch}/"
    if url.netloc == "colab.research.google.com" and url.path.startswith(colab):
        return unquote(url.path.removeprefix(colab))
    where, prefix = query.get("urlpath", ""), "?"
    if url.path == f"/v2/gh/{owner}/{name}/{branch}":  # Binder
        prefix = "lab/tree/"
    elif (query.get("repo"), query.get("branch")) == (repository["url"], branch):  # nbgitpuller
        prefix = f"lab/tree/{name}/"
    return where.removeprefix(prefix) if where.startswith(prefix) else "?"


def repository() -> dict[str, str]:
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))["repository"]


def tracked(*options: str) -> set[str]:
    """What git lists of the repository."""
    command = ["git", "-C", str(ROOT), *(options or ["ls-files"])]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def notebook_pages() -> set[str]:
    """The pages that can be run: every page with cells, and every page of exercises."""
    with_cells = {page.docname for page in read_book(ROOT).notebooks}
    return with_cells | {f"book/exercises/{each.name}" for each in assignments(ROOT)}


@site
def test_every_launch_button_opens_the_notebook_of_its_page(pages):
    files = tracked()
    for page in pages:
        docname = page.path.relative_to(SITE).with_suffix("").as_posix()
        opened = {
            link.get_text().strip(): launched(str(link["href"]), repository())
            for link in page.soup.select(".dropdown-launch-buttons a[href]")
        }
        if docname in notebook_pages():
            assert opened == dict.fromkeys(["Binder", "Colab", "JupyterHub"], f"{docname}.ipynb")
            assert f"{docname}.ipynb" in files
        else:
            assert opened == {}, docname


HUB = "https://hub.example.edu/hub/user-redirect/git-pull?repo=https%3A//github.com/us/ours"


@pytest.mark.parametrize(
    ("address", "file"),
    [
        (
            "https://colab.research.google.com/github/us/ours/blob/trunk/book/a.ipynb",
            "book/a.ipynb",
        ),
        ("https://colab.research.google.com/github/us/ours/blob/master/book/a.ipynb", "?"),
        ("https://colab.research.google.com/github/others/ours/blob/trunk/book/a.ipynb", "?"),
        ("https://mybinder.org/v2/gh/us/ours/trunk?urlpath=lab/tree/book/a.ipynb", "book/a.ipynb"),
        ("https://mybinder.org/v2/gh/us/ours/master?urlpath=lab/tree/book/a.ipynb", "?"),
        ("https://mybinder.org/v2/gh/us/ours/trunk", "?"),
        (f"{HUB}&urlpath=lab/tree/ours/book/a.ipynb&branch=trunk", "book/a.ipynb"),
        (f"{HUB}&urlpath=lab/tree/ours/book/a.ipynb&branch=master", "?"),
        (f"{HUB}s&urlpath=lab/tree/ours/book/a.ipynb&branch=trunk", "?"),
        (f"{HUB}&urlpath=lab/tree/book/a.ipynb&branch=trunk", "?"),
    ],
)
def test_a_launch_button_is_resolved_to_a_file(address, file):
    assert launched(address, {"url": "https://github.com/us/ours", "branch": "trunk"}) == file


class Settings(dict):
    """As Sphinx gives its configuration: names are keys and attributes."""

    __getattr__ = dict.__getitem__


@pytest.mark.parametrize("hub", ["", "https://hub.example.edu"])
def test_there_is_a_jupyterhub_button_with_and_without_a_hub(hub):
    docname = "book/03_elbo"
    options = {
        "repository_url": repository()["url"],
        "repository_branch": repository()["branch"],
        "launch_buttons": {"notebook_interface": "jupyterlab", "jupyterhub_url": hub}
        | {"colab_url": "https://colab.research.google.com"},
    }
    environment = SimpleNamespace(
        doc2path=lambda name: str(ROOT / f"{name}.md"), metadata={docname: {"kernelspec": ""}}
    )
    app = SimpleNamespace(config=Settings(html_theme_options=options), env=environment)
    owner, name = repository()["url"].split("/")[-2:]
    context = {"pagename": docname, "sourcename": "", "header_buttons": []}
    context |= {"github_url": "https://github.com", "github_user": owner, "github_repo": name}
    for add in (add_launch_buttons, add_hub_button):
        add(app, docname, "", context, None)
    [group] = context["header_buttons"]
    [button] = [each for each in group["buttons"] if each["text"] == "JupyterHub"]
    assert button["url"].startswith(hub or LINK_GENERATOR)
    assert launched(button["url"], repository()) == f"{docname}.ipynb"


def test_the_repository_is_named_in_one_place():
    owner_and_name = "/".join(repository()["url"].split("/")[-2:])
    named = tracked("grep", "-l", "-F", owner_and_name)
    # `make notebooks` takes the name from there; that they agree is tested with the notebooks.
    assert named == {"_config.yml", *(f"{docname}.ipynb" for docname in notebook_pages())}


@site
def test_the_download_button_gives_a_notebook_that_works_anywhere(pages):
    by_name = {page.path.relative_to(SITE).with_suffix("").as_posix(): page for page in pages}
    for docname in notebook_pages():
        page = by_name[docname]
        [button] = page.soup.select("a.btn-download-notebook-button")
        file = (page.path.parent / unquote(str(button["href"]))).resolve()
        assert file.read_bytes() == (ROOT / f"{docname}.ipynb").read_bytes()
        notebook = nbformat.read(file, as_version=4)
        nbformat.validate(notebook)
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        assert first.source == install_cell(ROOT)
        markdown = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
        assert [found for text in markdown for found in myst_in(text)] == [], docname


def myst_in(text: str) -> list[str]:
    """Syntax that MyST knows and Jupyter does not, outside of code and formulas."""
    text = re.sub(r"```.*?```|\$\$.*?\$\$|`` .*? ``", "", text, flags=re.DOTALL)
    pattern = r"\{[\w:+-]+\}`|^\s*:{3,}|\{\{.*?\}\}|^\([\w:.-]+\)=$|^%|\[\^\w+\]"
    return [match[0] for match in re.finditer(pattern, text, re.MULTILINE)]


def test_myst_in_a_notebook_is_reported():
    text = "(eq-a)=\n{eq}`eq-a` {{ x }}\n:::{note}\n% x\nA[^1]\n```python\n{{ x }}\n```\n$${{a}}$$"
    assert myst_in(text) == ["(eq-a)=", "{eq}`", "{{ x }}", ":::", "%", "[^1]"]


# ---------------------------------------------------------------------------- content


def tracebacks(page: Page) -> list[str]:
    """Errors that a reader would see: in the outputs, or left by Sphinx in the text."""
    outputs = [tag.get_text() for tag in page.soup.select(".cell_output, .output")]
    lines = [text[:80] for text in outputs if re.search(r"Traceback \(most recent|\w+Error:", text)]
    return lines + [
        tag.get_text()[:80] for tag in page.soup.select(".system-message, .problematic")
    ]


@site
def test_no_page_shows_an_error(pages):
    assert {p.path.name: lines for p in pages if (lines := tracebacks(p))} == {}


def test_an_error_in_a_page_is_reported():
    html = (
        '<div class="cell_output">Traceback (most recent call last)\n</div><p>ValueError: x</p>'
        '<div class="cell_output">NameError: x</div><span class="problematic">`x</span>'
    )
    assert len(tracebacks(page_of(html))) == 3


def raw_syntax(page: Page) -> list[str]:
    """MyST syntax that reached the text of a page, and numbers that were not filled in."""
    article = BeautifulSoup(str(page.soup.find("article") or ""), "html.parser")
    for tag in article.find_all(["pre", "code", "script"]):
        tag.decompose()
    for tag in article.select(".math"):
        tag.decompose()
    pattern = r"\{[\w:]+\}`|:::|\{\{.*?\}\}|^\([\w-]+\)=$|\$\$"
    return [match[0] for match in re.finditer(pattern, article.get_text("\n"), re.MULTILINE)]


@site
def test_no_raw_syntax_reaches_a_reader(pages):
    assert {p.path.name: found for p in pages if (found := raw_syntax(p))} == {}


def test_raw_syntax_is_reported():
    html = "<article><p>{eq}`eq-a` {{ x }}</p><p>:::</p><p>(a)=</p><code>{{ y }}</code></article>"
    assert raw_syntax(page_of(html)) == ["{eq}`", "{{ x }}", ":::", "(a)="]


def redeclared(page: Page) -> list[str]:
    """Constants that the scripts of a page declare more than once: the second one is an error."""
    scripts = "\n".join(tag.get_text() for tag in page.soup.find_all("script"))
    names = re.findall(r"^\s*const\s+(\w+)|;\s*const\s+(\w+)", scripts, re.MULTILINE)
    flat = [first or second for first, second in names]
    return sorted({name for name in flat if flat.count(name) > 1})


@site
def test_no_page_declares_a_constant_twice(pages):
    assert {p.path.name: names for p in pages if (names := redeclared(p))} == {}


def test_a_constant_that_is_declared_twice_is_reported():
    script = '<script>const A = "x"; const B = 1</script>'
    assert redeclared(page_of(f"{script}<script>const A = 2</script>")) == ["A"]


def unset(page: Page) -> list[str]:
    """The formulas of a page that KaTeX has not rendered, for the eye and for screen readers."""
    return [
        tag.get_text()[:60]
        for tag in page.soup.select(".math, .katex-error")
        if not (
            tag.select_one(".katex > .katex-html[aria-hidden]")
            and tag.select_one("math annotation[encoding='application/x-tex']")
        )
    ]


@site
def test_every_formula_is_there_before_a_script_runs(pages):
    assert {p.path.name: found for p in pages if (found := unset(p))} == {}
    assert sum(len(page.soup.select(".katex")) for page in pages) > 1000
    scripts = [script for page in pages for script in page.soup.find_all("script")]
    assert [script for script in scripts if "mathjax" in str(script).lower()] == []


def test_a_formula_without_its_two_copies_is_reported():
    html = rf'<p>{rendered("a", False)}</p><span class="math">\(b\)</span>'
    html += f'<div class="math">{rendered("c", True)}</div>'
    html += '<div class="math"><span class="katex"><math></math></span></div>'
    assert unset(page_of(html)) == [r"\(b\)", ""]


@site
def test_every_page_of_the_toc_is_built(pages):
    built = {page.path.relative_to(SITE).with_suffix("").as_posix() for page in pages}
    assert {docname for docname, _ in toc_pages(ROOT)} <= built


@site
def test_the_first_page_says_which_data_and_budget_built_the_site(pages):
    [index] = [page for page in pages if page.path == SITE / "book" / "index.html"]
    made = json.loads((BUILD / "lecture_vae.json").read_text(encoding="utf8"))["execution"]
    assert f"Budget: {made['budget']}." in index.soup.get_text()


@site
def test_numbers_in_the_notebooks_are_those_of_the_site(pages):
    by_name = {page.path.relative_to(SITE).with_suffix("").as_posix(): page for page in pages}
    book = read_book(ROOT)
    for chapter in book.notebooks:
        text = "\n".join(cell.source for cell in flatten_page(chapter, book).cells)
        soup = by_name[chapter.docname].soup
        numbers = [tag.get_text().strip("()#") for tag in soup.select(".eqno")]
        assert re.findall(r"\\tag\{([\d.]+)\}", text) == numbers, chapter.stem
        captions = soup.select("figcaption .caption-number")
        figures = [tag.get_text().strip() for tag in captions]
        assert re.findall(r"^\*\*(Fig\. [\d.]+)\.\*\*", text, re.MULTILINE) == figures


# ---------------------------------------------------------------------------- exercises


def secrets(assignments: list) -> list[tuple[str, str]]:
    """Lines of solutions, wrong answers and hidden cells that students get nowhere, by exercise."""
    lecture = [page.text for page in read_book(ROOT).notebooks]
    found = []
    for assignment in assignments:
        shown = {line.strip() for line in notebook_lines(assignment)}
        shown |= {line.strip() for text in lecture for line in text.splitlines()}
        for exercise in assignment.exercises:
            hidden = [exercise.solution, exercise.hidden, *(w.source for w in exercise.wrong)]
            lines = {line.strip() for cell in hidden for line in cell.splitlines()}
            found += [(exercise.name, line) for line in sorted(lines - shown) if len(line) > 30]
    return found


def shown_in(text: str, lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(exercise, line) for exercise, line in lines if line in text]


def notebook_lines(assignment) -> list[str]:
    """Every line that students get."""
    cells = student_notebook(assignment)["cells"]
    return [line for cell in cells for line in cell["source"].splitlines()]


@site
def test_no_page_shows_a_solution(pages):
    lines = secrets(assignments(ROOT))
    assert len(lines) > 100
    for path in [*SITE.rglob("*.html"), *SITE.rglob("*.md"), *SITE.rglob("*.ipynb")]:
        assert shown_in(html.unescape(plain_text(path)), lines) == [], path


@site
def test_every_assignment_has_a_page_and_a_notebook_to_download(pages):
    for assignment in assignments(ROOT):
        page = SITE / "book" / "exercises" / f"{assignment.name}.html"
        links = BeautifulSoup(page.read_text(encoding="utf8"), "html.parser").select("a.download")
        files = [(page.parent / unquote(link["href"])).resolve() for link in links]
        (notebook,) = [file for file in files if file.name == f"{assignment.name}.ipynb"]
        cells = json.loads(notebook.read_text(encoding="utf8"))["cells"]
        stubs = [cell for cell in cells if cell["id"].endswith("-answer")]
        assert len(stubs) == len(assignment.exercises)


def plain_text(path: Path) -> str:
    """The text of a file; of a page, what a reader sees."""
    text = path.read_text(encoding="utf8")
    return BeautifulSoup(text, "html.parser").get_text() if path.suffix == ".html" else text


def test_a_solution_on_a_page_is_reported():
    (assignment, *_) = assignments(ROOT)
    lines = secrets([assignment])
    assert shown_in(page_text(assignment, solutions=False), lines) == []
    found = shown_in(page_text(assignment, solutions=True), lines)
    assert {exercise for exercise, _ in found} == {e.name for e in assignment.exercises}


@site
def test_the_site_has_the_static_files_as_they_are_now(pages):
    """Where no page changes, Sphinx alone would not copy them again."""
    static = ROOT / "book" / "_static"
    files = [path for path in static.rglob("*") if path.is_file()]
    assert len(files) > 50
    own_runs = budget_of(SITE.parent) == "full"  # then the explorer shows its own
    changed = []
    for path in files:
        copied = SITE / "_static" / path.relative_to(static)
        assert copied.exists(), copied
        if own_runs and path.is_relative_to(static / "live" / "runs"):
            continue
        if copied.read_bytes() != path.read_bytes():
            changed.append(copied)
    assert changed == []  # names, since pytest would compare two files of a megabyte for an hour

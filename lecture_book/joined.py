"""The pages of a built site joined into one HTML document, which is then printed.

An id is unique on its page only, so the name of the page is written before it. A link between pages
becomes a link within the document; the address of an image becomes that of its file.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from html import escape
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

# What the print style hides, what needs a script, and the signs that link a heading to itself.
LEFT_OUT = (
    "script, noscript, video, [data-live], details.hide:not([open]), details.hide > summary, "
    ".headerlink, .toggle-button, .copybtn"
)
# Attributes that name ids of the same page, several with spaces between them.
NAMES_IDS = "for", "headers", "list", "aria-labelledby", "aria-describedby", "aria-controls"
# A page begins on a new sheet, and its number stands in the margin below. The theme hides the title
# of a page that is printed, because it prints its own, and indents the text.
PAPER = """
@page {
  size: A4;
  margin: 16mm 15mm 20mm;
  @bottom-center { content: counter(page); font: 8pt sans-serif; color: #333; }
}
@media print {
  .bd-main .bd-content, .bd-article-container {
    display: block; max-width: none; margin: 0; padding: 0;
  }
  .bd-article, .book-contents { break-before: page; }
  .bd-article:first-child { break-before: auto; }
  .bd-main .bd-content .bd-article h1:first-of-type { display: block; margin-top: 0; }
}
.book-contents ol { columns: 2; column-gap: 8mm; margin: 0; padding: 0; list-style: none; }
.book-contents li { display: flex; gap: 2mm; font-size: 8pt; line-height: 1.5; }
.book-contents li { break-inside: avoid; }
.book-contents li.section { padding-left: 4mm; }
.book-contents li.page { margin-top: 2mm; font-weight: bold; break-after: avoid; }
.book-contents li a { flex: 1; }
.book-contents li span { flex: none; width: 2.5em; text-align: right; }
.book-contents a { color: inherit; text-decoration: none; }
"""


class JoinError(ValueError):
    """A page is missing, or a link or an image leads nowhere."""


@dataclass(frozen=True)
class Heading:
    """The title of a page (level 1) or of a section (level 2), and the id of its place."""

    level: int
    title: str
    id: str


@dataclass(frozen=True)
class Book:
    """What is printed: the articles of the pages, the style sheets, and the headings."""

    title: str
    sheets: tuple[str, ...]
    articles: tuple[str, ...]
    headings: tuple[Heading, ...]

    def html(self, numbers: Mapping[str, int]) -> str:
        """The document, its table of contents behind the first page.

        Args:
            numbers: The sheet on which each id of a heading stands. Without them the contents have
                the same length, so that they can be found in a first print.
        """
        entries = "\n".join(
            f'<li class="{"page" if heading.level == 1 else "section"}"><a href="#{heading.id}">'
            f"{escape(heading.title)}</a><span>{numbers.get(heading.id, 0)}</span></li>"
            for heading in self.headings
        )
        contents = f'<nav class="book-contents"><h2>Contents</h2><ol>\n{entries}\n</ol></nav>'
        links = "".join(f'<link rel="stylesheet" href="{sheet}">' for sheet in self.sheets)
        first, *others = self.articles
        body = "\n".join([first, contents, *others])
        return (
            '<!DOCTYPE html>\n<html lang="en" data-theme="light" data-mode="light"><head>'
            f'<meta charset="utf-8"><title>{escape(self.title)}</title>{links}'
            f"<style>{PAPER}</style></head>\n<body><main class='bd-main'><div class='bd-content'>"
            f"<div class='bd-article-container'>\n{body}\n</div></div></main></body></html>\n"
        )


def page_id(docname: str) -> str:
    """The id of a page in the joined document.

    Examples:
        >>> page_id("book/exercises/03_elbo")
        'book-exercises-03_elbo'
    """
    return docname.replace("/", "-")


def joined(site: Path, docnames: Sequence[str], title: str) -> Book:
    """The pages of a site as one document.

    Args:
        site: The folder of the built site.
        docnames: Its pages in reading order, without `.html`.
        title: The title of the document.

    Raises:
        JoinError: A page is missing or has no article, its formulas are not set, or a link or an
            image leads nowhere.
    """
    pages = {name: _read(site, name) for name in docnames}
    sheets = {
        _address(site, name, str(link["href"])): None  # in their order
        for name, page in pages.items()
        for link in page.select("link[rel=stylesheet]")
    }
    articles = {name: _article(page, name) for name, page in pages.items()}
    known = {name: {str(tag["id"]) for tag in a.find_all(id=True)} for name, a in articles.items()}
    broken = []
    headings: list[Heading] = []
    for name, article in articles.items():
        broken += _rewrite(article, site, name, known)
        headings += _headings(article)
    if broken:
        raise JoinError("; ".join(broken))
    return Book(title, tuple(sheets), tuple(map(str, articles.values())), tuple(headings))


def _read(site: Path, docname: str) -> BeautifulSoup:
    try:
        text = (site / f"{docname}.html").read_text(encoding="utf8")
    except FileNotFoundError as error:
        raise JoinError(f"the site has no page {docname}") from error
    return BeautifulSoup(text, "html.parser")


def _article(page: BeautifulSoup, docname: str) -> Tag:
    """The article of a page, without what paper does not show; each id where it is first."""
    article = page.select_one("article.bd-article")
    if article is None:
        raise JoinError(f"the page {docname} has no article")
    if article.select_one(".math:not(:has(.katex))") is not None:
        raise JoinError(
            f"the page {docname} leaves its formulas to the browser: install mini-racer or Node.js "
            "and build the site again"
        )
    for tag in article.select(LEFT_OUT):
        tag.decompose()
    seen: set[str] = set()
    for tag in article.find_all(id=True):
        if tag["id"] in seen:
            del tag["id"]
        else:
            seen.add(str(tag["id"]))
    return article.extract()


def _rewrite(article: Tag, site: Path, docname: str, known: dict[str, set[str]]) -> list[str]:
    """Give an article the ids and addresses of the joined document; returns what leads nowhere."""
    broken = []
    for tag in article.find_all(True):
        if "id" in tag.attrs:
            tag["id"] = f"{page_id(docname)}--{tag['id']}"
        for name in NAMES_IDS:
            if name in tag.attrs:
                tag[name] = " ".join(f"{page_id(docname)}--{i}" for i in str(tag[name]).split())
        try:
            if tag.name == "img" and not urlsplit(str(tag["src"])).scheme:
                tag["src"] = _address(site, docname, str(tag["src"]))
                tag.attrs.pop("loading", None)  # Chromium loads no lazy image for printing
            elif tag.name == "a" and "href" in tag.attrs:
                _relink(tag, site, docname, known)
        except JoinError as error:
            broken.append(str(error))
    article["id"] = page_id(docname)
    return broken


def _address(site: Path, docname: str, address: str) -> str:
    """The absolute address of a file of the site.

    Raises:
        JoinError: There is no such file.
    """
    path = site / normpath(join(dirname(docname), unquote(urlsplit(address).path)))
    if not path.is_file():
        raise JoinError(f"{docname}: there is no file {address}")
    return path.resolve().as_uri()


def _relink(link: Tag, site: Path, docname: str, known: dict[str, set[str]]) -> None:
    """Let a link lead to the same place in the joined document.

    What is not in the document, such as a file to download, has no place there: a link to it
    becomes plain text.

    Raises:
        JoinError: The link leads nowhere.
    """
    parts = urlsplit(str(link["href"]))
    if parts.scheme or parts.netloc:
        return
    path = normpath(join(dirname(docname), unquote(parts.path))) if parts.path else docname
    target, fragment = path.removesuffix(".html"), unquote(parts.fragment)
    if target not in known:
        _address(site, docname, parts.path)
        del link["href"]
    elif fragment and fragment not in known[target]:
        raise JoinError(f"{docname}: the link {link['href']} leads nowhere")
    else:
        link["href"] = f"#{page_id(target)}--{fragment}" if fragment else f"#{page_id(target)}"


def _headings(article: Tag) -> list[Heading]:
    """The title of a page and those of its sections, without the subsections."""
    found = []
    for tag in article.select("h1, h2"):
        place = article if tag.name == "h1" else tag.find_parent(id=True)
        if place is not None:
            found.append(Heading(int(tag.name[1]), _plain(tag), str(place["id"])))
    return found


def _plain(heading: Tag) -> str:
    """The text of a heading, each formula once."""
    heading = copy(heading)
    for tag in heading.select(".katex-html, annotation"):
        tag.decompose()
    return " ".join(heading.get_text().split())

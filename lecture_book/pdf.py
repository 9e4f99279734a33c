"""The lecture as one PDF: `python -m lecture_book.pdf`, which is what `make pdf` runs.

The pages of the built site, joined, are printed by Chromium without a window. The formulas are in
the pages, so no script runs. Chromium's own outline has neither the spaces at line ends nor the
formulas of the headings; ours is made from the places that the links of the contents have.
"""

import logging
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from pypdf import PdfReader, PdfWriter
from pypdf.generic import Fit, IndirectObject

from lecture_book.build import build_book, output_folder
from lecture_book.joined import Book, JoinError, joined
from lecture_book.project import CONFIG, ProjectError, project_root, toc_pages
from lecture_book.site import browser_path
from lecture_vae.storage import write_atomically

NAME = "lecture.pdf"  # in _build
LIMIT = 900  # seconds for a print, which takes about a minute on two busy cores
OPTIONS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer",
]  # fmt: skip


class PrintError(RuntimeError):
    """Chromium is missing or too old, or it printed nothing."""


def browser_or_error() -> str:
    """The path of Chromium.

    Raises:
        PrintError: There is none.
    """
    browser = browser_path()
    if browser is None:
        raise PrintError(
            "it is printed by Chromium, which is missing (Debian: apt install chromium)"
        )
    return browser


def print_html(browser: str, document: Path, pdf: Path) -> None:
    """Print an HTML file to a PDF with Chromium.

    Raises:
        PrintError: Chromium failed, wrote nothing, or needed too much time.
    """
    # Its own profile: a Chromium that is open already would take the order and print nothing.
    with TemporaryDirectory() as profile:
        command = [browser, *OPTIONS, f"--user-data-dir={profile}", f"--print-to-pdf={pdf}"]
        try:
            done = subprocess.run(
                [*command, document.as_uri()],
                capture_output=True, text=True, errors="replace", timeout=LIMIT, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise PrintError(f"Chromium did not finish within {LIMIT} seconds") from error
    if done.returncode != 0 or not pdf.is_file():
        last = " ".join(done.stderr.strip().splitlines()[-1:])
        raise PrintError(f"Chromium wrote no PDF (exit status {done.returncode}): {last}")


def sheets_of(pdf: PdfReader, book: Book) -> dict[str, int]:
    """The number of the sheet on which each heading stands, the first being 1.

    Raises:
        PrintError: A heading is not in the PDF, or Chromium is too old to number sheets.
    """
    places = pdf.named_destinations
    if missing := [h.title for h in book.headings if f"/{h.id}" not in places]:
        raise PrintError(f"these headings are not in it: {', '.join(missing)}")
    lines = pdf.pages[-1].extract_text().splitlines()
    if str(len(pdf.pages)) not in (*lines[:1], *lines[-1:]):
        raise PrintError("its pages have no numbers: Chromium 131 or newer is needed")
    return {
        h.id: (pdf.get_destination_page_number(places[f"/{h.id}"]) or 0) + 1 for h in book.headings
    }


def with_outline(pdf: PdfReader, book: Book) -> PdfWriter:
    """A printed PDF with a title and an outline of its pages and their sections."""
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it logs every object that it copies
    writer = PdfWriter(clone_from=pdf)
    writer.add_metadata({"/Title": book.title})
    writer.page_mode = "/UseOutlines"
    page: IndirectObject | None = None
    for heading in book.headings:
        place = pdf.named_destinations[f"/{heading.id}"]
        entry = writer.add_outline_item(
            title=heading.title,
            page_number=pdf.get_destination_page_number(place),
            parent=None if heading.level == 1 else page,
            fit=Fit.xyz(left=0, top=float(place.top or 0)),
            is_open=False,
        )
        if heading.level == 1:
            page = entry
    return writer


def write_pdf(root: Path, site: Path, pdf: Path) -> None:
    """Print a built site: once to learn the numbers of the sheets, and once with them.

    Args:
        root: The project, for the order of the pages and the title.
        site: The folder of the built site.
        pdf: Where the PDF will be, complete or not at all.

    Raises:
        JoinError: A page is missing, or a link leads nowhere.
        PrintError: Chromium is missing, too old, or failed.
        OSError: The folder cannot be written.
    """
    browser = browser_or_error()
    title = yaml.safe_load((root / CONFIG).read_text(encoding="utf8"))["title"]
    book = joined(site, [name for name, _ in toc_pages(root)], title)
    numbers: dict[str, int] = {}
    with TemporaryDirectory() as folder:
        document, printed = Path(folder) / "lecture.html", Path(folder) / NAME
        for _ in range(3):  # a number may have moved a line of the contents
            document.write_text(book.html(numbers), encoding="utf8")
            print_html(browser, document, printed)
            before, numbers = numbers, sheets_of(PdfReader(printed), book)
            if numbers == before:
                break
        else:
            raise PrintError("the pages of its headings differ from print to print")
        writer = with_outline(PdfReader(printed), book)
        write_atomically(pdf, writer.write)


def main() -> int:
    """The command line: build the site if it is not up to date, then print it."""
    try:
        browser_or_error()  # before the site, which takes minutes
        root = project_root()
        build = output_folder(root).resolve() / "_build"
        if status := build_book(root, build.parent):
            return status
        write_pdf(root, build / "html", build / NAME)
    except (JoinError, OSError, PrintError, ProjectError) as error:
        print(f"The PDF cannot be made: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(f"The PDF: {build / NAME}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

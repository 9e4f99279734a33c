"""How long does `make book` take: cold, with nothing changed, with the text of a chapter changed?

In a copy of the project, with an empty run store and nothing compiled: what somebody waits for who
has just installed the lecture. The environment is there already, and so are the images. At the
quick budget first, then cold at the full one, on the same images and on scikit-learn's digits.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from timing import ROOT, arguments_of, context, images, medians, parser, table, timed, write

CHAPTER = Path("book") / "04_gaussian_kl.md"


def main() -> None:
    """Measures, prints and, if asked, records."""
    arguments = arguments_of(parser(__doc__, rounds=1), "book")
    seconds: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            for name, value in of_a_copy(Path(folder)).items():
                seconds.setdefault(name, []).append(value)
    median = medians(seconds)
    print(table(["make book", "s"], [[name, f"{value:.1f}"] for name, value in median.items()]))
    results = {"chapter": CHAPTER.stem, "seconds": seconds, "median_s": median}
    write(context(images()) | results, arguments.out)


def of_a_copy(folder: Path) -> dict[str, float]:
    """Seconds of three builds of a copy of the project."""
    copy = folder / "project"
    ours = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(ours, cwd=ROOT, check=True, capture_output=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)

    def build(budget: str, **changed: str) -> None:
        places = {"LECTURE_VAE_RUNS": str(folder / budget), "XDG_CACHE_HOME": str(folder / "cache")}
        environment = os.environ | places | changed | {"LECTURE_VAE_BUDGET": budget}
        command = [sys.executable, "-m", "lecture_book.build"]
        subprocess.run(command, cwd=copy, env=environment, check=True, stdout=subprocess.DEVNULL)

    def cold(budget: str, **changed: str) -> float:
        for made in (copy / "_build", folder / budget, folder / "cache"):
            shutil.rmtree(made, ignore_errors=True)
        return timed(lambda: build(budget, **changed))

    quick = partial(build, "quick")
    found = {"cold": cold("quick"), "nothing changed": timed(quick)}
    with (copy / CHAPTER).open("a", encoding="utf8") as chapter:
        chapter.write("\nOne more sentence.\n")
    found["the text of a chapter changed"] = timed(quick)
    found["cold, full budget"] = cold("full")
    found["cold, full budget, the digits"] = cold("full", LECTURE_VAE_DATA="digits")
    return found


if __name__ == "__main__":
    main()

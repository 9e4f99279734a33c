"""How long does `make book` take: cold, with nothing changed, with the text of a chapter changed?

At the quick budget, in a copy of the project, with an empty run store: what somebody waits for who
has just installed the lecture. The environment is there already, and so are the images.
"""

import os
import shutil
import subprocess
import sys
import tempfile
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

    def build() -> None:
        changed = {"LECTURE_VAE_RUNS": str(folder / "runs"), "LECTURE_VAE_BUDGET": "quick"}
        command = [sys.executable, "-m", "lecture_book.build"]
        environment = os.environ | changed
        subprocess.run(command, cwd=copy, env=environment, check=True, stdout=subprocess.DEVNULL)

    found = {"cold": timed(build), "nothing changed": timed(build)}
    with (copy / CHAPTER).open("a", encoding="utf8") as chapter:
        chapter.write("\nOne more sentence.\n")
    return found | {"the text of a chapter changed": timed(build)}


if __name__ == "__main__":
    main()

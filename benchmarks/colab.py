"""Do the chapters' notebooks run in environments like Colab's, with our package and without it?

`python benchmarks/colab.py --record` makes environments of other versions of torch, NumPy and
Matplotlib, runs every notebook of `book/` in each of them from top to bottom, and writes
`results/colab.json`. Each notebook runs twice: first without the package, which its first cell must
install without touching what is there, then with it. What is installed is the last commit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import clean_environment, environment, version_in
from timing import ROOT, context, write

from lecture_book.notebooks.book import read_book
from lecture_book.notebooks.cells import install_cell

# Versions like Colab's: torch and torchvision that belong together, NumPy, Matplotlib.
VERSIONS = (
    {"torch": "2.6.0", "torchvision": "0.21.0", "numpy": "1.26.4", "matplotlib": "3.8.4"},
    {"torch": "2.8.0", "torchvision": "0.23.0", "numpy": "2.0.2", "matplotlib": "3.10.0"},
    {"torch": "2.10.0", "torchvision": "0.25.0", "numpy": "2.2.6", "matplotlib": "3.10.8"},
)
OTHERS = "ipykernel", "nbconvert", "pandas", "pip", "scikit-learn", "scipy", "seaborn", "tqdm"
LIMIT_S = 900


def source() -> str:
    """Where the first cell gets the package from, here: the last commit of this checkout."""
    git = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    return f"git+file://localhost{ROOT}@{commit}"


def from_here(notebook: Path, folder: Path) -> Path:
    """The notebook, its first cell changed so that it installs this checkout."""
    content = json.loads(notebook.read_text(encoding="utf8"))
    whole = install_cell(ROOT)
    address = whole.rpartition("@ ")[2].rstrip('"')
    (cell,) = (each for each in content["cells"] if "".join(each["source"]) == whole)
    cell["source"] = whole.replace(address, source())
    path = folder / notebook.name
    path.write_text(json.dumps(content), encoding="utf8")
    return path


def executed(python: Path, notebook: Path, store: Path) -> dict[str, Any]:
    """Seconds of a notebook from top to bottom, and the error that stopped it, if one did."""
    command = [
        python, "-m", "nbconvert", "--to", "notebook", "--execute",
        "--output", f"{notebook.stem}-executed", notebook,
    ]  # fmt: skip
    surroundings = clean_environment(store.parent, command) | {
        "LECTURE_VAE_RUNS": str(store), "LECTURE_VAE_DATA": "digits", "TQDM_DISABLE": "1",
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    begun = time.monotonic()
    try:
        done = subprocess.run(
            command, env=surroundings, cwd=notebook.parent, capture_output=True, text=True,
            timeout=LIMIT_S,
        )  # fmt: skip
        last = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except subprocess.TimeoutExpired:
        last = [f"not done after {LIMIT_S} s"]
    return {"seconds": round(time.monotonic() - begun, 1), "error": "".join(last)}


def trial(asked: dict[str, str], notebooks: list[Path], folder: Path) -> dict[str, Any]:
    """All notebooks in one environment, without the package and with it."""
    exact = [f"{name}=={version}" for name, version in asked.items()]
    python = environment(folder / f"torch-{asked['torch']}", [*exact, *OTHERS], [])
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        store = Path(place) / "runs"
        for notebook in notebooks:
            here = from_here(notebook, Path(place))
            removed = [sys.executable, "-m", "uv", "pip", "uninstall", "-q", "--python", python]
            subprocess.run([*removed, "lecture-vae"], check=True, capture_output=True)
            ways = {way: executed(python, here, store) for way in ("without", "with")}
            found[notebook.stem] = ways
            print(asked["torch"], notebook.stem, json.dumps(ways), flush=True)
    after = {name: version_in(python, name) for name in asked}
    return {"versions": asked, "after": after, "notebooks": found}


def faults_of(environments: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Each notebook that stopped, and each library that another version has replaced."""
    stopped = [
        (each["versions"]["torch"], name, way, end["error"])
        for each in environments
        for name, ways in each["notebooks"].items()
        for way, end in ways.items()
        if end["error"]
    ]
    replaced = [
        (each["versions"]["torch"], name, version, each["after"][name])
        for each in environments
        for name, version in each["versions"].items()
        if each["after"][name] != version
    ]
    return stopped + replaced


def main() -> None:
    """Runs the notebooks, prints and, if asked, records."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--record", action="store_true", help="write results/colab.json")
    options.add_argument("--environments", type=Path, default=ROOT / "_build" / "colab")
    options.add_argument("notebooks", nargs="*", help="names, such as 05_linear_vae; else all")
    arguments = options.parse_args()
    names = arguments.notebooks or [page.stem for page in read_book(ROOT).notebooks]
    paths = [ROOT / "book" / f"{name}.ipynb" for name in names]
    found = [trial(asked, paths, arguments.environments) for asked in VERSIONS]
    for each in found:
        seconds = sum(
            end["seconds"] for ways in each["notebooks"].values() for end in ways.values()
        )
        print(f"torch {each['versions']['torch']}: {seconds:.0f} s")
    faults = [*map(str, faults_of(found))]
    print(*faults, sep="\n")
    out = ROOT / "results" / "colab.json" if arguments.record else None
    write(context(None) | {"environments": found}, out)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

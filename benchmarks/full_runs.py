"""One whole run in each library, from start to end: 25,000 steps and 100 evaluations.

Two cores each. Left out is what would take more than ten minutes by the steps that `peers.py` and
`conv_peers.py` recorded. The seconds are those of the library's own loop, compiling included; what
a process needs to start and to read the images is not in them.
"""

import json
import tempfile
from itertools import count
from pathlib import Path

from peers import ENVIRONMENTS, LECTURE_STEPS, PEERS, python_of, save_images, start
from timing import ROOT, arguments_of, context, images, parser, table, write

RECORDS = {"linear-vae": "peers", "conv-vae": "conv_peers"}
MODE, MOST = "two cores", 600.0  # seconds


def main() -> None:
    """Measures, prints and, if asked, records."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--environments", type=Path, default=ENVIRONMENTS)
    arguments = arguments_of(options, "full_runs")
    arguments.steps, arguments.eval_every = LECTURE_STEPS, 250
    data = images()
    results = context(data) | {"steps": LECTURE_STEPS, "eval_every": 250, "models": {}}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        file = save_images(data, Path(folder))
        for arguments.model, record in RECORDS.items():
            recorded = json.loads((ROOT / "results" / f"{record}.json").read_text(encoding="utf8"))
            found = results["models"][arguments.model] = {}
            for name, peer in recorded["peers"].items():
                run = peer["modes"][MODE]
                foreseen = run["ms_per_step"] * LECTURE_STEPS / 1e3 + run["evaluation_ms"] / 10
                if foreseen > MOST or PEERS[name].models > 1:
                    continue
                python = python_of(PEERS[name], arguments.environments)
                (told,) = start(PEERS[name], python, file, MODE, arguments, count())
                found[name] = {
                    "seconds": sum(told["chunks"]),
                    "foreseen_s": foreseen,
                    "test_loss": told["test_loss"],
                }
                print(arguments.model, name, found[name], flush=True)
    rows = [
        [model, name, *(f"{run[key]:.1f}" for key in ("seconds", "foreseen_s", "test_loss"))]
        for model, found in results["models"].items()
        for name, run in found.items()
    ]
    print(table(["model", "", "s", "foreseen s", "test loss"], rows))
    write(results, arguments.out)


if __name__ == "__main__":
    main()

"""How long does the exact evidence of 10,000 images on 256 x 256 latents take, and how much memory?

The floor is the matrix product alone: of the images with the decoder's images, in the same blocks.
Both run in a process of their own, which reports its peak.
"""

import json
import resource
import subprocess
import sys
from statistics import median
from time import perf_counter

import torch
from timing import ROOT, arguments_of, context, images, parser, table, write

from lecture_vae import GaussianPixels, LatentGrid, build_model, log_evidence
from lecture_vae.cluster import cores
from lecture_vae.evidence import IMAGES
from lecture_vae.quadrature import blocks


def main() -> None:
    """Measures, prints and, if asked, records."""
    if len(sys.argv) > 2 and sys.argv[1] == "--case":
        print(json.dumps(case(sys.argv[2])))
        return
    arguments = arguments_of(parser(__doc__, rounds=3), "evidence")
    names = "torch", "product", "evidence"
    rounds = [{name: measured(name) for name in names} for _ in range(arguments.rounds)]
    result = {
        name: {key: median(each[name][key] for each in rounds) for key in rounds[0][name]}
        for name in names
    }
    beyond = {name: row["mb"] - result["torch"]["mb"] for name, row in result.items()}
    rows = [[name, f"{result[name]['seconds']:.1f}", f"{beyond[name]:.0f}"] for name in names]
    print(table(["", "seconds", "MB beyond torch"], rows))
    results = {
        "points": LatentGrid().points,
        "cores": cores(),
        "median_s": {name: row["seconds"] for name, row in result.items()},
        "beyond_torch_mb": beyond,
    }
    write(results | context(images()), arguments.out)


def measured(name: str) -> dict[str, float]:
    """Seconds and the peak of memory of a case, in a process of its own."""
    command = [sys.executable, str(ROOT / "benchmarks" / "evidence.py"), "--case", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def case(name: str) -> dict[str, float]:
    """One case: nothing but `import torch`, the product, or the evidence."""
    if name == "torch":
        return {"seconds": 0.0, "mb": peak_mb()}
    x = images().test.images
    model, grid = build_model("linear-vae").eval(), LatentGrid()
    started = perf_counter()
    if name == "product":
        with torch.inference_mode():
            for block in blocks(grid.latents()):
                x_hat = model.decode(block.float()).flatten(1)
                for part in x.flatten(1).split(IMAGES):
                    part @ x_hat.T
    if name == "evidence":
        log_evidence(model, x, likelihood=GaussianPixels(0.03))
    seconds = perf_counter() - started
    return {"seconds": seconds, "mb": peak_mb()}


def peak_mb() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()

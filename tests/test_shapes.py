"""The shapes and types in the signatures are true: here each call is checked against them.

In a process of its own, because the checks are woven in when the package is imported.
"""

import os
import subprocess
import sys
import textwrap

PRELUDE = """
    import sys, types
    from beartype import BeartypeConf, beartype
    from jaxtyping import install_import_hook

    # As everywhere in Python, a whole number may stand where a float is asked for.
    checker = types.ModuleType("checker")
    checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))
    sys.modules["checker"] = checker
    hook = install_import_hook("lecture_vae", "checker.check")

    import torch
    from lecture_vae import *
    from lecture_vae.networks import MODELS, default_objective
    from lecture_vae.losses import OBJECTIVES
"""

EVERYTHING = """
    import numpy as np
    from lecture_vae.diagnostics import principal_plane
    from lecture_vae.reproduction import report

    data = load_images("digits")
    config = TrainConfig(steps=2, eval_every=1, batch_size=4)
    for name in MODELS:
        objective = OBJECTIVES[default_objective(name)]()
        run = fetch_run(name, objective, data, config, device="cpu")
        report(open_run(run.key), data)
        out = run.model(data.test.images[:5])
        squared_error(data.test.images[:5], out.x_hat)
        codes = np.stack(run.history.latents)
        if not np.issubdtype(codes.dtype, np.floating):
            continue  # numbers of a codebook have no plane
        evolution = principal_plane(codes)
        latent_evolution(evolution, data.test.labels.numpy(), run.history.steps, description="x")
        plot_latents(evolution[-1], data.test.labels)
        plot_history({name: run.history.frame()})
        plot_reconstructions({"original": data.test.images[:5], name: out.x_hat})
        if hasattr(out, "log_var"):
            negative_elbo(data.test.images[:5], out)
            kl_per_latent(out.mu, out.log_var)
            active_units(out.mu)
    total_variance(data.test.images)
    for points in (latent_grid(3), quantile_grid(3)):
        plot_image_grid(build_model("linear-ae").decode(points), 3)
    print("fine")
"""

WRONG = """
    from jaxtyping import TypeCheckError
    try:
        kl_to_standard_normal(torch.zeros(3, dtype=torch.int64), torch.zeros(3))
    except TypeCheckError:
        print("refused")
"""


def run(code):
    source = textwrap.dedent(PRELUDE) + textwrap.dedent(code)
    result = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=dict(os.environ)
    )
    assert result.returncode == 0, result.stderr[-3_000:]
    return result.stdout


def test_every_public_function_keeps_what_its_signature_says():
    assert "fine" in run(EVERYTHING)


def test_the_check_refuses_a_wrong_type():
    assert "refused" in run(WRONG)

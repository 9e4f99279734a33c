"""Companion package of the lecture on variational autoencoders.

Every public name is an attribute of the package, in reading order. A module is imported when the
first of its names is used, so that ``import lecture_vae`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_NAMES = {
    "mnist": ("DataError",),
    "data": ("ImageData", "Split", "load_images"),
    "registry": ("import_definitions",),
    "distributions": (
        "reparameterize", "kl_to_standard_normal", "log_standard_normal",
        "Posterior", "Point", "DiagonalGaussian",
    ),
    "likelihoods": (
        "squared_error", "Likelihood", "GaussianPixels", "BernoulliPixels", "register_likelihood",
    ),
    "models": (
        "Model", "AEOutput", "VAEOutput", "Autoencoder", "VAE",
    ),
    "networks": (
        "LinearAE", "LinearVAE", "ConvAE", "ConvVAE", "AffineVAE",
        "MODELS", "register", "build_model",
    ),
    "losses": (
        "negative_elbo", "pixel_mean_kl_weight", "image_sum_kl_weight",
        "Objective", "SquaredError", "NegativeELBO", "NegativeIWAE", "register_objective",
    ),
    "quantized": ("Quantized", "VQVAE", "QuantizedError", "perplexity"),
    "remedies": ("KLWarmUp", "FreeBits", "FittedVariance"),
    "randomness": ("bernoulli",),
    "binarized": ("BinarizedELBO",),
    "code_prior": ("CodePrior", "fit_code_prior"),
    "evaluation": ("Evaluation", "evaluate"),
    "history": ("History",),
    "training": ("TrainConfig", "train"),
    "budgets": ("budget", "lecture_config"),
    "recipe": ("NotStorableError", "RunSpec"),
    "store": ("Run", "StoreError", "open_run", "store_folder"),
    "runs": ("fetch_run", "fetch_runs"),
    "diagnostics": (
        "kl_per_latent", "active_units", "principal_variances", "total_variance",
        "AffineVAEOptimum", "collapse_weights", "affine_vae_optimum", "used_latents",
        "RateDistortion", "rate_distortion",
    ),
    "calibration": ("calibrated_variance", "bits_per_dim"),
    "quadrature": ("LatentGrid",),
    "evidence": ("Evidence", "log_evidence", "true_posterior"),
    "bounds": ("elbo", "iwae_bound", "posterior_gap"),
    "aggregate": ("aggregate_kl", "information"),
    "diagnosis": ("Diagnosis", "diagnose_run"),
    "sweep": ("sweep_runs", "sweep_specs", "sweep_table"),
    "plots": (
        "plot_latents", "plot_history", "plot_latent_evolution", "plot_rate_distortion",
    ),
    "grids": ("latent_grid", "quantile_grid", "plot_image_grid", "plot_reconstructions"),
    "video": ("Video", "record"),
    "animation": ("latent_evolution",),
    "live": ("export_balance", "export_run"),
}  # fmt: skip
_HOME = {name: module for module, names in _NAMES.items() for name in names}
__all__ = list(_HOME)

if TYPE_CHECKING:
    from lecture_vae.mnist import *
    from lecture_vae.data import *
    from lecture_vae.registry import *
    from lecture_vae.distributions import *
    from lecture_vae.likelihoods import *
    from lecture_vae.models import *
    from lecture_vae.networks import *
    from lecture_vae.losses import *
    from lecture_vae.quantized import *
    from lecture_vae.remedies import *
    from lecture_vae.randomness import *
    from lecture_vae.binarized import *
    from lecture_vae.code_prior import *
    from lecture_vae.evaluation import *
    from lecture_vae.history import *
    from lecture_vae.training import *
    from lecture_vae.budgets import *
    from lecture_vae.recipe import *
    from lecture_vae.store import *
    from lecture_vae.runs import *
    from lecture_vae.diagnostics import *
    from lecture_vae.calibration import *
    from lecture_vae.quadrature import *
    from lecture_vae.evidence import *
    from lecture_vae.bounds import *
    from lecture_vae.aggregate import *
    from lecture_vae.diagnosis import *
    from lecture_vae.sweep import *
    from lecture_vae.plots import *
    from lecture_vae.grids import *
    from lecture_vae.video import *
    from lecture_vae.animation import *
    from lecture_vae.live import *


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lecture_vae' has no attribute {name!r}")
    return getattr(import_module(f"lecture_vae.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])

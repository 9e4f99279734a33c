"""Binarized images: the objective whose images are drawn anew at every step, in ink and paper.

The benchmark of the literature on generative models is MNIST with pixels of 0 and 1, drawn from the
gray levels: *dynamic binarization*, Salakhutdinov & Murray (2008). Of such images a Bernoulli
decoder is a proper likelihood, in nats that can be compared between papers.
"""

from dataclasses import dataclass, field

from torch import Tensor

from lecture_vae.likelihoods import BernoulliPixels, Likelihood
from lecture_vae.losses import NegativeELBO, register_objective
from lecture_vae.randomness import bernoulli

__all__ = ["BinarizedELBO"]


@dataclass(frozen=True)
class BinarizedELBO(NegativeELBO):
    """:class:`~lecture_vae.losses.NegativeELBO` of images that are binarized anew at every step.

    Each pixel is 1 with the probability that its gray level gives, else 0; chapter 9 compares its
    runs with published ones. The encoder sees the drawn image, and the decoder is to predict it.
    All evaluations draw the same test images. With the default likelihood and weight the loss is
    the negative ELBO, in nats per image, with no constant left out.

    Args:
        likelihood: p(x | z), by default Bernoulli pixels.

    Raises:
        ValueError: As ``NegativeELBO``.

    Examples:
        >>> gray = torch.full((1, 1, 32, 32), 0.25)
        >>> objective = BinarizedELBO()
        >>> first, second = (objective.inputs(gray, seed=0, step=step) for step in (1, 2))
        >>> first.unique().tolist(), torch.equal(first, second)
        ([0.0, 1.0], False)
    """

    likelihood: Likelihood = field(default_factory=BernoulliPixels)

    def inputs(self, x: Tensor, seed: int, step: int) -> Tensor:
        """Zeros and ones, drawn with the gray levels as probabilities, [B, 1, 32, 32]."""
        return bernoulli(x, seed, step)


register_objective("binarized-elbo", BinarizedELBO)

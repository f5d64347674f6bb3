"""What the VQGAN minimises: the terms as pure functions, and their weights in one place.

Sources: published code (terms and weights), VQGAN paper (Esser et al. 2021: hinge loss, adaptive weight).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from data_modules.errors import InputError
from data_modules.roi.extract import FOREGROUND_THRESHOLD, foreground
from tumorgen.methods.vqgan.discriminator import DiscriminatorOutput
from tumorgen.methods.vqgan.image_gradient import image_gradient_loss
from tumorgen.types import Labels, Scalar, Volume

__all__ = [
    "GeneratorTerms",
    "VQGANObjective",
    "adaptive_weight",
    "adversarial_loss",
    "feature_matching_loss",
    "hinge_discriminator_loss",
    "image_gradient_loss",
    "importance_cross_entropy",
    "outline_loss",
    "pixel_loss",
]

MATCHED_FEATURES = 4
GRADIENT_SCALE = 2.0**12
OUTLINE_SOFTNESS = 0.1


def pixel_loss(x: Volume, x_hat: Volume) -> Scalar:
    """Return the mean absolute difference, in float32."""
    return F.l1_loss(x_hat.float(), x.float())


def outline_loss(x: Volume, x_hat: Volume) -> Scalar:
    """Return the binary cross entropy of which voxels are tumour, in float32: does each lie on its side of -0.9?

    The logit of a reconstructed voxel is its distance from the threshold in units of 0.1 of intensity. The pixel term
    hardly feels a rim that fades from tumour to black over a voxel or two, but all of it lies above the threshold: the
    shape comes out too large. (Not in the published recipe.)
    """
    logits = (x_hat.float() - FOREGROUND_THRESHOLD) / OUTLINE_SOFTNESS
    return F.binary_cross_entropy_with_logits(logits, foreground(x).float())


def feature_matching_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Scalar:
    """Return the mean absolute difference of the discriminator's features, summed over its first four feature maps.

    Args:
        real: features of the real volume; no gradient passes into them.
        fake: features of the reconstruction.
    """
    pairs = list(zip(real, fake, strict=True))[:MATCHED_FEATURES]
    return torch.stack([F.l1_loss(b.float(), a.detach().float()) for a, b in pairs]).sum()


def adversarial_loss(fake_logits: Tensor) -> Scalar:
    """Return -mean(D(reconstruction)), the generator's side of the hinge game."""
    return -fake_logits.float().mean()


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Scalar:
    """Return 0.5 * (mean relu(1 - D(x)) + mean relu(1 + D(x_hat))); `fake_logits` of a detached reconstruction."""
    return 0.5 * (F.relu(1 - real_logits.float()).mean() + F.relu(1 + fake_logits.float()).mean())


def importance_cross_entropy(
    logits: Float[Tensor, "batch num_classes"], labels: Labels, label_smoothing: float = 0.1
) -> Scalar:
    """Return the cross entropy that trains the importance score net, in float32."""
    return F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)


def adaptive_weight(pixel: Scalar, adversarial: Scalar, last_layer: Tensor) -> Scalar:
    """Balance the adversarial term against the pixel term: |grad pixel| / (|grad adversarial| + 1e-4) in [0, 1].

    Both gradients are those at the decoder's last convolution only (VQGAN paper; no other layer is differentiated).

    Args:
        pixel: the unweighted L1.
        adversarial: the unweighted adversarial term.
        last_layer: weight of the decoder's last convolution.

    Returns:
        A detached float32 weight; 0 where a gradient is not finite, so that one bad step cannot spoil the network.
    """
    norms = []
    for term in (pixel, adversarial):
        # Scaled by a power of two, undone exactly: voxelwise gradients of a mean over 128^3 underflow in float16
        (gradient,) = torch.autograd.grad(GRADIENT_SCALE * term, last_layer, retain_graph=True)
        norms.append(gradient.float().norm() / GRADIENT_SCALE)
    weight = norms[0] / (norms[1] + 1e-4)
    return torch.where(norms[0].isfinite() & norms[1].isfinite(), weight, 0.0).clamp(0, 1).detach()


class GeneratorTerms(NamedTuple):
    """The unweighted terms of the generator step; `_asdict()` gives them by name for the log."""

    pixel: Scalar
    perceptual: Scalar
    commitment: Scalar
    feature_matching: Scalar
    image_gradient: Scalar
    adversarial: Scalar
    importance: Scalar
    outline: Scalar


class VQGANObjective:
    """The weights of the VQGAN's loss; the defaults are the published configuration.

    In the published code the generator's losses also accumulate gradients in the discriminator, which then descends them
    too. That is a slip of its training step, not a term of the loss, and tumorgen has no option for it.

    Args:
        pixel: weight of the L1 term.
        perceptual: weight of the perceptual term.
        commitment: weight of the quantiser's commitment loss.
        feature_matching: weight of the discriminator's feature matching.
        image_gradient: weight of the image gradient loss.
        adversarial: factor on top of the adaptive weight.
        outline: weight of the outline term; published: 0, without it.
        reconstruction_share: share of all the terms above in the total.
        importance_share: share of the importance cross entropy.
        label_smoothing: of that cross entropy.
        feature_matching_from_start: True matches features of the still untrained discriminator before
            `discriminator_start` too, as in the published code.
    """

    def __init__(
        self,
        pixel: float = 4.0,
        perceptual: float = 1.0,
        commitment: float = 1.0,
        feature_matching: float = 4.0,
        image_gradient: float = 4.0,
        adversarial: float = 1.0,
        outline: float = 0.0,
        reconstruction_share: float = 0.8,
        importance_share: float = 0.2,
        label_smoothing: float = 0.1,
        feature_matching_from_start: bool = False,
    ) -> None:
        weights = {
            "pixel": pixel,
            "perceptual": perceptual,
            "commitment": commitment,
            "feature_matching": feature_matching,
            "image_gradient": image_gradient,
            "adversarial": adversarial,
            "outline": outline,
            "reconstruction_share": reconstruction_share,
            "importance_share": importance_share,
        }
        for name, value in weights.items():
            if value < 0:
                raise InputError(f"objective.{name} is {value}; expected a weight of at least 0.")
        if not 0 <= label_smoothing < 1:
            raise InputError(f"objective.label_smoothing is {label_smoothing}; expected a share in [0, 1).")
        self.pixel = pixel
        self.perceptual = perceptual
        self.commitment = commitment
        self.feature_matching = feature_matching
        self.image_gradient = image_gradient
        self.adversarial = adversarial
        self.outline = outline
        self.reconstruction_share = reconstruction_share
        self.importance_share = importance_share
        self.label_smoothing = label_smoothing
        self.feature_matching_from_start = feature_matching_from_start

    def judges_generator(self, started: bool) -> bool:
        """Return whether the generator step needs the discriminator, given whether it has started."""
        return started or self.feature_matching_from_start

    def generator_terms(
        self,
        x: Volume,
        x_hat: Volume,
        commitment: Scalar,
        logits: Float[Tensor, "batch num_classes"] | None,
        labels: Labels,
        perceptual: Scalar | None = None,
        real: DiscriminatorOutput | None = None,
        fake: DiscriminatorOutput | None = None,
    ) -> GeneratorTerms:
        """Return every term of the generator step by name.

        Args:
            x: real volumes in [-1, 1].
            x_hat: their reconstructions.
            commitment: from the quantiser.
            logits: from the importance score net; None where there is none.
            labels: classes of the volumes.
            perceptual: value of the perceptual term; None where it is turned off.
            real: the discriminator on `x` (may be computed without gradients); None before it is needed.
            fake: the discriminator on `x_hat`.
        """
        zero = x_hat.new_zeros(())
        matching, adversarial = zero, zero
        if real is not None and fake is not None:
            matching = feature_matching_loss(real.features, fake.features)
            adversarial = adversarial_loss(fake.logits)
        return GeneratorTerms(
            pixel=pixel_loss(x, x_hat),
            perceptual=zero if perceptual is None else perceptual,
            commitment=commitment,
            feature_matching=matching,
            image_gradient=image_gradient_loss(x, x_hat),
            adversarial=adversarial,
            importance=zero if logits is None else importance_cross_entropy(logits, labels, self.label_smoothing),
            outline=outline_loss(x, x_hat) if self.outline else zero,
        )

    def total(self, terms: GeneratorTerms, adaptive: Scalar | float) -> Scalar:
        """Weigh and add the terms.

        Args:
            terms: of the generator step.
            adaptive: the adaptive weight of the adversarial term; 0 before the discriminator starts.
        """
        reconstruction = (
            self.pixel * terms.pixel
            + self.perceptual * terms.perceptual
            + self.commitment * terms.commitment
            + self.feature_matching * terms.feature_matching
            + self.image_gradient * terms.image_gradient
            + self.adversarial * adaptive * terms.adversarial
            + self.outline * terms.outline
        )
        return self.reconstruction_share * reconstruction + self.importance_share * terms.importance

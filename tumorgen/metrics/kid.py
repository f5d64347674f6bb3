"""Kernel inception distance: unbiased MMD^2 with a cubic kernel on features, for any two numbers of cases."""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tumorgen.metrics.metric import Measure, Metric, Real, Rows, Volumes, joined
from tumorgen.metrics.two_sample import kernel_measure, mmd2

DEGREE = 3


def polynomial_kernel(a: Rows, b: Rows) -> Float[Tensor, "m n"]:
    """(a . b / width + 1)^3, float64; pooled cases against themselves are what `mmd2` and its kin take."""
    return (a.double() @ b.double().T / a.shape[1] + 1) ** DEGREE


def kid(generated: Rows, real: Rows) -> float:
    """KID (Binkowski et al. 2018, arXiv:1801.01401) of all cases at once; about zero for one distribution.

    The original averages over subsets of equal size, which has the same expectation and more variance.

    Raises:
        ValueError: There are fewer than two cases of either.
    """
    pooled = torch.cat([generated, real])
    return mmd2(polynomial_kernel(pooled, pooled), len(generated))


def definition() -> dict[str, Any]:
    """What the value means."""
    return {
        "title": "KID",
        "recipe": "unbiased squared maximum mean discrepancy of all cases at once, no subsets (Binkowski et al. 2018)",
        "kernel": f"(a . b / width + 1)^{DEGREE}",
        "inputs": "features",
        "test": "permutation of the labels generated and real",
        "unit": "1",
        "better": "lower",
    }


class KID(Metric):
    """`kid`: in every feature space."""

    def prepare(self, real: Real) -> Measure:
        """Nothing but the floors."""
        return joined(
            [
                kernel_measure(
                    real,
                    "kid",
                    partial(Volumes.features, extractor=extractor),
                    polynomial_kernel,
                    {**definition(), "extractor": extractor.description()},
                )
                for extractor in real.extractors
            ]
        )

"""Classes of a user's own, outside of tumorgen."""

from tumorgen.methods.transformer.decoding import CachedAutoregressive
from tumorgen.methods.vqgan.quantizers.fsq import FSQQuantizer


class SignQuantizer(FSQQuantizer):
    """Four bits; `beta` and `code_dim` are options of the shipped codebook too, with other defaults."""

    def __init__(self, code_dim: int = 6, beta: float = 0.25) -> None:
        super().__init__((2, 2, 2, 2), code_dim)
        self.beta = beta


class WarmSampler(CachedAutoregressive):
    """The default sampler with another default."""

    def __init__(self, temperature: float = 1.5, top_k: int | None = None) -> None:
        super().__init__(temperature, top_k)

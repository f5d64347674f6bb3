"""How the arithmetic is done, apart from what is computed; precision itself is ``trainer.precision``."""

from dataclasses import dataclass


@dataclass
class Compute:
    """Speed and memory of training; none of them changes the result beyond rounding, except accumulation and clipping.

    Attributes:
        channels_last: Volumes and convolution weights in channels_last_3d: about twice as fast under bf16.
        compile: Compile the networks with `torch.compile` (minutes at the start, worth it for long runs on a GPU).
        checkpoint_levels: Finest levels of encoder and decoder whose activations are computed again in the backward pass.
        accumulate_batches: Batches whose gradients are summed before the optimizers step.
        clip_gradients: Gradients are clipped to [-value, value], element by element (published: 1.0); None leaves them.
    """

    channels_last: bool = True
    compile: bool = False
    checkpoint_levels: int = 0
    accumulate_batches: int = 1
    clip_gradients: float | None = 1.0

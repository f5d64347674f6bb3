"""One of two gloo ranks that train a codebook on features of their own; started by test_quantizers.py."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from tumorgen.methods.vqgan.quantizers.cosine_ema import CosineEMAQuantizer

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
# Different seeds, sizes and directions: nothing may come out equal by accident
torch.manual_seed(rank)
corner = torch.tensor([1.0, 1.0, 0.0, 0.0]) * (1 - 2 * rank)


def features() -> torch.Tensor:
    """Twelve tokens on rank 0 and twenty on rank 1."""
    return corner + 0.2 * torch.randn(12 + 8 * rank, 4)


def step(rows: torch.Tensor) -> None:
    """One training step on tokens in a line."""
    quantizer(rows.T[None, :, None, None])


quantizer = CosineEMAQuantizer(8, 4, revive_after=None, decay=1.0)
rows = features()
step(rows)
initial = quantizer.codebook.clone()
quantizer.decay = 0.99
step(rows)
after_one = quantizer.codebook.clone()
quantizer.revive_after = 2
quantizer.codebook[3:] = torch.tensor([0.0, 0.0, 0.0, 1.0])
before = quantizer.codebook.clone()
for _ in range(4):
    step(features())
torch.save(
    {
        "initial": initial,
        "after_one": after_one,
        "features": rows,
        "codebook": quantizer.codebook,
        "idle_steps": quantizer.idle_steps,
        "revived": ((quantizer.codebook - before).abs().sum(1) > 0.5).sum(),
    },
    folder / f"rank{rank}.pt",
)
dist.destroy_process_group()

"""Every metric between two sets, two sets for them, and what one of two gloo ranks makes of its share of the cases."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from tumorgen.metrics.frechet import FID
from tumorgen.metrics.kid import KID
from tumorgen.metrics.manifold import PRDC
from tumorgen.metrics.mmd import MMD, PaperMMD

METRICS = {"mmd": MMD(), "mmd_fixed": MMD(2.5), "paper": PaperMMD(4), "kid": KID(), "fid": FID(), "prdc": PRDC(k=3)}


def cases():
    """25 generated and 31 real cases of 6 features."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(25, 6, generator=generator) + 0.5, torch.randn(31, 6, generator=generator)


def figures_of(rank):
    """Figures on this rank: rank 0 holds no real case, rank 1 more generated ones and real ones in two batches."""
    generated, real = cases()
    for metric in METRICS.values():
        metric.update(generated[:9] if rank == 0 else generated[9:], real=False)
        if rank == 1:
            metric.update(real[:20], real=True)
            metric.update(real[20:], real=True)
    return {name: metric.compute() for name, metric in METRICS.items()}


if __name__ == "__main__":
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.save(figures_of(rank), folder / f"rank{rank}.pt")
    dist.destroy_process_group()

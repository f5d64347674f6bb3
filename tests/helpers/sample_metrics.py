"""Metrics of generated volumes alone, for one process and for two gloo ranks; run as a script it is one of two ranks."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from toy import Blobs

from tumorgen.metrics.memorisation import MemorisationShare, nearest, reduced, voxel_distances
from tumorgen.metrics.ms_ssim import MSSSIMDiversity
from tumorgen.metrics.reconstruction import ReconstructionMetrics
from tumorgen.metrics.shape import ShapePlausibility, shape_of

SIZE = 16


def volumes(count, seed):
    return torch.stack([item["volume"] for item in Blobs(count, SIZE, seed)])


def figures(parts):
    """All figures of seven volumes, added in parts."""
    generated, training, held_out = volumes(7, 0), reduced(volumes(6, 100)), reduced(volumes(6, 200))
    generated[2] = training[3].flip(1)
    metrics = {
        "share": MemorisationShare(training, nearest(voxel_distances(held_out, training)).distances),
        "diversity": MSSSIMDiversity(("LGG", "HGG"), pairs=4, seed=1),
        "shape": ShapePlausibility([shape_of(volume[0].numpy(), 1.0) for volume in volumes(20, 300)], 1.0),
        "reconstruction": ReconstructionMetrics(),
    }
    labels = torch.arange(7) % 2
    for part in parts:
        metrics["share"].update(generated[part])
        metrics["diversity"].update(generated[part], labels[part])
        metrics["shape"].update(generated[part])
        metrics["reconstruction"].update(generated[part], generated[part].mul(0.9).sub(0.1))
    found = {}
    for name, metric in metrics.items():
        value = metric.compute()
        found |= {f"{name}/{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    return {name: float(value) for name, value in found.items()}


if __name__ == "__main__":
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    dealt = figures([[0, 2], [4, 6]] if rank == 0 else [[1], [3, 5]])  # interleaved, as a distributed sampler does it
    alone = figures([list(range(7))] if rank == 0 else [])
    torch.save({"dealt": dealt, "alone": alone}, folder / f"rank{rank}.pt")
    dist.destroy_process_group()

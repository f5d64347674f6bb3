"""Metrics of reconstructions, for one process and for two gloo ranks; run as a script it is one of two ranks."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from toy import Blobs

from tumorgen.metrics.reconstruction import ReconstructionMetrics

SIZE = 16


def volumes(count, seed):
    return torch.stack([item["volume"] for item in Blobs(count, SIZE, seed)])


def values(parts):
    """All metrics of seven volumes and their reconstructions, added in parts."""
    volume, metric = volumes(7, 0), ReconstructionMetrics()
    for part in parts:
        metric.update(volume[part], volume[part].mul(0.9).sub(0.1))
    return {name: float(value) for name, value in metric.compute().items()}


if __name__ == "__main__":
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    dealt = values([[0, 2], [4, 6]] if rank == 0 else [[1], [3, 5]])  # interleaved, as a distributed sampler does it
    alone = values([list(range(7))] if rank == 0 else [])
    torch.save({"dealt": dealt, "alone": alone}, folder / f"rank{rank}.pt")
    dist.destroy_process_group()

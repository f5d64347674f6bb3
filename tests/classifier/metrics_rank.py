"""One of two gloo ranks that judge cases, two of them twice; started by test_figures.py."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from tumorgen.classifier.metrics import GradeMetrics

rank, folder = int(sys.argv[1]), Path(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
logits, labels = torch.load(folder / "cases.pt", weights_only=True)
# as a sampler deals eleven cases: every second one, and the first again to fill up
own = [*range(rank, len(labels), 2), *([0] if rank else [])]
figures = GradeMetrics(positive_label=1)
for batch in torch.tensor(own).split(4):
    figures.update(logits[batch], labels[batch], [f"case{i}" for i in batch.tolist()])
(folder / f"rank{rank}.json").write_text(json.dumps({name: float(v) for name, v in figures.compute().items()}))
dist.destroy_process_group()

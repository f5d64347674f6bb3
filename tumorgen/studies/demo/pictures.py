"""The two sheets that a demonstration leaves."""

import torch

from tumorgen.methods.loading import load_method
from tumorgen.methods.vqgan.module import VQGAN
from tumorgen.results.sheets import Reconstructed, gallery, reconstruction_sheet, save
from tumorgen.studies.demo.check import read_samples, stack
from tumorgen.studies.demo.folders import DemoFolder


def draw_reconstructions(folder: DemoFolder, cases_per_class: int = 2) -> None:
    """Held-out originals, their reconstructions and importance overlays, three planes each."""
    model = load_method(folder.checkpoint("vqgan"), VQGAN)
    volumes, labels = stack(folder.data().test)
    chosen = torch.cat([(labels == label).nonzero()[:cases_per_class, 0] for label in range(len(model.class_names))])
    with torch.no_grad():
        encoding = model.encode(volumes[chosen])
        rebuilt = model.decode(encoding.codes)
    rows = [
        Reconstructed(
            model.class_names[int(labels[index])], volumes[index, 0].numpy(), after[0].numpy(), scores[0].numpy()
        )
        for index, after, scores in zip(chosen.tolist(), rebuilt, encoding.scores, strict=True)
    ]
    save(reconstruction_sheet(rows), folder.reconstructions)


def draw_samples(folder: DemoFolder, columns: int = 8) -> None:
    """Rows real LGG, generated LGG, real HGG, generated HGG: an axial slice through each tumour."""
    data = folder.data()
    volumes, labels = stack(data.test)
    samples, wanted = read_samples(folder.volumes, data.class_names)
    rows = []
    for label, name in enumerate(data.class_names):
        for kind, part, own in (("real", volumes, labels), ("generated", samples, wanted)):
            rows.append((f"{kind} {name}", [volume[0].numpy() for volume in part[own == label][:columns]]))
    save(gallery(rows), folder.sheet)

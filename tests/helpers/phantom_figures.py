"""Figures of a tumour by which phantoms are held against real gliomas."""

import math

import numpy as np
from scipy import ndimage

# Minimum, median and maximum of 17 real gliomas of BraTS 2021 (FLAIR, 1 mm).
REAL = {
    "voxels": (30_073, 135_309, 230_882),
    "extent": (41, 78, 134),
    "label 1": (0.0, 0.14, 0.83),
    "label 2": (0.04, 0.62, 0.99),
    "label 4": (0.0, 0.05, 0.47),
    "mean": (0.48, 0.68, 0.76),
    "spread": (0.05, 0.09, 0.20),
    "contrast": (1.09, 1.37, 2.37),
    "texture": (0.045, 0.061, 0.167),
    "compactness": (0.54, 0.66, 0.93),
    "largest": (0.988, 0.999, 1.0),
    "components": (1, 5, 35),
}


def figures(flair, segmentation):
    """One number per row of `REAL`, three for "extent" (bounding box per axis in voxels)."""
    total, brain = flair.sum(dtype=np.float64), np.count_nonzero(flair)
    box = ndimage.find_objects((segmentation > 0).astype(np.uint8))[0]
    padded = tuple(slice(max(part.start - 8, 0), part.stop + 8) for part in box)
    flair, segmentation = flair[padded].astype(np.float32), segmentation[padded]
    tumour = segmentation > 0
    voxels = int(tumour.sum())
    inside = flair[tumour]
    components, number = ndimage.label(tumour)
    surface = tumour & ~ndimage.binary_erosion(tumour)
    texture = (flair - ndimage.gaussian_filter(flair, 2))[tumour].std() / inside.mean()
    return {
        "voxels": voxels,
        "extent": tuple(part.stop - part.start for part in box),
        "label 1": float((segmentation == 1).sum() / voxels),
        "label 2": float((segmentation == 2).sum() / voxels),
        "label 4": float((segmentation == 4).sum() / voxels),
        "mean": float(inside.mean() / inside.max()),
        "spread": float(inside.std() / inside.max()),
        "contrast": float(inside.mean() / ((total - inside.sum(dtype=np.float64)) / (brain - voxels))),
        "texture": float(texture),
        "compactness": (36 * math.pi * voxels**2) ** (1 / 3) / int(surface.sum()),
        "largest": float(np.bincount(components.ravel())[1:].max() / voxels),
        "components": number,
    }

"""Regions of interest of phantoms, straight from memory."""

import numpy as np
import torch

from data_modules.phantoms.case import make_case
from data_modules.phantoms.cohort import AFFINE
from data_modules.phantoms.parameters import GRADES
from data_modules.roi.extract import extract
from data_modules.roi.images import Image


def regions(seed, number, first=1):
    """`number` LGG, then as many HGG regions (2 x number, 1, 32, 32, 32) at 4 mm."""
    volumes = []
    for grade in GRADES:
        for i in range(first, first + number):
            case = make_case(seed, grade, i)
            volumes.append(extract(Image(case.flair, AFFINE), Image(case.segmentation, AFFINE), 32, 4.0).volume)
    return torch.from_numpy(np.stack(volumes))[:, None]

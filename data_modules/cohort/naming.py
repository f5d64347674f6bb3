"""What the name of an image file says: which case it belongs to and which sequence, or the mask, it holds.

Names as the BraTS releases and their copies use them: `VSD.Brain.XX.O.MR_Flair.54512.mha` (2015), `X_flair.nii.gz` and
`X_seg.nii.gz` (2017-2021), `X-t2f.nii.gz` and `X-seg.nii.gz` (2023 on), bare `flair.nii.gz`, and masks such as
`W39_1998.09.19_Segm.nii` whose prefix differs from that of the scan beside them.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Modality: TypeAlias = Literal["flair", "t1", "t1ce", "t2"]

MASK = "seg"
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".mha")

_ROLES = {
    "flair": "flair",
    "t2f": "flair",
    "t1": "t1",
    "t1n": "t1",
    "t1ce": "t1ce",
    "t1c": "t1ce",
    "t1gd": "t1ce",
    "t2": "t2",
    "t2w": "t2",
    "seg": MASK,
    "segm": MASK,
    "ot": MASK,
}
_ROLE_AT_END = re.compile(rf"^(?:(?P<case>.+)[_-])?(?P<role>{'|'.join(_ROLES)})$", re.IGNORECASE)
_BRATS_2015 = re.compile(r"^VSD\.Brain.*\.(?:MR_)?(?P<role>Flair|T1|T1c|T2|OT)\.\d+$", re.IGNORECASE)

# A trailing scan number that does not make another patient; BraTS20_Training_001 and BraTS2021_00006 end in the
# patient's own number.
_SCAN_NUMBERS = (
    re.compile(r"^(BraTS(?:17|18|19)_.+)_\d+$", re.IGNORECASE),
    re.compile(r"^(brats_(?:2013|tcia)_pat\d+)_\d+$", re.IGNORECASE),
    re.compile(r"^(BraTS-[A-Z]+-\d+)-\d+$", re.IGNORECASE),
)


@dataclass(frozen=True)
class ImageName:
    """A recognised image file: `role` is a `Modality` or `MASK`."""

    path: Path
    case: str
    role: str


def image_stem(path: Path) -> str | None:
    """File name without its image suffix, or None if it is not an image file."""
    for suffix in IMAGE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return None


def parse(path: Path) -> ImageName | None:
    """Reads case and role from a file name, or from its folder where the name holds no case; None if it is neither."""
    stem = image_stem(path)
    if stem is None or stem.startswith("."):
        return None
    if match := _BRATS_2015.match(stem):
        folder = path.parent
        if folder.name.lower().startswith("vsd."):  # each sequence in a folder of its own, below that of the case
            folder = folder.parent
        return ImageName(path, folder.name, _ROLES[match["role"].lower()])
    if match := _ROLE_AT_END.match(stem):
        return ImageName(path, match["case"] or path.parent.name, _ROLES[match["role"].lower()])
    return None


def patient_of(case: str) -> str:
    """Patient a case identifier names: the identifier without the number of the scan, where the release has one."""
    for pattern in _SCAN_NUMBERS:
        if match := pattern.match(case):
            return match[1]
    return case

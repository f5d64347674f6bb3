"""The volume viewer of the page: NiiVue out of a pinned package, and the volumes that it shows."""

import base64
import gzip
import io
from collections.abc import Mapping
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from data_modules.errors import InputError
from data_modules.volumes.folder import VolumeFolder
from tumorgen.pretrained.pypi import NIIVUE, provenance, read_pinned
from tumorgen.pretrained.weights import cache_folder
from tumorgen.results.html.pictures import grey

PER_CLASS = 2
BUDGET = 4_000_000
# The package exports its Jupyter widget only; the viewer's class has this name in the pinned file.
EXPORT, VIEWER = b"export{Ih as default};", b"globalThis.Niivue=t2;"


@dataclass(frozen=True)
class Bundle:
    """The viewer's script.

    Attributes:
        script: gzip in base64.
        source: Package and version, for people.
        licence: Its text, which has to go with copies.
    """

    script: str
    source: str
    licence: str


@dataclass(frozen=True)
class Scene:
    """A volume in the viewer.

    Attributes:
        title: File and class.
        group: The folder it is from.
        shape: Voxels (x, y, z).
        nifti: 8 bit NIfTI, gzip in base64.
    """

    title: str
    group: str
    shape: tuple[int, ...]
    nifti: str


def bundle() -> Bundle:
    """NiiVue from the cache folder, as text; nothing of it is executed here.

    Raises:
        InputError: The package is not in the cache, or not the pinned one; says what to type.
    """
    wheel = cache_folder() / NIIVUE.wheel_name
    if not wheel.is_file():
        raise InputError(
            f"{wheel}: the volume viewer is not there. Type: tumorgen weights viewer (once per machine), or leave it out with "
            "--viewer false"
        )
    script = read_pinned(wheel, NIIVUE).rstrip()
    assert script.endswith(EXPORT), "the pinned file has one export"
    script = script.removesuffix(EXPORT) + VIEWER
    return Bundle(_packed(script), NIIVUE.source, provenance(wheel, NIIVUE)["licence_text"])


def scenes(folders: Mapping[str, VolumeFolder], per_class: int = PER_CLASS, budget: int = BUDGET) -> list[Scene]:
    """The first volumes of every class and folder, as many as fit into `budget` characters; folders take turns."""
    found: list[Scene] = []
    used = 0
    for turn in range(per_class):
        for name, folder in folders.items():
            for label in range(len(folder.class_names)):
                indices = folder.indices(label)
                if turn >= len(indices):
                    continue
                scene = _scene(name, folder, int(indices[turn]))
                if used + len(scene.nifti) <= budget:
                    used += len(scene.nifti)
                    found.append(scene)
    order = list(folders)
    return sorted(found, key=lambda scene: order.index(scene.group))


def _scene(group: str, folder: VolumeFolder, index: int) -> Scene:
    """One volume with LPS axes around the world's origin, [-1, 1] as 0..255."""
    voxels = grey(folder.volume(index)).transpose(2, 1, 0)
    affine = np.diag([-folder.spacing, -folder.spacing, folder.spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(voxels.shape) - 1) / 2)
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    stream = io.BytesIO()
    image.to_stream(stream)
    return Scene(folder.names[index], group, voxels.shape, _packed(stream.getvalue()))


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")

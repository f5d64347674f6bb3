"""Picture sheets: which voxel is where. Volumes are (D, H, W): D upwards, H towards the back of the head, W to the left."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tumorgen.results.sheets import Reconstructed, centre, enlarge, gallery, planes, reconstruction_sheet, save

SHAPE = (8, 10, 12)


def volume(**bright: tuple[int, int, int]) -> np.ndarray:
    """Background with some bright voxels."""
    voxels = np.full(SHAPE, -1.0, dtype=np.float32)
    for at in bright.values():
        voxels[at] = 1.0
    return voxels


def ellipsoid(size: int = 16, at: tuple[int, int, int] = (8, 8, 8), radius: float = 4) -> np.ndarray:
    grid = np.indices((size,) * 3)
    distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, at, strict=True)))
    return np.where(distance < radius, 0.5, -1.0).astype(np.float32)


def brightest(image: np.ndarray) -> tuple[int, int]:
    """Row and column of the brightest pixel; row 0 is drawn at the top."""
    row, column = np.unravel_index(np.argmax(image), image.shape)
    return int(row), int(column)


def test_shapes_of_the_three_planes() -> None:
    axial, coronal, sagittal = planes(volume(), (4, 5, 6))
    assert (axial.shape, coronal.shape, sagittal.shape) == ((10, 12), (8, 12), (8, 10))


def test_anterior_is_up_in_axial_slices() -> None:
    """Small H is anterior; small W is the patient's right, drawn at the left as radiologists look at it."""
    anterior_right = volume(voxel=(4, 0, 0))
    assert brightest(planes(anterior_right, (4, 0, 0))[0]) == (0, 0)


@pytest.mark.parametrize("plane", [1, 2])
def test_superior_is_up_in_the_other_two(plane: int) -> None:
    top, bottom = volume(voxel=(7, 5, 6)), volume(voxel=(0, 5, 6))
    assert brightest(planes(top, (4, 5, 6))[plane])[0] == 0
    assert brightest(planes(bottom, (4, 5, 6))[plane])[0] == 7


def test_sagittal_slices_look_to_the_left() -> None:
    assert brightest(planes(volume(voxel=(4, 0, 6)), (4, 0, 6))[2])[1] == 0, "anterior at the left"


def test_slices_go_through_the_tumour() -> None:
    tumour = ellipsoid(at=(3, 5, 11), radius=2.5)
    assert centre(tumour) == (3, 5, 11)
    for image in planes(tumour, centre(tumour)):
        assert (image > -0.9).sum() >= 12
    assert not (planes(tumour, (8, 8, 8))[0] > -0.9).any(), "the middle of the volume would show nothing"


def test_nearly_black_is_no_tumour_and_an_empty_volume_has_a_middle() -> None:
    haze = np.full(SHAPE, -0.95, dtype=np.float32)
    assert centre(haze) == (4, 4, 6)
    haze[1, 2, 3] = 0.0
    assert centre(haze) == (1, 2, 3)


def test_scores_are_repeated_onto_their_voxels() -> None:
    scores = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    large = enlarge(scores, (4, 6, 8))
    assert large.shape == (4, 6, 8)
    for d, h, w in [(0, 0, 0), (3, 5, 7), (1, 3, 4), (2, 2, 3)]:
        assert large[d, h, w] == scores[d // 2, h // 3, w // 4]


def row(title: str = "HGG case", at: tuple[int, int, int] = (8, 8, 8)) -> Reconstructed:
    original = ellipsoid(at=at)
    scores = np.full((4, 4, 4), 0.1, dtype=np.float32)
    scores[2, 2, 2] = 0.9
    return Reconstructed(title, original, np.where(original > -0.9, 0.4, -1).astype(np.float32), scores)


def test_a_sheet_shows_each_part_in_its_place() -> None:
    figure = reconstruction_sheet([row("LGG a", at=(6, 7, 9)), row("HGG b")])
    axes = np.array(figure.axes).reshape(2, 9)
    assert [axis.get_title() for axis in axes[0]] == [
        f"{part}\n{plane}"
        for part in ("original", "reconstruction", "importance")
        for plane in ("axial", "coronal", "sagittal")
    ]
    assert [line[0].get_ylabel() for line in axes] == ["LGG a", "HGG b"]
    shown = row("LGG a", at=(6, 7, 9))
    expected = planes(shown.original, (6, 7, 9)), planes(shown.reconstruction, (6, 7, 9))
    for index in range(3):
        assert np.array_equal(axes[0][index].images[0].get_array(), expected[0][index])
        assert np.array_equal(axes[0][3 + index].images[0].get_array(), expected[1][index])
        ground, overlay = axes[0][6 + index].images
        assert np.array_equal(ground.get_array(), expected[0][index])
        assert overlay.get_clim() == (0, 1), "scores of different cases can be compared"
        assert overlay.get_array().shape == expected[0][index].shape
    assert all(image.get_clim() == (-1, 1) for axis in axes[:, :6].flat for image in axis.images)


def test_the_saved_sheet_is_not_all_grey(tmp_path: Path) -> None:
    path = save(reconstruction_sheet([row()]), tmp_path / "deep" / "sheet.png")
    assert [file.name for file in path.parent.iterdir()] == ["sheet.png"]
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    height, width, _ = pixels.shape
    assert width > 4 * height
    # titles stand above, the row's title to the left
    thirds = [part[:, 20:-20] for part in np.array_split(pixels[height // 3 :, width // 20 :], 3, axis=1)]
    for part in thirds[:2]:
        assert part.min() < 10
        assert ((part > 100) & (part < 250)).any(), "a tumour on black"
        assert (part.max(axis=2) - part.min(axis=2)).max() < 10, "grey values only"
    assert (thirds[2].max(axis=2) - thirds[2].min(axis=2)).max() > 60, "importance is in colour"


def test_galleries_have_a_row_per_group() -> None:
    figure = gallery([("LGG", [ellipsoid(at=(4, 8, 8))]), ("HGG", [ellipsoid(), ellipsoid(at=(11, 8, 8))])], plane=1)
    axes = np.array(figure.axes).reshape(2, 2)
    assert [line[0].get_ylabel() for line in axes] == ["LGG", "HGG"]
    assert [len(axis.images) for axis in axes.flat] == [1, 0, 1, 1]
    expected = planes(ellipsoid(at=(11, 8, 8)), (11, 8, 8))[1]
    assert np.array_equal(axes[1][1].images[0].get_array(), expected)

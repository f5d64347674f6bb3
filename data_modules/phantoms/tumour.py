"""A glioma inside a phantom brain: outline, labels and signal."""

import math
from dataclasses import dataclass

import numpy as np

from data_modules.phantoms.anatomy import GRID, ORIGIN, Brain, Coordinates, cerebrum_depth, grid_coordinates
from data_modules.phantoms.fields import Box, Field, RandomStream, level_of_largest, ramp
from data_modules.phantoms.parameters import PhantomParameters

_REACH = 64.0  # mm from the centre to the outermost voxel, so that no bounding box exceeds 130 voxels


@dataclass(frozen=True)
class TumourPlan:
    """What is drawn before the brain is: how aggressive the tumour is, where it lies, how large and how irregular.

    Volume in mm^3, centre and fingers in mm; everything else is relative (see `PhantomParameters`).
    """

    aggressiveness: float
    centre: tuple[float, float, float]
    volume: float
    lobes: float
    fingers: float
    core: float
    rim: float
    darkness: float
    heterogeneity: float
    texture: float
    contrast: float
    elongation: float

    @property
    def radius(self) -> float:
        """Radius in mm of the ball of the same volume."""
        return (0.75 * self.volume / math.pi) ** (1 / 3)


def plan_tumour(stream: RandomStream, grade: int, parameters: PhantomParameters) -> TumourPlan:
    """Draws the tumour's traits and place; grade 0 is LGG, 1 HGG."""
    aggressiveness = (grade - 0.5) * parameters.separation + stream.normal()
    draw = {
        # Rounded, so that the last bit of a machine's mathematics library cannot move a voxel.
        name: round(getattr(parameters, name).value(aggressiveness, stream.normal()), 6)
        for name in (
            "log_volume",
            "lobes",
            "fingers",
            "core",
            "rim",
            "darkness",
            "heterogeneity",
            "texture",
            "contrast",
            "elongation",
        )
    }
    volume = round(math.exp(draw.pop("log_volume")), 1)
    return TumourPlan(aggressiveness, _place(stream, volume), volume, **draw)


def _place(stream: RandomStream, volume: float) -> tuple[float, float, float]:
    """A point in white matter of one hemisphere, deeper for larger tumours."""
    radius = (0.75 * volume / math.pi) ** (1 / 3)
    for _ in range(200):
        centre = (stream.sign() * stream.uniform(18.0, 46.0), stream.uniform(-56.0, 52.0), stream.uniform(-22.0, 42.0))
        point = Coordinates(*(np.full((1, 1, 1), value, np.float32) for value in centre))
        if float(cerebrum_depth(point)[0, 0, 0]) > 0.45 * radius:
            return (round(centre[0], 3), round(centre[1], 3), round(centre[2], 3))
    return (30.0, -10.0, 20.0)


@dataclass(frozen=True)
class Tumour:
    """Fields of one tumour on a box of the brain's 2 mm grid.

    Attributes:
        box: where it lies in the grid.
        level: mm-like, positive inside the whole tumour.
        core: positive inside the core.
        necrosis: positive inside the part of the core that does not enhance.
        flair: FLAIR of brain and tumour in the box.
    """

    box: Box
    level: Field
    core: Field
    necrosis: Field
    flair: Field


def _box(centre: tuple[float, float, float]) -> Box:
    starts = [math.floor((c - _REACH - o) / 2.0) + 1 for c, o in zip(centre, ORIGIN, strict=True)]
    x, y, z = (slice(max(s, 0), min(s + int(_REACH), n)) for s, n in zip(starts, GRID, strict=True))
    return x, y, z


def grow_tumour(stream: RandomStream, plan: TumourPlan, brain: Brain) -> Tumour:
    """Draws the tumour of `plan` into `brain`."""
    box = _box(plan.centre)
    at = grid_coordinates()
    offsets = [axis.reshape(-1)[part] - np.float32(c) for axis, part, c in zip(at, box, plan.centre, strict=True)]
    mesh = (offsets[0][:, None, None], offsets[1][None, :, None], offsets[2][None, None, :])
    distance = _distance(stream, mesh, plan.elongation)
    shape = distance.shape
    lobes, fine, inner, rough = (stream.noise(shape, doublings) for doublings in (4, 2, 3, 1))
    depth, tissue, grey = brain.depth[box], brain.tissue[box], brain.grey[box]

    level = -distance + lobes * np.float32(plan.lobes * plan.radius)
    # Oedema follows white matter: held back by the cortex, and with fingers the more, the further out.
    outer = ramp(distance, 0.4 * plan.radius, 1.2 * plan.radius)
    level += (fine - grey * np.float32(1.2)) * outer * np.float32(plan.fingers)
    level += rough * np.float32(1.7)
    # The falx stops it; the corpus callosum lets it cross.
    across = ramp((mesh[0] + np.float32(plan.centre[0])) * np.float32(math.copysign(1.0, plan.centre[0])), 2.0, -2.0)
    level -= across * brain.apart[box] * np.float32(40.0)
    level -= ramp(np.maximum(np.maximum(np.abs(mesh[0]), np.abs(mesh[1])), np.abs(mesh[2])), 50.0, 64.0) * np.float32(
        30.0
    )
    allowed = np.minimum(tissue, depth - np.float32(1.0)) * np.float32(2.0)
    voxels = round(plan.volume / 8)
    level -= np.float32(level_of_largest(level[allowed > 0], voxels))
    level = np.minimum(level, allowed)

    inside = level > 0
    count = int(np.count_nonzero(inside))
    core = np.minimum(-distance + inner * np.float32(0.2 * plan.radius) + lobes * np.float32(0.1 * plan.radius), level)
    core -= np.float32(level_of_largest(core[inside], round(plan.core * count)))
    # The rim is thick and thin by turns.
    necrosis = core + fine * np.float32(1.0) + inner * np.float32(1.0)
    within = core > 0
    necrosis -= np.float32(level_of_largest(necrosis[within], round((1.0 - plan.rim) * np.count_nonzero(within))))
    return Tumour(box, level, core, necrosis, _signal(stream, plan, brain.flair[box], level, core, necrosis))


def _distance(stream: RandomStream, mesh: tuple[Field, Field, Field], elongation: float) -> Field:
    """Distance from the centre in mm, shorter along a random axis: its spheres are ellipsoids."""
    direction = [stream.normal() for _ in range(3)]
    length = math.sqrt(sum(value * value for value in direction))
    axis = [value / length for value in direction]
    along = mesh[0] * np.float32(axis[0]) + mesh[1] * np.float32(axis[1]) + mesh[2] * np.float32(axis[2])
    square = mesh[0] ** 2 + mesh[1] ** 2 + mesh[2] ** 2
    return np.sqrt(square - along * along * np.float32(1.0 - 1.0 / elongation**2))


def _signal(stream: RandomStream, plan: TumourPlan, flair: Field, level: Field, core: Field, necrosis: Field) -> Field:
    """FLAIR of the tumour over that of the brain."""
    broad, coarse, fine = (stream.noise(level.shape, doublings) for doublings in (4, 3, 1))
    cloud = (broad + coarse * np.float32(0.5)) * np.float32(0.9)
    inside = np.full(level.shape, plan.contrast * 0.93, np.float32)
    # Infiltration fades into the surrounding tissue.
    inside *= np.float32(0.86) + ramp(level, 0.0, 7.0) * np.float32(0.14)
    inside *= np.float32(1.0) - ramp(necrosis, -2.0, 5.0) * ramp(core, 0.0, 2.0) * np.float32(plan.darkness)
    # Squares: real signal has more bright than dark outliers.
    speckle = fine + fine * fine * np.float32(0.35)
    inside *= np.float32(1.0) + cloud * np.float32(plan.heterogeneity) + speckle * np.float32(plan.texture)
    return flair + (inside - flair) * ramp(level, -1.5, 1.0)

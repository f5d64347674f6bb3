"""Random numbers and smooth random fields whose bits are the same on every machine.

A frozen phantom must not change with the processor or the NumPy release. So randomness is taken as raw bits of Philox
(the stream NumPy promises to keep; its distributions are not promised), and arrays see only operations that IEEE 754
rounds exactly (add, multiply, divide, sqrt, compare), element by element: no BLAS, no exp or sin, no floating sums.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Field: TypeAlias = npt.NDArray[np.float32]
Box: TypeAlias = tuple[slice, slice, slice]

# A uniform lattice in [-1, 1) has SD 0.577, and cubic B-spline interpolation in 3D leaves 0.33 of it (0.4 after a
# single doubling).
_UNIT_SD = 5.2
_BORDER = 2  # lattice points outside the field, so that replicated edges are cut away


class RandomStream:
    """The random numbers of one case, a function of its key alone."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.Philox(np.random.SeedSequence(key))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """One number in [low, high)."""
        return low + (high - low) * ((int(self._bits.random_raw()) >> 11) * 2.0**-53)

    def normal(self) -> float:
        """One number of mean 0 and SD 1, within (-6, 6): the sum of twelve uniform ones."""
        return sum(self.uniform() for _ in range(12)) - 6.0

    def sign(self) -> float:
        """-1.0 or 1.0."""
        return 1.0 if self.uniform() < 0.5 else -1.0

    def lattice(self, shape: Sequence[int]) -> Field:
        """Independent values, uniform in [-1, 1)."""
        count = math.prod(shape)
        raw = self._bits.random_raw(-(-count // 4)).astype("<u8").view("<u2")[:count]
        return (raw.astype(np.float32) * np.float32(2.0**-15) - np.float32(1.0)).reshape(shape)

    def noise(self, shape: Sequence[int], doublings: int) -> Field:
        """A smooth field whose lattice points lie 2^doublings voxels apart; SD about 1 (1.2 after one doubling)."""
        step = 2**doublings
        values = self.lattice([-(-n // step) + 2 * _BORDER for n in shape])
        for _ in range(doublings):
            values = double(values)
        box = tuple(slice(_BORDER * step, _BORDER * step + n) for n in shape)
        return values[box] * np.float32(_UNIT_SD if doublings else 3.0**0.5)


def double(field: Field) -> Field:
    """Twice the resolution along each axis by cubic B-spline subdivision; voxel i becomes voxel 2i."""
    for axis in range(field.ndim):
        field = _double_axis(field, axis)
    return field


def _double_axis(field: Field, axis: int) -> Field:
    source = np.moveaxis(field, axis, 0)
    shape = list(field.shape)
    shape[axis] *= 2
    result = np.empty(shape, np.float32)
    target = np.moveaxis(result, axis, 0)
    even, odd = target[0::2], target[1::2]
    even[1:-1] = source[:-2]
    even[1:-1] += source[2:]
    even[0] = source[0] + source[1]
    even[-1] = source[-2] + source[-1]
    even *= np.float32(0.125)
    even += source * np.float32(0.75)
    odd[:-1] = source[:-1]
    odd[:-1] += source[1:]
    odd[-1] = source[-1] + source[-1]
    odd *= np.float32(0.5)
    return result


def ramp(field: Field, start: float, stop: float) -> Field:
    """0 where `field` <= start, 1 where it is >= stop, a straight line between; start may exceed stop."""
    scaled = (field - np.float32(start)) * np.float32(1.0 / (stop - start))
    return np.clip(scaled, np.float32(0.0), np.float32(1.0))


def level_of_largest(values: npt.NDArray[np.float32], count: int) -> float:
    """The threshold that `count` of the values (1-dimensional) reach or exceed."""
    if values.size == 0:
        raise ValueError("no values to choose from")
    rank = min(max(values.size - count, 0), values.size - 1)
    return float(np.partition(values, rank)[rank])

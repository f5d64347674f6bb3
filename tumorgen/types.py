"""Names for the arrays that cross a boundary; D, H, W are depth (axial slice), row and column.

Value ranges: a `Volume` lies in [-1, 1] with the background at exactly -1; `Scores` in (0, 1); `Tokens` are code
indices in raster order (depth, row, column); `Labels` are class indices.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

VoxelArray: TypeAlias = Float[np.ndarray, "D H W"]
Volume: TypeAlias = Float[Tensor, "batch channel D H W"]
Latent: TypeAlias = Float[Tensor, "batch width d h w"]
Codes: TypeAlias = Int[Tensor, "batch d h w"]
Tokens: TypeAlias = Int[Tensor, "batch length"]
ScoreMap: TypeAlias = Float[Tensor, "batch 1 d h w"]
Scores: TypeAlias = Float[Tensor, "batch length"]
Labels: TypeAlias = Int[Tensor, " batch"]
Scalar: TypeAlias = Float[Tensor, ""]

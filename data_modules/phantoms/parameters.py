"""The figures that make a phantom tumour: frozen, so that no later result is bought by an easier cohort."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TypeAlias

Range: TypeAlias = tuple[float, float]

GRADES = ("LGG", "HGG")  # class order: LGG = 0, HGG = 1


@dataclass(frozen=True)
class Trait:
    """A property of a tumour: centre + slope * aggressiveness + spread * normal, kept within limits.

    Values beyond a limit are set to it, or folded back where many equal values would be unnatural.

    The slope carries what the grades differ in, the spread what they share.
    """

    centre: float
    slope: float
    spread: float
    limits: Range
    folded: bool = False

    def value(self, aggressiveness: float, normal: float) -> float:
        """The property of one tumour."""
        low, high = self.limits
        value = self.centre + self.slope * aggressiveness + self.spread * normal
        if self.folded:
            value = high - abs(high - value) if value > high else low + abs(value - low)
        return min(max(value, low), high)


@dataclass(frozen=True)
class PhantomParameters:
    """Distribution of the tumours; each follows a latent aggressiveness whose distributions overlap between grades.

    Attributes:
        version: number of the formulas of this package; it rises when they draw other voxels.
        separation: distance of the grades' mean aggressiveness in units of its SD within a grade.
        log_volume: natural logarithm of the whole tumour's volume in mm^3.
        lobes: amplitude of the outline's coarse lobes relative to the tumour's radius.
        fingers: amplitude of the fingers along white matter, mm.
        core: tumour core (labels 1 and 4) as a share of the whole.
        rim: share of the core that enhances (label 4).
        darkness: loss of signal in the necrosis, relative to the oedema.
        heterogeneity: SD of the slow signal variation inside the tumour, relative.
        texture: SD of its fine variation, relative.
        contrast: oedema relative to white matter.
        elongation: ratio of the longest to the middle axis.
    """

    version: int = 1
    separation: float = 2.6
    log_volume: Trait = field(default=Trait(11.66, 0.25, 0.27, (10.35, 12.34), folded=True))
    lobes: Trait = field(default=Trait(0.33, 0.05, 0.07, (0.2, 0.5)))
    fingers: Trait = field(default=Trait(6.2, 1.8, 1.1, (2.8, 9.5)))
    core: Trait = field(default=Trait(0.31, 0.03, 0.17, (0.03, 0.85)))
    rim: Trait = field(default=Trait(0.17, 0.2, 0.12, (0.0, 0.75)))
    darkness: Trait = field(default=Trait(0.2, 0.15, 0.06, (-0.05, 0.55)))
    heterogeneity: Trait = field(default=Trait(0.05, 0.012, 0.01, (0.02, 0.12)))
    texture: Trait = field(default=Trait(0.05, 0.003, 0.008, (0.03, 0.1)))
    contrast: Trait = field(default=Trait(1.55, 0.0, 0.2, (1.3, 2.3)))
    elongation: Trait = field(default=Trait(1.25, 0.0, 0.15, (1.0, 1.7)))

    def fingerprint(self) -> str:
        """Hex SHA-256 of all figures."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

"""What a volume is asked to show."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Int
from torch import Tensor

from data_modules.errors import InputError


@dataclass(frozen=True)
class Condition:
    """Conditions of a batch: today a class for every volume. Networks embed what they were trained with.

    Attributes:
        label: Class index of every volume (B,), int64.
    """

    label: Int[Tensor, " batch"]

    @classmethod
    def of_classes(cls, names: Sequence[str], class_names: Sequence[str]) -> "Condition":
        """One condition per name.

        Args:
            names: Class of every volume.
            class_names: The classes that a model knows, in the order of their labels.

        Raises:
            InputError: A class is none of them.
        """
        if unknown := sorted(set(names) - set(class_names)):
            raise InputError(
                f"this generator does not know the class {', '.join(unknown)}; it was trained on {', '.join(class_names)}."
            )
        return cls(torch.tensor([list(class_names).index(name) for name in names], dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, chosen: slice | Tensor) -> "Condition":
        return Condition(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def to(self, device: torch.device | str) -> "Condition":
        """The same conditions on a device."""
        return Condition(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

"""Class-conditional generation of 3D brain tumour regions."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tumorgen.methods.generator import Generator

__version__ = "0.1.0"


def load_generator(path: "Path | str", **options: Any) -> "Generator":
    """Loads a trained generator, ready to sample, on the CPU; see `tumorgen.methods.generator.load_generator`."""
    # here, since the help of the command line must not wait for torch
    from tumorgen.methods.generator import load_generator as load

    return load(path, **options)

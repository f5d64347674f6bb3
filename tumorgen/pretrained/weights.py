"""Weights of third parties, converted once to safetensors in a cache folder; `tumorgen weights` fills it."""

import os
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from data_modules.errors import InputError
from data_modules.files import atomic_path


@dataclass(frozen=True)
class ConvertedWeights:
    """A file of converted weights: the network it belongs to, its name in the cache, the command that makes it."""

    network: str
    file_name: str
    command: str

    @property
    def path(self) -> Path:
        """Where the file lies unless somebody names another place."""
        return cache_folder() / self.file_name


MRI_FEATURES = ConvertedWeights("mri_features", "mri_features-deepbet-1.0.2.safetensors", "tumorgen weights")
LPIPS_VGG16 = ConvertedWeights("lpips_vgg16", "lpips_vgg16-0.1.safetensors", "tumorgen weights lpips")


def cache_folder() -> Path:
    """$TUMORGEN_CACHE, or `tumorgen` in $XDG_CACHE_HOME, or ~/.cache/tumorgen; created when something is written."""
    if named := os.environ.get("TUMORGEN_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tumorgen"


def write_weights(kind: ConvertedWeights, tensors: dict[str, Tensor], provenance: dict[str, str]) -> Path:
    """Writes converted tensors, float32, into the cache, atomically; `provenance` goes into the file's header."""
    plain = {name: tensor.detach().float().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(kind.path) as temporary:
        save_file(plain, temporary, metadata={"network": kind.network, **provenance})
    return kind.path


def read_provenance(kind: ConvertedWeights, path: Path | str | None = None) -> dict[str, str]:
    """Header of a converted file: network, source, licence, sha256 of the source.

    Raises:
        InputError: The file is missing, unreadable, or of another network; says the command to type.
    """
    with _opened(kind, path) as stream:
        return dict(stream.metadata())


def load_weights(network: nn.Module, kind: ConvertedWeights, path: Path | str | None = None) -> None:
    """Fills `network` with the converted tensors at `path` (None: the cache). Never falls back to anything else.

    Raises:
        InputError: The file is missing, unreadable, of another network, or does not fit; says the command to type.
    """
    with _opened(kind, path) as stream:
        found = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if shapes != expected:
        wrong = sorted(name for name in {*expected, *shapes} if expected.get(name) != shapes.get(name))
        name = wrong[0]
        raise InputError(
            f"{path or kind.path}: {len(wrong)} tensors do not fit the network, the first is {name}: found "
            f"{shapes.get(name, 'nothing')}, expected {expected.get(name, 'nothing')}. Type: {kind.command}"
        )
    network.load_state_dict(found)


def _opened(kind: ConvertedWeights, path: Path | str | None) -> safe_open:
    file = Path(path) if path is not None else kind.path
    if not file.is_file():
        raise InputError(
            f"{file}: the weights of the perceptual term are not there. Type: {kind.command} (once per machine), or "
            "switch the term off with an explicit null"
        )
    try:
        stream = safe_open(file, framework="pt", device="cpu")
    except SafetensorError as error:
        raise InputError(f"{file}: not a readable safetensors file ({error}). Type: {kind.command}") from None
    network = (stream.metadata() or {}).get("network")
    if network != kind.network:
        raise InputError(f"{file}: found weights of '{network}', expected '{kind.network}'. Type: {kind.command}")
    return stream

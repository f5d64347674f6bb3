"""`tumorgen weights`: fetches and checks what comes from other people's packages, once per machine.

That is the weights of the perceptual terms, which it converts, and the volume viewer of reports.
"""

import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from data_modules.errors import InputError
from data_modules.files import atomic_path, sha256
from tumorgen.methods.loading import read_tensors
from tumorgen.nn.mri_features import MRIFeatures
from tumorgen.nn.vgg import LPIPSVGG16, lpips_state_dict
from tumorgen.options import OptionParser, command_parser
from tumorgen.pretrained.pypi import DEEPBET, LPIPS, NIIVUE, download_wheel, provenance, read_pinned
from tumorgen.pretrained.weights import (
    LPIPS_VGG16,
    MRI_FEATURES,
    ConvertedWeights,
    cache_folder,
    read_provenance,
    write_weights,
)

VGG16_FILE = "vgg16-397923af.pth"
VGG16_URL = f"https://download.pytorch.org/models/{VGG16_FILE}"


def run(argv: Sequence[str]) -> int:
    """Runs `tumorgen weights [mri | lpips | viewer] ...`; returns 0, also when the cache has the weights already.

    Raises:
        InputError: No network, a wrong checksum, a file that is missing or not what it should be.
    """
    options = _parser().parse_args(list(argv))
    if options.network in ("mri", "viewer") and (options.vgg16 or options.linear):
        raise InputError("--vgg16 and --linear belong to LPIPS. Type: tumorgen weights lpips --vgg16 FILE")
    if options.network == "mri":
        if options.overwrite or not _present(MRI_FEATURES):
            _convert_mri(options.wheel)
    elif options.network == "lpips":
        if options.wheel:
            raise InputError("--wheel belongs to the MRI network and the viewer. Type: tumorgen weights --wheel FILE")
        if options.overwrite or not _present(LPIPS_VGG16):
            _convert_lpips(options.vgg16, options.linear)
    else:
        if options.overwrite or not _viewer_present():
            _keep_viewer(options.wheel)
    return 0


def mri_state_dict(script: Path) -> dict[str, Tensor]:
    """Tensors of `MRIFeatures` out of the TorchScript network in file `script`.

    Loading TorchScript can execute code, so this is for files whose checksum was compared.

    Raises:
        InputError: The file is no TorchScript network, or not this one.
    """
    try:
        found = torch.jit.load(script, map_location="cpu").state_dict()
    except RuntimeError as error:
        raise InputError(f"{DEEPBET.source}: not a TorchScript network ({_first_line(error)})") from None
    return _fitting(found, MRIFeatures(), DEEPBET.source)


def _parser() -> OptionParser:
    parser = command_parser(
        "weights",
        "Fetches, checks and converts the weights of a perceptual term, or the viewer, into the cache folder "
        "($TUMORGEN_CACHE, otherwise tumorgen in $XDG_CACHE_HOME or ~/.cache).",
    )
    parser.add_argument(
        "network",
        type=Literal["mri", "lpips", "viewer"],
        nargs="?",
        metavar="{mri,lpips,viewer}",
        default="mri",
        help="mri: the encoder of deepbet 1.0.2 from PyPI (default). lpips: VGG16 with the heads of LPIPS 0.1. viewer: NiiVue, "
        "which tumorgen report puts into its page, out of ipyniivue 2.4.4 from PyPI",
    )
    parser.add_argument(
        "--wheel",
        type=Path | None,
        default=None,
        help=f"mri, viewer: {DEEPBET.wheel_name} or {NIIVUE.wheel_name}, where it is already on this machine",
    )
    parser.add_argument(
        "--vgg16",
        type=Path | None,
        default=None,
        help=f"lpips: torchvision's {VGG16_FILE}; default: fetched, with torchvision",
    )
    parser.add_argument(
        "--linear",
        type=Path | None,
        default=None,
        help=f"lpips: {LPIPS.member} of lpips 0.1.4; default: fetched from PyPI",
    )
    parser.add_argument(
        "--overwrite", type=bool, default=False, help="convert again, even if the cache has the weights"
    )
    return parser


def _convert_mri(wheel: Path | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wheel = wheel or download_wheel(DEEPBET, Path(folder))
        script = Path(folder) / "network.pt"
        script.write_bytes(read_pinned(wheel, DEEPBET))
        tensors = mri_state_dict(script)
        print(f"{write_weights(MRI_FEATURES, tensors, provenance(wheel, DEEPBET))}: written ({DEEPBET.source})")


def _keep_viewer(wheel: Path | None) -> None:
    """Puts the package itself into the cache once its script has the expected checksum; nothing of it is executed."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = wheel or download_wheel(NIIVUE, Path(folder))
        read_pinned(wheel, NIIVUE)
        kept = cache_folder() / NIIVUE.wheel_name
        with atomic_path(kept) as temporary:
            temporary.write_bytes(wheel.read_bytes())
    print(f"{kept}: written ({NIIVUE.source})")


def _viewer_present() -> bool:
    kept = cache_folder() / NIIVUE.wheel_name
    if not kept.is_file():
        return False
    try:
        read_pinned(kept, NIIVUE)
    except InputError as error:
        print(f"fetching again: {error}", file=sys.stderr)
        return False
    print(f"{kept}: already there ({NIIVUE.source}); --overwrite fetches it again")
    return True


def _convert_lpips(vgg16: Path | None, linear: Path | None) -> None:
    trunk, trunk_source = _from_file(vgg16) if vgg16 else _fetch_vgg16()
    heads, heads_source = _from_file(linear) if linear else _fetch_heads()
    source = f"{trunk_source}; {heads_source}"
    try:
        converted = lpips_state_dict(trunk, heads)
    except KeyError as error:
        raise InputError(
            f"{source}: tensor {error} is missing; expected torchvision's {VGG16_FILE} for --vgg16 and {LPIPS.member} "
            f"of lpips {LPIPS.version} for --linear"
        ) from None
    tensors = _fitting(converted, LPIPSVGG16(), source)
    path = write_weights(LPIPS_VGG16, tensors, {"source": source, "licence": f"heads: {LPIPS.licence}"})
    print(f"{path}: written ({source})")


def _fetch_vgg16() -> tuple[dict[str, Tensor], str]:
    by_hand = f"Fetch {VGG16_URL} and type: tumorgen weights lpips --vgg16 {VGG16_FILE}"
    if find_spec("torchvision") is None:
        raise InputError(f"--vgg16 is missing (only with the extra tumorgen[lpips] it is fetched by itself). {by_hand}")
    try:
        tensors = torch.hub.load_state_dict_from_url(VGG16_URL, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"VGG16 cannot be fetched ({_first_line(error)}). {by_hand}") from None
    return tensors, VGG16_URL


def _fetch_heads() -> tuple[dict[str, Tensor], str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vgg.pth"
        path.write_bytes(read_pinned(download_wheel(LPIPS, Path(folder)), LPIPS))
        return _from_file(path)[0], f"{LPIPS.source} (sha256 {LPIPS.sha256})"


def _from_file(path: Path) -> tuple[dict[str, Tensor], str]:
    content = read_tensors(path, "a file of tensors written by PyTorch")
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise InputError(f"{path}: found {type(content).__name__}, expected a state dict (a dictionary of tensors)")
    return content, f"{path.name} (sha256 {sha256(path)})"


def _fitting(found: dict[str, Tensor], network: nn.Module, source: str) -> dict[str, Tensor]:
    """The tensors that `network` needs, in its order; the source may hold more."""
    tensors = {}
    for name, expected in network.state_dict().items():
        shape = tuple(found[name].shape) if name in found else "nothing"
        if shape != tuple(expected.shape):
            raise InputError(f"{source}: tensor {name}: found {shape}, expected {tuple(expected.shape)}")
        tensors[name] = found[name]
    return tensors


def _present(kind: ConvertedWeights) -> bool:
    if not kind.path.is_file():
        return False
    try:
        source = read_provenance(kind).get("source")
    except InputError as error:
        print(f"converting again: {error}", file=sys.stderr)
        return False
    print(f"{kind.path}: already there ({source}); --overwrite converts again")
    return True


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

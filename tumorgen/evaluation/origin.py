"""Does the comparison hold: were held-out patients out of the generator's training, and no training volume held out?"""

from collections.abc import Iterable

from data_modules.errors import InputError
from data_modules.origin import verdict_on
from data_modules.volumes.folder import VolumeFolder

HELD_OUT = ("val", "test")
SAME_VOLUME = 1e-6  # root mean square over voxels, range [-1, 1]: what rounding leaves between a volume and itself
_SHOWN = 3


def check_origin(real: VolumeFolder, generated: VolumeFolder, training: VolumeFolder | None = None) -> str:
    """Makes sure that no generator is judged by patients it was trained on.

    Args:
        real: Real volumes; those held out are the validation and test part of its manifest.
        generated: Generated volumes; their manifest has hashes of the patients behind them.
        training: Training volumes where all real ones are held out.

    Returns:
        What is known, for the definitions of records; empty where no volume is said to be held out.

    Raises:
        InputError: Held-out patients were in the generator's training data.
    """
    if real.parts is None and training is None:
        return ""
    if not real.names_patients:
        return f"not verified: nothing says which patients the volumes of {real.folder.name} are of"
    held_out = [real.patients[i] for i in real.indices(parts=None if real.parts is None else HELD_OUT)]
    verdict = verdict_on(generated, real.patient_key, {"held-out": held_out})
    if verdict.reason:
        return f"not verified: {verdict.reason}"
    return "verified: no held-out patient is among the hashes of the generator's training patients"


def check_apart(real: VolumeFolder, training: VolumeFolder, positions: Iterable[int]) -> None:
    """Makes sure that a training folder and held-out volumes have no patient in common, where both name patients.

    Args:
        real: Held-out volumes.
        training: Holds training volumes.
        positions: Which of its volumes they are.

    Raises:
        InputError: They share patients.
    """
    if not (real.names_patients and training.names_patients):
        return
    if common := sorted(set(real.patients) & {training.patients[i] for i in positions}):
        raise overlap(real, training, f"{len(common)} patients ({_some(common)}) are in both")


def overlap(real: VolumeFolder, training: VolumeFolder, found: str) -> InputError:
    """The error for training volumes among those held out; copies could not be told from honest volumes."""
    return InputError(
        f"--training: {training.folder} and --real {real.folder} overlap: {found}, expected none, since the distances of "
        "held-out volumes to training volumes say what a copy is. Take them out of one of the folders, or give one folder "
        "whose manifest says the parts (tumorgen prepare --export) and leave --training out"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" and others" if len(names) > _SHOWN else "")

"""A published checkpoint as a flat list of tensors: read without executing it, checked, translated."""

import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from data_modules.errors import InputError
from tumorgen.methods.loading import read_tensors
from tumorgen.methods.published.names import OPTIMIZER, STAGE1_PARTS, STAGE2_PARTS, TRANSFORMER, Row

Tensors: TypeAlias = dict[str, Tensor]

UNIT_TOLERANCE = 1e-2  # half precision and the averaging leave a code's length well inside

_EXPECTED = (
    "a checkpoint of the published code: a dictionary of the state dicts "
    f"{', '.join(STAGE1_PARTS)} (stage 1), or one state dict with {', '.join(STAGE2_PARTS.values())} and "
    f"{TRANSFORMER} (stage 2)"
)


@dataclass
class PublishedFile:
    """What a file of the published code holds.

    Attributes:
        source: The file, as messages call it.
        stage: 1 or 2.
        tensors: By name; those of a stage-1 file carry the name of their section in front.
        has_optimizer: Whether the file also holds the state of an optimizer, which is not read.
    """

    source: str
    stage: int
    tensors: Tensors
    has_optimizer: bool

    @property
    def parts(self) -> dict[str, str]:
        """The parts of the tokenizer and the prefixes of their tensors."""
        return STAGE1_PARTS if self.stage == 1 else STAGE2_PARTS


def read_published(path: Path) -> PublishedFile:
    """Reads a file of the published code; its tensors stay on the disk until they are used.

    Raises:
        InputError: The file is missing, is unreadable, would execute code, or holds something else.
    """
    content = read_tensors(path, _EXPECTED, mmap=zipfile.is_zipfile(path))
    return flatten(content, str(path))


def flatten(content: Any, source: str) -> PublishedFile:
    """Tells the two kinds of files apart and gives every tensor one name.

    Args:
        content: What `torch.load` returned.
        source: The file, as messages should call it.

    Raises:
        InputError: The content is neither kind.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"{source}: holds a {type(content).__name__}; expected {_EXPECTED}.")
    if "hyper_parameters" in content:
        raise InputError(
            f"{source}: holds hyperparameters: written by tumorgen or Lightning? Then nothing is to be imported."
        )
    prefixes = tuple(f"{prefix}." for prefix in (*STAGE2_PARTS.values(), TRANSFORMER))
    if any(part in content for part in STAGE1_PARTS):
        stage, flat = 1, _flat_sections(content)
    elif any(str(name).startswith(prefixes) for name in content):
        stage, flat = 2, {str(name): value for name, value in content.items()}
    else:
        names = ", ".join(str(name) for name in list(content)[:4]) or "nothing"
        raise InputError(f"{source}: holds {names}, ...; expected {_EXPECTED}.")
    return PublishedFile(source, stage, flat, has_optimizer=OPTIMIZER in content)


def _flat_sections(content: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for section, values in content.items():
        if section == OPTIMIZER:
            continue
        if isinstance(values, Mapping):
            flat |= {f"{section}.{name}": value for name, value in values.items()}
        else:
            flat[str(section)] = values
    return flat


def check_names(rows: Sequence[Row], file: PublishedFile) -> None:
    """Makes sure that the file holds exactly the tensors of the table.

    Raises:
        InputError: Tensors are missing or unknown, or are no tensors; all of them are listed.
    """
    expected = [name for row in rows for name in row.published]
    missing = [name for name in expected if name not in file.tensors]
    unknown = sorted(set(file.tensors) - set(expected))
    strange = [name for name in expected if not isinstance(file.tensors.get(name, torch.empty(0)), Tensor)]
    kinds = {"missing": missing, "unknown": unknown, "no tensors": strange}
    found = [f"{len(names)} {kind}: {', '.join(names)}" for kind, names in kinds.items() if names]
    if found:
        raise InputError(
            f"{file.source}: not the tensors of a stage-{file.stage} checkpoint of the published code. {'; '.join(found)}. "
            f"Expected {len(expected)} tensors. Take the file as training wrote it; a checkpoint of code with other layers "
            "cannot be imported."
        )


def check_shapes(rows: Iterable[Row], file: PublishedFile, own: Mapping[str, Tensor]) -> None:
    """Makes sure that every tensor that is used has the shape of tumorgen's.

    Args:
        rows: The table.
        file: Whose names are those of the table.
        own: Tensors of the network that is to be filled, on whichever device.

    Raises:
        InputError: Shapes differ; all of them are listed.
    """
    wrong = []
    for row in rows:
        for name in row.published if row.ours else ():
            first, *rest = own[row.ours[0]].shape
            expected = (first // len(row.published) if row.joined else first, *rest)
            if tuple(file.tensors[name].shape) != expected:
                wrong.append(f"{name} is {tuple(file.tensors[name].shape)}, expected {expected}")
    if wrong:
        raise InputError(
            f"{file.source}: {len(wrong)} tensors do not fit the others: {'; '.join(wrong)}. Take the file as training wrote it."
        )


def check_aliases(rows: Iterable[Row], file: PublishedFile) -> None:
    """Makes sure that tensors of one shared module are equal under all of its names.

    Raises:
        InputError: They are not; all pairs are listed.
    """
    differing = [
        f"{row.published[0]} and {name}"
        for row in rows
        if not row.joined
        for name in row.published[1:]
        if not torch.equal(file.tensors[row.published[0]], file.tensors[name])
    ]
    if differing:
        raise InputError(
            f"{file.source}: {len(differing)} pairs of tensors differ that are one GroupNorm in the published code: "
            f"{'; '.join(differing)}. Expected equal values. The file comes from changed code, and cannot be imported."
        )


def check_codebook(file: PublishedFile) -> None:
    """Makes sure that the codes lie on the unit sphere, where the published quantiser keeps them.

    Raises:
        InputError: They do not: "nearest" would mean something else, or the file was saved before the first step.
    """
    name = f"{file.parts['Codebook']}.embedding.weight"
    lengths = file.tensors[name].float().norm(dim=1)
    off = int(((lengths - 1).abs() > UNIT_TOLERANCE).sum())
    if off or not bool(lengths.isfinite().all()):
        raise InputError(
            f"{file.source}: {off} of {len(lengths)} codes in {name} are not of length 1 (found {float(lengths.min()):.3g} to "
            f"{float(lengths.max()):.3g}). The published code keeps them there from its first training step on; take a file "
            "that was saved later."
        )


def check_masks(file: PublishedFile) -> None:
    """Makes sure that the published attention is causal, as tumorgen's will be.

    Raises:
        InputError: A mask hides something else than the future; all of them are listed.
    """
    wrong = []
    for name, mask in file.tensors.items():
        if name.endswith(".attn.mask"):
            side = mask.shape[-1] if mask.dim() == 4 else 0
            if not torch.equal(mask != 0, torch.ones(1, 1, side, side, dtype=torch.bool).tril()):
                wrong.append(name)
    if wrong:
        raise InputError(
            f"{file.source}: the attention is not causal in {', '.join(wrong)}; expected ones up to the diagonal and zeros "
            "above. The file comes from changed code, and cannot be imported."
        )


def translate(rows: Iterable[Row], file: PublishedFile) -> Tensors:
    """The tensors under tumorgen's names, float32; nothing is copied but what is joined."""
    translated: Tensors = {}
    for row in rows:
        values = [file.tensors[name] for name in row.published]
        value = torch.cat(values) if row.joined else values[0]
        translated |= dict.fromkeys(row.ours, value.float())
    return translated


def ignored(rows: Iterable[Row]) -> Counter[str]:
    """How many tensors are left aside, by reason."""
    return Counter(row.ignored for row in rows if not row.ours)

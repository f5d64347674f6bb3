"""Writing files so that a killed run leaves the old file or the new one, never half of one; their checksums; caches."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yields a temporary name beside `path` (same suffixes) and renames it to `path` when the block succeeds.

    The temporary file is removed if the block raises; `path` is then untouched. Parent folders are created.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(target.suffixes[-2:]) if target.suffix == ".gz" else target.suffix
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:32]}.", suffix=f".tmp{suffix}", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Only one process of this machine (or file system, where it can lock) is inside for the same `path` at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as stream:
        if fcntl is not None:
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def write_json(path: Path | str, content: Any) -> None:
    """Writes `content` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def sha256(path: Path | str) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def short_hash(*parts: Any) -> str:
    """Eight hex digits that tell apart what JSON tells apart."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:8]


def default_cache(root: Path) -> Path:
    """Where the caches of a cohort go if the user does not say: beside the data, or below the user's cache."""
    beside = root / ".tumorgen"
    if os.access(next(path for path in (beside, *beside.absolute().parents) if path.exists()), os.W_OK):
        return beside
    if own := os.environ.get("TUMORGEN_CACHE"):
        return Path(own) / "rois"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tumorgen" / "rois"

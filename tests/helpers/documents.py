"""README and the pages of docs/, taken apart: blocks, commands, inline code."""

import re
import shlex
from dataclasses import dataclass
from functools import cache

from front import ROOT

FENCED = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block; `title` is the name of the file that it is, where it is one."""

    page: str
    language: str
    title: str
    text: str


@cache
def pages() -> dict[str, str]:
    """Text by path, README first."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


def blocks(language: str) -> list[Block]:
    """All blocks of one language."""
    found = [Block(page, *match) for page, text in pages().items() for match in FENCED.findall(text)]
    return [block for block in found if block.language == language]


def files() -> list[Block]:
    """Blocks that are files of the reader's own."""
    return [block for language in ("python", "yaml") for block in blocks(language) if block.title]


def commands(page: str | None = None) -> list[list[str]]:
    """Every command of every bash block (of a page), as words, without comments."""
    texts = [block.text for block in blocks("bash") if page in (None, block.page)]
    lines = "\n".join(texts).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.split(r"\s&&\s", line)]
    words = [shlex.split(part.replace("$SLURM_ARRAY_TASK_ID", "0"), comments=True) for part in parts]
    return [command[command[0] == "srun" :] for command in words if command]


def prose() -> str:
    """All pages without their blocks."""
    return "\n".join(FENCED.sub("", text) for text in pages().values())


def spans() -> list[str]:
    """Inline code, each once, in the order of its first mention."""
    return list(dict.fromkeys(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose())))

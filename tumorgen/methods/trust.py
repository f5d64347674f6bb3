"""Which classes a checkpoint may name: those of tumorgen, and those that its user vouches for.

A checkpoint says which classes build its model. To look one up imports its module, which runs code, and to build one runs its
constructor with arguments that the checkpoint chose as well. jsonargparse takes a class in many forms (a `class_path` section,
a plain string, JSON in a string, nested in any of them); every one of them asks one of its functions whether a path may be
imported, and that question is answered here.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pkgutil import resolve_name

import jsonargparse._common as jsonargparse_policy

SHIPPED = ("tumorgen.", "data_modules.", "torch.optim.")

_vouched_for: ContextVar[tuple[str, ...]] = ContextVar("vouched_for", default=())


class RefusedClassError(BaseException):
    """A path that a checkpoint may not name; no `Exception`, which jsonargparse takes as a reason to try another type."""


@contextmanager
def trusting(packages: str | Iterable[str], classes: Iterable[str] = ()) -> Iterator[None]:
    """Within this, checkpoints may also name what the user vouches for.

    Args:
        packages: Names of packages: their classes, and functions that build what a field asks for. In a string, with commas.
        classes: Paths of single classes, wherever they are defined.
    """
    names = packages.split(",") if isinstance(packages, str) else packages
    whole = tuple(f"{name.strip()}." for name in names if name.strip())
    token = _vouched_for.set((*_vouched_for.get(), *whole, *classes))
    try:
        yield
    finally:
        _vouched_for.reset(token)


@contextmanager
def trusted_classes_only() -> Iterator[Callable[[str], None]]:
    """Within this, jsonargparse imports nothing else; what comes out refuses a path in the same way.

    Raises:
        RefusedClassError: Something else was named; it has not been imported.
    """
    named = _vouched_for.get()
    defined: set[str] = set()  # where classes that were vouched for one by one are defined

    def check(path: str) -> None:
        if not (_within(path, (*SHIPPED, *named)) or path in defined):
            raise RefusedClassError(path)
        try:
            found = resolve_name(path)
        except (ImportError, AttributeError, ValueError):
            return  # jsonargparse says that there is no such class
        if not (inspect.isclass(found) or inspect.isroutine(found)):
            raise RefusedClassError(path)
        own = f"{found.__module__}.{found.__qualname__}"
        if path in named:
            defined.add(own)
        elif not (_within(own, named) or own in defined or (inspect.isclass(found) and _within(own, SHIPPED))):
            raise RefusedClassError(own)

    original = jsonargparse_policy.denying_import_path_entry
    jsonargparse_policy.denying_import_path_entry = check
    try:
        yield check
    finally:
        jsonargparse_policy.denying_import_path_entry = original


def _within(path: str, entries: Iterable[str]) -> bool:
    """Whether a path is one of the entries, or lies in one that ends with a dot."""
    return any(path == entry or (entry.endswith(".") and path.startswith(entry)) for entry in entries)

# SPDX-License-Identifier: MPL-2.0
"""The modules that each message goes through, compiled (hook/compiled.txt): kea-dhcp4 runs them in place of their sources.

They are beside the hook's library, where nobody else looks for them, and they are used only if they were made of the very sources that
are there: what runs is always what stands in the files. Whoever changes one of these runs the sources until the package is installed
again. The tools of the command line run the sources anyway, so that a failure is looked into where it can be read.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import sysconfig
from collections.abc import Mapping
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = Path(__file__).parents[1]
_FOLDER: Final = Path("_hook", "compiled")
_SUFFIX: Final[str] = sysconfig.get_config_var("EXT_SUFFIX")


class _Finder(MetaPathFinder):
    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        """Return where a module is, if it is one of them."""
        file = self._files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)


_refusal = "not asked for"


def use() -> bool:
    """Have the compiled modules imported from now on, and return whether that is so. To be called before any of them is imported."""
    global _refusal
    _refusal = _try()
    return used()


def used() -> bool:
    """Return whether they are."""
    return not _refusal


def refusal() -> str:
    """Return why they are not, for the log; nothing where they are."""
    return _refusal


def _try() -> str:
    refusal = "nothing was compiled"
    for folder in _folders():
        if not (folder / "compiled.json").is_file():
            continue
        try:
            described = json.loads((folder / "compiled.json").read_text(encoding="utf-8"))
            changed = [module for module, digest in described["modules"].items() if _digest(module) != digest]
            refusal = f"not made of {', '.join(changed)}" if changed else _load(described, folder)
        except (OSError, ValueError, KeyError) as error:
            refusal = f"{folder}: {error}"
        if not refusal:
            break
    return refusal


def _folders() -> list[Path]:
    """Return where they may be: an editable installation keeps the sources in the checkout, and these in site-packages."""
    packages = [PACKAGE, *(Path(folder, PACKAGE.name) for folder in sys.path if folder)]
    return [package / _FOLDER for package in packages]


def _digest(module: str) -> str:
    source = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    return hashlib.sha256(source.read_bytes()).hexdigest()


def _load(described: dict[str, Any], folder: Path) -> str:
    """Import the library that has the code of all, and find them from now on. Returns why not, as where they are another Python's."""
    library: str = described["library"]
    files = {name: folder / f"{name}{_SUFFIX}" for name in (library, *described["modules"])}
    missing = [file.name for file in files.values() if not file.is_file()]
    if missing:
        return f"{folder}: no {', '.join(missing)}"
    finder = _Finder(files)
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module(library)
    except ImportError as error:
        sys.meta_path.remove(finder)
        return str(error)
    return ""

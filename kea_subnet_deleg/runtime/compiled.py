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
from typing import Final

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


def use() -> bool:
    """Have the compiled modules imported from now on, and return whether that is so. To be called before any of them is imported."""
    for folder in _folders():
        try:
            described = json.loads((folder / "compiled.json").read_text(encoding="utf-8"))
            if all(_digest(module) == digest for module, digest in described["modules"].items()):
                return _load(described["library"], list(described["modules"]), folder)
        except (OSError, ValueError, KeyError):  # nothing there, or nothing of use
            continue
    return False


def used() -> bool:
    """Return whether they are."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


def _folders() -> list[Path]:
    """Return where they may be: an editable installation keeps the sources in the checkout, and these in site-packages."""
    packages = [PACKAGE, *(Path(folder, PACKAGE.name) for folder in sys.path if folder)]
    return [package / _FOLDER for package in packages]


def _digest(module: str) -> str:
    source = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    return hashlib.sha256(source.read_bytes()).hexdigest()


def _load(library: str, modules: list[str], folder: Path) -> bool:
    """Import the library that has the code of all, and find them from now on; not where it is another Python's."""
    files = {name: folder / f"{name}{_SUFFIX}" for name in (library, *modules)}
    if not all(file.is_file() for file in files.values()):
        return False
    finder = _Finder(files)
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module(library)
    except ImportError:
        sys.meta_path.remove(finder)
        return False
    return True

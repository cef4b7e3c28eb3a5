# SPDX-License-Identifier: MPL-2.0
"""Write the C that mypyc makes of the modules each message goes through, for CMake to compile.

Usage: emit_compiled.py SOURCE_DIRECTORY OUTPUT_DIRECTORY MODULE_FILE...

The module files are relative to the source directory. Beside the C there are then `compiled.cmake`, which names the libraries to make
of it, and `compiled.json`, by which the hook sees whether they are of the sources that it finds (kea_subnet_deleg/runtime/compiled.py).
"""

import hashlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

GROUP = "kea_subnet_deleg"
"""What the library that has all the code is called, with __mypyc behind it."""

# Our gates are elsewhere (ci/check). What is not installed where the package is built (psycopg, cffi) need not be seen.
_OPTIONS = ("--config-file=", "--ignore-missing-imports", "--no-error-summary")


def emit(source: Path, output: Path, files: Sequence[str]) -> None:
    """Write everything, unless it is there. Exits with mypyc's messages where a module can't be compiled."""
    os.chdir(source)  # the names of modules are those of files below the working directory
    digests = {".".join(Path(file).with_suffix("").parts): _digest(file) for file in files}
    described = json.dumps({"library": f"{GROUP}__mypyc", "modules": digests}, indent=1) + "\n"
    tool = importlib.util.find_spec("mypyc")
    made_of = [described, _digest(__file__), version("mypy"), str(tool and tool.origin), sys.version]
    there = output / "made-of.json"
    if there.is_file() and json.loads(there.read_text(encoding="utf-8")) == made_of:
        return
    there.unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    importlib.import_module("setuptools")  # mypyc.build asks whether it was
    from mypyc.build import mypycify

    options = [*_OPTIONS, f"--cache-dir={output / 'cache'}"]
    extensions = mypycify([*options, *files], group_name=GROUP, target_dir=str(output))
    lines = [f"list(APPEND compiled_include_directories {_quoted(folder)})" for folder in extensions[0].include_dirs]
    for extension in extensions:
        sources = " ".join(_quoted(Path(file).resolve()) for file in extension.sources)
        lines.append(f"add_compiled({extension.name} {sources})")
    (output / "compiled.cmake").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (output / "compiled.json").write_text(described, encoding="utf-8")
    there.write_text(json.dumps(made_of), encoding="utf-8")


def _digest(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _quoted(path: str | Path) -> str:
    return f'"{Path(path).as_posix()}"'


if __name__ == "__main__":
    emit(Path(sys.argv[1]), Path(sys.argv[2]).resolve(), sys.argv[3:])

# SPDX-License-Identifier: MPL-2.0
"""The compiled modules: they pass the tests of their sources, and run only where they are of the sources that are there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kea_subnet_deleg.runtime import compiled

ROOT = Path(__file__).parents[2]
TESTS = (
    *sorted(ROOT.glob("tests/unit/test_wire_*.py")),
    *(ROOT / "tests/unit" / f"test_{name}.py" for name in ("admission", "authenticator", "delegating", "directory", "proportional", "proportional_properties", "runtime", "shortages")),
    ROOT / "tests/ledger/test_operations.py",
)  # fmt: skip
_RUN = """
import sys
from kea_subnet_deleg.runtime import compiled
if not compiled.use():
    sys.exit("the compiled modules are of other sources: ci/setup makes them")
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def test_they_pass_the_tests_of_their_sources() -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("COV_", "KSD_", "PYTEST_"))
    }
    command = [sys.executable, "-c", _RUN, "-q", "-p", "no:cacheprovider", *map(str, TESTS)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_of_them_are_there() -> None:
    """Each module is imported from the one library, under its own name."""
    listed = (ROOT / "hook" / "compiled.txt").read_text(encoding="utf-8").split()
    modules = [".".join(Path(file).with_suffix("").parts) for file in listed]
    program = f"""
import importlib
from kea_subnet_deleg.runtime import compiled
assert compiled.use() and compiled.used()
for name in {modules!r}:
    assert importlib.import_module(name).__file__.endswith(compiled._SUFFIX), name
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


SOURCE = "VALUE = 1\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of one module, and where its compiled form would be."""
    package = tmp_path / "package"
    folder = package / "_hook" / "compiled"
    folder.mkdir(parents=True)
    (package / "module.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.setattr(compiled, "PACKAGE", package)
    monkeypatch.setattr(compiled, "_refusal", compiled.refusal())
    monkeypatch.setattr(sys, "path", [str(tmp_path / "elsewhere")])
    return folder


def describe(folder: Path, source: str = SOURCE) -> None:
    digests = {"package.module": hashlib.sha256(source.encode()).hexdigest()}
    text = json.dumps({"library": "package__mypyc", "modules": digests})
    (folder / "compiled.json").write_text(text, encoding="utf-8")


def put(folder: Path, *names: str) -> None:
    """Put files there that are no libraries."""
    for name in names:
        (folder / f"{name}{compiled._SUFFIX}").write_bytes(b"not ELF")


def refused(why: str) -> bool:
    """Nothing is found otherwise than before, and the log says why."""
    before = sys.meta_path.copy()
    return not compiled.use() and not compiled.used() and sys.meta_path == before and why in compiled.refusal()


def test_nothing_was_compiled(folder: Path) -> None:
    assert folder.is_dir()
    assert refused("nothing was compiled")


@pytest.mark.parametrize("text", ["", "{}", '{"modules": {}}'])
def test_what_was_compiled_is_not_said(folder: Path, text: str) -> None:
    (folder / "compiled.json").write_text(text, encoding="utf-8")
    assert refused("compiled")


def test_the_source_was_changed(folder: Path) -> None:
    put(folder, "package__mypyc", "package.module")
    describe(folder, SOURCE + "\n")
    assert refused("not made of package.module")


def test_the_source_is_missing(folder: Path) -> None:
    put(folder, "package__mypyc", "package.module")
    describe(folder)
    folder.joinpath("..", "..", "module.py").resolve().unlink()
    assert refused("module.py")


def test_compiled_for_another_python(folder: Path) -> None:
    """Then the suffix is another."""
    put(folder, "package__mypyc")
    describe(folder)
    assert refused("no package.module.")


def test_a_library_that_does_not_load(folder: Path) -> None:
    put(folder, "package__mypyc", "package.module")
    describe(folder)
    assert refused("package__mypyc")

# SPDX-License-Identifier: MPL-2.0
"""Policies that are installed as entry points, as an operator's package would bring them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from kea_subnet_deleg.policy import BestFit, Proportional, Thresholds, UnknownPolicy
from kea_subnet_deleg.runtime.policies import known_policies, make_policies, policy_fault
from kea_subnet_deleg.runtime.settings import BadSettings, Settings

CODE = """
from kea_subnet_deleg.policy import BestFit

class Stingy(BestFit):
    pass

def broken():
    raise RuntimeError("no licence")
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, target: str) -> None:
    """Install a package with one entry point."""
    (folder / "stingy_policy.py").write_text(CODE)
    metadata = folder / "stingy_policy-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stingy-policy\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[kea_subnet_deleg.policies]\n{name} = stingy_policy:{target}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "stingy_policy", raising=False)


def test_ours() -> None:
    assert known_policies() == {"best-fit", "proportional"}
    policies = make_policies(Thresholds(scarce=0.3))
    assert isinstance(policies["best-fit"], BestFit)
    assert policies["proportional"] == Proportional(Thresholds(scarce=0.3))
    assert policy_fault("best-fit") is None


def test_an_operators_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "stingy", "Stingy")
    assert known_policies() == {"best-fit", "proportional", "stingy"}
    assert type(make_policies(Thresholds())["stingy"]).__name__ == "Stingy"
    assert Settings.from_json(json.dumps({"dsn": "dbname=x", "policy": "stingy"})).policy == "stingy"
    with pytest.raises(
        BadSettings, match='policy: "x": no such policy; allowed is one of best-fit, proportional, stingy'
    ):
        Settings.from_json(json.dumps({"dsn": "dbname=x", "policy": "x"}))


def test_one_that_is_called_like_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "best-fit", "Stingy")
    with pytest.raises(UnknownPolicy, match='"best-fit": built in'):
        make_policies(Thresholds())


def test_one_that_cant_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "stingy", "broken")
    with pytest.raises(RuntimeError, match="no licence"):
        make_policies(Thresholds())

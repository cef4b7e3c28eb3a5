# SPDX-License-Identifier: MPL-2.0
"""Fixtures of the tests that run real Kea servers on a real ledger: sites, and what is checked after every test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ci.labs import Lab
from ci.labs.process import tail
from tests.client.endpoint import Endpoint
from tests.conftest import PREFIX
from tests.kea.site import Site

MakeSite = Callable[..., Site]
MakeLab = Callable[..., Lab]

_numbers = itertools.count(1)
_made: list[Path] = []  # where the run's labs keep clusters with new ledgers, to be copied
_up: list[Lab] = []  # the labs that are up: each is checked after each test, and shown where one fails


@pytest.fixture(scope="session", autouse=True)
def _no_leftovers() -> Iterator[None]:
    """End the labs of earlier test runs that were killed, and leave none."""
    Lab.sweep()
    with TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as made:
        _made.append(Path(made))
        yield
        _made.clear()


def _make_lab(stack: ExitStack, topology: str, severities: Mapping[str, str] | None = None, **options: Any) -> Lab:
    logged = {"kea-dhcp4.subnet-deleg-hooks": "DEBUG", **(severities or {})}
    name = f"t{os.getpid()}-{next(_numbers)}"
    lab = stack.enter_context(Lab(topology, name=name, severities=logged, made=_made[-1], **options))
    _up.append(lab)
    stack.callback(_up.remove, lab)
    return lab


def _make_site(stack: ExitStack, topology: str, **options: Any) -> Site:
    lab = _make_lab(stack, topology, **options)
    place = lab.clients[0]
    return Site(lab, stack.enter_context(Endpoint.relay(place.netns, place.interface, place.address)))


@pytest.fixture(scope="module")
def single() -> Iterator[Site]:
    """One server and one client, for the tests of a module that leave it as it was."""
    with ExitStack() as stack:
        yield _make_site(stack, "single")


@pytest.fixture(scope="module")
def shared() -> Iterator[Site]:
    """Two servers that share one ledger, for the tests of a module that leave it as it was."""
    with ExitStack() as stack:
        yield _make_site(stack, "shared")


@pytest.fixture(scope="module")
def make_module_site() -> Iterator[MakeSite]:
    """As `make_site`, for the tests of a module that share what they make."""
    with ExitStack() as stack:
        yield lambda topology, **options: _make_site(stack, topology, **options)


@pytest.fixture(scope="module")
def make_module_lab() -> Iterator[MakeLab]:
    """As `make_lab`, for the tests of a module that share what they make."""
    with ExitStack() as stack:
        yield lambda topology, **options: _make_lab(stack, topology, **options)


@pytest.fixture
def make_site() -> Iterator[MakeSite]:
    """Make a site for one test alone: `make_site(topology, pools=..., parameters=..., kea=..., ...)`, the options of a lab."""
    with ExitStack() as stack:
        yield lambda topology, **options: _make_site(stack, topology, **options)


@pytest.fixture
def make_lab() -> Iterator[MakeLab]:
    """Make a lab for one test alone, with nobody at its clients' and hosts' places yet; options as those of `make_site`."""
    with ExitStack() as stack:
        yield lambda topology, **options: _make_lab(stack, topology, **options)


@pytest.fixture(autouse=True)
def _ledgers_in_order(make_site: MakeSite, make_lab: MakeLab) -> Iterator[None]:  # noqa: ARG001  # makes this end before that does
    """After each test: no ledger that is up violates an invariant."""
    yield
    for lab in _up:
        if lab.ledger_is_up:
            violations = lab.violations()
            assert not violations, f"ledger_check() of {lab.name}: {violations}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs' tails of every lab that is up where a test fails."""
    report = yield
    if report.failed:
        for lab in _up:
            report.sections += [(f"{lab.name} {path.name} of {path.parent.name}", tail(path)) for path in lab.logs()]
    return report

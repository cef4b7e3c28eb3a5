# SPDX-License-Identifier: MPL-2.0
"""The labs of tests/kea, for tests that kill parts of them."""

from tests.kea.conftest import (
    _ledgers_in_order,
    _no_leftovers,
    make_lab,
    make_module_site,
    make_site,
    pytest_runtest_makereport,
)

__all__ = [
    "_ledgers_in_order",
    "_no_leftovers",
    "make_lab",
    "make_module_site",
    "make_site",
    "pytest_runtest_makereport",
]

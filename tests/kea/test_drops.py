# SPDX-License-Identifier: MPL-2.0
"""Whom an operator has Kea ignore by the class DROP, with other hooks loaded and without: parameter respect-drops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from tests.client.codec import Allocation, Request, Type
from tests.client.rfc6656 import Identity
from tests.kea.conftest import MakeSite
from tests.kea.ordinary import serves
from tests.kea.site import Site

OTHER = "libdhcp_lease_cmds.so"
DRIVER = "libdhcp_pgsql.so"  # a hook since Kea 3.0; here another one of Kea's by its name
IGNORED = Identity.fresh()
BRIEF = 0.5  # seconds


@pytest.fixture(scope="module")
def site(make_module_site: MakeSite) -> Site:
    site = make_module_site("single")
    hooks = site.lab.hooks
    if not (hooks / DRIVER).exists():
        (hooks / DRIVER).symlink_to((hooks / OTHER).resolve())
    return site


def configure(site: Site, others: Sequence[str], parameters: Mapping[str, object]) -> None:
    """Have Kea ignore one client, and load these hooks behind ours."""
    server = site.lab.servers["s1"]
    loaded = server.configuration(site.lab.hooks)
    dhcp4 = loaded["Dhcp4"]
    dhcp4["client-classes"] = [{"name": "DROP", "test": f"pkt4.mac == 0x{IGNORED.hardware.hex()}"}]
    (ours,) = dhcp4["hooks-libraries"]
    ours["parameters"] = {**ours["parameters"], **parameters}
    dhcp4["hooks-libraries"] += [{"library": str(site.lab.hooks / name)} for name in others]
    server.command("config-set", loaded)


@pytest.mark.parametrize(
    ("others", "parameters", "respected"),
    [
        ([], {}, False),
        ([], {"respect-drops": True}, True),
        ([OTHER], {}, True),
        ([OTHER], {"respect-drops": False}, False),
        ([DRIVER], {}, False),
        ([DRIVER, OTHER], {}, True),
    ],
)
def test_whom_kea_ignores(site: Site, others: Sequence[str], parameters: Mapping[str, object], respected: bool) -> None:
    configure(site, others, parameters)
    client = site.client(IGNORED)
    if respected:
        client.unanswered(client.build(Type.DISCOVER, Allocation((Request(28),))), BRIEF)
    else:
        assert client.discover(28)
    assert site.client().discover(28)  # anybody else is served
    serves(site.endpoint, site.servers[0])

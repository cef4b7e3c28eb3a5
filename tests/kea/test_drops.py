# SPDX-License-Identifier: MPL-2.0
"""Whom an operator has Kea ignore by the class DROP, with other hooks loaded and without: parameter respect-drops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.client.codec import Allocation, Request, Type
from tests.client.endpoint import Endpoint
from tests.client.rfc6656 import Client, Identity
from tests.kea.conftest import MakeLab, MakeSite
from tests.kea.ordinary import serves
from tests.kea.site import Site

OTHER = "libdhcp_lease_cmds.so"
DRIVER = "libdhcp_pgsql.so"  # a hook since Kea 3.0; here another one of Kea's by its name
IGNORED = Identity.fresh()
BRIEF = 0.5  # seconds
UNREADABLE = (1, b"abc")  # a subnet mask of three octets


@pytest.fixture(scope="module")
def site(make_module_site: MakeSite) -> Site:
    site = make_module_site("single")
    hooks = site.lab.hooks
    if not (hooks / DRIVER).exists():
        (hooks / DRIVER).symlink_to((hooks / OTHER).resolve())
    return site


def drop(test: str) -> list[dict[str, str]]:
    """The class DROP, for what `test` is true of."""
    return [{"name": "DROP", "test": test}]


ONE = drop(f"pkt4.mac == 0x{IGNORED.hardware.hex()}")


def configure(
    site: Site,
    others: Sequence[str],
    parameters: Mapping[str, object],
    classes: Sequence[Mapping[str, object]] = ONE,
) -> None:
    """Have Kea ignore one client, or `classes`, and load these hooks behind ours."""
    server = site.lab.servers["s1"]
    loaded = server.configuration(site.lab.hooks)
    dhcp4 = loaded["Dhcp4"]
    dhcp4["client-classes"] = classes
    (ours,) = dhcp4["hooks-libraries"]
    ours["parameters"] = {**ours["parameters"], **parameters}
    dhcp4["hooks-libraries"] += [{"library": str(site.lab.hooks / name)} for name in others]
    server.command("config-set", loaded)


def is_ignored(client: Client, *extra: tuple[int, bytes]) -> None:
    client.unanswered(client.build(Type.DISCOVER, Allocation((Request(28),)), extra=extra), BRIEF)


def is_served(client: Client, *extra: tuple[int, bytes]) -> None:
    assert client.exchange(client.build(Type.DISCOVER, Allocation((Request(28),)), extra=extra), want=1)


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
    (is_ignored if respected else is_served)(client)
    is_served(site.client())  # anybody else
    serves(site.endpoint, site.servers[0])


@pytest.fixture(scope="module")
def bare(make_module_site: MakeSite) -> Site:
    """A link without a subnet, of which Kea drops broadcasts before it calls `pkt4_receive`."""
    return make_module_site("single", kea={"interfaces-config": {"dhcp-socket-type": "raw"}, "subnet4": []})


CLASSES: dict[str, list[dict[str, Any]]] = {
    "by what the header says": ONE,
    "by an option": drop(f"option[61].hex == 0x{(IGNORED.identifier or b'').hex()}"),
    "by what Kea makes of the vendor's class": drop("member('VENDOR_CLASS_old')"),
    "by the interface and the addresses": drop(
        f"{ONE[0]['test']} and pkt.iface == 'eth0' and pkt.dst == 255.255.255.255 and member('ALL')"
    ),
    "by another class": [{"name": "old", "test": "option[60].text == 'old'"}, *drop("member('old')")],
    "after one that fails": [{"name": "failing", "test": "int8totext(option[60].hex) == '1'"}, *ONE],
}
OLD = (60, b"old")  # what its vendor calls it (RFC 2132 9.13)


@pytest.mark.parametrize("classes", CLASSES.values(), ids=CLASSES)
def test_whom_kea_ignores_though_it_drops_everybody(bare: Site, classes: Sequence[Mapping[str, object]]) -> None:
    configure(bare, [], {"respect-drops": True}, classes)
    for make in (bare.direct, bare.unnumbered):
        with make() as endpoint:
            is_ignored(bare.client(IGNORED, endpoint=endpoint), OLD)
            is_served(bare.client(endpoint=endpoint))


# Kea evaluates these later than it calls `pkt4_receive`, or not at all.
@pytest.mark.parametrize(
    "classes",
    [
        drop("not member('KNOWN')"),
        [{"name": "one", "test": ONE[0]["test"], "only-if-required": True}, *drop("member('one')")],
        [{"name": "one", "test": ONE[0]["test"]}],
    ],
    ids=["depends on reservations", "on request", "another class"],
)
def test_who_is_not_in_the_class(bare: Site, classes: Sequence[Mapping[str, object]]) -> None:
    configure(bare, [], {"respect-drops": True}, classes)
    with bare.unnumbered() as endpoint:
        is_served(bare.client(IGNORED, endpoint=endpoint))


def test_nobody_gets_round_it_by_what_kea_cannot_read(bare: Site) -> None:
    configure(bare, [], {"respect-drops": True})
    is_served(bare.client(), UNREADABLE)
    is_ignored(bare.client(IGNORED), UNREADABLE)


def test_a_partner_that_leaves_it_to_the_other_ignores_it_too(make_lab: MakeLab) -> None:
    """Kea's hook for pairs, behind ours, drops what is the other's to answer before Kea has put it into classes."""
    lab = make_lab("ha", kea={"client-classes": ONE})
    place = lab.clients[0]
    with Endpoint.relay(place.netns, place.interface, place.address) as endpoint:
        for name in ("edge1", "edge2"):
            servers = [lab.servers[name].address]
            is_ignored(Client(endpoint, IGNORED, servers))
            is_served(Client(endpoint, Identity.fresh(), servers))

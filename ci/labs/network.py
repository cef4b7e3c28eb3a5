# SPDX-License-Identifier: MPL-2.0
"""Namespaces and the links between them. Nothing of the host's own network is touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

from ci.labs.process import run

INTERFACE = "eth0"  # the one interface of a client, and of a server that on the link with all others
HOSTS_INTERFACE = "eth1"  # that of a server on its link with hosts


@dataclass(frozen=True, slots=True)
class Plug:
    """Where a namespace is on a link: by which interface, and with which address."""

    netns: str
    address: IPv4Interface
    interface: str = INTERFACE


def exists(netns: str) -> bool:
    return Path(f"/run/netns/{netns}").exists()


def add(netns: str) -> None:
    """Make a namespace with its loopback up."""
    run("ip", "netns", "add", netns)
    _ip(netns, "link", "set", "lo", "up")


def delete(netns: str) -> None:
    """Delete a namespace if it is there; its veth links go with it."""
    if exists(netns):
        try:
            run("ip", "netns", "delete", netns)
        except RuntimeError:
            if exists(netns):  # and not deleted by another process meanwhile
                raise


def link(plugs: Sequence[Plug], switch: str | None) -> None:
    """Join namespaces on one link: two of them by a veth pair, more by a bridge that stands in the namespace `switch`."""
    if switch is None:
        one, other = plugs
        ends = ("netns", other.netns, "type", "veth", "peer", "name", one.interface, "netns", one.netns)
        run("ip", "link", "add", other.interface, *ends)
    else:
        _bridge(switch, plugs)
    for plug in plugs:
        _ip(plug.netns, "address", "add", str(plug.address), "broadcast", "+", "dev", plug.interface)
        _ip(plug.netns, "link", "set", plug.interface, "up")


def inside(netns: str) -> list[str]:
    """What to put before a command so that it runs in a namespace, under the same pid.

    nsenter rather than `ip netns exec` or `ip -n`: those remount /sys, which they can't in a chroot.
    """
    return ["nsenter", f"--net=/run/netns/{netns}", "--"]


def _bridge(netns: str, plugs: Sequence[Plug]) -> None:
    _ip(netns, "link", "add", "br0", "type", "bridge")
    _ip(netns, "link", "set", "br0", "up")
    for number, plug in enumerate(plugs):
        port = f"port{number}"
        peer = ("peer", "name", plug.interface, "netns", plug.netns)
        run("ip", "link", "add", port, "netns", netns, "type", "veth", *peer)
        _ip(netns, "link", "set", port, "master", "br0", "up")


def _ip(netns: str, *arguments: str) -> None:
    run(*inside(netns), "ip", *arguments)

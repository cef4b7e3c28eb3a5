# SPDX-License-Identifier: MPL-2.0
"""Namespaces and the links between them. Nothing of the host's own network is touched."""

from __future__ import annotations

from ipaddress import IPv4Interface
from pathlib import Path

from ci.labs.process import run

INTERFACE = "eth0"  # the one interface of a server or client


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


def cable(one: str, other: str) -> None:
    """A veth pair, an end called eth0 in each of two namespaces."""
    run("ip", "link", "add", INTERFACE, "netns", one, "type", "veth", "peer", "name", INTERFACE, "netns", other)


def bridge(netns: str, *members: str) -> None:
    """Join namespaces on one link by a bridge that stands in the namespace `netns`."""
    _ip(netns, "link", "add", "br0", "type", "bridge")
    _ip(netns, "link", "set", "br0", "up")
    for number, member in enumerate(members):
        port = f"port{number}"
        run("ip", "link", "add", port, "netns", netns, "type", "veth", "peer", "name", INTERFACE, "netns", member)
        _ip(netns, "link", "set", port, "master", "br0", "up")


def address(netns: str, value: IPv4Interface) -> None:
    """Give eth0 an address and bring it up."""
    _ip(netns, "address", "add", str(value), "broadcast", "+", "dev", INTERFACE)
    _ip(netns, "link", "set", INTERFACE, "up")


def inside(netns: str) -> list[str]:
    """What to put before a command so that it runs in a namespace, under the same pid.

    nsenter rather than `ip netns exec` or `ip -n`: those remount /sys, which they can't in a chroot.
    """
    return ["nsenter", f"--net=/run/netns/{netns}", "--"]


def _ip(netns: str, *arguments: str) -> None:
    run(*inside(netns), "ip", *arguments)

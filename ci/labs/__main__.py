# SPDX-License-Identifier: MPL-2.0
"""`ci/lab`: bring a lab up and leave it running, end and start servers of it, show who holds what in it, or end it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Any

from rich.console import Console

from ci.labs import interruption
from ci.labs.lab import Lab, LabError
from ci.labs.picture import picture
from ci.labs.topology import MOST_EDGES, TOPOLOGIES, HaMode

SERVER_ACTIONS = {
    "kill": "end a server as a power cut would (SIGKILL)",
    "stop": "end a server in good order",
    "start": "start a server again, and wait until it serves",
}
WIDTH = 132  # columns of a picture, where no terminal says


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ci/lab` with command-line arguments; return its exit code.

    Only `up`'s JSON object goes to standard output.
    """
    options = _parser().parse_args(arguments)
    interruption.expect()
    try:
        if options.action == "up":
            print(json.dumps(_up(options).describe(), indent=2))
        elif options.action in SERVER_ACTIONS:
            _one_server(Lab.load(options.name), options.action, options.server)
        elif options.action == "picture":
            console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
            console.print(picture(Lab.load(options.name)))
        elif Lab.exists(options.name):
            for problem in Lab.load(options.name).down():
                print(f"ci/lab: {problem}", file=sys.stderr)
        else:
            print(f"ci/lab: there is no lab {options.name!r}", file=sys.stderr)
    except RuntimeError as error:
        print(f"ci/lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ci/lab: interrupted; nothing is left running", file=sys.stderr)
        return 130
    return 0


def _one_server(lab: Lab, action: str, name: str) -> None:
    if name not in lab.servers:
        raise LabError(f"there is no server {name!r}; there are {', '.join(lab.servers)}")
    if lab.is_up(name) == (action == "start"):
        raise LabError(f"{name} {'runs' if action == 'start' else 'does not run'}")
    getattr(lab, action)(name)


def _up(options: argparse.Namespace) -> Lab:
    severities = {"kea-dhcp4": options.severity, "kea-dhcp4.subnet-deleg-hooks": options.severity}
    return Lab(
        options.topology,
        name=options.name,
        pools=options.pool,
        edges=options.edges,
        ha=HaMode(options.ha),
        lease_time=options.lease_time,
        parameters=options.parameters | ({} if options.policy is None else {"policy": options.policy}),
        servers=dict(options.server),
        kea=options.kea,
        severities=severities,
        owned=False,
    ).up()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ci/lab", description="Throw-away labs of Kea servers, a ledger and a client."
    )
    actions = parser.add_subparsers(dest="action", required=True)
    up = actions.add_parser("up", help="bring a lab up, leave it running and print it as one JSON object")
    told = "; ".join(f"{name}: {what}" for name, what in TOPOLOGIES.items())
    up.add_argument("topology", choices=TOPOLOGIES, help=told)
    up.add_argument(
        "--pool", type=_prefix, action="extend", nargs="+", metavar="CIDR", help="address space to delegate"
    )
    up.add_argument(
        "--edges", type=int, choices=range(1, MOST_EDGES + 1), default=1, metavar="N", help="how many a chain has"
    )
    up.add_argument(
        "--ha", choices=[str(mode) for mode in HaMode], default=str(HaMode.HOT_STANDBY), help="what the two of ha are"
    )
    up.add_argument(
        "--lease-time",
        type=_seconds,
        metavar="SECONDS",
        help="of subnets; what else takes its time is short in proportion",
    )
    up.add_argument(
        "--parameters", type=_json_object, default={}, metavar="JSON", help="the hook's parameters beside its dsn"
    )
    up.add_argument(
        "--server",
        type=_named,
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="as --parameters, for one server",
    )
    up.add_argument("--policy", metavar="NAME", help="who gets how much: the hook's parameter of that name")
    up.add_argument("--kea", type=_json_object, default={}, metavar="JSON", help='merged into "Dhcp4" of each server')
    up.add_argument(
        "--severity", default="INFO", choices=("FATAL", "ERROR", "WARN", "INFO", "DEBUG"), help="of the logs"
    )
    shown = actions.add_parser("picture", help="show who holds what: pools, leased subnets, networks of hosts")
    down = actions.add_parser("down", help="end exactly what `up` started")
    ones = [actions.add_parser(name, help=told) for name, told in SERVER_ACTIONS.items()]
    for one in ones:
        one.add_argument("server", metavar="SERVER", help="its name, as `up` prints it")
    for action in (up, shown, *ones, down):
        action.add_argument("--name", default="lab", help="labs of different names live side by side")
    return parser


def _prefix(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; an IPv4 prefix such as 10.64.0.0/16 is needed") from None


def _seconds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number of seconds is needed, one at least")
    return int(text)


def _named(text: str) -> tuple[str, dict[str, Any]]:
    name, _, value = text.partition("=")
    return name, _json_object(value)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object")
    return value


if __name__ == "__main__":
    sys.exit(main())

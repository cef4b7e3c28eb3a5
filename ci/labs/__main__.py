# SPDX-License-Identifier: MPL-2.0
"""`ci/lab`: bring a lab up and leave it running, or end it."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Any

from ci.labs.lab import DEFAULT_POOLS, TOPOLOGIES, Lab, LabError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ci/lab` with command-line arguments; return its exit code.

    Only `up`'s JSON object goes to standard output.
    """
    options = _parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if options.action == "up":
            print(json.dumps(_up(options).describe(), indent=2))
        elif Lab.exists(options.name):
            for problem in Lab.load(options.name).down():
                print(f"ci/lab: {problem}", file=sys.stderr)
        else:
            print(f"ci/lab: there is no lab {options.name!r}", file=sys.stderr)
    except LabError as error:
        print(f"ci/lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ci/lab: interrupted; nothing is left running", file=sys.stderr)
        return 130
    return 0


def _up(options: argparse.Namespace) -> Lab:
    severities = {"kea-dhcp4": options.severity, "kea-dhcp4.subnet-deleg-hooks": options.severity}
    return Lab(
        options.topology,
        name=options.name,
        pools=options.pool or DEFAULT_POOLS,
        parameters=options.parameters | ({} if options.policy is None else {"policy": options.policy}),
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
    up.add_argument("topology", choices=TOPOLOGIES, help="single: one server; shared: two servers, one ledger")
    up.add_argument(
        "--pool", type=IPv4Network, action="extend", nargs="+", metavar="CIDR", help="address space to delegate"
    )
    up.add_argument(
        "--parameters", type=_json_object, default={}, metavar="JSON", help="the hook's parameters beside its dsn"
    )
    up.add_argument("--policy", metavar="NAME", help="who gets how much: the hook's parameter of that name")
    up.add_argument("--kea", type=_json_object, default={}, metavar="JSON", help='merged into "Dhcp4" of each server')
    up.add_argument(
        "--severity", default="INFO", choices=("FATAL", "ERROR", "WARN", "INFO", "DEBUG"), help="of the logs"
    )
    down = actions.add_parser("down", help="end exactly what `up` started")
    for action in (up, down):
        action.add_argument("--name", default="lab", help="labs of different names live side by side")
    return parser


def _json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object")
    return value


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MPL-2.0
"""`ci/bench`: measure the figures and print them."""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ci.labs import Lab, LabError

from bench import delegations, ordinary
from bench.figure import Figure, Plan


class _Measure(NamedTuple):
    plan: Plan
    measure: Callable[[Plan, Callable[[str], None]], Figure]
    title: str


FIGURES: Final[Mapping[str, _Measure]] = {
    "B1": _Measure(delegations.PLAN, delegations.measure, "delegations, ours over Kea's prefix delegation"),
    "B3": _Measure(ordinary.PLAN, ordinary.measure, "CPU per ordinary packet, without the hook over with it"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ci/bench` with command-line arguments; return its exit code. Standard output has the result alone."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    Lab.sweep()
    try:
        report = {name: _measured(FIGURES[name], options) for name in options.only}
    except (LabError, RuntimeError) as error:
        print(f"ci/bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ci/bench: interrupted; nothing is left running", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(report))
    else:
        for name, figure in report.items():
            _show(name, figure)
    return 0


def _measured(figure: _Measure, options: argparse.Namespace) -> Mapping[str, Any]:
    return figure.measure(figure.plan.adapted(options.runs, options.window, options.policy), _progress).report()


def _show(name: str, figure: Mapping[str, Any]) -> None:
    print(f"{name}  {FIGURES[name].title}: {figure['ratio']:.2f}  ({figure['runs']['unit']})")
    for side in ("ours", "peer"):
        values = [run["value"] for run in figure["runs"][side]]
        spread = f"{min(values):.1f} to {max(values):.1f} in {len(values)} runs"
        print(f"    {side}: {statistics.median(values):10.1f}  ({spread})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ci/bench", description="What the project is measured by; see bench/README.md."
    )
    parser.add_argument("size", nargs="?", choices=("quick",), default="quick", help="how much to measure: minutes")
    parser.add_argument(
        "--only", type=_names, default=list(FIGURES), metavar="B1,B3", help="measure these figures alone"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, raw runs included")
    parser.add_argument("--runs", type=int, help="runs of each side, instead of the figure's own")
    parser.add_argument("--window", type=float, metavar="SECONDS", help="of each run, instead of the figure's own")
    parser.add_argument("--policy", metavar="NAME", help="by which B1 delegates, instead of proportional")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        raise argparse.ArgumentTypeError(f"no figure {', '.join(unknown)}: there are {', '.join(FIGURES)}")
    return names


def _progress(text: str) -> None:
    print(f"ci/bench: {text}", file=sys.stderr)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

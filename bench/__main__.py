# SPDX-License-Identifier: MPL-2.0
"""`ci/bench`: measure the figures and print them."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ci.labs import Lab, LabError, interruption

from bench.study import STUDIES, TITLES, Study

KEPT: Final = Path(__file__).parents[1] / "build" / "bench"
"""Where the raw runs go by default."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ci/bench` with command-line arguments; return its exit code. Standard output has the result alone."""
    options = _parser().parse_args(arguments)
    if options.read:
        report = json.loads(options.read.read_text())
    else:
        interruption.expect()
        try:
            report = _measured(options)
        except (LabError, RuntimeError) as error:
            print(f"ci/bench: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("ci/bench: interrupted; nothing is left running", file=sys.stderr)
            return 130
    if options.plots:
        _plot(report, options.plots)
    if options.json:
        print(json.dumps(report))
    else:
        for name, figure in report.items():
            _show(name, figure)
    return 0


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    """Measure what is asked for. What is done when it is interrupted, or fails, is kept all the same."""
    Lab.sweep()
    report: dict[str, Any] = {}
    kept = options.keep or KEPT / time.strftime("%Y-%m-%dT%H-%M-%S.json")
    kept.parent.mkdir(parents=True, exist_ok=True)
    for study in STUDIES:
        wanted = [name for name in study.titles if name in options.only]
        if not wanted:
            continue
        began = time.monotonic()
        report |= _study(study, wanted, options)
        kept.write_text(json.dumps(report, indent=1) + "\n")
        _progress(f"{', '.join(wanted)} took {time.monotonic() - began:.0f} s")
    _progress(f"the raw runs are in {kept}")
    return report


def _study(study: Study, wanted: Sequence[str], options: argparse.Namespace) -> Mapping[str, Any]:
    plan = study.plans.full if options.size == "full" else study.plans.quick
    figures = study.measure(plan.adapted(options.runs, options.window, options.policy), _progress, wanted)
    return {name: figures[name].report() for name in wanted}


def _plot(report: Mapping[str, Any], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for study in STUDIES:
        measured = {name: report[name] for name in study.titles if name in report}
        if study.plots and measured:
            for name, text in study.plots(measured).items():
                (directory / name).write_text(text)
                _progress(f"plot: {directory / name}")


# -- in words


def _show(name: str, figure: Mapping[str, Any]) -> None:
    title, runs = TITLES[name], figure["runs"]
    low, high = figure["spread"]
    print(f"{name}  {title.text}: {figure['ratio']:.3g}  ({low:.3g} to {high:.3g}; aim: {title.aim})")
    for ratio, value in figure.get("ratios", {}).items():
        print(f"    {ratio}: {value:.3g}")
    for side in (side for side in runs if side != "unit"):
        values = [run["value"] for run in runs[side]]
        middle = statistics.median(values)
        spread = f"{min(values):.4g} to {max(values):.4g} in {len(values)} runs"
        unit = f" {runs['unit']}" if side in figure else ""
        print(f"    {side}: {middle:.4g}{unit}  ({spread})")
    for table, rows in figure.get("tables", {}).items():
        _show_table(table, rows)


def _show_table(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"    {name}:")
    for line in cells:
        print("      " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


# -- what is asked for


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ci/bench", description="What the project is measured by; see bench/README.md."
    )
    parser.add_argument(
        "size", nargs="?", choices=("quick", "full"), default="quick", help="how much to measure: minutes, or an hour"
    )
    parser.add_argument(
        "--only", type=_names, default=list(TITLES), metavar="B1,B3", help="measure these figures alone"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, raw runs included")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="where the raw runs go, instead of build/bench/")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write the plots there, as SVG")
    parser.add_argument(
        "--read", type=Path, metavar="FILE", help="measure nothing: show, or plot, raw runs that were kept"
    )
    parser.add_argument("--runs", type=int, help="runs of each side, instead of the figure's own")
    parser.add_argument("--window", type=float, metavar="SECONDS", help="of each run, instead of the figure's own")
    parser.add_argument("--policy", metavar="NAME", help="by which ours delegates, instead of proportional")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in TITLES]
    if unknown:
        raise argparse.ArgumentTypeError(f"no figure {', '.join(unknown)}: there are {', '.join(TITLES)}")
    return names


def _progress(text: str) -> None:
    print(f"ci/bench: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MPL-2.0
"""What ci/bench promises: all figures, in one JSON object of the same shape, runs that are kept, nothing left behind. Not how fast."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

from bench.instances import IN_THE_WAY
from bench.load import ACK, OFFER, Exchange, Fault, Generator, template
from bench.study import TITLES

pytestmark = pytest.mark.alone  # it measures rates, of programs that want both cores

ROOT = Path(__file__).parents[2]
HANGS = 900  # seconds; on a machine that has nothing else to do it takes less than 360


class Done(NamedTuple):
    report: Mapping[str, Any]
    kept: Path
    plots: Path


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "ci/bench", *arguments], capture_output=True, text=True, check=False, timeout=HANGS)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """`ci/bench quick --json` as CI runs it, once for all of these tests."""
    directory = tmp_path_factory.mktemp("bench")
    kept, plots = directory / "raw.json", directory / "plots"
    process = bench("quick", "--json", "--keep", kept, "--plots", plots)
    assert process.returncode == 0, process.stderr
    return Done(json.loads(process.stdout), kept, plots)


def values(runs: Sequence[Mapping[str, Any]]) -> list[float]:
    return [run["value"] for run in runs]


def test_every_figure_has_its_ratio_medians_and_raw_runs(done: Done) -> None:
    assert list(done.report) == list(TITLES) == [f"B{number}" for number in range(1, 11)]
    for figure in done.report.values():
        assert {"ratio", "ours", "peer", "runs", "spread"} <= set(figure)
        assert figure["ratio"] > 0
        assert figure["runs"]["unit"]
        for side in ("ours", "peer"):
            assert figure[side] == pytest.approx(statistics.median(values(figure["runs"][side])), rel=0.001)
        low, high = figure["spread"]
        assert low * 0.999 <= figure["ratio"] <= high * 1.001


def test_ratios_are_of_runs_side_by_side_and_of_costs_the_other_way_round(done: Done) -> None:
    for name in ("B1", "B2", "B3", "B4", "B5"):
        figure = done.report[name]
        pairs = zip(values(figure["runs"]["ours"]), values(figure["runs"]["peer"]), strict=True)
        expected = statistics.median(peer / ours if name == "B3" else ours / peer for ours, peer in pairs)
        assert figure["ratio"] == pytest.approx(expected, rel=0.001), name


def test_the_peer_is_the_better_of_its_configurations(done: Done) -> None:
    for name in ("B1", "B2"):
        figure = done.report[name]
        runs = figure["runs"]
        sides = [values(runs[f"peer, {configuration}"]) for configuration in ("default", "multi-threading")]
        assert values(runs["peer"]) == [max(pair) for pair in zip(*sides, strict=True)]
        assert set(figure["ratios"]) == {"over-best", "over-default", "by CPU time of server and PostgreSQL"}
        assert figure["ratio"] == figure["ratios"]["over-best"]


def test_what_was_delegated_and_renewed_was_checked(done: Done) -> None:
    runs = done.report["B1"]["runs"]["ours"] + done.report["B4"]["runs"]["ours"] + done.report["B4"]["runs"]["peer"]
    for run in runs:
        assert run["completed"] > 0
        assert (run["faults"], run["overlaps"], run["naks"]) == (0, 0, 0)
        assert 0 < run["generator_cpu_share"] < 1
    assert all(run["checked"] > 0 for run in done.report["B4"]["runs"]["ours"])


def test_the_growth_is_told_for_each_size(done: Done) -> None:
    figure = done.report["B6"]
    (rows,) = figure["tables"].values()
    assert [row["blocks"] for row in rows] == ["10^3", "10^4", "10^5"]
    assert figure["ratio"] == max(value for name, value in figure["ratios"].items() if not name.startswith("CPU"))
    for row in rows:
        assert min(value for name, value in row.items() if name != "blocks") > 0


def test_nothing_was_lost_between_several_servers(done: Done) -> None:
    rows = done.report["B7"]["tables"][IN_THE_WAY]
    assert [(row["servers"], row["lost"]) for row in rows] == [(1, 0), (2, 0), (4, 0)]
    assert all(row["completed"] > 0 for row in rows)


def test_ordinary_dhcp_is_measured_beside_a_hook_that_calls_python(done: Done) -> None:
    figure = done.report["B3"]
    names = {"cpu", "saturation", "cpu-at-saturation"}
    assert set(figure["ratios"]) == names | {f"python-{name}" for name in names} | {"cpu, none over none again"}
    assert figure["ratio"] == figure["ratios"]["cpu"]
    for side in ("ours", "peer", "python"):
        assert all(run["packets"] > 0 for run in figure["runs"][side])


def test_networks_were_exhausted_and_relieved(done: Done) -> None:
    figure = done.report["B8"]
    assert set(figure["ratios"]) == {"local, aim over p99", "upstream, aim over p99"}
    for side in ("ours", "upstream"):
        for run in figure["runs"][side]:
            assert 0 < run["noticed"] < run["hosts"]
    assert all(min(run["obtained"].values()) > 1 for run in figure["runs"]["upstream"])


def test_memory_is_told_idle_and_loaded(done: Done) -> None:
    figure = done.report["B9"]
    (rows,) = figure["tables"].values()
    assert [row["moment"].split()[0] for row in rows] == ["idle", "after", "after"]
    assert all(row["hook"] > row["none"] > 0 for row in rows)
    requests, packets = (figure["runs"][side][0]["points"] for side in figure["runs"] if side.startswith("grown"))
    assert requests[-1][0] >= 20_000
    assert packets[-1][0] >= 18_000  # perfdhcp counts seconds, not packets


def test_no_rule_of_placement_serves_more_than_a_clairvoyant(done: Done) -> None:
    figure = done.report["B10"]
    for side in ("ours", "first-fit", "random"):
        for run, bound in zip(figure["runs"][side], figure["runs"]["peer"], strict=True):
            assert 0 < run["value"] <= bound["value"] <= bound["requests"]
    hosts = figure["tables"]["hosts"]
    assert {row["side"] for row in hosts} >= {"proportional", "best-fit", "equal split"}
    assert len({row["hosts"] for row in hosts}) == 1  # the same for all


def test_the_raw_runs_are_kept_and_can_be_shown_and_plotted_again(done: Done, tmp_path: Path) -> None:
    assert json.loads(done.kept.read_text()) == done.report
    again = bench("--read", done.kept, "--plots", tmp_path)
    assert again.returncode == 0, again.stderr
    assert all(f"\n{name}  " in f"\n{again.stdout}" for name in TITLES)
    plots = {path.name: path.read_text() for path in done.plots.iterdir()}
    assert plots == {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert len(plots) >= 3
    for text in plots.values():
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314  # our own


def test_nothing_is_left(done: Done) -> None:  # noqa: ARG001  # after it
    assert not [path for path in Path("/run/netns").glob("ksd-bench-*") if _orphan(path.name)]


def _orphan(netns: str) -> bool:
    """Whether the bench that made a namespace has ended: others may measure meanwhile."""
    return not Path(f"/proc/{netns.split('-')[2]}").exists()


def test_a_figure_that_is_not_there_is_refused() -> None:
    done = bench("--only", "B99")
    assert done.returncode == 2
    assert "B99" in done.stderr
    assert not done.stdout


# -- the generator has to notice a wrong answer

HARDWARE = bytes((2, 0, 0, 0, 0, 1))
SERVER = bytes((127, 0, 0, 2))
BLOCK = bytes((0, 2, 8, 0, 10, 0, 0, 64, 26, 2, 0))


def answer(kind: int, block: bytes = BLOCK, server: bytes = SERVER, hardware: bytes = HARDWARE) -> bytes:
    options = bytes((54, 4)) + server + bytes((51, 4, 0, 0, 1, 0, 220, len(block))) + block
    message = template(kind, bytes((127, 0, 0, 1)), options)
    message[0] = 2
    message[28:34] = message[246:252] = hardware
    return bytes(message)


def check(data: bytes, exchange: Exchange) -> tuple[int, bytes]:
    generator = Generator(["127.0.0.2"], "127.0.0.1", 26, 1, port=0)
    try:
        return generator.check(data, exchange)[:2]
    finally:
        generator.close()


def test_the_generator_takes_right_answers() -> None:
    assert check(answer(OFFER), Exchange(HARDWARE, 0.0)) == (OFFER, BLOCK)
    assert check(answer(ACK), Exchange(HARDWARE, 0.0, ACK, BLOCK)) == (ACK, BLOCK)


@pytest.mark.parametrize(
    "wrong",
    [
        answer(ACK, BLOCK[:7] + b"\x80" + BLOCK[8:]),  # another block than was offered
        answer(ACK, server=bytes((127, 0, 0, 3))),
        answer(ACK, hardware=bytes((2, 0, 0, 0, 0, 2))),
        answer(6),
        answer(ACK)[:270],
    ],
    ids=["other block", "other server", "other client", "NAK", "cut off"],
)
def test_the_generator_notices_a_wrong_answer(wrong: bytes) -> None:
    with pytest.raises((Fault, IndexError)):
        check(wrong, Exchange(HARDWARE, 0.0, ACK, BLOCK))


@pytest.mark.parametrize(
    "option",
    [
        BLOCK[:7] + b"\x41" + BLOCK[8:],  # host bits
        BLOCK[:8] + b"\x19" + BLOCK[9:],  # a larger block than was asked for
        BLOCK[:9] + b"\x03" + BLOCK[10:],  # deprecated at once
        BLOCK[:-1],
        b"",
    ],
    ids=["host bits", "larger", "deprecated", "short", "empty"],
)
def test_the_generator_notices_a_wrong_offer(option: bytes) -> None:
    with pytest.raises((Fault, IndexError)):
        check(answer(OFFER, option), Exchange(HARDWARE, 0.0))

# SPDX-License-Identifier: MPL-2.0
"""What ci/bench promises: one JSON object with the figures asked for, runs that are kept, and nothing left behind. Not how fast."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.load import ACK, OFFER, Exchange, Fault, Generator, template

ROOT = Path(__file__).parents[2]
RUNS = 1
SHORT = ["--json", "--runs", str(RUNS), "--window", "1"]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "ci/bench", *arguments], capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    done = bench("quick", *SHORT)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_every_figure_has_its_ratio_medians_and_raw_runs(report: dict[str, Any]) -> None:
    assert set(report) == {"B1", "B2", "B3", "B4", "B5", "B6", "B7"}
    for figure in report.values():
        assert {"ratio", "ours", "peer", "runs"} <= set(figure)
        for side in ("ours", "peer"):
            values = [run["value"] for run in figure["runs"][side]]
            assert len(values) == RUNS
            assert min(values) <= figure[side] + 0.001
            assert max(values) >= figure[side] - 0.001


def test_the_ratios_are_of_ours_over_the_peer_and_of_costs_the_other_way_round(report: dict[str, Any]) -> None:
    b1, b3 = report["B1"], report["B3"]
    assert b1["ratio"] == pytest.approx(b1["ours"] / b1["peer"], rel=0.01)
    assert b3["ratio"] == pytest.approx(b3["peer"] / b3["ours"], rel=0.01)


def test_delegations_were_made_and_checked(report: dict[str, Any]) -> None:
    for run in report["B1"]["runs"]["ours"]:
        assert run["completed"] > 0
        assert (run["faults"], run["overlaps"], run["naks"]) == (0, 0, 0)
        assert 0 < run["generator_cpu_share"] < 1
    assert all(run["value"] > 0 for run in report["B1"]["runs"]["peer"])


def test_nothing_is_left(report: dict[str, Any]) -> None:  # noqa: ARG001  # after it
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

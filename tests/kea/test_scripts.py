# SPDX-License-Identifier: MPL-2.0
"""What ci/lab and ci/demo promise: one JSON object, labs side by side, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from ci.labs import control
from kea_subnet_deleg import __version__
from tests.client.endpoint import Endpoint
from tests.client.rfc6656 import Client, Identity

ROOT = Path(__file__).parents[2]
ROOT_OF_LABS = Path("/tmp")  # noqa: S108  # as the script says
NAMES = [f"cli{os.getpid()}{letter}" for letter in "ab"]
SERVER_FIELDS = {"name", "netns", "address", "interface", "ledger", "control_socket", "config", "pid", "log"}


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "ci/lab", *arguments], capture_output=True, text=True, check=False)


def namespaces() -> set[str]:
    return {path.name for path in Path("/run/netns").glob("*")}


def remains(name: str) -> list[str]:
    """What there is of a lab: its directory, namespaces and processes."""
    directory = ROOT_OF_LABS / f"ksd-{name}"
    found = [str(directory)] if directory.exists() else []
    found += [netns for netns in namespaces() if netns.startswith(f"ksd-{name}")]
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = command.read_bytes()
        except OSError:
            continue
        if f"{directory}/".encode() in text:
            found.append(text.replace(b"\0", b" ").decode())
    return found


def status(server: dict[str, Any]) -> Any:
    return control.command(Path(server["control_socket"]), "subnet-deleg-status")


@pytest.fixture
def names() -> Iterator[list[str]]:
    """Two names for labs, which are ended whatever the test does."""
    yield NAMES
    for name in NAMES:
        lab("down", "--name", name)


def acquired(place: dict[str, Any]) -> str:
    """Acquire a /24 from a lab by what `ci/lab up` prints alone."""
    client = place["clients"][0]
    servers = [IPv4Address(server["address"]) for server in place["servers"]]
    with Endpoint.relay(client["netns"], client["interface"], IPv4Address(client["address"])) as endpoint:
        return str(Client(endpoint, Identity.fresh(), servers).acquire(24).blocks[0].network)


def test_a_server_is_killed_and_started_again(names: list[str]) -> None:
    name = ("--name", names[0])
    (server,) = json.loads(lab("up", "single", *name).stdout)["servers"]
    assert lab("kill", "s1", *name).returncode == 0
    with pytest.raises(OSError, match="Connection refused"):
        status(server)
    assert "does not run" in lab("stop", "s1", *name).stderr
    assert lab("start", "s1", *name).returncode == 0
    assert status(server)["service"]["ledger-connected"]
    assert status(server)["service"]["compiled"]  # else: ci/setup was not run since a module changed
    assert status(server)["version"] == __version__
    assert lab("stop", "s1", *name).returncode == 0
    assert "there is no server 's2'; there are s1" in lab("start", "s2", *name).stderr
    assert lab("down", *name).returncode == 0
    assert remains(names[0]) == []


def test_two_labs_stand_side_by_side_and_down_ends_one(names: list[str]) -> None:
    one = lab("up", "single", "--name", names[0], "--pool", "10.1.0.0/16", "10.2.0.0/16")
    two = lab("up", "shared", "--name", names[1], "--policy", "proportional", "--parameters", '{"lease-time": 3600}')
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    first, second = json.loads(one.stdout), json.loads(two.stdout)
    assert [(place["topology"], len(place["servers"])) for place in (first, second)] == [("single", 1), ("shared", 2)]
    for place in (first, second):
        assert {"topology", "lab", "ledgers", "servers", "clients", "hosts"} == set(place)
        assert all(set(server) == SERVER_FIELDS for server in place["servers"])
    assert acquired(first).startswith("10.1.")
    assert acquired(second).startswith("10.64.")
    (policy,) = {status(server)["service"]["policy"] for server in second["servers"]}
    assert policy == "proportional"
    assert lab("down", "--name", names[0]).returncode == 0
    assert not remains(names[0])
    assert acquired(second).startswith("10.64.")
    assert lab("down", "--name", names[1]).returncode == 0
    assert not remains(names[1])


def test_a_lab_that_cannot_serve_says_why_and_leaves_nothing(names: list[str]) -> None:
    done = lab("up", "single", "--name", names[0], "--parameters", '{"no-such-parameter": 1}')
    assert done.returncode == 1
    assert not done.stdout
    assert "no-such-parameter" in done.stderr
    assert not remains(names[0])


def test_down_without_a_lab_is_no_error(names: list[str]) -> None:
    done = lab("down", "--name", names[0])
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param(
            """
            class Finalized:
                def __del__(self):
                    signal.raise_signal(signal.SIGINT)

            Finalized()  # Python drops what its finalizer raises
            interruption.check()
            """,
            ["begun"],
            id="in a finalizer",
        ),
        pytest.param(
            """
            with interruption.put_off():
                signal.raise_signal(signal.SIGTERM)
                subprocess.run(["sh", "-c", "kill -TERM $$; kill -INT $$"], check=True)  # as a terminal does
                print("finished")
            """,
            ["begun", "finished"],
            id="while a lab goes down",
        ),
    ],
)
def test_no_interruption_is_lost(code: str, said: list[str]) -> None:
    begin = "import signal, subprocess\nfrom ci.labs import interruption\ninterruption.expect()\nprint('begun')\n"
    script = f"{begin}{textwrap.dedent(code)}\nprint('lost')"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == said, done.stderr
    assert done.stderr.endswith("KeyboardInterrupt\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(number: signal.Signals) -> None:
    demo = subprocess.Popen([ROOT / "ci/demo"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    name = f"demo-{demo.pid}"
    deadline = time.monotonic() + 30
    while len([netns for netns in namespaces() if netns.startswith(f"ksd-{name}")]) < 4:
        assert time.monotonic() < deadline, "the demo made no namespaces"
        assert demo.poll() is None, "the demo ended early"
        time.sleep(0.01)
    demo.send_signal(number)
    assert demo.wait(timeout=60) == 130
    assert not remains(name)

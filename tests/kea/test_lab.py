# SPDX-License-Identifier: MPL-2.0
"""The labs themselves: they survive what tests do to them, and hide no crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from ci.labs import Lab, LabError
from ci.labs.__main__ import main
from ci.labs.process import Process
from tests.client.codec import Block
from tests.client.rfc6656 import Identity
from tests.kea.conftest import MakeSite
from tests.kea.waiting import wait_until

ROOT = Path(__file__).parents[2]


def test_everything_can_be_killed_and_started_again(make_site: MakeSite) -> None:
    site = make_site("shared")
    client = site.client()
    held = client.acquire(24)
    site.lab.kill("s1")
    site.lab.kill("main")
    site.lab.start_ledger()
    site.lab.start("s1")
    site.lab.servers["s2"].wait(site.lab.process("s2"))
    for server in site.servers:
        assert client.listing(server) == list(held.blocks)


def test_a_crash_is_not_hidden() -> None:
    lab = Lab("single", name=f"t{os.getpid()}-c").up()
    lab.process("s1").send(signal.SIGKILL)
    assert lab.process("s1").wait(10)
    with pytest.raises(LabError, match=r"s1 .* had ended by itself, exit code -9"):
        lab.__exit__(None, None, None)


def test_sweep_ends_what_a_killed_process_left() -> None:
    name = f"t{os.getpid()}-o"
    program = f"import os; from ci.labs import Lab; Lab('single', name='{name}').up(); os._exit(0)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    lab = Lab.load(name)
    assert lab.process("s1").alive
    server, cluster = lab.process("s1"), lab.process("main")
    Lab.sweep()
    assert not Lab.exists(name)
    assert not server.alive
    assert not cluster.alive


def test_clients_that_are_no_relays_are_served(make_site: MakeSite) -> None:
    """They broadcast, which Kea hears on raw sockets alone."""
    raw = {"interfaces-config": {"dhcp-socket-type": "raw"}}
    site = make_site("single", pools=[IPv4Network("10.9.0.0/16")], kea=raw)
    with site.direct() as endpoint:
        client = site.client(Identity(endpoint.hardware, b"\0direct"), endpoint=endpoint)
        held = client.acquire(24)
        assert held.blocks == (Block(IPv4Network("10.9.0.0/24")),)
        assert client.listing(site.servers[0]) == list(held.blocks)
    with site.unnumbered() as endpoint:
        client = site.client(Identity(endpoint.hardware, b"\0unnumbered"), endpoint=endpoint)
        assert client.acquire(24).blocks == (Block(IPv4Network("10.9.1.0/24")),)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--pool", "10.64.0.1/16", "argument --pool: 10.64.0.1/16 has host bits set; an IPv4 prefix such as"),
        ("--pool", "fd00::/8", "argument --pool: Expected 4 octets in 'fd00::'; an IPv4 prefix such as"),
        ("--ha", "foo", "argument --ha: invalid choice: 'foo' (choose from "),
        ("--lease-time", "abc", "argument --lease-time: 'abc': a whole number of seconds is needed, one at least"),
        ("--lease-time", "0", "argument --lease-time: '0': a whole number of seconds is needed, one at least"),
        ("--kea", "{x", "argument --kea: '{x' is no JSON: "),
        ("--server", "s1=[]", "argument --server: '[]' is no JSON object"),
    ],
)
def test_a_wrong_command_line_is_told_what_is_wrong(
    capsys: pytest.CaptureFixture[str], option: str, value: str, said: str
) -> None:
    with pytest.raises(SystemExit):
        main(["up", "ha", option, value])
    assert said in capsys.readouterr().err


MANY_THREADED = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_is_there_as_long_as_any_of_its_threads() -> None:
    """Its main thread ends first where it is killed, and its sockets are open until the last one has ended."""
    script = '"$0" -c "$1" >/dev/null 2>&1 & echo $!'  # no child of this process
    printed = subprocess.run(
        ["sh", "-c", script, sys.executable, MANY_THREADED], capture_output=True, text=True, check=True
    )
    process = Process.of(int(printed.stdout))
    try:
        wait_until(lambda: Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").split(") ")[1][0] == "Z")
        assert process.alive
    finally:
        process.destroy()
    assert not process.alive

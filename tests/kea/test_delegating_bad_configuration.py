# SPDX-License-Identifier: MPL-2.0
"""Pools, spaces and takebacks that can't be: the command line refuses them with the key, the value, and what is allowed.

The hook's parameters are refused in test_config.py.
"""

from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from tests.kea.conftest import MakeSite
from tests.kea.site import Site

PROGRAM = Path(sys.prefix) / "bin" / "kea-subnet-deleg"

COMMANDS = {
    "pool add 10.64.3.0/24": "10.64.3.0/24 overlaps a pool that is already there in space default; see `pool list`",
    "pool add 10.0.0.0/8": "10.0.0.0/8 overlaps a pool that is already there in space default; see `pool list`",
    "pool add 10.64.0.0/16 --space green": 'space: "green": no such space; allowed are default',
    "pool add 172.16.0.0/24 --default-prefix-length 23": (
        "default-prefix-length: 23: is more than the pool 172.16.0.0/24; allowed is 24 to 30"
    ),
    "pool add 172.16.0.0/24 --policy greedy": 'policy: "greedy": no such policy; allowed are best-fit, proportional',
    "pool add 172.16.0.0/24 --default-prefix-length 26 --max-prefix-length 25": (
        "min-prefix-length: not set, default-prefix-length: 26, max-prefix-length: 25: none may be less than the one before it"
    ),
    "pool add 172.16.0.0/24 --min-prefix-length 28 --max-prefix-length 25": (
        "min-prefix-length: 28, default-prefix-length: not set, max-prefix-length: 25: none may be less than the one before it"
    ),
    "pool add 172.16.0.0/24 --max-prefix-length 23": (
        "max-prefix-length: 23: nothing of the pool 172.16.0.0/24 would be leased; allowed is 24 to 30"
    ),
    "pool add 172.16.0.1/24": "172.16.0.1/24 has host bits set",
    "pool add 172.16.0.0/24 --member xyz": "a client identifier is 1 to 255 octets in hexadecimal",
    "space add default": 'space: "default": is there already',
    "space select green --vss blue": 'space: "green": no such space; allowed are default',
    "space select default": "exactly one of --vss, --network and --client-id is needed",
    "space select default --vss blue --client-id 01": "exactly one of --vss, --network and --client-id is needed",
    "lease takeback 172.16.0.0/24": "172.16.0.0/24 is not leased; see `lease list`",
}


@pytest.fixture(scope="module")
def site(make_module_site: MakeSite) -> Site:
    return make_module_site("single", pools=[IPv4Network("10.64.0.0/16")])


@pytest.mark.parametrize("arguments", COMMANDS)
def test_the_command_line_refuses_and_changes_nothing(site: Site, arguments: str) -> None:
    before = site.lab.sql("select * from report.pools")
    refused = subprocess.run(
        [PROGRAM, *arguments.split()],
        env={"KEA_SUBNET_DELEG_DSN": site.lab.ledgers["main"], "COLUMNS": "300", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode != 0
    assert not refused.stdout
    assert COMMANDS[arguments] in refused.stderr
    assert "Traceback" not in refused.stderr
    assert site.lab.sql("select * from report.pools") == before


def test_pools_of_different_spaces_may_overlap(site: Site) -> None:
    site.lab.cli("space", "add", "blue")
    site.lab.cli("pool", "add", "10.64.0.0/16", "--space", "blue")
    assert site.lab.sql("select space from report.pools where origin = '10.64.0.0/16' order by 1") == "blue\ndefault\n"

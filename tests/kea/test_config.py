# SPDX-License-Identifier: MPL-2.0
"""What operators copy, on the Kea and the PostgreSQL that are installed: the files of kea-config/, the check of docs/install.md, and
the columns and queries of docs/report.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ci.labs.server import COMMAND, HOOK, PROGRAM, hook_directory
from tests.client.rfc6656 import Client, Patience
from tests.kea.conftest import MakeSite
from tests.kea.ledger import figures, identity_of, with_parameters
from tests.kea.site import Site

ROOT = Path(__file__).parents[2]
FILES = [*sorted((ROOT / "kea-config").glob("*.conf")), ROOT / "kea-config" / "stanza.json"]
DSN = "host=/nonexistent dbname=deleg user=kea_deleg_hook"
PATIENCE = 60.0  # seconds for kea-dhcp4 to check a configuration: it starts Python where it loads hooks

# Where a Kea has -T (2.4 and later), it loads the hooks to check a configuration; -c does in any Kea.
USAGE = subprocess.run([PROGRAM, "-T"], capture_output=True, text=True, check=False).stderr
LOADING = ["-c", *(["-T"] if "-T file" in USAGE else [])]

KEY = "00112233445566778899aabbccddeeff"
BAD = {
    '"lease-time": 0': "lease-time: 0: must be an integer from 1 to 4294967295",
    '"lease-time": "week"': 'lease-time: "week": must be an integer from 1 to 4294967295',
    '"queue-size": true': "queue-size: true: must be an integer from 16 to 1048576",
    '"policy": "greedy"': 'policy: "greedy": no such policy; allowed is one of best-fit, proportional',
    '"max-prefix-length": 20': "default-prefix-length: 24: must not be more than max-prefix-length, which is 20",
    '"lease-tyme": 60': "lease-tyme: 60: no such parameter; allowed are allow, ample-above, auth-keys, batch-size, ",
    '"dsn": "hots=/run"': 'dsn: (not shown): invalid connection option "hots"',
    '"auth-keys": [{"id": 1, "key": "0011", "client-id": "01"}]': (
        "auth-keys[0]: key: (not shown, 2 octets): must be 16 to 64 octets in hexadecimal"
    ),
    f'"auth-keys": [{{"id": 1, "key": "{KEY}", "client-id": "01"}}, {{"id": 2, "key": "{KEY * 5}", "client-id": "02"}}]': (
        f"auth-keys[1]: key: (not shown, {len(KEY * 5) // 2} octets): must be 16 to 64 octets in hexadecimal"
    ),
    f'"auth-keys": [{{"id": -1, "key": "{KEY}", "client-id": "01"}}]': (
        "auth-keys[0]: id: -1: must be an integer from 0 to 4294967295"
    ),
    f'"auth-keys": [{{"client-id": "01", "key": "{KEY}"}}]': 'auth-keys[0]: id: missing in {"client-id": "01", "key": "(not shown)"}',
    '"allow": [{"network": "10.0.0.1/8"}]': (
        'allow[0]: network: "10.0.0.1/8": 10.0.0.1/8 has host bits set; must be an IPv4 prefix'
    ),
    '"allow": [{"port": 1}]': "must be a map with keys among client-id, network, circuit-id, remote-id",
    '"max-addresses-per-lessee": 3': "max-addresses-per-lessee: 3: must be an integer from 4 to 4294967295",
    '"takeback-attempts": 0': "takeback-attempts: 0: must be an integer from 1 to 20",
    '"allow": "everybody"': 'allow: "everybody": must be a list of maps',
    '"hierarchical": "sometimes"': 'hierarchical: "sometimes": must be one of "as-asked", "always", "never"',
    '"scarce-below": 0.9': "scarce-below: 0.9: must not be more than ample-above, which is 0.5",
    '"t1-percent": 0.9, "t2-percent": 0.5': "t2-percent: 0.5: must be more than t1-percent, which is 0.9",
}


@dataclass(frozen=True, slots=True)
class Desk:
    """A directory in which Kea can check a configuration, with a directory of hooks."""

    directory: Path

    @property
    def library(self) -> Path:
        return self.directory / "hooks" / HOOK

    def configuration(self, text: str) -> Path:
        """A file with the text of one of ours, with what depends on the machine filled in."""
        for pattern, value in (
            (r'("library": )"[^"]*"', self.library),
            (r'("dsn": )"[^"]*"', DSN),
            (r'("socket-name": )"[^"]*"', self.directory / "control.sock"),
            (r'("interfaces": \[ )"eth0"', "lo"),
        ):
            text = re.sub(pattern, lambda match, value=value: match[1] + json.dumps(str(value)), text)  # type: ignore[misc]
        path = self.directory / "kea-dhcp4.conf"
        path.write_text(text)
        return path

    def with_parameters(self, parameters: str) -> Path:
        """A configuration that listens nowhere, with these parameters of the hook."""
        hook = f'{{ "library": "{self.library}", "parameters": {{ {parameters} }} }}'
        path = self.directory / "kea-dhcp4.conf"
        path.write_text(
            '{ "Dhcp4": { "interfaces-config": { "interfaces": [] }, "subnet4": [], '
            '"lease-database": { "type": "memfile", "persist": false }, '
            f'"hooks-libraries": [ {hook} ] }} }}'
        )
        return path

    def kea(self, option: str, configuration: Path) -> subprocess.CompletedProcess[str]:
        """Let Kea check (-t, -T) or run (-c) a configuration; its output, both streams, is in `stdout`."""
        own = str(self.directory)
        places = (
            "KEA_PIDFILE_DIR",
            "KEA_LOCKFILE_DIR",
            "KEA_CONTROL_SOCKET_DIR",
            "KEA_DHCP_DATA_DIR",
            "KEA_LOG_FILE_DIR",
        )
        return subprocess.run(
            [PROGRAM, option, configuration],
            env={**os.environ, **dict.fromkeys(places, own), "KEA_HOOKS_PATH": str(self.library.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    tmp_path.chmod(0o750)
    hook_directory(tmp_path / "hooks")
    return Desk(tmp_path)


def whole(path: Path) -> str:
    """A file of kea-config/ as a whole configuration: the stanza is an entry of one."""
    text = path.read_text()
    if path.suffix == ".conf":
        return text
    return f'{{ "Dhcp4": {{ "interfaces-config": {{ "interfaces": [ ] }}, "hooks-libraries": [\n{text}\n] }} }}'


# ------------------------------------------------------------------------------------------------------------- kea-config


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_kea_takes_what_operators_copy(desk: Desk, path: Path) -> None:
    for option in ("-t", *LOADING[1:]):
        checked = desk.kea(option, desk.configuration(whole(path)))
        assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_kea_misses_a_hook_that_is_not_there(desk: Desk, path: Path) -> None:
    desk.library.unlink()
    checked = desk.kea("-t", desk.configuration(whole(path)))
    assert checked.returncode != 0
    assert str(desk.library) in checked.stdout


@pytest.mark.parametrize("option", LOADING)
@pytest.mark.parametrize("parameters", BAD)
def test_kea_refuses_a_bad_parameter_with_key_value_and_what_is_allowed(
    desk: Desk, option: str, parameters: str
) -> None:
    given = parameters if '"dsn"' in parameters else f'"dsn": "{DSN}", {parameters}'
    refused = desk.kea(option, desk.with_parameters(given))
    assert refused.returncode == 1
    (line,) = (line for line in refused.stdout.splitlines() if "SUBNET_DELEG_REFUSED" in line)
    assert " ERROR " in line
    assert BAD[parameters] in line


@pytest.mark.parametrize("option", LOADING)
def test_kea_refuses_a_hook_without_parameters(desk: Desk, option: str) -> None:
    refused = desk.kea(option, desk.with_parameters(""))
    assert refused.returncode == 1
    assert "SUBNET_DELEG_REFUSED subnet delegation is not configured: dsn: missing" in refused.stdout


def test_a_check_of_the_syntax_does_not_see_parameters(desk: Desk) -> None:
    """What docs/install.md warns of. If a Kea ever does, the warning can go."""
    assert desk.kea("-t", desk.with_parameters('"dsn": "x=y"')).returncode == 0


# ------------------------------------------------------------------------------------------------------ without a Kea


def config_check(path: Path) -> subprocess.CompletedProcess[str]:
    """What docs/install.md has an operator run before a reload."""
    return subprocess.run([COMMAND, "config", "check", path], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_check_without_kea_takes_what_operators_copy(desk: Desk, path: Path) -> None:
    checked = config_check(desk.configuration(whole(path)))
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("parameters", BAD)
def test_the_check_without_kea_says_what_kea_would(desk: Desk, parameters: str) -> None:
    given = parameters if '"dsn"' in parameters else f'"dsn": "{DSN}", {parameters}'
    path = desk.with_parameters(given)
    refused = config_check(path)
    assert (refused.returncode, refused.stdout) == (1, "")
    said = refused.stderr.removeprefix(f"kea-subnet-deleg: {path}: ")
    assert BAD[parameters] in said
    assert said.rstrip("\n") in desk.kea("-c", path).stdout


# -------------------------------------------------------------------------------------------------------- docs/report.md


def views() -> Iterator[tuple[str, list[str]]]:
    """Each view that docs/report.md describes, with its columns."""
    for name, text in re.findall(r"^## report\.(\w+)\n(.*?)(?=^## )", REPORT, re.DOTALL | re.MULTILINE):
        rows = re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)
        yield name, [column for row in rows for column in re.findall(r"`(\w+)`", row)]


REPORT = (ROOT / "docs" / "report.md").read_text()
QUERIES = re.findall(r"^```sql\n(.*?)^```", REPORT, re.DOTALL | re.MULTILINE)


def test_every_column_is_described(single: Site) -> None:
    listed = single.lab.sql(
        "select table_name || ' ' || string_agg(column_name, ' ' order by ordinal_position) "
        "from information_schema.columns where table_schema = 'report' group by table_name order by table_name"
    )
    assert listed.split("\n")[:-1] == sorted(f"{name} {' '.join(columns)}" for name, columns in views())


def test_every_query_runs_for_who_may_ask(single: Site) -> None:
    client = single.client()
    held = client.acquire(24)
    client.renew(held.server, *(block.using(high_water=9, in_use=7, unusable=1) for block in held.blocks))
    single.lab.cli("lease", "takeback", str(held.networks[0]))
    for query in QUERIES:
        role = "kea_deleg_admin" if "-- kea_deleg_admin" in query else "kea_deleg_report"
        single.lab.sql(f"set role {role}", query)
    assert len(QUERIES) > 20


def test_why_a_client_got_nothing_is_found(make_site: MakeSite) -> None:
    site = make_site("single", pools=[], parameters={"policy": "proportional", "view-interval": 0.1})
    site.lab.cli("pool", "add", "10.64.0.0/24", "--name", "tagged", "--tag", "tagged")
    figures(site)
    client = site.client(patience=Patience(0.4, 1))
    assert client.discover(24) == []
    assert "refused|no pool serves this request" in site.lab.sql(asked(client, "kind in ('refused'"))
    with_parameters(site, max_addresses_per_lessee=64)
    assert client.discover(24, name="tagged") == []
    assert "limited|holds as much as one lessee may" in site.lab.sql(asked(client, "kind in ('refused'"))
    assert '"addresses": 0' in site.lab.sql(asked(client, "kind in ('refused'"))


def asked(client: Client, mark: str) -> str:
    """The query of docs/report.md that has this mark and a client identifier, for a client."""
    (query, *_) = (query for query in QUERIES if mark in query and "\\x0102005e005301" in query)
    return str(query).replace("0102005e005301", identity_of(client))

# SPDX-License-Identifier: MPL-2.0
"""A rig of ledgers alone, without servers; what loads them, and how one is filled."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Final

from ci.labs import Lab
from ci.labs.cluster import binaries
from ci.labs.lab import DATABASE
from ci.labs.process import run

from bench.figure import Run
from bench.rig import POOL, pristine
from bench.usage import family_cpu_seconds

CLIENTS, BATCH = (
    4,
    128,
)  # processes that allocate at once, and blocks in each of their transactions: the default of `batch-size`
SLACK: Final = 60.0  # seconds that anything may take beyond what it has to
_TPS: Final = re.compile(r"^tps = ([\d.]+) \(without", re.MULTILINE)

_COMMITS: Final = """
    create table commits (id bigint generated always as identity primary key, prefix cidr not null, lessee bytea not null,
                          expires timestamptz not null)
"""
_COMMIT: Final = """
    insert into commits (prefix, lessee, expires) values ('10.0.0.0/26', '\\x01020000000001', now() + interval '7 days');
"""


class Ledgers(Lab):
    """A cluster with an empty ledger to copy, and a database for pgbench."""

    def __init__(self) -> None:
        super().__init__("single", name=f"bench-{os.getpid()}", pools=[POOL])

    def _build(self) -> None:
        self._save()
        self.cluster.create()
        self.start_ledger()
        self._make_ledgers()
        self._add_pools()
        self.cluster.execute("postgres", f"alter database {DATABASE} rename to {pristine(DATABASE)}", _COMMITS)
        script = self.directory / "commit.sql"
        script.write_text(_COMMIT)

    def copy(self, database: str, template: str = pristine(DATABASE)) -> str:
        """Make, or make anew, a database that is a copy; return its name. The cluster has made a checkpoint then."""
        for statement in (
            f"drop database if exists {database}",
            f"create database {database} template {template}",
            "checkpoint",
        ):
            self.cluster.execute("postgres", statement)
        return database

    def sql_of(self, database: str, *statements: str) -> str:
        """Run SQL in one of the databases as the superuser and return psql's bare output."""
        return self.cluster.execute(database, *statements)

    def commits(self, seconds: float, clients: int) -> float:
        """Commits/s of one row each by pgbench with so many clients."""
        whole = max(1, round(seconds))  # pgbench takes no fractions
        where = ("-h", str(self.cluster.directory), "-U", "postgres", "postgres")
        load = ("-n", "-M", "prepared", "-c", str(clients), "-j", str(clients), "-T", str(whole))
        printed = run(str(binaries() / "pgbench"), *load, "-f", str(self.directory / "commit.sql"), *where)
        found = _TPS.search(printed)
        if found is None:
            raise RuntimeError(f"pgbench printed no tps: {printed}")
        return float(found[1])

    def allocate(
        self, database: str, batches: int, seconds: float, *, clients: int = CLIENTS, batch: int = BATCH
    ) -> Run:
        """Have `clients` processes allocate `batches` batches each at most, for `seconds` at most, all at once.

        Returns `value` (blocks/s), `seconds`, `allocated`, `cpu_ms` of PostgreSQL for each block (connecting and a first batch
        included) and, where `batch` is 1, the `latencies`: of each, seconds for offer and lease.
        """
        postmaster = self.process("main").pid
        watched = family_cpu_seconds(postmaster)
        program = [sys.executable, "-m", "bench.allocate", self.cluster.dsn(database, "kea_deleg_hook")]
        command = [*program, str(batch), str(batches), str(seconds)]
        gate, opens = os.pipe()  # the clients start together, when its end is closed
        processes = [subprocess.Popen(command, stdin=gate, stdout=subprocess.PIPE, text=True) for _ in range(clients)]
        os.close(gate)
        try:
            for output in (process.stdout for process in processes):
                if output is not None:
                    output.readline()  # ready
            os.close(opens)
            results = [json.loads(process.communicate(timeout=SLACK)[0] or "null") for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        if None in results:
            raise RuntimeError(f"a client of the ledger {database} failed: its error is above")
        took = max(result["ended"] for result in results) - min(result["began"] for result in results)
        allocated = sum(result["allocated"] for result in results)
        cpu = (family_cpu_seconds(postmaster) - watched) / (allocated + clients * batch)
        latencies = [pair for result in results for pair in result["latencies"]]
        return {
            "value": allocated / took,
            "seconds": took,
            "allocated": allocated,
            "cpu_ms": 1000 * cpu,
            **({"latencies": latencies} if latencies else {}),
        }

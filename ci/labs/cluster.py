# SPDX-License-Identifier: MPL-2.0
"""A throw-away PostgreSQL cluster that listens on a unix socket alone, which every network namespace can reach."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from ci.labs.process import Process, run, start, tail

SUPERUSER = "postgres"  # also the system account that Debian's package makes: PostgreSQL refuses to run as root
READY = 30.0  # seconds until a cluster has to answer


def binaries() -> Path:
    """The directory of the newest PostgreSQL server installed (Debian keeps each release in its own)."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if not found:
        raise RuntimeError("no PostgreSQL server under /usr/lib/postgresql: run ci/setup")
    return found[-1].parent


class Cluster:
    """A cluster in `directory`; its socket is there too. fsync stays on.

    What is measured and tested here has to survive a crash.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "postgresql.log"

    def dsn(self, database: str, user: str = SUPERUSER) -> str:
        return f"host={self.directory} dbname={database} user={user}"

    def create(self, like: Path | None = None) -> None:
        """Make the cluster's files: new ones, or copies of what another one had in `like`, by its `keep`."""
        self.directory.mkdir(mode=0o700)  # whoever gets in here is the superuser
        shutil.chown(self.directory, SUPERUSER, SUPERUSER)
        if like is not None:
            _copy(like, self._data)
            return
        # --no-sync: only the making is not flushed; the first checkpoint is
        self._as_owner("initdb", "-D", self._data, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")

    def keep(self, directory: Path) -> None:
        """Copy the files to `directory`, all or nothing. The cluster has ended, and in good order."""
        copy = directory.with_name(f"{directory.name}.{os.getpid()}")
        _copy(self._data, copy)
        copy.rename(directory)

    def start(self) -> Process:
        """Start the cluster; the caller keeps the process. Returns at once: see `wait`."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "log_line_prefix": "%m [%p] %u ",
            "max_connections": "200",
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [*_owner(), str(binaries() / "postgres"), "-D", self._data, *settings]
        return start(command, self.log)

    def wait(self, process: Process) -> None:
        """Wait until the cluster answers. Raises `RuntimeError` with its log's tail where it does not."""
        deadline = time.monotonic() + READY
        while subprocess.run(
            [binaries() / "pg_isready", "-q", "-h", self.directory, "-U", SUPERUSER, "-d", SUPERUSER], check=False
        ).returncode:
            if not process.alive or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start; its log {self.log}:\n{tail(self.log)}")
            time.sleep(0.05)

    def execute(self, database: str, *statements: str) -> str:
        """Run SQL as the superuser and return psql's bare output."""
        arguments = [part for statement in statements for part in ("-c", statement)]
        psql = str(binaries() / "psql")
        return run(psql, "-XqAt", "-v", "ON_ERROR_STOP=1", *arguments, self.dsn(database))

    @staticmethod
    def stop(process: Process) -> signal.Signals | None:
        """End it as PostgreSQL's own tools do: fast (SIGINT), then immediate (SIGQUIT). Returns the signal that worked."""
        return process.end(signal.SIGINT, signal.SIGQUIT)

    @staticmethod
    def discard(process: Process) -> signal.Signals | None:
        """End it where its files go, too: at once, without a last checkpoint, which may take ten seconds. As `stop`."""
        return process.end(signal.SIGQUIT)

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    def _as_owner(self, program: str, *arguments: str) -> None:
        run(*_owner(), str(binaries() / program), *arguments)


def _copy(one: Path | str, other: Path | str) -> None:
    run("cp", "--archive", "--reflink=auto", str(one), str(other))


def _owner() -> list[str]:
    return ["setpriv", f"--reuid={SUPERUSER}", f"--regid={SUPERUSER}", "--clear-groups", "env", "-C", "/", "HOME=/"]

# SPDX-License-Identifier: MPL-2.0
"""Processes known by pid *and* start time: a pid that the kernel has given to another process is never signalled."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process: its pid and its start time in clock ticks since boot (proc(5), field 22)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this pid now. Raises `ProcessLookupError` where there is none."""
        fields = _stat(pid)
        if fields is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        fields = _stat(self.pid)
        if fields is None or int(fields[19]) != self.started:
            return False
        try:
            reaped, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # no child of ours, so somebody else reaps it
            # Of a zombie, threads may be left, and with them its sockets.
            return fields[0] not in "ZX" or int(fields[17]) > 1
        if reaped:
            _statuses[self] = os.waitstatus_to_exitcode(status)
        return not reaped

    @property
    def exit_code(self) -> int | None:
        """How it ended: its exit code, or minus the signal that ended it. None while it runs, or where it is no child of ours."""
        return None if self.alive else _statuses.get(self)

    def children(self) -> list[Process]:
        """Its own child processes."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            fields = _stat(int(directory.name))
            if fields is not None and int(fields[1]) == self.pid:
                found.append(Process(int(directory.name), int(fields[19])))
        return found

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; False if it has not within `seconds`."""
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def end(self, *polite: signal.Signals, patience: float = 10.0) -> signal.Signals | None:
        """End it: each polite signal is given `patience` seconds to work, then SIGKILL.

        Returns the signal that worked, None where it had ended by itself.
        """
        if not self.alive:
            return None
        for number in (*polite, signal.SIGKILL):
            self.send(number)
            if self.wait(patience):
                break
        return number

    def destroy(self) -> None:
        """End it and its children at once, as a power cut would."""
        self.send(signal.SIGSTOP)  # no more children from here on
        doomed = [self, *self.children()]
        for process in doomed:
            process.send(signal.SIGKILL)
        for process in doomed:
            process.wait(10.0)


_statuses: dict[Process, int] = {}  # exit codes of those that were children of this process


def start(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Process:
    """Start a daemon: a session of its own, no standard input, its output appended to `log`."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environment is None else {**os.environ, **environment},
            start_new_session=True,
        )
    child.returncode = 0  # Process reaps it; keeps Popen's destructor from warning about a running child
    return Process.of(child.pid)


def run(*command: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return its output. Raises `RuntimeError` with its words where it fails."""
    env = None if environment is None else {**os.environ, **environment}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed ({done.returncode}): {(done.stderr or done.stdout).strip()}")
    return done.stdout


def tail(path: Path, lines: int = 40, but: str | None = None) -> str:
    """The last lines of a file, for an error message, without those that have `but` in them; empty where there is none."""
    with contextlib.suppress(OSError):
        found = path.read_text(errors="replace").splitlines()
        return "\n".join([line for line in found if but is None or but not in line][-lines:])
    return ""


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (state) on: the second, the command's name, may hold anything."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return None

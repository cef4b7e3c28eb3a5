# SPDX-License-Identifier: MPL-2.0
"""One kea-dhcp4 of a lab: its configuration, its process, its control channel and its log."""

from __future__ import annotations

import functools
import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from ci.labs import control, network
from ci.labs.process import Process, run, start, tail

PROGRAM = "/usr/sbin/kea-dhcp4"
COMMAND = Path(sys.prefix) / "bin" / "kea-subnet-deleg"
HOOK = "libdhcp_subnet_deleg.so"
READY = 30.0  # seconds until a server has to serve
ASKED = "COMMAND_RECEIVED"  # in lines of the log that waiting here makes
HA_SERVING = {"hot-standby", "load-balancing", "partner-down"}  # states


@functools.cache
def kea_version() -> tuple[int, ...]:
    """Return the version of the Kea that is installed, as (2, 6, 3)."""
    return tuple(map(int, run(PROGRAM, "-v").strip().split("-")[0].split(".")))


@dataclass(frozen=True, slots=True)
class Server:
    """A server: `name`, where it is (`netns`, `address`), the name of its ledger, its directory, and what it is configured with."""

    name: str
    netns: str
    address: IPv4Address
    ledger: str
    directory: Path
    serves: Mapping[str, object] = field(hash=False)  # in "Dhcp4": its interfaces and what it serves beside delegation
    parameters: Mapping[str, object] = field(hash=False)  # the hook's
    companions: Mapping[str, Mapping[str, object]] = field(hash=False)  # Kea's hooks beside ours, and their parameters
    overrides: Mapping[str, object] = field(hash=False)  # merged into "Dhcp4"
    severities: Mapping[str, str] = field(hash=False)  # logger -> severity

    @property
    def config(self) -> Path:
        return self.directory / "kea-dhcp4.conf"

    @property
    def log(self) -> Path:
        return self.directory / "kea-dhcp4.log"

    @property
    def control_socket(self) -> Path:
        return self.directory / "control.sock"

    @property
    def console(self) -> Path:
        """What the process prints before its logging is configured."""
        return self.directory / "console.log"

    def prepare(self, hooks: Path) -> None:
        """Make the directory and the configuration. `hooks` is the directory that Kea may load hooks from."""
        self.directory.mkdir(mode=0o750)
        self.directory.chmod(0o750)  # whatever the umask: Kea 2.6.3 wants exactly this around a control socket
        self.write(self.configuration(hooks))

    def write(self, configuration: Mapping[str, object]) -> None:
        self.config.write_text(json.dumps(configuration, indent=2) + "\n")

    def configuration(self, hooks: Path) -> dict[str, Any]:
        """The whole kea-dhcp4.conf: what the server serves, and the hook."""
        loaded = {
            HOOK: self.parameters,
            **self.companions,
        }  # ours first, so that it gets packets which others would drop
        dhcp4: dict[str, Any] = {
            "control-socket": {"socket-type": "unix", "socket-name": str(self.control_socket)},
            "lease-database": {"type": "memfile", "name": str(self.directory / "leases4.csv"), "lfc-interval": 0},
            "valid-lifetime": 600,
            "loggers": [self._logger(name, severity) for name, severity in self.severities.items()],
            "hooks-libraries": [
                {"library": str(hooks / name), "parameters": dict(parameters)} for name, parameters in loaded.items()
            ],
        }
        return {"Dhcp4": merge(merge(dhcp4, self.serves), self.overrides)}

    def start(self, hooks: Path) -> Process:
        """Start the server; the caller keeps the process. Returns at once: see `wait`."""
        own = str(self.directory)
        places = (
            "KEA_PIDFILE_DIR",
            "KEA_LOCKFILE_DIR",
            "KEA_LOG_FILE_DIR",
            "KEA_CONTROL_SOCKET_DIR",
            "KEA_DHCP_DATA_DIR",
        )
        environment = {**dict.fromkeys(places, own), "KEA_HOOKS_PATH": str(hooks)}
        # Of one that was killed; where nobody has waited for it yet, Kea would think that it still runs.
        for left in self.directory.glob("*.pid"):
            left.unlink()
        command = [*network.inside(self.netns), *_unconfined(), PROGRAM, "-c", str(self.config)]
        return start(command, self.console, environment)

    def wait(self, process: Process, seconds: float = READY) -> None:
        """Wait until it serves and its ledger is connected.

        Raises `RuntimeError` with the log's tail where it does not.
        """
        deadline = time.monotonic() + seconds
        problem = "it did not answer its control channel"
        while process.alive and time.monotonic() < deadline:
            try:
                problem = self._problem()
            except (OSError, ValueError, control.CommandError) as error:
                problem = str(error)
            if not problem:
                return
            time.sleep(0.1)
        ended = "" if process.alive else " and has ended"
        raise RuntimeError(
            f"{self.name} does not serve{ended}: {problem}\n{tail(self.console)}\n{tail(self.log, but=ASKED)}"
        )

    def command(self, name: str, arguments: Mapping[str, object] | None = None) -> Any:
        """A control command's answer.

        Raises `CommandError` where it is no success, `OSError` where the server is down.
        """
        return control.command(self.control_socket, name, arguments)

    def counters(self) -> dict[str, int]:
        """The hook's counters."""
        counters: dict[str, int] = self.command("subnet-deleg-status")["counters"]
        return counters

    def describe(self, process: Process | None) -> dict[str, object]:
        """The server as `ci/lab up` prints it."""
        return {
            "name": self.name,
            "netns": self.netns,
            "address": str(self.address),
            "interface": network.INTERFACE,
            "ledger": self.ledger,
            "control_socket": str(self.control_socket),
            "config": str(self.config),
            "pid": None if process is None else process.pid,
            "log": str(self.log),
        }

    def _problem(self) -> str:
        """Why a server that answers is not ready yet; empty where it is.

        A server without the hook only has to answer.
        """
        if "hooks-libraries" in self.overrides:
            self.command("status-get")
            return ""
        return unready(self.command("subnet-deleg-status")) or _apart(self.command("status-get"))

    def _logger(self, name: str, severity: str) -> dict[str, object]:
        output = {"output": str(self.log), "flush": True, "maxsize": 0}
        return {"name": name, "severity": severity, "debuglevel": 99, "output_options": [output]}


def unready(status: Mapping[str, Any]) -> str:
    """Why a server with this `subnet-deleg-status` does not delegate yet; empty where it does."""
    service = status["service"] or {}  # empty until its threads have run for a moment
    connected = service.get("ledger-connected") and service.get("timers-connected")
    return "" if connected else f"its ledger is not connected: {json.dumps(status['service'])}"


def _apart(status: Mapping[str, Any]) -> str:
    """Why one of a high availability pair with this `status-get` does not serve hosts yet; empty where it does, or is of no pair."""
    local = [pair["ha-servers"]["local"]["state"] for pair in status.get("high-availability", [])]
    return "" if set(local) <= HA_SERVING else f"high availability is {', '.join(local)}"


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, maps merged key by key, anything else replaced."""
    result = dict(base)
    for key, value in over.items():
        known = result.get(key)
        result[key] = merge(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return result


def hook_directory(directory: Path) -> None:
    """Fill a directory with links to Kea's own hooks and to ours: Kea 2.6.3 loads hooks from one directory alone."""
    ours = _hook()
    if ours.name != HOOK or not ours.is_file():
        raise RuntimeError(f"{COMMAND} names {ours}, which is no {HOOK}: run ci/setup")
    directory.mkdir(mode=0o755)
    for hook in Path("/usr/lib").glob("*/kea/hooks/*.so"):
        if hook.name != HOOK:  # where it is installed, too
            (directory / hook.name).symlink_to(hook)
    (directory / HOOK).symlink_to(ours)


@functools.cache
def _unconfined() -> list[str]:
    """What goes before a command where AppArmor is on: Kea's profile knows nothing of labs."""
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    if not enabled.exists() or enabled.read_text().strip() != "Y" or shutil.which("aa-exec") is None:
        return []
    return ["aa-exec", "-p", "unconfined", "--"]


@functools.cache
def _hook() -> Path:
    """Where our hook is, as the command line says: asked once in a process."""
    return Path(run(str(COMMAND), "hook", "path").strip())

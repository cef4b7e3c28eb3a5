# SPDX-License-Identifier: MPL-2.0
"""`Kea.ask` from a test: a driver that runs inside kea-dhcp4 beside the service, and the test's side of it.

The hook's parameter `python-path` names a directory that this module fills: a .pth file there (see Python's `site`) adds the environment and
this checkout to the path, and installs the driver. It wraps the service's `start`, `stop` and `configured`; nothing of the product knows of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import site
import socket
import threading
import time
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kea_subnet_deleg.runtime.bridge import Kea

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0  # seconds for an answer, the server's restart included

# -- in the test


class AskFailed(Exception):
    """`Kea.ask` raised an exception: its name and text."""


def make_driver(directory: Path) -> Path:
    """Fill a directory for `python-path` and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    here = next(path for path in site.getsitepackages() if (Path(path) / "kea_subnet_deleg").is_dir())
    lines = [
        f"import site; site.addsitedir({here!r}); site.addsitedir({str(ROOT)!r})",
        f"import tests.kea.asking; tests.kea.asking.install({str(directory)!r})",
    ]
    (directory / "driver.pth").write_text("\n".join(lines) + "\n")
    return directory


class Asking:
    """Asks one server."""

    def __init__(self, directory: Path, pid: int) -> None:
        self.directory, self.pid = directory, pid

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer of `Kea.ask`. Raises `AskFailed` where it raised."""
        answer = self.call({"ask": request})
        if "error" in answer:
            raise AskFailed(answer["error"])
        result: dict[str, Any] = answer["answer"]
        return result

    def serve(
        self, *subnets: Mapping[str, Any], networks: tuple[str, ...] = ("hosts",), elsewhere: tuple[int, ...] = ()
    ) -> dict[str, Any]:
        return self.ask(op="serve", networks=list(networks), subnets=list(subnets), elsewhere=list(elsewhere))

    def usage(self, *ids: int) -> dict[str, Any]:
        return self.ask(op="usage", ids=list(ids))

    def missed(self, *ids: int) -> dict[str, Any]:
        """By how much the leases of subnets exceed Kea's statistics."""
        subnets: dict[str, Any] = self.ask(op="missed", ids=list(ids))["subnets"]
        return subnets

    def moved(self) -> int | None:
        """What `Kea.moved` returns."""
        answer: int | None = self.call({"moved": True})["answer"]
        return answer

    def rest(self, timeout: float, tolerance: int | None) -> float:
        """Have `Kea.rest` called, with nothing to be read; return the seconds that it took."""
        seconds: float = self.call({"rest": [timeout, tolerance]})["answer"]
        return seconds

    def configured(self, text: str | None) -> None:
        """What `configured` is to answer from now on; None: it fails."""
        path = self.directory / "configured.json"
        if text is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(text)

    def call(self, message: Mapping[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return _exchange(self.directory / f"{self.pid}.sock", message)
            except OSError:  # the service starts or stops
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def subnet(text: str, network: str | None = "hosts", *, first: int = 2, **more: Any) -> dict[str, Any]:
    """A subnet as `serve` wants it: a pool of its addresses from the `first` on, and the router before."""
    prefix = IPv4Network(text)
    return {
        "id": int(prefix.network_address),
        "subnet": text,
        "pool": f"{prefix[first]}-{prefix[-2]}",
        "routers": str(prefix[1]),
        "open": True,
        **({} if network is None else {"network": network}),
        **more,
    }


def _exchange(path: Path, message: Mapping[str, Any]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(PATIENCE)
        channel.connect(str(path))
        channel.sendall(json.dumps(message).encode())
        channel.shutdown(socket.SHUT_WR)
        answer = _read(channel)
    if not answer:
        raise ConnectionResetError("no answer")
    result: dict[str, Any] = json.loads(answer)
    return result


def _read(channel: socket.socket) -> bytes:
    received = bytearray()
    while chunk := channel.recv(65536):
        received += chunk
    return bytes(received)


# -- in kea-dhcp4


class _Driver:
    """Answers on a socket while the service runs."""

    def __init__(self, directory: Path, kea: Kea) -> None:
        self._kea = kea
        self._path = directory / f"{os.getpid()}.sock"
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, name="asking", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._path.unlink(missing_ok=True)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                channel, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[channel], daemon=True).start()

    def _serve(self, channel: socket.socket) -> None:
        with channel, contextlib.suppress(OSError):
            message = json.loads(_read(channel))
            answer: dict[str, Any]
            try:
                if "moved" in message:
                    answer = {"answer": self._kea.moved()}
                elif "rest" in message:
                    began = time.monotonic()
                    self._kea.rest([], *message["rest"])
                    answer = {"answer": time.monotonic() - began}
                else:
                    answer = {"answer": self._kea.ask(message["ask"], message.get("timeout", 5.0))}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            channel.sendall(json.dumps(answer).encode())


_driver: _Driver | None = None


def install(directory: str) -> None:
    """Wrap the service. Called for each load of the hook; wraps once."""
    from kea_subnet_deleg.runtime import service

    if hasattr(service, "driven"):
        return
    start, stop = service.start, service.stop

    def driven_start(kea: Kea) -> None:
        global _driver
        start(kea)
        _driver = _Driver(Path(directory), kea)

    def driven_stop(timeout: float) -> bool:
        global _driver
        driver, _driver = _driver, None
        if driver is not None:
            driver.stop()
        return stop(timeout)

    def configured(_: Kea) -> str | None:
        return (Path(directory) / "configured.json").read_text()

    for name, value in {"start": driven_start, "stop": driven_stop, "configured": configured, "driven": True}.items():
        setattr(service, name, value)

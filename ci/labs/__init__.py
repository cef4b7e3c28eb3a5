# SPDX-License-Identifier: MPL-2.0
"""Throw-away labs: real Kea servers, a real PostgreSQL cluster, clients and hosts, in network namespaces of their own.

`Lab` is what tests, `ci/lab` and `ci/demo` use. Everything a lab starts it records in its directory and ends again, and
nothing else.
"""

from ci.labs.lab import ClientPlace, HostsPlace, Lab, LabError
from ci.labs.server import Server
from ci.labs.topology import TOPOLOGIES

__all__ = ["TOPOLOGIES", "ClientPlace", "HostsPlace", "Lab", "LabError", "Server"]

# SPDX-License-Identifier: MPL-2.0
"""ISC Kea servers that hand IPv4 subnets to each other (RFC 6656), over a PostgreSQL ledger they share."""

from typing import Final

__version__: Final = "0.1.0"

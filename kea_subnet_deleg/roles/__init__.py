# SPDX-License-Identifier: MPL-2.0
"""What a server does: delegating (answers clients), requesting (asks other servers), addressing (serves hosts), usage (counts them).

A role is handed its ledger, its clock and its Kea, and never looks them up. Where to begin reading: delegating.py, requesting.py,
addressing.py; the files beside them are their parts.
"""

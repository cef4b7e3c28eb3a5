# SPDX-License-Identifier: MPL-2.0
"""What a server is to others: now, who delegates to them (seed FIG. 7 and 9B).

A role gets its ledger, policy and clock handed to it and never looks them up, so that each runs in a test without Kea.
"""

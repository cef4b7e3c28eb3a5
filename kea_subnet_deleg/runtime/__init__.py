# SPDX-License-Identifier: MPL-2.0
"""The service inside kea-dhcp4: the bridge to the hook's C++ half, the batching worker, settings and timers."""

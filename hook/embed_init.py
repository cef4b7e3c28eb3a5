# SPDX-License-Identifier: MPL-2.0
# Run by cffi, once per process, before the first call of a Python function of bridge.h. This text is compiled into the hook.
from kea_subnet_deleg.runtime import compiled

compiled.use()
import kea_subnet_deleg.runtime._embed  # noqa: E402, F401

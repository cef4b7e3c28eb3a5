# SPDX-License-Identifier: MPL-2.0
"""The first Python that runs inside kea-dhcp4: it makes the packages findable.

The text of this file is compiled into the hook, because nothing else can be imported before it has run.
"""

import importlib.util
import site
import sys
import traceback
from pathlib import Path


def is_isolated(site_packages: Path) -> bool:
    """Tell whether a site-packages directory belongs to a virtual environment that does not see the system's packages."""
    for prefix in site_packages.parents[:3]:
        try:
            lines = (prefix / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        pairs = (line.partition("=")[::2] for line in lines)
        settings = {key.strip().lower(): value.strip().lower() for key, value in pairs}
        return settings.get("include-system-site-packages") != "true"
    return False


def prepare(site_packages: str) -> str:
    """Add a site-packages directory, with its .pth files, and check that the hook's package is there.

    Packages of the system come behind, and only where the environment wants them, as its own python would do it.

    Args:
        site_packages: a directory, absolute.

    Returns:
        Nothing if all is well, else what is missing, for the log.
    """
    try:
        if site_packages not in sys.path:
            site.addsitedir(site_packages)
            if not is_isolated(Path(site_packages)):
                site.main()
        missing = [name for name in ("cffi", "kea_subnet_deleg") if importlib.util.find_spec(name) is None]
    except Exception:  # the caller is C++
        return traceback.format_exc()
    if missing:
        return f"not found in {site_packages}: {', '.join(missing)}; sys.path is {sys.path}"
    return ""

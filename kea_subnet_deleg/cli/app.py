# SPDX-License-Identifier: MPL-2.0
"""The commands."""

from __future__ import annotations

import importlib.util
import sys
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from kea_subnet_deleg import __version__
from kea_subnet_deleg.cli.output import print_json, print_rows
from kea_subnet_deleg.ledger import Admin, LedgerError, Pool

app = typer.Typer(
    help="Look after the subnet ledger that Kea servers with libdhcp_subnet_deleg.so share.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
ledger = typer.Typer(help="Create and check the ledger.", no_args_is_help=True)
pool = typer.Typer(help="The address space that subnets are leased from.", no_args_is_help=True)
lease = typer.Typer(help="The subnets that are held.", no_args_is_help=True)
hook = typer.Typer(help="The hook library.", no_args_is_help=True)
config = typer.Typer(help="The hook's parameters.", no_args_is_help=True)
for name, group in (("ledger", ledger), ("pool", pool), ("lease", lease), ("hook", hook), ("config", config)):
    app.add_typer(group, name=name)

Dsn = Annotated[
    str,
    typer.Option(
        envvar="KEA_SUBNET_DELEG_DSN",
        help='PostgreSQL connection string, e.g. "host=/run/postgresql dbname=deleg". Default: libpq\'s own (PGHOST, ...).',
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _prefix(text: str) -> IPv4Network:
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}; an IPv4 prefix such as 10.64.0.0/10 is needed") from None
    if not 1 <= network.prefixlen <= 30:
        raise typer.BadParameter(f"{text}: the prefix length must be 1 to 30")
    return network


Prefix = Annotated[IPv4Network, typer.Argument(parser=_prefix, metavar="CIDR", help="IPv4 prefix, e.g. 10.64.0.0/10.")]


def _fail(text: str) -> NoReturn:
    sys.stderr.write(f"kea-subnet-deleg: {text}\n")
    raise typer.Exit(1)


def main() -> None:
    """Run the command line; an error the operator can mend ends it with a line on stderr and status 1."""
    try:
        app()
    except LedgerError as error:
        sys.stderr.write(f"kea-subnet-deleg: {error}\n")
        sys.exit(1)


@app.command()
def version(as_json: Json = False) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": __version__})
    else:
        sys.stdout.write(f"kea-subnet-deleg {__version__}\n")


@ledger.command("init")
def ledger_init(dsn: Dsn = "", as_json: Json = False) -> None:
    """Create the ledger in an existing, otherwise unused database. One that is there already is left alone."""
    with Admin(dsn) as admin:
        created = admin.initialize()
    if as_json:
        print_json({"created": created})
    else:
        sys.stdout.write("ledger created\n" if created else "there is a ledger already; nothing changed\n")


@ledger.command("check")
def ledger_check(dsn: Dsn = "", as_json: Json = False) -> None:
    """Look for violations of the ledger's invariants; exit status 1 if there are any."""
    with Admin(dsn) as admin:
        violations = [
            {"invariant": v.invariant, "space": v.space, "prefix": v.prefix, "detail": v.detail} for v in admin.check()
        ]
    print_rows(violations, ("invariant", "space", "prefix", "detail"), as_json, "every invariant holds")
    if violations:
        raise typer.Exit(1)


@pool.command("add")
def pool_add(
    prefix: Prefix,
    pool_name: Annotated[str, typer.Option("--name", help="A name for it. Default: the prefix.")] = "",
    max_lease_time: Annotated[
        int | None, typer.Option(min=1, max=4294967295, help="Longest lease in seconds. Default: no limit.")
    ] = None,
    dsn: Dsn = "",
    as_json: Json = False,
) -> None:
    """Enter a pool; servers lease from it at once."""
    new = Pool(prefix, pool_name or str(prefix), max_lease_time)
    with Admin(dsn) as admin:
        admin.pool_add(new)
    if as_json:
        print_json({"origin": prefix, "pool": new.name, "max_lease_seconds": max_lease_time})
    else:
        sys.stdout.write(f"added {prefix}\n")


@pool.command("list")
def pool_list(dsn: Dsn = "", as_json: Json = False) -> None:
    """Show the pools and how much of each is free."""
    with Admin(dsn) as admin:
        rows = admin.pools()
    print_rows(
        rows,
        ("space", "pool", "origin", "size", "free", "leased", "free_by_prefix_length", "closing"),
        as_json,
        "no pools",
    )


@pool.command("remove")
def pool_remove(prefix: Prefix, dsn: Dsn = "", as_json: Json = False) -> None:
    """Stop leasing from a pool. What is held of it is asked back at each renewal, and the pool goes when nothing is."""
    with Admin(dsn) as admin:
        held = admin.pool_remove(prefix)
    if as_json:
        print_json({"origin": prefix, "removed": held == 0, "blocks_held": held})
    elif held:
        sys.stdout.write(f"{prefix}: {held} blocks are still out; it goes when they have come back\n")
    else:
        sys.stdout.write(f"removed {prefix}\n")


@lease.command("list")
def lease_list(dsn: Dsn = "", as_json: Json = False) -> None:
    """Show every subnet that is not free: who holds it, until when, how full it is."""
    with Admin(dsn) as admin:
        rows = admin.subnets()
    columns = (
        "space",
        "subnet",
        "state",
        "draining",
        "lessee",
        "server",
        "since",
        "until",
        "addresses",
        "in_use",
        "reason",
    )
    print_rows(rows, columns, as_json, "nothing is held")


@lease.command("deprecate")
def lease_deprecate(prefix: Prefix, dsn: Dsn = "", as_json: Json = False) -> None:
    """Ask the holder, at its next renewal, to give a subnet up (RFC 6656, flag d)."""
    with Admin(dsn) as admin:
        done = admin.lease_deprecate(prefix)
    if not done:
        _fail(f"{prefix} is not leased, or was asked back already; see `lease list`")
    if as_json:
        print_json({"subnet": prefix, "draining": True})
    else:
        sys.stdout.write(f"{prefix} will be asked back at its next renewal\n")


@hook.command("path")
def hook_path(as_json: Json = False) -> None:
    """Print the path of libdhcp_subnet_deleg.so, for `hooks-libraries` in Kea's configuration."""
    path = _hook_library()
    if path is None:
        _fail("libdhcp_subnet_deleg.so is missing from this installation; install the package where Kea's headers are")
    if as_json:
        print_json({"library": str(path)})
    else:
        sys.stdout.write(f"{path}\n")


def _hook_library() -> Path | None:
    spec = importlib.util.find_spec("kea_subnet_deleg")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    # An editable installation keeps the sources in the checkout and the library in site-packages.
    folders += [Path(folder) / "kea_subnet_deleg" for folder in sys.path if folder]
    candidates = (folder / "_hook" / "libdhcp_subnet_deleg.so" for folder in folders)
    return next((path.resolve() for path in candidates if path.is_file()), None)


@config.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of the hook's parameters."""
    from kea_subnet_deleg.runtime.settings import json_schema

    print_json(json_schema())


@config.command("stanza")
def config_stanza(
    dsn: Annotated[str, typer.Option(help="PostgreSQL connection string for the server.")],
) -> None:
    """Print the entry for `hooks-libraries` in kea-dhcp4.conf."""
    path = _hook_library()
    if path is None:
        _fail("libdhcp_subnet_deleg.so is missing from this installation")
    print_json({"library": str(path), "parameters": {"dsn": dsn}})

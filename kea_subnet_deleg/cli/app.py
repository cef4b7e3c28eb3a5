# SPDX-License-Identifier: MPL-2.0
"""The commands."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from kea_subnet_deleg import __version__
from kea_subnet_deleg.cli.output import print_done, print_json, print_rows
from kea_subnet_deleg.ledger import Admin, LedgerError, Pool, Selector
from kea_subnet_deleg.ledger.admin import DEFAULT_POOL_NAME, DEFAULT_SPACE_NAME
from kea_subnet_deleg.ledger.ledger import READ_ONLY, SCHEMA_VERSION
from kea_subnet_deleg.runtime.policies import known_policies
from kea_subnet_deleg.runtime.settings import BadSettings, Settings
from kea_subnet_deleg.wire import Vss

app = typer.Typer(
    help="Look after the subnet ledger that Kea servers with libdhcp_subnet_deleg.so share.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
ledger = typer.Typer(help="Create and check the ledger.", no_args_is_help=True)
pool = typer.Typer(help="The address space that subnets are leased from.", no_args_is_help=True)
space = typer.Typer(help="Address spaces (VRFs, tenants), which may overlap.", no_args_is_help=True)
lease = typer.Typer(help="The subnets that are held.", no_args_is_help=True)
network = typer.Typer(help="The networks that the servers themselves serve.", no_args_is_help=True)
hook = typer.Typer(help="The hook library.", no_args_is_help=True)
config = typer.Typer(help="The hook's parameters.", no_args_is_help=True)
for name, group in (
    ("ledger", ledger),
    ("space", space),
    ("pool", pool),
    ("lease", lease),
    ("network", network),
    ("hook", hook),
    ("config", config),
):
    app.add_typer(group, name=name)

Dsn = Annotated[
    str,
    typer.Option(
        envvar="KEA_SUBNET_DELEG_DSN",
        help='PostgreSQL connection string, e.g. "host=/run/postgresql dbname=deleg". Default: libpq\'s own (PGHOST, ...).',
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _network(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}; an IPv4 prefix such as 10.64.0.0/10 is needed") from None


def _prefix(text: str) -> IPv4Network:
    network = _network(text)
    if not 1 <= network.prefixlen <= 30:
        raise typer.BadParameter(f"{text}: the prefix length must be 1 to 30")
    return network


Prefix = Annotated[IPv4Network, typer.Argument(parser=_prefix, metavar="CIDR", help="IPv4 prefix, e.g. 10.64.0.0/10.")]


def _fail(text: str) -> NoReturn:
    sys.stderr.write(f"kea-subnet-deleg: {text}\n")
    raise typer.Exit(1)


@contextmanager
def _ledger(dsn: str) -> Iterator[Admin]:
    """Connect to a ledger of this version."""
    with Admin(dsn) as admin:
        admin.check_version()
        yield admin


def main() -> None:
    """Run the command line; an error the operator can mend ends it with a line on stderr and status 1."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except LedgerError as error:
        sys.stderr.write(f"kea-subnet-deleg: {error}\n")
        sys.exit(1)
    except OSError as error:  # standard output is full, or gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is not tried once more in the end
        sys.stderr.write(f"kea-subnet-deleg: {error.strerror or error}\n")
        sys.exit(1)
    except UnicodeEncodeError as error:  # an argument of another encoding
        sys.stderr.write(f"kea-subnet-deleg: {error.object.encode(errors='backslashreplace').decode()}: not UTF-8\n")
        sys.exit(1)


@app.command()
def version(as_json: Json = False) -> None:
    """Print the version."""
    print_done({"version": __version__}, f"kea-subnet-deleg {__version__}", as_json)


@ledger.command("init")
def ledger_init(dsn: Dsn = "", as_json: Json = False) -> None:
    """Create the ledger in an existing, otherwise unused database. One that is there already is left alone."""
    with Admin(dsn) as admin:
        created = admin.initialize()
    if as_json:
        print_json({"created": created})
    else:
        sys.stdout.write("ledger created\n" if created else "there is a ledger already; nothing changed\n")


@ledger.command("upgrade")
def ledger_upgrade(dsn: Dsn = "", as_json: Json = False) -> None:
    """Bring a ledger that an older version made to this one, as its owner. Nothing in it is lost, and servers go on meanwhile."""
    with Admin(dsn) as admin:
        before = admin.upgrade()
    if as_json:
        print_json({"before": before, "now": SCHEMA_VERSION})
    elif before < SCHEMA_VERSION:
        sys.stdout.write(f"ledger upgraded from version {before} to {SCHEMA_VERSION}\n")
    else:
        sys.stdout.write(f"the ledger has version {SCHEMA_VERSION} already; nothing changed\n")


@ledger.command("check")
def ledger_check(dsn: Dsn = "", as_json: Json = False) -> None:
    """Look for violations of the ledger's invariants; exit status 1 if there are any."""
    with _ledger(dsn) as admin:
        violations = [
            {"invariant": v.invariant, "space": v.space, "prefix": v.prefix, "detail": v.detail} for v in admin.check()
        ]
        standby = "" if admin.writable() else f"; servers can't use it from here: {READ_ONLY}"
    print_rows(violations, ("invariant", "space", "prefix", "detail"), as_json, "every invariant holds" + standby)
    if violations:
        raise typer.Exit(1)


def _days(text: str) -> str:
    if text != "none" and not (text.isdecimal() and 1 <= int(text) <= 100000):
        raise typer.BadParameter(f"{text}: allowed are 1 to 100000 days, or none for ever")
    return text


@ledger.command("retention")
def ledger_retention(
    days: Annotated[
        str | None,
        typer.Argument(parser=_days, metavar="[DAYS|none]", help="Days that events are kept; none: for ever."),
    ] = None,
    dsn: Dsn = "",
    as_json: Json = False,
) -> None:
    """Show or say how long events are kept. Of what goes, the last event of each prefix stays (deleg.events_kept)."""
    with _ledger(dsn) as admin:
        if days is not None:
            admin.history_keep(None if days == "none" else int(days))
        kept = admin.history_kept()
    if as_json:
        print_json({"days": kept})
    else:
        sys.stdout.write("events are kept for ever\n" if kept is None else f"events are kept for {kept} days\n")


@ledger.command("restored")
def ledger_restored(
    longest: Annotated[
        int,
        typer.Option(
            "--longest", min=1, max=4294967294, help="Seconds: the longest lease that can have been granted since."
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Also while servers are connected to it.")] = False,
    dsn: Dsn = "",
    as_json: Json = False,
) -> None:
    """Say that the ledger is of a backup, or of a standby that lacks the last leases: before any server uses it again.

    What somebody may hold whom it does not know is leased to nobody for so long; what is leased by it is kept for so long at least.
    """
    with _ledger(dsn) as admin:
        servers = admin.servers_connected()
        if servers and not force:
            _fail(
                f"servers are connected to this ledger ({servers} times): is it the right one? Stop them first, or say --force"
            )
        found = admin.restored(longest)
    print_done(
        found._asdict(),
        f"for {longest} s, {found.withheld} blocks are withheld, {found.leased} leases are kept, and "
        f"{found.served} blocks of our own networks are served on",
        as_json,
    )


Space = Annotated[str, typer.Option("--space", help="Address space (VRF, tenant).")]


def _length(text: str) -> Any:
    return typer.Option(min=1, max=30, help=text + " Default: the server's.")


def _client_id(text: str) -> bytes:
    try:
        octets = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        octets = b""
    if not 1 <= len(octets) <= 255:
        raise typer.BadParameter(
            f"{text}: a client identifier is 1 to 255 octets in hexadecimal, e.g. 01:02:00:5e:00:53:01"
        )
    return octets


ClientId = Annotated[
    list[bytes] | None,
    typer.Option(parser=_client_id, metavar="HEX", help="Client identifier of a member; may be repeated."),
]


def _vpn(text: str) -> str:
    """Return a VPN as the servers write those that requests name: a VPN-ID where it can be one, else a name."""
    try:
        return str(Vss.numbered(text))
    except ValueError:
        pass
    try:
        return str(Vss.named(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@space.command("add")
def space_add(name: Annotated[str, typer.Argument(help="Its name.")], dsn: Dsn = "", as_json: Json = False) -> None:
    """Add an address space. Prefixes may overlap those of other spaces."""
    with _ledger(dsn) as admin:
        admin.space_add(name)
    print_done({"space": name}, f"added space {name}", as_json)


Vpn = Annotated[
    str | None,
    typer.Option(parser=_vpn, metavar="VPN", help="VPN name, or VPN-ID as 14 hex digits (option 82.151 or 221)."),
]
RelayNetwork = Annotated[
    IPv4Network | None,
    typer.Option(parser=_network, metavar="CIDR", help="Where the relay is (giaddr, 82.5, 118)."),
]
Lessee = Annotated[
    bytes | None, typer.Option(parser=_client_id, metavar="HEX", help="The client identifier of a lessee.")
]


def _selector(vss: str | None, network: IPv4Network | None, client_id: bytes | None) -> Selector:
    if sum(value is not None for value in (vss, network, client_id)) != 1:
        _fail("exactly one of --vss, --network and --client-id is needed")
    return Selector(0, vss, network, client_id)


@space.command("select")
def space_select(
    name: Annotated[str, typer.Argument(help="The space.")],
    vss: Vpn = None,
    network: RelayNetwork = None,
    client_id: Lessee = None,
    dsn: Dsn = "",
    as_json: Json = False,
) -> None:
    """Say by what requests are known to belong to a space: by one of a VSS, a relay's network, a lessee."""
    selector = _selector(vss, network, client_id)
    with _ledger(dsn) as admin:
        admin.space_select(name, selector)
    text = f"space {name} is selected by {vss or network or (client_id or b'').hex(':')}"
    print_done({"space": name, "vss": vss, "network": network, "client_id": client_id}, text, as_json)


@space.command("deselect")
def space_deselect(
    vss: Vpn = None, network: RelayNetwork = None, client_id: Lessee = None, dsn: Dsn = "", as_json: Json = False
) -> None:
    """Take `space select` back. What is leased stays; who came by this alone can't renew it."""
    selector = _selector(vss, network, client_id)
    shown = vss or network or (client_id or b"").hex(":")
    with _ledger(dsn) as admin:
        if not admin.space_deselect(selector):
            _fail(f"{shown} selects no space; see `space list`")
    print_done({"vss": vss, "network": network, "client_id": client_id}, f"{shown} selects no space any more", as_json)


@space.command("list")
def space_list(dsn: Dsn = "", as_json: Json = False) -> None:
    """Show the spaces and what selects them."""
    with _ledger(dsn) as admin:
        rows = admin.spaces()
    print_rows(rows, ("space", "vss", "network", "client_id"), as_json, "no spaces")


Tags = Annotated[list[str] | None, typer.Option(help="Subnet-Name that the pool serves; may be repeated; '': none.")]
PoolPolicy = Annotated[str | None, typer.Option(help="Policy of the pool. Default: the server's.")]
DefaultLength = Annotated[int | None, _length("Prefix length of the block given where no size is asked.")]
LargestLength = Annotated[int | None, _length("Prefix length of the largest block given.")]
SmallestLength = Annotated[int | None, _length("Prefix length of the smallest block given.")]
LeaseTime = Annotated[int | None, typer.Option(min=1, max=4294967295, help="Seconds, where no time is asked.")]
Reserve = Annotated[int | None, typer.Option(min=0, max=4294967296, help="Free addresses that only members may have.")]

# By option: the column of deleg.pools, and what it has where nothing was said.
_TERMS: Mapping[str, tuple[str, Any]] = {
    "tag": ("tags", []),
    "policy": ("policy", None),
    "default-prefix-length": ("default_length", None),
    "min-prefix-length": ("largest_length", None),
    "max-prefix-length": ("smallest_length", None),
    "lease-time": ("lease_time", None),
    "reserve": ("reserve", 0),
    "member": ("members", []),
}


def _terms(
    tag: list[str] | None,
    policy: str | None,
    default_prefix_length: int | None,
    min_prefix_length: int | None,
    max_prefix_length: int | None,
    lease_time: int | None,
    reserve: int | None,
    member: list[bytes] | None,
) -> dict[str, Any]:
    """Return the terms that were given."""
    if policy is not None and policy not in known_policies():
        _fail(f'policy: "{policy}": no such policy; allowed are {", ".join(sorted(known_policies()))}')
    given = {
        "tag": [] if tag == [""] else tag,
        "policy": policy,
        "default-prefix-length": default_prefix_length,
        "min-prefix-length": min_prefix_length,
        "max-prefix-length": max_prefix_length,
        "lease-time": lease_time,
        "reserve": reserve,
        "member": None if member is None else [f"\\x{octets.hex()}" for octets in member],
    }
    return {_TERMS[option][0]: value for option, value in given.items() if value is not None}


@pool.command("add")
def pool_add(
    prefix: Prefix,
    pool_name: Annotated[str, typer.Option("--name", help="The pool it joins.")] = DEFAULT_POOL_NAME,
    max_lease_time: Annotated[
        int | None,
        typer.Option(min=1, max=4294967295, help="Longest lease of this prefix in seconds. Default: no limit."),
    ] = None,
    space_name: Space = DEFAULT_SPACE_NAME,
    tag: Tags = None,
    policy: PoolPolicy = None,
    default_prefix_length: DefaultLength = None,
    min_prefix_length: LargestLength = None,
    max_prefix_length: SmallestLength = None,
    lease_time: LeaseTime = None,
    reserve: Reserve = None,
    member: ClientId = None,
    dsn: Dsn = "",
    as_json: Json = False,
) -> None:
    """Enter address space; servers lease from it within seconds. Options about the pool hold for all of it from then on."""
    terms = _terms(
        tag, policy, default_prefix_length, min_prefix_length, max_prefix_length, lease_time, reserve, member
    )
    new = Pool(prefix, pool_name, max_lease_time, space_name, terms)
    with _ledger(dsn) as admin:
        admin.pool_add(new)
    print_done(
        {"space": space_name, "origin": prefix, "pool": new.name, "max_lease_seconds": max_lease_time},
        f"added {prefix} to pool {new.name}",
        as_json,
    )


def _term(text: str) -> str:
    if text not in _TERMS:
        raise typer.BadParameter(f"{text}: allowed are {', '.join(_TERMS)}")
    return text


@pool.command("change")
def pool_change(
    pool_name: Annotated[str, typer.Argument(metavar="NAME", help="The pool.")],
    space_name: Space = DEFAULT_SPACE_NAME,
    tag: Tags = None,
    policy: PoolPolicy = None,
    default_prefix_length: DefaultLength = None,
    min_prefix_length: LargestLength = None,
    max_prefix_length: SmallestLength = None,
    lease_time: LeaseTime = None,
    reserve: Reserve = None,
    member: ClientId = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(
            parser=_term, metavar="OPTION", help="One of these, as if it had never been given; may be repeated."
        ),
    ] = None,
    dsn: Dsn = "",
    as_json: Json = False,
) -> None:
    """Change on which terms a pool is leased, all of it, from now on; what is not named stays as it is."""
    terms = _terms(
        tag, policy, default_prefix_length, min_prefix_length, max_prefix_length, lease_time, reserve, member
    )
    for option in unset or ():
        column, value = _TERMS[option]
        if column in terms:
            _fail(f"--{option} is both given and unset")
        terms[column] = value
    if not terms:
        _fail("nothing to change: at least one option is needed")
    with _ledger(dsn) as admin:
        admin.pool_change(pool_name, terms, space_name)
    print_done({"space": space_name, "pool": pool_name}, f"changed pool {pool_name}", as_json)


@pool.command("list")
def pool_list(dsn: Dsn = "", as_json: Json = False) -> None:
    """Show the pools and how much of each is free."""
    with _ledger(dsn) as admin:
        rows = admin.pools()
    print_rows(
        rows,
        ("space", "pool", "origin", "size", "free", "leased", "free_by_prefix_length", "tags", "closing"),
        as_json,
        "no pools",
    )


@pool.command("remove")
def pool_remove(prefix: Prefix, space_name: Space = DEFAULT_SPACE_NAME, dsn: Dsn = "", as_json: Json = False) -> None:
    """Stop leasing from a pool. What is held of it is asked back at each renewal, and the pool goes when nothing is."""
    with _ledger(dsn) as admin:
        held = admin.pool_remove(prefix, space_name)
        gone = all((pool["space"], pool["origin"]) != (space_name, prefix) for pool in admin.pools())
    if as_json:
        print_json({"origin": prefix, "removed": gone, "blocks_held": held})
    elif not held and not gone:
        sys.stdout.write(f"{prefix}: it is leased to us, and goes when a server has sent the RELEASE\n")
    elif held:
        sys.stdout.write(f"{prefix}: {held} blocks are still out; it goes when they have come back\n")
    else:
        sys.stdout.write(f"removed {prefix}\n")


@pool.command("keep")
def pool_keep(prefix: Prefix, space_name: Space = DEFAULT_SPACE_NAME, dsn: Dsn = "", as_json: Json = False) -> None:
    """Take `pool remove` back: subnets are leased from the pool again, and what is held of it is no longer asked back."""
    with _ledger(dsn) as admin:
        admin.pool_keep(prefix, space_name)
    print_done({"origin": prefix, "closing": False}, f"{prefix} stays", as_json)


@lease.command("list")
def lease_list(dsn: Dsn = "", as_json: Json = False) -> None:
    """Show every subnet that is not free: who holds it, until when, how full it is."""
    with _ledger(dsn) as admin:
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
def lease_deprecate(
    prefix: Prefix, space_name: Space = DEFAULT_SPACE_NAME, dsn: Dsn = "", as_json: Json = False
) -> None:
    """Ask the holder, at its next renewal, to give a subnet up (RFC 6656, flag d)."""
    with _ledger(dsn) as admin:
        done = admin.lease_deprecate(prefix, space_name)
    if not done:
        _fail(f"{prefix} is not leased, or was asked back already; see `lease list`")
    print_done({"subnet": prefix, "draining": True}, f"{prefix} will be asked back at its next renewal", as_json)


@lease.command("takeback")
def lease_takeback(
    prefix: Prefix, space_name: Space = DEFAULT_SPACE_NAME, dsn: Dsn = "", as_json: Json = False
) -> None:
    """Ask the holder now to give a subnet up: it is told to renew (FORCERENEW), and the renewal is answered with flag d."""
    with _ledger(dsn) as admin:
        done = admin.lease_takeback(prefix, space_name)
    if not done:
        _fail(f"{prefix} is not leased; see `lease list`")
    text = f"the holder of {prefix} is being told to renew, and will be asked for it"
    print_done({"subnet": prefix, "draining": True, "takeback": True}, text, as_json)


@lease.command("keep")
def lease_keep(prefix: Prefix, space_name: Space = DEFAULT_SPACE_NAME, dsn: Dsn = "", as_json: Json = False) -> None:
    """Take `lease deprecate` or `lease takeback` back: the next renewal is answered without flag d."""
    with _ledger(dsn) as admin:
        done = admin.lease_keep(prefix, space_name)
    if not done:
        _fail(f"{prefix} is not leased, or not asked back; see `lease list`")
    print_done({"subnet": prefix, "draining": False}, f"{prefix} is left to its holder", as_json)


@network.command("list")
def network_list(dsn: Dsn = "", as_json: Json = False) -> None:
    """Show the networks, how full they are, and when a server last said so: every minute, while there is one."""
    with _ledger(dsn) as admin:
        rows = admin.networks()
    columns = ("space", "network", "blocks", "addresses", "in_use", "fullness", "draining", "reported")
    print_rows(rows, columns, as_json, "no networks")


@network.command("end")
def network_end(
    network_name: Annotated[str, typer.Argument(metavar="NAME", help="The network.")],
    longest: Annotated[
        int,
        typer.Option("--longest", min=1, max=4294967294, help="Seconds: the longest lease that a host can have of it."),
    ],
    block: Annotated[
        IPv4Network | None, typer.Option(parser=_prefix, metavar="CIDR", help="One block of it. Default: all.")
    ] = None,
    dsn: Dsn = "",
    as_json: Json = False,
) -> None:
    """Take the blocks of a network that no server has any more. Nobody gets them before the last lease of its hosts has ended.

    It is refused while a server that reaches the ledger serves the network. See to it yourself that none runs without its ledger.
    """
    with _ledger(dsn) as admin:
        ended = admin.network_abandon(network_name, block, longest)
    shown = ", ".join(map(str, ended))
    print_done({"network": network_name, "blocks": ended, "seconds": longest}, f"{shown}: free in {longest} s", as_json)


@hook.command("path")
def hook_path(as_json: Json = False) -> None:
    """Print the path of libdhcp_subnet_deleg.so, for `hooks-libraries` in Kea's configuration."""
    path = _hook_library()
    if path is None:
        _fail("libdhcp_subnet_deleg.so is missing from this installation; install the package where Kea's headers are")
    print_done({"library": str(path)}, str(path), as_json)


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
    from kea_subnet_deleg.runtime.parameters import json_schema

    print_json(json_schema())


@config.command("check")
def config_check(
    file: Annotated[Path, typer.Argument(help="A kea-dhcp4.conf.", metavar="FILE")], as_json: Json = False
) -> None:
    """Check the hook's parameters in a configuration of Kea, which `kea-dhcp4 -t` does not; exit status 1 if they are refused."""
    from kea_subnet_deleg.cli.kea_conf import BadConfiguration, check

    try:
        settings = check(file)
    except BadConfiguration as error:
        _fail(f"{file}: {error}")
    text = f"{file}: the parameters of libdhcp_subnet_deleg.so are good"
    print_done({"file": str(file), "good": True, "policy": settings.policy}, text, as_json)


@config.command("stanza")
def config_stanza(
    dsn: Annotated[str, typer.Option(help="PostgreSQL connection string for the server.")],
) -> None:
    """Print the entry for `hooks-libraries` in kea-dhcp4.conf."""
    path = _hook_library()
    if path is None:
        _fail("libdhcp_subnet_deleg.so is missing from this installation")
    try:
        Settings.from_json(json.dumps({"dsn": dsn}))
    except BadSettings as error:
        _fail(str(error))
    print_json({"library": str(path), "parameters": {"dsn": dsn}})

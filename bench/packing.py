# SPDX-License-Identifier: MPL-2.0
"""B10: how much of what is asked is served before the first refusal, and how many hosts are refused in a day."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network
from itertools import groupby
from typing import Any, Final

from kea_subnet_deleg.policy import Limits
from kea_subnet_deleg.policy.growth import NetworkTerms

from bench.demand import DAY, BlockDemand, BlockRequest, HostDemand
from bench.desk import Ask, Desk, LedgerAlone, Report
from bench.figure import Figure, Plan, Plans, Progress, Row, Run
from bench.placement import AnyFit, Space, clairvoyant, first_fit
from bench.plots import lines
from bench.sharing import Refusals, Sharing, split, static

PLANS = Plans(Plan(1, 0, 0), Plan(10, 0, 0, full=True))
ORIGINS: Final = tuple(IPv4Network(f"10.{number}.0.0/18") for number in range(4))
ADDRESSES: Final = sum(origin.num_addresses for origin in ORIGINS)
LESSEES: Final = 100
BUSY: Final = 0.9  # of a block's addresses, as its lessee reports
BLOCK_LIMITS: Final = Limits(default=24, largest=20, smallest=28)

HOSTS: Final = IPv4Network("10.16.0.0/18")
SITES: Final = 12
PREFIX_LENGTH: Final = 25
LOAD: Final = 0.75  # of the addresses, when most are in use
ERROR: Final = (
    0.4  # by how much (sigma of the logarithm) a network has more or fewer hosts than when the space was divided
)
HOST_LIMITS: Final = Limits(default=PREFIX_LENGTH, largest=20, smallest=28)
PLANNED: Final = "split by last year's peaks"
RESERVED: Final = 3  # addresses of a part that no host gets: network, broadcast, router
SERIES: Final = 30  # minutes between two points of the plot
LEAD: Final = 60  # minutes before refusals are counted
WHOLE_DAY: Final = HostDemand(HOSTS.num_addresses, SITES, LOAD, -LEAD, DAY + LEAD)
EVENING: Final = HostDemand(HOSTS.num_addresses, SITES, LOAD, 16 * 60, LEAD + 180)  # quick: offices close, homes come

Served = tuple[BlockRequest, IPv4Network]
"""A request and what it was given."""
Turn = Callable[[Sequence[Served], Sequence[BlockRequest]], Sequence[IPv4Network | None]]
"""Takes back what ends in a turn, then serves the turn's requests; returns what each is given, None for nothing."""


def measure(plan: Plan, progress: Progress) -> Figure:
    """Measure B10: each run is of another seed."""
    figure = Figure("requests served before the first refusal")
    figure.others = {"proportional": [], "first-fit": [], "random": []}
    with LedgerAlone(ORIGINS, BLOCK_LIMITS) as lab:
        for seed in range(plan.runs):
            _place(figure, lab, seed)
            progress(f"B10 seed {seed}: {figure.ours[-1]['value']} of {figure.peer[-1]['value']} requests served")
    rows: list[Row] = []
    with LedgerAlone([HOSTS], HOST_LIMITS) as lab:
        for seed in range(max(1, plan.runs // 2)):
            found = _share(lab, WHOLE_DAY if plan.full else EVENING, seed)
            told = ", ".join(f"{row['side']} {row['refused']}" for row in found)
            progress(f"B10 seed {seed}, hosts refused: {told}")
            rows += found
    _ratios(figure, rows)
    return figure


def plots(report: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the plots of a report: what is refused as demand grows, and host by host over the day."""
    runs, over_time = report["B10"]["runs"], report["B10"]["tables"]["hosts refused, first seed"]
    sides = {"clairvoyant": runs["peer"], "ours, best-fit": runs["ours"]} | {
        name: runs[name] for name in ("proportional", "first-fit", "random")
    }
    placement = {
        name: [(turn * 100 / len(side[0]["refusals"]), count) for turn, count in enumerate(side[0]["refusals"])]
        for name, side in sides.items()
        if "refusals" in side[0]
    }
    hosts = {side: [(row["hours"], row[side]) for row in over_time] for side in over_time[0] if side != "hours"}
    return {
        "packing.svg": lines(
            "Requests for blocks refused as demand outgrows the space", "% of the time", "refused", placement
        ),
        "hosts-refused.svg": lines("Hosts refused", "hours", "refused", hosts),
    }


def _ratios(figure: Figure, rows: Sequence[Row]) -> None:
    """Add the ratios beside that of ours and the clairvoyant bound."""
    for name in ("first-fit", "random"):
        figure.ratios[f"over {name}"] = figure.pairs(figure.others[name])
    figure.tables["hosts"] = [{name: value for name, value in row.items() if name != "series"} for row in rows]
    first = {row["side"]: row["series"] for row in rows if row["seed"] == rows[0]["seed"]}
    moments = range(len(rows[0]["series"]))
    figure.tables["hosts refused, first seed"] = [
        {"hours": (number + 1) * SERIES / 60} | {side: series[number] for side, series in first.items()}
        for number in moments
    ]
    for policy in ("best-fit", "proportional"):
        figure.ratios[f"hosts refused, planned split over {policy}"] = [
            planned["refused"] / max(1, ours["refused"])
            for planned in rows
            for ours in rows
            if planned["seed"] == ours["seed"] and planned["side"] == PLANNED and ours["side"] == policy
        ]


# -- blocks


def _place(figure: Figure, lab: LedgerAlone, seed: int) -> None:
    """Run each of the sides with the requests of one seed."""
    requests = BlockDemand(ADDRESSES, LESSEES, days=3).generate(seed)
    bound = clairvoyant(requests, ADDRESSES)
    figure.peer.append({"value": bound, "seed": seed, "requests": len(requests)})
    figure.others["first-fit"].append(_run(requests, _model(Space(ORIGINS, first_fit))) | {"seed": seed})
    figure.others["random"].append(_run(requests, _model(Space(ORIGINS, AnyFit(seed)))) | {"seed": seed})
    for side, policy in ((figure.ours, "best-fit"), (figure.others["proportional"], "proportional")):
        with lab.desk(policy) as desk:
            # By best fit on the terms of the others, the size asked or nothing; by proportional whatever it gives.
            run = _run(requests, _served(desk, smaller=policy == "proportional"))
            side.append(run | {"seed": seed, "cut": desk.cut})


def _run(requests: Sequence[BlockRequest], turn: Turn) -> Run:
    """Serve requests turn by turn; return what came of it: `in_use` is the share of the space in use at the first refusal."""
    ends: dict[int, list[Served]] = defaultdict(list)
    refusals: list[int] = []
    first = less = None
    refused = live = served = now = 0
    in_use = 1.0
    for begins, group in groupby(requests, key=lambda request: request.begins):
        ended: list[Served] = []
        while now < begins:
            now += 1
            ended += ends.pop(now, ())
            refusals.append(refused)
        live -= sum(_size(given) for _, given in ended)
        asked = list(group)
        for request, given in zip(asked, turn(ended, asked), strict=True):
            if given is None:
                first, in_use = (served, live / ADDRESSES) if first is None else (first, in_use)
                refused += 1
            else:
                ends[request.ends].append((request, given))
                live += _size(given)
            if less is None and (given is None or _size(given) < 1 << 32 - request.prefix_length):
                less = served
            served += 1
    whole = len(requests) if less is None else less
    return {
        "value": len(requests) if first is None else first,
        "in_full": whole,
        "in_use": round(in_use, 4),
        "refused": refused,
        "refusals": refusals,
    }


def _size(given: IPv4Network) -> int:
    return given.num_addresses


def _model(space: Space) -> Turn:
    """A turn by one of the models."""

    def turn(ended: Sequence[Served], asked: Sequence[BlockRequest]) -> list[IPv4Network | None]:
        for _, given in ended:
            space.give_back(given)
        return [space.take(request.prefix_length) for request in asked]

    return turn


def _served(desk: Desk, *, smaller: bool) -> Turn:
    """A turn at the desk: what is given is reported to be used at once."""

    def turn(ended: Sequence[Served], asked: Sequence[BlockRequest]) -> list[IPv4Network | None]:
        desk.release((request.lessee, given) for request, given in ended)
        desk.outdate()
        asks = [Ask(request.lessee, (request.prefix_length,)) for request in asked]
        given = [blocks[0] if blocks else None for blocks in desk.ask(asks, smaller=smaller)]
        if smaller:
            used = [(request, block) for request, block in zip(asked, given, strict=True) if block]
            desk.renew([_report(request, block) for request, block in used])
        return given

    return turn


def _report(request: BlockRequest, block: IPv4Network) -> Report:
    busy = round(BUSY * block.num_addresses)
    return Report(request.lessee, block, busy, busy)


# -- hosts


def _share(lab: LedgerAlone, demand: HostDemand, seed: int) -> list[Row]:
    """Have the hosts of one seed served by each policy, and by three ways to divide the space for good."""
    sessions, peaks = demand.generate(seed), demand.peaks(seed)
    random_ = random.Random(seed)
    weights = {
        "equal split": [1.0] * SITES,
        PLANNED: [peak * random_.lognormvariate(0, ERROR) for peak in peaks],
        "split by this day's peaks": peaks,
    }
    rows = []
    for policy in ("proportional", "best-fit"):
        with lab.desk(policy) as desk:
            sharing = Sharing(desk, SITES, NetworkTerms("hosts", PREFIX_LENGTH))
            result = sharing.run(sessions, demand.minutes, LEAD)
            rows.append(_row(policy, seed, result, demand) | {"lost": result.lost, "forcerenews": sharing.forcerenews})
    unit = 1 << 32 - PREFIX_LENGTH
    for name, weight in weights.items():
        parts = [part - RESERVED for part in split(HOSTS.num_addresses, weight, unit)]
        rows.append(_row(name, seed, static(sessions, parts, LEAD), demand))
    return rows


def _row(side: str, seed: int, result: Refusals, demand: HostDemand) -> Row:
    series = result.series(demand.minutes - LEAD, SERIES)
    return {"side": side, "seed": seed, "hosts": result.hosts, "refused": result.refused, "series": series}

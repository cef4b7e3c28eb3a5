# SPDX-License-Identifier: MPL-2.0
"""From Kea's statistics to what the ledger is told and policies decide by."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from kea_subnet_deleg.ledger.networks import Measured
from kea_subnet_deleg.roles.usage import REPORT_INTERVAL, TRUST, Figures, Usage, Watched, subnet_id
from tests.unit.networks import Down, Kea, Subnet

BLOCK = IPv4Network("10.0.1.0/24")
OTHER = IPv4Network("10.0.2.0/24")


class Scene:
    """A Kea that serves two blocks of a network, and its usage as read a second apart."""

    def __init__(self, database: str = "memfile") -> None:
        self.now = 500.0
        self.kea = Kea(database=database)
        for block in (BLOCK, OTHER):
            pool = f"{block[2]}-{block[254]}"
            told = {"id": subnet_id(block), "subnet": str(block), "pool": pool, "network": "hosts", "open": True}
            self.kea.subnets[subnet_id(block)] = Subnet(told)
        self.usage = Usage(self.kea, lambda: self.now)
        self.ledger: dict[IPv4Network, tuple[int | None, int | None]] = {BLOCK: (None, None), OTHER: (None, None)}

    def of(self, block: IPv4Network) -> Subnet:
        return self.kea.subnets[subnet_id(block)]

    def read(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.usage.read(Watched(block, "hosts", in_use, unusable) for block, (in_use, unusable) in self.ledger.items())

    def tell(self) -> list[Measured]:
        news = self.usage.news()
        self.usage.told(news)
        return news


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_subnet_id_is_the_network_address() -> None:
    assert subnet_id(BLOCK) == 167772416


class TestFigures:
    def test_a_declined_address_is_unusable_and_not_in_use(self, scene: Scene) -> None:
        """Kea counts it as assigned."""
        scene.of(BLOCK).assigned, scene.of(BLOCK).declined = 51, 2
        scene.read()
        assert scene.usage.of(BLOCK) == Figures(49, 2, 0.0)

    def test_for_how_long_it_has_been_empty(self, scene: Scene) -> None:
        scene.read()
        scene.read(3.0)
        assert scene.usage.of(BLOCK) == Figures(0, 0, 3.0)
        scene.of(BLOCK).assigned = 1
        scene.read()
        scene.of(BLOCK).assigned = 0
        scene.read()
        assert scene.usage.of(BLOCK) == Figures(0, 0, 0.0)

    def test_what_is_not_served_any_more_is_forgotten(self, scene: Scene) -> None:
        scene.read()
        del scene.ledger[OTHER]
        scene.read()
        assert scene.usage.of(OTHER) is None
        assert scene.usage.of(BLOCK) is not None

    def test_at_first_the_ledger_is_believed_if_it_has_more(self, scene: Scene) -> None:
        scene.ledger[BLOCK] = (40, 3)
        scene.of(BLOCK).assigned = 10
        scene.read()
        assert scene.usage.of(BLOCK) == Figures(40, 3, 0.0)
        scene.of(BLOCK).assigned = 50
        scene.read()
        assert scene.usage.of(BLOCK) == Figures(50, 3, 0.0)
        scene.of(BLOCK).assigned = 20  # Kea has had them all: now it is right when it has fewer
        scene.read()
        assert scene.usage.of(BLOCK) == Figures(20, 3, 0.0)
        scene.of(BLOCK).assigned = 50
        scene.read()
        scene.read(TRUST)
        assert scene.usage.of(BLOCK) == Figures(50, 0, 0.0)


class TestRate:
    def test_what_was_there_at_the_start_was_not_just_taken(self, scene: Scene) -> None:
        scene.of(BLOCK).assigned = 200
        scene.read()
        assert scene.usage.rate("hosts") == 0.0

    def test_hosts_of_a_block_that_was_just_added_were(self, scene: Scene) -> None:
        scene.usage.fresh(BLOCK, "hosts")
        scene.of(BLOCK).assigned = 200
        scene.read(0.2)
        assert scene.usage.rate("hosts") == pytest.approx(181, abs=1)

    def test_it_approaches_what_comes_whatever_the_pace_of_looking(self, scene: Scene) -> None:
        scene.read()
        for n in range(50):
            pause = (0.05, 0.2, 1.0)[n % 3]
            scene.of(BLOCK).assigned += round(100 * pause)
            scene.read(pause)
        assert scene.usage.rate("hosts") == pytest.approx(100, rel=0.01)

    def test_it_fades(self, scene: Scene) -> None:
        scene.usage.fresh(BLOCK, "hosts")
        scene.of(BLOCK).assigned = 100
        scene.read()
        scene.read(3.0)
        assert 0.0 < scene.usage.rate("hosts") < 5.0
        scene.read(20.0)
        assert scene.usage.rate("hosts") == 0.0

    def test_moving_from_block_to_block_is_not_taking(self, scene: Scene) -> None:
        scene.of(BLOCK).assigned = 100
        scene.read()
        scene.of(BLOCK).assigned, scene.of(OTHER).assigned = 40, 60
        scene.read()
        assert scene.usage.rate("hosts") == 0.0

    def test_a_network_is_not_another(self, scene: Scene) -> None:
        assert scene.usage.rate("phones") == 0.0


class TestPressure:
    def test_failures_and_unserved_requests_add_up_until_they_are_looked_at(self, scene: Scene) -> None:
        scene.of(BLOCK).failures, scene.of(OTHER).failures = 2, 3
        scene.kea.unserved["hosts"] = 4
        scene.read()
        scene.of(BLOCK).failures = 1
        scene.read()
        assert scene.usage.pressure("hosts") == 10
        assert scene.usage.pressure("hosts") == 0


class TestReports:
    def test_what_changed(self, scene: Scene) -> None:
        scene.read()
        assert len(scene.tell()) == 2
        scene.read()
        assert scene.tell() == []
        scene.of(BLOCK).lease(51)
        scene.of(BLOCK).declined = 1
        scene.read()
        assert scene.tell() == [Measured(BLOCK, 50, 50, 1)]

    def test_the_most_at_once_since_the_last_report(self, scene: Scene) -> None:
        """Also if it was over before anybody looked."""
        scene.read()
        scene.tell()
        scene.of(BLOCK).lease(74)
        scene.of(BLOCK).assigned = 51
        scene.read()
        scene.of(BLOCK).assigned = 40
        scene.read()
        assert scene.tell() == [Measured(BLOCK, 40, 74, 0)]
        scene.read()
        assert scene.tell() == []

    def test_everything_from_time_to_time(self, scene: Scene) -> None:
        scene.read()
        scene.tell()
        scene.read(REPORT_INTERVAL - 0.5)
        assert scene.tell() == []
        scene.read(0.5)
        assert len(scene.tell()) == 2

    def test_what_could_not_be_told_is_told_later(self, scene: Scene) -> None:
        scene.read()
        scene.tell()
        scene.of(BLOCK).lease(74)
        scene.read()
        assert len(scene.usage.news()) == 1
        scene.of(BLOCK).assigned = 0
        scene.read()
        assert scene.tell() == [Measured(BLOCK, 0, 74, 0)]

    def test_reserved_subnets_are_told_as_well(self, scene: Scene) -> None:
        scene.of(BLOCK).lease(3)
        scene.usage.read([Watched(BLOCK, None)])
        assert scene.tell() == [Measured(BLOCK, 3, 3, 0)]


class TestSharedLeaseDatabase:
    def test_memfile_is_never_counted_anew(self, scene: Scene) -> None:
        scene.read()
        scene.read(10.0)
        assert not scene.kea.requests("missed")
        assert len(scene.kea.requests("addresses")) == 1

    def test_what_other_servers_leased_is_found_by_asking_it(self) -> None:
        scene = Scene("postgresql")
        scene.kea.missed = 30
        scene.of(BLOCK).assigned = 20
        scene.read()
        assert scene.usage.of(BLOCK) == Figures(50, 0, 0.0)

    def test_in_between_our_own_are_followed(self) -> None:
        scene = Scene("postgresql")
        scene.kea.missed = 30
        scene.read()
        scene.of(BLOCK).lease(5)
        scene.read()
        assert scene.usage.of(BLOCK) == Figures(35, 0, 0.0)
        assert scene.tell()[0] == Measured(BLOCK, 35, 35, 0)
        scene.kea.missed = 0
        scene.read(2.0)
        assert scene.usage.of(BLOCK) == Figures(35, 0, 0.0)
        scene.read(2.0)
        assert scene.usage.of(BLOCK) == Figures(5, 0, 0.0)

    def test_it_is_asked_every_few_seconds(self) -> None:
        scene = Scene("mysql")
        for _ in range(50):
            scene.read(0.2)
        assert len(scene.kea.requests("missed")) in (2, 3)

    def test_their_hosts_are_not_our_rate(self) -> None:
        scene = Scene("mysql")
        scene.read()
        scene.kea.missed = 100
        scene.read(6.0)
        assert scene.usage.rate("hosts") == 0.0


def test_kea_does_not_answer(scene: Scene) -> None:
    scene.read()
    scene.of(BLOCK).lease(5)
    scene.kea.fail_on = "usage"
    with pytest.raises(Down):
        scene.read()
    scene.kea.fail_on = ""
    scene.read()
    assert scene.usage.of(BLOCK) == Figures(5, 0, 0.0)

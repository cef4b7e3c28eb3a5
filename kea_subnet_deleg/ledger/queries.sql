-- SPDX-License-Identifier: MPL-2.0
-- Every query of the project, under a name. A line of dashes, the name, a line of purpose.

-- apply --
-- A batch of client messages: one transaction, one outcome each
select deleg.apply(%(batch)s);

-- sweep --
-- What time does: offers, leases and quarantines that end
select offers, leases, quarantines, origins_removed from deleg.sweep(%(limit)s, %(quarantine)s);

-- server_seen --
-- A server of this domain speaks from this address
select deleg.server_seen(%(address)s::inet, %(name)s, %(version)s);

-- totals --
-- Per space and lessee: addresses held and used
select space, identity, held, used from deleg.totals();

-- free_by_length --
-- Per space: free blocks by prefix length
select space, prefix_length, blocks from deleg.free_by_length();

-- schema_version --
-- The version of the schema in this database; an error where there is none
select max(version) from deleg.schema_version;

-- has_schema --
-- Is there a ledger in this database?
select to_regclass('deleg.schema_version') is not null;

-- pool_add --
-- A new pool, all of it free
select deleg.pool_add(%(space)s, %(prefix)s, %(name)s, %(max_lease)s);

-- pool_remove --
-- No more leases from a pool; it goes when nothing of it is held. Returns the number of blocks that are
select deleg.pool_remove(%(space)s, %(prefix)s);

-- lease_deprecate --
-- Ask the holder to give a block up, at its next renewal
select deleg.lease_deprecate(%(space)s, %(prefix)s);

-- pools --
-- The pools report
select * from report.pools order by space, origin;

-- subnets --
-- The subnets report
select * from report.subnets order by space, subnet;

-- ledger_check --
-- A row per violation of an invariant
select invariant, space, prefix, detail from deleg.ledger_check() order by 1, 2, 3;

-- SPDX-License-Identifier: MPL-2.0
-- Every query of the project, under a name. A line of dashes, the name, a line of purpose.

-- apply --
-- A batch of client messages: one transaction, one outcome each
select deleg.apply(%(batch)s);

-- sweep --
-- What time does: offers, leases and quarantines that end
select offers, leases, quarantines, origins_removed, takebacks_due from deleg.sweep(%(limit)s, %(quarantine)s);

-- server_seen --
-- A server of this domain speaks from this address
select deleg.server_seen(%(address)s::inet, %(name)s, %(version)s);

-- totals --
-- Per space and lessee: addresses held and used
select space, identity, held, used from deleg.totals();

-- free_by_length --
-- Per space and pool: free blocks by prefix length
select space, pool, prefix_length, blocks from deleg.free_by_length();

-- directory --
-- Spaces, selectors, pools and servers
select deleg.directory();

-- takeback_least_used --
-- On shortage: the least used leases are to be renewed at once
select deleg.takeback_least_used(%(space)s, %(pools)s::integer[], %(addresses)s, %(limit)s, %(grace)s);

-- takeback_due --
-- The FORCERENEWs that are ours to send now
select identity, host(address), port, relayed, hardware, nonce, replay, host(server), blocks, attempt
  from deleg.takeback_due(%(own)s::inet[], %(keyed)s::text[], %(unauthenticated)s, %(limit)s, %(attempts)s, %(delay)s);

-- schema_version --
-- The version of the schema in this database; an error where there is none
select max(version) from deleg.schema_version;

-- has_schema --
-- Is there a ledger in this database?
select to_regclass('deleg.schema_version') is not null;

-- space_add --
-- A new address space
select deleg.space_add(%(name)s);

-- space_select --
-- By what requests are known to belong to a space
select deleg.space_select(%(name)s, %(vss)s, %(network)s, %(identity)s);

-- spaces --
-- The spaces and what selects them
select s.name as space, l.vss, l.network, encode(l.identity, 'hex') as client_id
  from deleg.spaces s left join deleg.selectors l using (space) order by s.space, 2, 3, 4;

-- pool_add --
-- A new origin, all of it free, in a pool
select deleg.pool_add(%(space)s, %(prefix)s, %(name)s, %(max_lease)s, %(terms)s);

-- pool_remove --
-- No more leases from an origin; it goes when nothing of it is held. Returns the number of blocks that are
select deleg.pool_remove(%(space)s, %(prefix)s);

-- lease_deprecate --
-- Ask the holder to give a block up, at its next renewal
select deleg.lease_deprecate(%(space)s, %(prefix)s);

-- lease_takeback --
-- Ask the holder to give a block up, now
select deleg.lease_takeback(%(space)s, %(prefix)s);

-- pools --
-- The pools report
select * from report.pools order by space, origin;

-- subnets --
-- The subnets report
select * from report.subnets order by space, subnet;

-- ledger_check --
-- A row per violation of an invariant
select invariant, space, prefix, detail from deleg.ledger_check() order by 1, 2, 3;

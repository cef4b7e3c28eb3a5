-- SPDX-License-Identifier: MPL-2.0
-- Every query of the project, under a name. A line of dashes, the name, a line of purpose.

-- apply --
-- A batch of client messages: one transaction, one outcome each
select deleg.apply(%(batch)s::deleg.message[]);

-- sweep --
-- What time does: offers, leases and quarantines that end
select offers, leases, quarantines, origins_removed, takebacks_due, more from deleg.sweep(%(limit)s, %(quarantine)s);

-- due_in --
-- Seconds until there is something to sweep
select deleg.due_in();

-- server_seen --
-- A server of this domain speaks from this address
select deleg.server_seen(%(address)s::inet, %(name)s, %(version)s, %(silent)s);

-- totals --
-- Per space: addresses that lessees hold and use
select space, held, used from deleg.totals();

-- holdings --
-- What some lessees hold and use: the number of each in the arrays, from 1, addresses held and used; none of who holds nothing
select n, held, used from deleg.holdings(%(spaces)s::integer[], %(identities)s::bytea[]);

-- keep_tallies --
-- Add up what connections that are no more have counted
select deleg.keep_tallies();

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

-- wait_for --
-- For how long a statement may take until the end of this transaction
select set_config('statement_timeout', %(milliseconds)s, true);

-- listen --
-- Be told of changes
listen kea_subnet_deleg;

-- identity --
-- The client identifier that this domain asks with
select deleg.identity();

-- claim --
-- Whether a piece of work is ours for some seconds
select deleg.claim(%(what)s, %(who)s, %(seconds)s);

-- unclaim --
-- It is anybody's again
select deleg.unclaim(%(what)s, %(who)s);

-- upstream_acknowledged --
-- ACK: leased to us, or renewed
select prefix, result from deleg.upstream_acknowledged(%(space)s, %(server)s::inet, %(lease_time)s, %(t1)s, %(t2)s,
                                                       %(prefixes)s::cidr[], %(deprecated)s::boolean[], %(nonce)s, %(renewal)s, %(host_lease_time)s);

-- upstream_refused --
-- NAK: no longer ours, from now on
select deleg.upstream_refused(%(space)s, %(server)s::inet, %(prefixes)s::cidr[], %(quarantine)s);

-- upstream_due --
-- The renewals to be sent now
select space, prefix, server - '0.0.0.0'::inet, phase, remaining, high_water, in_use, unusable from deleg.upstream_due(%(limit)s);

-- upstream_give_back --
-- The RELEASEs to be sent now
select space, prefix, server - '0.0.0.0'::inet from deleg.upstream_give_back(%(after)s, %(limit)s);

-- upstream_due_in --
-- Seconds until there is a renewal or a RELEASE to be sent
select deleg.upstream_due_in(%(after)s);

-- upstream_released --
-- A RELEASE was sent
select deleg.upstream_released(%(space)s, %(prefix)s);

-- upstream_listed --
-- What an upstream server says it leases to us
select prefix, result from deleg.upstream_listed(%(space)s, %(server)s::inet, %(lease_time)s, %(prefixes)s::cidr[], %(deprecated)s::boolean[]);

-- upstream_renew_now --
-- FORCERENEW: due at once; how many of them are ours
select deleg.upstream_renew_now(%(server)s::inet, %(prefixes)s::cidr[]);

-- upstream_secret --
-- By what a FORCERENEW is checked
select nonce, replay from deleg.upstream_secret(%(server)s::inet);

-- upstream_replayed --
-- Whether a replay detection value is higher than all before
select deleg.upstream_replayed(%(server)s::inet, %(replay)s);

-- upstream_leased --
-- What is leased to us
select space, prefix, server - '0.0.0.0'::inet from deleg.upstream_leased();

-- network_left --
-- How long hosts have addresses yet of what relays released
select deleg.network_left(%(prefixes)s::cidr[], %(seconds)s::bigint[]);

-- network_served --
-- The blocks of networks and of relays, as one value
select deleg.network_served(%(networks)s::text[]);

-- network_take --
-- Blocks for a network; null where another server was faster
select deleg.network_take(%(network)s, %(pool)s, %(lengths)s::integer[], %(open_blocks)s, %(shortest)s);

-- network_drain --
-- No new addresses of these
select deleg.network_drain(%(prefixes)s::cidr[], %(reason)s);

-- network_reopen --
-- They are kept after all; those that this opened
select deleg.network_reopen(%(prefixes)s::cidr[]);

-- network_end --
-- They have drained
select deleg.network_end(%(prefixes)s::cidr[], %(quarantine)s, %(reason)s);

-- network_measured --
-- What is in use of blocks that we serve
select deleg.network_measured(%(prefixes)s::cidr[], %(in_use)s::integer[], %(peak)s::integer[], %(unusable)s::integer[]);

-- keep_days --
-- What is in use, for today: of the next blocks; whether there are more
select deleg.keep_days();

-- keep_events --
-- A step of what has to be done for the partitions of the events; null where nothing has
select deleg.keep_events();

-- schema_version --
-- The version of the schema in this database; an error where there is none
select max(version) from deleg.schema_version;

-- writable --
-- Whether anything can be changed: not by a standby
select current_setting('transaction_read_only') = 'off' as writable;

-- servers_connected --
-- Connections of servers to this database
select count(*) as connections from pg_stat_activity
 where datname = current_database() and (usename = 'kea_deleg_hook' or application_name = 'kea-subnet-deleg') and pid <> pg_backend_pid();

-- lock_schema_version --
-- One upgrade at a time
lock table deleg.schema_version in exclusive mode;

-- lock_tables --
-- All at once, none while waiting for another: who is at work has some and needs others. Batches that begin wait (lock 0 of schema.sql)
do $$
begin
    for n in 1 .. 1000 loop
        begin
            perform pg_advisory_xact_lock(222, 0);           -- let go of between the attempts: others wait for it with tables in hand
            execute (select 'lock table ' || string_agg(oid::regclass::text, ', ') || ' in access exclusive mode nowait' from pg_class
                      where relnamespace = 'deleg'::regnamespace and relkind in ('r', 'p') and not relispartition
                         and relname <> 'schema_version');
            return;
        exception when lock_not_available then
            perform pg_sleep(0.01);
        end;
    end loop;
    raise exception using message = 'the ledger is never at rest for a moment: try again, or stop for as long what is at work in it: ' || coalesce((
        select string_agg(distinct coalesce(nullif(a.application_name, ''), a.backend_type) || ', process ' || a.pid, '; ')
          from pg_locks l join pg_class c on c.oid = l.relation join pg_stat_activity a on a.pid = l.pid
         where c.relnamespace = 'deleg'::regnamespace and l.database = (select oid from pg_database where datname = current_database())
           and a.pid <> pg_backend_pid()), 'unknown');
end $$;

-- has_schema --
-- Is there a ledger in this database?
select to_regclass('deleg.schema_version') is not null;

-- space_add --
-- A new address space
select deleg.space_add(%(name)s);

-- space_select --
-- By what requests are known to belong to a space
select deleg.space_select(%(name)s, %(vss)s, %(network)s, %(identity)s);

-- space_deselect --
-- They belong to it no longer
select deleg.space_deselect(%(vss)s, %(network)s, %(identity)s);

-- spaces --
-- The spaces and what selects them
select s.name as space, l.vss, l.network, encode(l.identity, 'hex') as client_id
  from deleg.spaces s left join deleg.selectors l using (space) order by s.space, 2, 3, 4;

-- pool_add --
-- A new origin, all of it free, in a pool
select deleg.pool_add(%(space)s, %(prefix)s, %(name)s, %(max_lease)s, %(terms)s);

-- pool_change --
-- On which terms it is leased from now on
select deleg.pool_change(%(space)s, %(name)s, %(terms)s);

-- pool_remove --
-- No more leases from an origin; it goes when nothing of it is held. Returns the number of blocks that are
select deleg.pool_remove(%(space)s, %(prefix)s);

-- pool_keep --
-- More leases from an origin again that was to be removed
select deleg.pool_keep(%(space)s, %(prefix)s);

-- lease_deprecate --
-- Ask the holder to give a block up, at its next renewal
select deleg.lease_deprecate(%(space)s, %(prefix)s);

-- lease_takeback --
-- Ask the holder to give a block up, now
select deleg.lease_takeback(%(space)s, %(prefix)s);

-- lease_keep --
-- Leave a block to its holder that was asked back
select deleg.lease_keep(%(space)s, %(prefix)s);

-- pools --
-- The pools report
select * from report.pools order by space, origin;

-- subnets --
-- The subnets report
select * from report.subnets order by space, subnet;

-- networks --
select * from report.networks order by space, network;

-- network_abandon --
-- The blocks of a network that no server has any more, or one of them: nobody has them for so many seconds
select deleg.network_abandon(%(network)s, %(block)s, %(longest)s);

-- ledger_restored --
-- Of a backup: what somebody may hold is leased to nobody else for so many seconds
select withheld, leased, served from deleg.ledger_restored(%(longest)s);

-- history_keep --
-- How many days events are kept; null: for ever
select deleg.history_keep(%(days)s);

-- history_kept --
-- How many days events are kept; null: for ever
select deleg.history_kept();

-- ledger_check --
-- A row per violation of an invariant
select invariant, space, prefix, detail from deleg.ledger_check() order by 1, 2, 3;

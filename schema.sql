-- SPDX-License-Identifier: MPL-2.0
--
-- The subnet ledger of kea-subnet-deleg: who holds which subnet, since when, until when and why.
--
-- Everything lives in schema `deleg`; what operators read lives in schema `report`. Servers never touch a table: they call
-- deleg.apply() with a batch of client messages, deleg.sweep() from a timer, and a few more, all SECURITY DEFINER.
--
-- The invariants, and who enforces them (deleg.ledger_check() reports every violation of each):
--   I1  no two blocks of a space overlap                       exclusion constraint blocks_disjoint
--   I2  the blocks of an origin tile it exactly                split and merge below are the only writers of a prefix
--   I3  no block is leased beyond its origin's own lease       least() wherever an expiry is computed
--   I4  free buddies of an origin are merged                   deleg._free()
--   I5  every change of a block appends one event              trigger blocks_events; the events replay to the table
--   I6  what was acknowledged was committed first              the servers answer after COMMIT; only offers commit asynchronously
--   I7  one client transaction has one outcome                 unique index blocks_transaction
--
-- Locks, always taken in this order, so that no two transactions can wait for each other:
--   1. one advisory lock per client of the batch, in ascending order: two servers that heard the same client take turns;
--   2. one advisory lock per space, before the first free block is touched: whoever splits or merges is alone, so a large block
--      being split elsewhere is never mistaken for an empty pool (as a mere SKIP LOCKED would);
--   3. block rows: of clients locked in 1, or free ones under 2. The sweeper takes 2 first and skips rows that are locked.

create schema if not exists deleg;
create schema if not exists report;
create extension if not exists btree_gist with schema deleg;

comment on schema deleg is 'kea-subnet-deleg: the subnet ledger';
comment on schema report is 'kea-subnet-deleg: views for operators; their columns are a contract';

create table deleg.schema_version (
    version integer primary key,
    installed timestamptz not null default now()
);
insert into deleg.schema_version (version) values (1);

-- Address spaces (VRFs, tenants). Spaces may overlap each other; within one, nothing overlaps.
create table deleg.spaces (
    space integer primary key check (space >= 0),
    name text not null unique
);
insert into deleg.spaces (space, name) values (0, 'default');

-- Where space came from: an administrator (seed [0093]) or a lease from an upstream server (seed [0100]).
create table deleg.origins (
    space integer not null references deleg.spaces,
    prefix cidr not null check (family(prefix) = 4 and masklen(prefix) between 1 and 30),
    pool text not null,                                              -- the operator's name for it
    kind text not null default 'administrator' check (kind in ('administrator', 'upstream')),
    max_lease bigint check (max_lease between 1 and 4294967295),     -- seconds; null: unlimited (seed [0094])
    expires timestamptz not null default 'infinity',                 -- end of our own lease on it
    closing boolean not null default false,                          -- being removed: nothing new is leased from it
    created timestamptz not null default now(),
    primary key (space, prefix),
    constraint origins_disjoint exclude using gist (space with =, prefix inet_ops with &&)
);

-- Who asks for subnets: the client identifier (option 61), else hardware type and address (RFC 2131 4.2).
create table deleg.lessees (
    lessee bigint generated always as identity primary key,
    space integer not null references deleg.spaces,
    identity bytea not null check (length(identity) between 1 and 255),
    address inet,                                                    -- where it last spoke from
    first_seen timestamptz not null default now(),
    unique (space, identity)
);

-- The server identifiers (option 54) of this domain: every Kea instance that shares this ledger.
create table deleg.servers (
    address inet primary key,
    name text not null,
    version text not null,
    first_seen timestamptz not null default now(),
    last_seen timestamptz not null default now()
);

create type deleg.block_state as enum ('free', 'offered', 'leased', 'reserved', 'local', 'quarantined');

-- A block is a prefix in exactly one state. This row is what the last event of the prefix says.
create table deleg.blocks (
    space integer not null,
    prefix cidr not null,
    origin cidr not null,
    state deleg.block_state not null,
    draining boolean not null default false,     -- held: the holder was told to give it up; free: no longer handed out
    hierarchical boolean,                        -- RFC 6656 flag h: the lessee allocates from it (true) or relays to us
    lessee bigint references deleg.lessees,      -- holder; of a quarantined block, the last one
    xid bigint,                                  -- the client transaction it was offered in, and which
    slot smallint,                               --   of its Subnet-Requests it answers (I7)
    server inet,                                 -- server identifier that offered or acknowledged it
    lease_time bigint,                           -- seconds granted; 4294967295: for ever (RFC 2131 3.3)
    since timestamptz not null default now(),    -- in this state since
    renewed timestamptz,                         -- last acknowledged
    expires timestamptz,                         -- end of the hold, the lease or the quarantine; null: none
    reason text not null default 'created',      -- why it is in this state, one word or two
    detail jsonb,                                -- the numbers of that decision
    primary key (space, prefix),
    foreign key (space, origin) references deleg.origins (space, prefix),
    -- Space and prefix as one prefix of 128 bits: an SP-GiST radix tree finds overlaps in it faster than GiST finds them in
    -- (space, prefix), whose pages large free blocks among small ones spoil.
    constraint blocks_disjoint exclude using spgist ((set_masklen(
        '::'::inet + ((space::bigint << 32) + (prefix::inet - '0.0.0.0'::inet)), 96 + masklen(prefix))) inet_ops with &&)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02);

-- Best fit: the smallest free block that holds the request, lowest address first.
create index blocks_free on deleg.blocks (space, masklen(prefix) desc, prefix) where state = 'free' and not draining;
-- I7, and what a client holds.
create unique index blocks_transaction on deleg.blocks (space, lessee, xid, slot)
    where state in ('offered', 'leased', 'reserved');
-- What is due: holds, leases and quarantines that end.
create index blocks_due on deleg.blocks (expires) where expires is not null;
create index blocks_origin on deleg.blocks (space, origin, state);

-- The last usage a lessee reported for a block it holds (RFC 6656 3.2.1.1; seed [0075]). Null: not reported.
create table deleg.usage (
    space integer not null,
    prefix cidr not null,
    lessee bigint not null references deleg.lessees,
    reported timestamptz not null default now(),
    high_water integer check (high_water between 0 and 65534),
    in_use integer check (in_use between 0 and 65534),
    unusable integer check (unusable between 0 and 65534),
    primary key (space, prefix)
) with (fillfactor = 70);

-- The audit trail. `was` and `prefix` differ where the change split or merged; null where the row came or went.
create table deleg.events (
    seq bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    space integer not null,
    kind text not null,
    was cidr,
    prefix cidr,
    was_state deleg.block_state,
    state deleg.block_state,
    draining boolean,
    lessee bigint,
    server inet,
    expires timestamptz,
    reason text,
    detail jsonb
);
create index events_prefix on deleg.events (space, prefix, seq);
create index events_was on deleg.events (space, was, seq) where was is distinct from prefix;
create index events_at on deleg.events using brin (at);


-- ---------------------------------------------------------------------------------------------------------------- I5

-- The event, and what else must hold of a row whoever writes it. (Checks stand here and not as CHECK constraints because PostgreSQL
-- reads a table's constraints afresh for each statement, which costs more than all the rest of an allocation.)
create function deleg._block_event() returns trigger
language plpgsql as $$
declare
    v_kind text;
begin
    if tg_op <> 'DELETE' and (new.prefix <<= new.origin and masklen(new.prefix) <= 30 and case new.state
            when 'free' then coalesce(new.lessee, new.xid) is null and new.expires is null
            when 'offered' then new.lessee + new.xid + new.slot + new.lease_time is not null and new.expires is not null
                and new.hierarchical is not null and not new.draining
            when 'leased' then new.lessee + new.lease_time is not null and new.expires is not null and new.hierarchical
            when 'reserved' then new.lessee + new.lease_time is not null and new.expires is not null and not new.hierarchical
            when 'local' then new.lessee is null
            when 'quarantined' then new.expires is not null end) is not true then
        raise exception 'block % of space % is not a valid % block: %', new.prefix, new.space, new.state, to_jsonb(new)
            using errcode = 'check_violation', constraint = 'blocks_state', table = 'blocks';
    end if;
    if tg_op = 'INSERT' then
        insert into deleg.events (space, kind, prefix, state, draining, lessee, server, expires, reason, detail)
        values (new.space, 'created', new.prefix, new.state, new.draining, new.lessee, new.server, new.expires, new.reason,
                new.detail);
    elsif tg_op = 'DELETE' then
        insert into deleg.events (space, kind, was, was_state, reason)
        values (old.space, 'removed', old.prefix, old.state, 'merged or withdrawn');
    else
        v_kind := case
            when new.state <> old.state then new.state::text
            when new.prefix <> old.prefix then 'resized'
            when new.draining and not old.draining then 'draining'
            else 'renewed' end;
        insert into deleg.events (space, kind, was, prefix, was_state, state, draining, lessee, server, expires, reason, detail)
        values (new.space, v_kind, old.prefix, new.prefix, old.state, new.state, new.draining,
                coalesce(new.lessee, old.lessee), new.server, new.expires, new.reason, new.detail);
    end if;
    return null;
end $$;

create trigger blocks_events after insert or update or delete on deleg.blocks
    for each row execute function deleg._block_event();


-- ------------------------------------------------------------------------------------------------------------- tools

create function deleg._size(p_prefix cidr) returns bigint
language sql immutable strict parallel safe as $$ select 1::bigint << (32 - masklen(p_prefix)) $$;

-- The other half of the parent of p_prefix.
create function deleg._buddy(p_prefix cidr) returns cidr
language sql immutable strict parallel safe as $$
    select set_masklen(
        (case when network(set_masklen(p_prefix, masklen(p_prefix) - 1))::inet - '0.0.0.0'::inet = p_prefix::inet - '0.0.0.0'::inet
              then p_prefix::inet + (1::bigint << (32 - masklen(p_prefix)))
              else p_prefix::inet - (1::bigint << (32 - masklen(p_prefix))) end)::inet, masklen(p_prefix))::cidr
$$;

create function deleg._ends(p_seconds bigint) returns timestamptz
language sql stable strict as $$
    select case when p_seconds >= 4294967295 then 'infinity'::timestamptz else now() + make_interval(secs => p_seconds) end
$$;

-- Seconds a lease may last within an origin: its maximum, and what is left of our own lease on it (I3).
create function deleg._within(p_seconds bigint, p_origin deleg.origins) returns bigint
language sql stable as $$
    select greatest(0, least(p_seconds, p_origin.max_lease,
        case when p_origin.expires = 'infinity' then null else floor(extract(epoch from p_origin.expires - now()))::bigint end))
$$;

-- Alone with the free blocks of a space until the end of the transaction (lock 2).
create function deleg._own_free_blocks(p_space integer) returns void
language sql as $$ select pg_advisory_xact_lock(220, p_space) $$;

create function deleg._lessee(p_space integer, p_identity bytea) returns bigint
language sql stable as $$ select lessee from deleg.lessees where space = p_space and identity = p_identity $$;

-- [network, prefix length, hierarchical, deprecate] as the servers read it.
create function deleg._wire(p_prefix cidr, p_hierarchical boolean, p_deprecate boolean) returns jsonb
language sql immutable as $$
    select jsonb_build_array(p_prefix::inet - '0.0.0.0'::inet, masklen(p_prefix), p_hierarchical, p_deprecate)
$$;

-- The block goes back to the free ones and grows over every free buddy (I4). Caller owns the free blocks.
create function deleg._free(p_space integer, p_prefix cidr, p_reason text) returns cidr
language plpgsql as $$
declare
    v_prefix cidr := p_prefix;
    v_origin cidr;
    v_closing boolean;
begin
    select o.prefix, o.closing into strict v_origin, v_closing
      from deleg.blocks b join deleg.origins o on o.space = b.space and o.prefix = b.origin
     where b.space = p_space and b.prefix = p_prefix;
    while masklen(v_prefix) > masklen(v_origin) loop
        delete from deleg.blocks
         where space = p_space and prefix = deleg._buddy(v_prefix) and origin = v_origin and state = 'free';
        exit when not found;
        v_prefix := network(set_masklen(v_prefix, masklen(v_prefix) - 1));
    end loop;
    update deleg.blocks
       set prefix = v_prefix, state = 'free', draining = v_closing, hierarchical = null, lessee = null, xid = null, slot = null,
           server = null, lease_time = null, since = now(), renewed = null, expires = null, reason = p_reason, detail = null
     where space = p_space and prefix = p_prefix;
    return v_prefix;
end $$;

-- What is offered in a transaction is free again. Returns the number of blocks.
create function deleg._free_offers(p_space integer, p_lessee bigint, p_xid bigint, p_reason text) returns integer
language plpgsql as $$
declare
    v_prefix cidr;
    v_freed integer := 0;
begin
    if not exists (select from deleg.blocks where space = p_space and lessee = p_lessee and xid = p_xid and state = 'offered') then
        return 0;
    end if;
    -- Read what to free only once alone: until then the sweeper may end these offers, and other clients get the blocks.
    perform deleg._own_free_blocks(p_space);
    for v_prefix in
        select prefix from deleg.blocks where space = p_space and lessee = p_lessee and xid = p_xid and state = 'offered'
    loop
        perform deleg._free(p_space, v_prefix, p_reason);
        v_freed := v_freed + 1;
    end loop;
    return v_freed;
end $$;

-- The held block stops being held: into quarantine, then (deleg.sweep) back to the free ones.
create function deleg._quarantine(p_space integer, p_prefix cidr, p_seconds bigint, p_reason text) returns void
language plpgsql as $$
begin
    update deleg.blocks
       set state = 'quarantined', draining = false, since = now(), expires = deleg._ends(p_seconds), reason = p_reason,
           detail = null
     where space = p_space and prefix = p_prefix;
    delete from deleg.usage where space = p_space and prefix = p_prefix;
end $$;


-- --------------------------------------------------------------------------------------- what the clients' messages do

-- DISCOVER: hold a block for each size asked for (RFC 6656 4.2; seed [0060-63]).
-- p_op: identity, address, server, xid, lease_time, hold (seconds),
--       sizes [[slot, wanted length, longest acceptable length, hierarchical, reason, detail], ...]
create function deleg._offer(p_space integer, p_identity bytea, p_op jsonb) returns jsonb
language plpgsql as $$
declare
    v_lessee bigint := deleg._lessee(p_space, p_identity);
    v_xid bigint := (p_op ->> 'xid')::bigint;
    v_lease bigint := (p_op ->> 'lease_time')::bigint;
    v_least bigint := null;
    v_uniform boolean := true;
    v_blocks jsonb := '[]';
    v_size jsonb;
    v_free record;
    v_wanted integer;
    v_taken cidr;
    v_granted bigint;
    v_origin deleg.origins;
begin
    -- The same transaction heard before, by us or by another server of the domain: the same answer (I7). Of several blocks, the
    -- order of the requests they answer.
    if v_lessee is not null then
        select jsonb_agg(deleg._wire(prefix, hierarchical, false) order by slot), min(lease_time)
          into v_blocks, v_least
          from deleg.blocks
         where space = p_space and lessee = v_lessee and xid = v_xid and state in ('offered', 'leased', 'reserved');
        if v_blocks is not null then
            return jsonb_build_object('outcome', 'offered', 'lease_time', v_least, 'blocks', v_blocks);
        end if;
        v_blocks := '[]';
        v_least := null;
    end if;

    perform deleg._own_free_blocks(p_space);
    for v_size in select value from jsonb_array_elements(p_op -> 'sizes') loop
        v_wanted := (v_size ->> 1)::integer;
        select prefix, origin into v_free from deleg.blocks
         where space = p_space and state = 'free' and not draining and masklen(prefix) <= v_wanted
         order by masklen(prefix) desc, prefix limit 1;
        if not found then                                    -- nothing that holds it: the largest that is smaller
            select prefix, origin into v_free from deleg.blocks
             where space = p_space and state = 'free' and not draining
               and masklen(prefix) > v_wanted and masklen(prefix) <= (v_size ->> 2)::integer
             order by masklen(prefix), prefix limit 1;
            continue when not found;
        end if;
        select * into strict v_origin from deleg.origins where space = p_space and prefix = v_free.origin;
        v_granted := deleg._within(v_lease, v_origin);
        continue when v_granted < 1;
        if v_lessee is null then
            insert into deleg.lessees (space, identity, address)
            values (p_space, p_identity, (p_op ->> 'address')::inet) returning lessee into v_lessee;
        end if;

        -- Split: we take the lowest part, each upper half on the way down stays free (I2).
        v_taken := set_masklen(v_free.prefix, greatest(v_wanted, masklen(v_free.prefix)));
        update deleg.blocks
           set prefix = v_taken, state = 'offered', hierarchical = (v_size ->> 3)::boolean, lessee = v_lessee, xid = v_xid,
               slot = (v_size ->> 0)::smallint, server = (p_op ->> 'server')::inet, lease_time = v_granted, since = now(),
               expires = now() + make_interval(secs => (p_op ->> 'hold')::bigint), reason = v_size ->> 4, detail = v_size -> 5
         where space = p_space and prefix = v_free.prefix;
        if v_taken <> v_free.prefix then
            insert into deleg.blocks (space, prefix, origin, state, reason)
            select p_space, set_masklen((v_taken::inet + (1::bigint << (32 - len)))::inet, len)::cidr, v_free.origin, 'free', 'split'
              from generate_series(masklen(v_free.prefix) + 1, masklen(v_taken)) as len;
        end if;
        v_blocks := v_blocks || jsonb_build_array(deleg._wire(v_taken, (v_size ->> 3)::boolean, false));
        v_uniform := v_uniform and v_granted = coalesce(v_least, v_granted);
        v_least := least(v_least, v_granted);
    end loop;

    if v_blocks = '[]' then
        return jsonb_build_object('outcome', 'nothing');
    end if;
    if not v_uniform then                                    -- one option 51 speaks for all blocks of a message (RFC 6656 4.2)
        update deleg.blocks set lease_time = v_least
         where space = p_space and lessee = v_lessee and xid = v_xid and state = 'offered';
    end if;
    return jsonb_build_object('outcome', 'offered', 'lease_time', v_least, 'blocks', v_blocks);
end $$;

-- REQUEST that names us: what was offered becomes leased or reserved, some of it may be left out (RFC 6656 4.3, 4.4; seed [0070-71]).
-- The blocks of the transaction that it leaves out are free again; one that was not offered as it is named spoils all. p_op: xid, server, blocks [[prefix, hierarchical], ...]
create function deleg._accept(p_space integer, p_identity bytea, p_op jsonb) returns jsonb
language plpgsql as $$
declare
    v_lessee bigint := deleg._lessee(p_space, p_identity);
    v_xid bigint := (p_op ->> 'xid')::bigint;
    v_kept cidr[];
    v_least bigint;
    v_blocks jsonb;
begin
    -- Only what was offered in this very transaction: a REQUEST has the xid of its OFFER (RFC 2131 4.4.1 table 5). Already leased in
    -- it: a retransmission, the same answer again, and the same lease time from now.
    select array_agg(b.prefix order by w.n), min(deleg._within(b.lease_time, o))
      into v_kept, v_least
      from jsonb_array_elements(p_op -> 'blocks') with ordinality as w (block, n)
      join deleg.blocks b on b.space = p_space and b.prefix = (w.block ->> 0)::cidr
      join deleg.origins o on o.space = b.space and o.prefix = b.origin
     where b.lessee = v_lessee and b.xid = v_xid and b.hierarchical = (w.block ->> 1)::boolean
       and b.state in ('offered', 'leased', 'reserved');
    if v_kept is null or cardinality(v_kept) < jsonb_array_length(p_op -> 'blocks') or v_least < 1 then
        return jsonb_build_object('outcome', 'refused');
    end if;
    with leased as (
    update deleg.blocks
       set state = case when hierarchical then 'leased' else 'reserved' end::deleg.block_state,
           server = (p_op ->> 'server')::inet, lease_time = v_least, renewed = now(), expires = deleg._ends(v_least),
           since = case when state = 'offered' then now() else since end,
           reason = case when state = 'offered' then 'accepted' else 'retransmission' end
     where space = p_space and prefix = any (v_kept)
       -- Once more: since it was read above, the sweeper may have ended the offer, and another client may even have the block.
       and lessee = v_lessee and xid = v_xid and state in ('offered', 'leased', 'reserved')
     returning prefix, hierarchical, draining)
    select jsonb_agg(deleg._wire(prefix, hierarchical, draining) order by array_position(v_kept, prefix))
      into v_blocks from leased;
    if v_blocks is null then
        return jsonb_build_object('outcome', 'refused');
    end if;
    perform deleg._free_offers(p_space, v_lessee, v_xid, 'not accepted');
    return jsonb_build_object('outcome', 'acknowledged', 'lease_time', v_least, 'blocks', v_blocks);
end $$;

-- RENEW or REBIND (RFC 6656 5.1, 5.2; seed [0137-143]). p_op: server, quarantine (seconds),
--   blocks [[prefix, verdict, lease_time, high_water, in_use, unusable, reason, detail], ...]; verdict: full, deprecate or refuse.
create function deleg._renew(p_space integer, p_identity bytea, p_op jsonb) returns jsonb
language plpgsql as $$
declare
    v_lessee bigint := deleg._lessee(p_space, p_identity);
    v_item jsonb;
    v_block deleg.blocks;
    v_origin deleg.origins;
    v_deprecate boolean;
    v_lease bigint;
    v_least bigint := null;
    v_renewed cidr[] := '{}';
    v_blocks jsonb := '[]';
    v_refused jsonb := '[]';
begin
    for v_item in select value from jsonb_array_elements(p_op -> 'blocks') loop
        -- Another client's block must not even be locked: only lock 1 of its own makes that safe.
        select * into v_block from deleg.blocks
         where space = p_space and prefix = (v_item ->> 0)::cidr and lessee = v_lessee for update;
        continue when not found;
        if v_block.state = 'quarantined' then                -- no longer its: stop at once (seed [0081])
            v_refused := v_refused || jsonb_build_array(deleg._wire(v_block.prefix, coalesce(v_block.hierarchical, false), false));
            continue;
        end if;
        continue when v_block.state not in ('leased', 'reserved');
        select * into strict v_origin from deleg.origins where space = p_space and prefix = v_block.origin;
        v_lease := deleg._within((v_item ->> 2)::bigint, v_origin);
        if v_item ->> 1 = 'refuse' or v_lease < 1 then
            perform deleg._quarantine(p_space, v_block.prefix, (p_op ->> 'quarantine')::bigint, v_item ->> 6);
            v_refused := v_refused || jsonb_build_array(deleg._wire(v_block.prefix, v_block.hierarchical, false));
            continue;
        end if;
        v_deprecate := v_item ->> 1 = 'deprecate' or v_block.draining or v_origin.closing;
        update deleg.blocks
           set draining = v_deprecate, server = (p_op ->> 'server')::inet, lease_time = v_lease, renewed = now(),
               expires = deleg._ends(v_lease),
               reason = case when v_origin.closing then 'pool is being removed' when v_block.draining then v_block.reason
                             else v_item ->> 6 end,
               detail = v_item -> 7
         where space = p_space and prefix = v_block.prefix;
        if coalesce(v_item ->> 3, v_item ->> 4, v_item ->> 5) is not null then
            insert into deleg.usage as u (space, prefix, lessee, high_water, in_use, unusable)
            values (p_space, v_block.prefix, v_lessee, (v_item ->> 3)::integer, (v_item ->> 4)::integer, (v_item ->> 5)::integer)
            on conflict (space, prefix) do update
               set lessee = excluded.lessee, reported = excluded.reported, high_water = excluded.high_water,
                   in_use = excluded.in_use, unusable = excluded.unusable;
        end if;
        v_renewed := v_renewed || v_block.prefix;
        v_least := least(v_least, v_lease);
        v_blocks := v_blocks || jsonb_build_array(deleg._wire(v_block.prefix, v_block.hierarchical, v_deprecate));
    end loop;
    if v_blocks = '[]' then
        return case when v_refused = '[]' then jsonb_build_object('outcome', 'nothing')
                    else jsonb_build_object('outcome', 'refused', 'blocks', v_refused) end;
    end if;
    -- One option 51 speaks for all; a block in the message that could have had longer must not be recorded longer than was said.
    update deleg.blocks set lease_time = v_least, expires = deleg._ends(v_least)
     where space = p_space and prefix = any (v_renewed) and lease_time <> v_least;
    return jsonb_build_object('outcome', 'acknowledged', 'lease_time', v_least, 'blocks', v_blocks, 'refused', v_refused);
end $$;

-- RELEASE (RFC 6656 5.3): only exactly what the client holds, and only if no other domain's server is named.
-- p_op: named (server identifier or null), quarantine (seconds), blocks [prefix, ...]
create function deleg._release(p_space integer, p_identity bytea, p_op jsonb) returns jsonb
language plpgsql as $$
declare
    v_lessee bigint := deleg._lessee(p_space, p_identity);
    v_block record;
    v_released jsonb := '[]';
begin
    if p_op ->> 'named' is not null and not exists (select from deleg.servers where address = (p_op ->> 'named')::inet) then
        return jsonb_build_object('outcome', 'nothing');
    end if;
    for v_block in
        select prefix, hierarchical from deleg.blocks
         where space = p_space and lessee = v_lessee and state in ('leased', 'reserved')
           and prefix in (select value::cidr from jsonb_array_elements_text(p_op -> 'blocks'))
         order by prefix for update
    loop
        perform deleg._quarantine(p_space, v_block.prefix, (p_op ->> 'quarantine')::bigint, 'released');
        v_released := v_released || jsonb_build_array(deleg._wire(v_block.prefix, v_block.hierarchical, false));
    end loop;
    return jsonb_build_object('outcome', case when v_released = '[]' then 'nothing' else 'released' end, 'blocks', v_released);
end $$;

-- REQUEST that names another server (seed [0070]): if that is none of this domain, what we offered is free again.
-- p_op: xid, named (server identifier)
create function deleg._reclaim(p_space integer, p_identity bytea, p_op jsonb) returns jsonb
language plpgsql as $$
declare
    v_lessee bigint := deleg._lessee(p_space, p_identity);
    v_reclaimed integer;
begin
    if v_lessee is null or exists (select from deleg.servers where address = (p_op ->> 'named')::inet) then
        return jsonb_build_object('outcome', 'nothing');
    end if;
    v_reclaimed := deleg._free_offers(p_space, v_lessee, (p_op ->> 'xid')::bigint, 'another server was chosen');
    return jsonb_build_object('outcome', case when v_reclaimed > 0 then 'reclaimed' else 'nothing' end);
end $$;

-- What does the client hold? (RFC 6656 6) In address order, so that a page can be asked for by the last block of the one before.
-- p_op: after (prefix or null), limit
create function deleg._list(p_space integer, p_identity bytea, p_op jsonb) returns jsonb
language plpgsql as $$
declare
    v_blocks jsonb;
    v_least bigint;
    v_more boolean;
begin
    select jsonb_agg(deleg._wire(prefix, hierarchical, deprecate) order by prefix) filter (where n <= (p_op ->> 'limit')::integer),
           min(remaining) filter (where n <= (p_op ->> 'limit')::integer),
           bool_or(n > (p_op ->> 'limit')::integer)
      into v_blocks, v_least, v_more
      from (select b.prefix, b.hierarchical, b.draining or o.closing as deprecate, row_number() over (order by b.prefix) as n,
                   case when b.expires = 'infinity' then 4294967295
                        else greatest(0, floor(extract(epoch from b.expires - now())))::bigint end as remaining
              from deleg.blocks b join deleg.origins o on o.space = b.space and o.prefix = b.origin
             where b.space = p_space and b.lessee = deleg._lessee(p_space, p_identity) and b.state in ('leased', 'reserved')
               and (p_op ->> 'after' is null or b.prefix > (p_op ->> 'after')::cidr)
             order by b.prefix limit (p_op ->> 'limit')::integer + 1) as page;
    if v_blocks is null then
        return jsonb_build_object('outcome', 'nothing');
    end if;
    return jsonb_build_object('outcome', 'listed', 'lease_time', v_least, 'blocks', v_blocks, 'more', v_more);
end $$;

-- One batch of client messages, one transaction, one round trip. Returns one outcome per message, in their order.
-- Each op: {"op": offer|accept|renew|release|reclaim|list, "space": n, "identity": hex, ...}. Raises if any single op fails: the
-- server then sends them one by one, so that one failure does not take the others with it.
-- (The planner's settings: plans are kept for the life of a connection, and must not be made for the few blocks of the first minute.)
create function deleg.apply(p_batch jsonb) returns jsonb
language plpgsql security definer
set search_path = deleg, pg_temp set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
    v_op jsonb;
    v_space integer;
    v_identity bytea;
    v_outcome jsonb;
    v_outcomes jsonb[] := '{}';
begin
    -- Losing an offer is harmless (its REQUEST is checked again), so a batch of nothing else needs no wait for the disk (I6).
    if not exists (select from jsonb_array_elements(p_batch) as e where e ->> 'op' not in ('offer', 'list')) then
        perform set_config('synchronous_commit', 'off', true);
    end if;
    perform pg_advisory_xact_lock(k)
       from (select distinct hashtextextended(e ->> 'identity', (e ->> 'space')::bigint) as k
               from jsonb_array_elements(p_batch) as e order by k) as clients;
    for v_op in select value from jsonb_array_elements(p_batch) loop
        v_space := (v_op ->> 'space')::integer;
        v_identity := decode(v_op ->> 'identity', 'hex');
        v_outcome := case v_op ->> 'op'
            when 'offer' then deleg._offer(v_space, v_identity, v_op)
            when 'accept' then deleg._accept(v_space, v_identity, v_op)
            when 'renew' then deleg._renew(v_space, v_identity, v_op)
            when 'release' then deleg._release(v_space, v_identity, v_op)
            when 'reclaim' then deleg._reclaim(v_space, v_identity, v_op)
            when 'list' then deleg._list(v_space, v_identity, v_op) end;
        if v_outcome is null then
            raise exception 'unknown op: %', v_op using errcode = 'invalid_parameter_value';
        end if;
        v_outcomes := v_outcomes || v_outcome;
    end loop;
    return to_jsonb(v_outcomes);
end $$;


-- ------------------------------------------------------------------------------------------------------ what time does

-- Offers whose hold is over become free, leases that ended go into quarantine, quarantines that ended become free, emptied origins
-- that an operator removes go. At most p_limit blocks; the caller calls again while there is something to do.
create function deleg.sweep(p_limit integer, p_quarantine bigint)
returns table (offers integer, leases integer, quarantines integer, origins_removed integer)
language plpgsql security definer
set search_path = deleg, pg_temp set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
declare
    v_due record;
    v_origin record;
    v_spaces integer[] := '{}';
begin
    offers := 0; leases := 0; quarantines := 0; origins_removed := 0;
    if not pg_try_advisory_xact_lock(221, 0) then            -- another server sweeps
        return next;
        return;
    end if;
    for v_due in select distinct space from blocks where expires <= now() order by space loop
        perform _own_free_blocks(v_due.space);
        v_spaces := v_spaces || v_due.space;
    end loop;
    for v_due in
        select space, prefix, state from blocks
         where expires <= now() and space = any (v_spaces)
         order by expires limit p_limit for update skip locked
    loop
        case v_due.state
            when 'offered' then
                perform _free(v_due.space, v_due.prefix, 'offer expired');
                offers := offers + 1;
            when 'quarantined' then
                perform _free(v_due.space, v_due.prefix, 'quarantine over');
                quarantines := quarantines + 1;
            else
                perform _quarantine(v_due.space, v_due.prefix, p_quarantine, 'expired');
                leases := leases + 1;
        end case;
    end loop;
    for v_origin in
        select o.space, o.prefix from origins o
         where o.closing and not exists (
            select from blocks b where b.space = o.space and b.origin = o.prefix and b.state <> 'free')
    loop
        -- Waiting here, with block rows locked above, could be waited for in turn: the next sweep has another chance.
        continue when not pg_try_advisory_xact_lock(220, v_origin.space);
        perform _remove_origin(v_origin.space, v_origin.prefix);
        origins_removed := origins_removed + 1;
    end loop;
    return next;
end $$;

create function deleg._remove_origin(p_space integer, p_prefix cidr) returns void
language sql as $$
    delete from deleg.blocks where space = p_space and origin = p_prefix;
    delete from deleg.origins where space = p_space and prefix = p_prefix;
$$;

-- A server of this domain speaks from this address. What REQUESTs that name it mean to the others depends on this row.
create function deleg.server_seen(p_address inet, p_name text, p_version text) returns void
language sql security definer set search_path = deleg, pg_temp as $$
    insert into deleg.servers as s (address, name, version) values (p_address, p_name, p_version)
    on conflict (address) do update set name = excluded.name, version = excluded.version, last_seen = now()
$$;

-- The figures policies decide by: per space and lessee what is held and used, and what is free. May be seconds old.
create function deleg.totals()
returns table (space integer, identity bytea, held bigint, used bigint)
language sql stable security definer set search_path = deleg, pg_temp as $$
    select b.space, l.identity, sum(_size(b.prefix))::bigint,
           sum(coalesce(u.in_use, u.high_water, 0))::bigint
      from blocks b
      join lessees l using (lessee)
      left join usage u on u.space = b.space and u.prefix = b.prefix
     where b.state in ('leased', 'reserved')
     group by b.space, l.identity
$$;

create function deleg.free_by_length()
returns table (space integer, prefix_length integer, blocks bigint)
language sql stable security definer set search_path = deleg, pg_temp as $$
    select b.space, masklen(b.prefix), count(*) from blocks b
     where b.state = 'free' and not b.draining group by 1, 2
$$;


-- -------------------------------------------------------------------------------------------------- what operators do

create function deleg.pool_add(p_space integer, p_prefix cidr, p_pool text, p_max_lease bigint default null) returns void
language plpgsql security definer set search_path = deleg, pg_temp as $$
begin
    perform _own_free_blocks(p_space);
    insert into origins (space, prefix, pool, max_lease) values (p_space, p_prefix, p_pool, p_max_lease);
    insert into blocks (space, prefix, origin, state, reason) values (p_space, p_prefix, p_prefix, 'free', 'pool added');
end $$;

-- Removes a pool that nothing is held of, at once. Otherwise nothing new is leased from it, each renewal is answered with
-- "deprecate", and the pool goes when the last block has come back. Returns the number of blocks still out.
create function deleg.pool_remove(p_space integer, p_prefix cidr) returns bigint
language plpgsql security definer set search_path = deleg, pg_temp as $$
declare
    v_held bigint;
begin
    perform _own_free_blocks(p_space);
    update origins set closing = true where space = p_space and prefix = p_prefix;
    if not found then
        raise exception 'no pool % in space %', p_prefix, p_space using errcode = 'no_data_found';
    end if;
    select count(*) into v_held from blocks where space = p_space and origin = p_prefix and state <> 'free';
    if v_held = 0 then
        perform _remove_origin(p_space, p_prefix);
    else
        update blocks set draining = true, reason = 'pool is being removed'
         where space = p_space and origin = p_prefix and state = 'free' and not draining;
    end if;
    return v_held;
end $$;

-- Asks the holder, at its next renewal, to give the block up (RFC 6656 flag d). False: no such lease.
create function deleg.lease_deprecate(p_space integer, p_prefix cidr) returns boolean
language plpgsql security definer set search_path = deleg, pg_temp as $$
begin
    update blocks set draining = true, reason = 'operator asked it back'
     where space = p_space and prefix = p_prefix and state in ('leased', 'reserved') and not draining;
    return found;
end $$;


-- ------------------------------------------------------------------------------------------------------- ledger_check

-- One row per violation; none where every invariant holds.
create function deleg.ledger_check()
returns table (invariant text, space integer, prefix cidr, detail text)
language sql stable security definer set search_path = deleg, pg_temp as $$
    -- I1: in address order, a block that starts before its predecessors have ended.
    select 'I1', b.space, b.prefix, format('overlaps a block that ends at %s', b.reach)
      from (select x.space, x.prefix, max(broadcast(x.prefix)) over (
                       partition by x.space order by x.prefix rows between unbounded preceding and 1 preceding) as reach
              from blocks x) as b
     where host(network(b.prefix))::inet <= host(b.reach)::inet
    union all
    -- I2: not overlapping, inside, and as many addresses as the origin: they tile it.
    select 'I2', o.space, o.prefix, format('its blocks hold %s of %s addresses', coalesce(sum(_size(b.prefix)), 0), _size(o.prefix))
      from origins o left join blocks b on b.space = o.space and b.origin = o.prefix and b.prefix <<= o.prefix
     group by o.space, o.prefix having coalesce(sum(_size(b.prefix)), 0) <> _size(o.prefix)
    union all
    select 'I2', b.space, b.prefix, format('is not inside its origin %s', b.origin) from blocks b where not b.prefix <<= b.origin
    union all
    select 'I3', b.space, b.prefix, format('ends at %s, its origin %s at %s', b.expires, o.prefix, o.expires)
      from blocks b join origins o on o.space = b.space and o.prefix = b.origin
     where b.state in ('leased', 'reserved') and b.expires > o.expires
    union all
    select 'I4', b.space, b.prefix, format('and %s are both free and not merged', _buddy(b.prefix))
      from blocks b join blocks f on f.space = b.space and f.prefix = _buddy(b.prefix) and f.origin = b.origin
     where b.state = 'free' and f.state = 'free' and masklen(b.prefix) > masklen(b.origin) and b.prefix < f.prefix
    union all
    -- I5: the last event that speaks of a prefix, as what came or as what went, against the table.
    select 'I5', coalesce(r.space, b.space), coalesce(r.prefix, b.prefix),
           format('events say %s of lessee %s%s until %s, the ledger %s of lessee %s%s until %s',
                  coalesce(r.state::text, 'no block'), r.lessee, case when r.draining then ', draining' else '' end, r.expires,
                  coalesce(b.state::text, 'no block'), b.lessee, case when b.draining then ', draining' else '' end, b.expires)
      from (select * from (
                select distinct on (m.space, m.prefix) m.* from (
                    select e.space, e.prefix, e.seq, true as present, e.state, e.draining, e.expires,
                           case when e.state in ('free', 'local') then null else e.lessee end as lessee
                      from events e where e.prefix is not null
                    union all
                    select e.space, e.was, e.seq, false, null, null, null, null
                      from events e where e.was is not null and e.was is distinct from e.prefix) as m
                order by m.space, m.prefix, m.seq desc) as last
             where last.present) as r
      full join blocks b on b.space = r.space and b.prefix = r.prefix
     where r.state is distinct from b.state or r.draining is distinct from b.draining
        or r.lessee is distinct from b.lessee or r.expires is distinct from b.expires
    union all
    select 'I7', b.space, min(b.prefix), format('transaction %s of lessee %s has %s blocks for request %s', b.xid, b.lessee, count(*), b.slot)
      from blocks b where b.state in ('offered', 'leased', 'reserved')
     group by b.space, b.lessee, b.xid, b.slot having count(*) > 1
    union all
    select 'usage', u.space, u.prefix, 'is reported for a block that this lessee does not hold'
      from usage u left join blocks b on b.space = u.space and b.prefix = u.prefix
                   and b.lessee = u.lessee and b.state in ('leased', 'reserved')
     where b.prefix is null
$$;


-- ------------------------------------------------------------------------------------------------------------- reports

create function report.identity_text(p_identity bytea) returns text
language sql immutable strict parallel safe as $$
    -- Hardware type 1 and six octets: a MAC address. Printable with a leading zero octet: the text. Else hexadecimal.
    select case
        when length(p_identity) = 7 and get_byte(p_identity, 0) = 1
            then trim(trailing ':' from regexp_replace(encode(substr(p_identity, 2), 'hex'), '(..)', '\1:', 'g'))
        when length(p_identity) > 1 and get_byte(p_identity, 0) = 0 and encode(substr(p_identity, 2), 'escape') ~ '^[[:print:]]+$'
            then encode(substr(p_identity, 2), 'escape')
        when encode(p_identity, 'escape') ~ '^[[:graph:]][[:print:]]*$' and encode(p_identity, 'escape') !~ '\\'
            then encode(p_identity, 'escape')
        else encode(p_identity, 'hex') end
$$;

-- Who holds what, since when, until when (null: without end), how full, and why. Every block that is not free.
create view report.subnets as
    select s.name as space, b.prefix as subnet, b.state::text as state,
           b.draining or (o.closing and b.state in ('leased', 'reserved')) as draining,
           case when b.state <> 'local' then report.identity_text(l.identity) end as lessee,
           l.identity as lessee_identity, l.address as lessee_address, b.hierarchical, b.server,
           b.since, b.renewed, nullif(b.expires, 'infinity') as until, b.lease_time as lease_seconds,
           deleg._size(b.prefix) as addresses, u.in_use, u.high_water, u.unusable, u.reported,
           round(u.in_use::numeric / deleg._size(b.prefix), 4) as fullness,
           o.pool, b.origin, b.reason, b.detail
      from deleg.blocks b
      join deleg.spaces s using (space)
      join deleg.origins o on o.space = b.space and o.prefix = b.origin
      left join deleg.lessees l using (lessee)
      left join deleg.usage u on u.space = b.space and u.prefix = b.prefix
     where b.state <> 'free';

-- What each lessee holds and uses, and its share of all use and of all that is held.
create view report.lessees as
    select s.name as space, report.identity_text(l.identity) as lessee, l.identity as lessee_identity,
           l.address as lessee_address, h.subnets, h.held, h.used,
           round(h.used::numeric / nullif(sum(h.used) over (partition by l.space), 0), 4) as share,
           round(h.held::numeric / nullif(sum(h.held) over (partition by l.space), 0), 4) as held_share,
           round(h.used::numeric / nullif(h.held, 0), 4) as fullness, l.first_seen, h.last_renewed
      from deleg.lessees l
      join deleg.spaces s using (space)
      join lateral (
            select count(b.prefix) as subnets, coalesce(sum(deleg._size(b.prefix)), 0)::bigint as held,
                   coalesce(sum(coalesce(u.in_use, u.high_water)), 0)::bigint as used, max(b.renewed) as last_renewed
              from deleg.blocks b left join deleg.usage u on u.space = b.space and u.prefix = b.prefix
             where b.space = l.space and b.lessee = l.lessee and b.state in ('leased', 'reserved')) as h on true;

-- What there is: size, what is free (and in which sizes), and what the rest is.
create view report.pools as
    select s.name as space, o.pool, o.prefix as origin, o.kind, o.closing, o.max_lease as max_lease_seconds, nullif(o.expires, 'infinity') as expires,
           deleg._size(o.prefix) as size,
           coalesce(sum(b.blocks * b.addresses) filter (where b.state = 'free'), 0)::bigint as free,
           coalesce(jsonb_object_agg('/' || b.len, b.blocks) filter (where b.state = 'free'), '{}') as free_by_prefix_length,
           coalesce(sum(b.blocks * b.addresses) filter (where b.state = 'offered'), 0)::bigint as offered,
           coalesce(sum(b.blocks * b.addresses) filter (where b.state = 'leased'), 0)::bigint as leased,
           coalesce(sum(b.blocks * b.addresses) filter (where b.state = 'reserved'), 0)::bigint as reserved,
           coalesce(sum(b.blocks * b.addresses) filter (where b.state = 'local'), 0)::bigint as local,
           coalesce(sum(b.blocks * b.addresses) filter (where b.state = 'quarantined'), 0)::bigint as quarantined
      from deleg.origins o
      join deleg.spaces s using (space)
      left join (select space, origin, state, masklen(prefix) as len, count(*) as blocks, min(deleg._size(prefix)) as addresses
                   from deleg.blocks group by space, origin, state, masklen(prefix)) as b
             on b.space = o.space and b.origin = o.prefix
     group by s.name, o.space, o.prefix;


-- --------------------------------------------------------------------------------------------------------------- roles

do $$
declare
    v_role text;
begin
    foreach v_role in array array['kea_deleg_hook', 'kea_deleg_admin', 'kea_deleg_report'] loop
        if not exists (select from pg_roles where rolname = v_role) then
            execute format('create role %I login', v_role);   -- no password: give one, or map it in pg_ident.conf
        end if;
    end loop;
end $$;

revoke all on all functions in schema deleg from public;
revoke all on all functions in schema report from public;
grant usage on schema deleg to kea_deleg_hook, kea_deleg_admin, kea_deleg_report;
grant usage on schema report to kea_deleg_hook, kea_deleg_admin, kea_deleg_report;

-- The servers: the messages, the clock and what policies read. No table, no DDL.
grant execute on function deleg.apply(jsonb), deleg.sweep(integer, bigint), deleg.server_seen(inet, text, text), deleg.totals(),
    deleg.free_by_length(), deleg.ledger_check() to kea_deleg_hook;
grant select on deleg.schema_version to kea_deleg_hook, kea_deleg_admin, kea_deleg_report;

-- Operators: pools and leases, by function, and reading everything.
grant execute on function deleg.pool_add(integer, cidr, text, bigint), deleg.pool_remove(integer, cidr),
    deleg.lease_deprecate(integer, cidr), deleg.ledger_check() to kea_deleg_admin;
grant select on all tables in schema deleg to kea_deleg_admin;
grant select on all tables in schema report to kea_deleg_admin, kea_deleg_report;
grant execute on function report.identity_text(bytea), deleg._size(cidr) to kea_deleg_admin, kea_deleg_report;
grant execute on function deleg.ledger_check() to kea_deleg_report;

-- SPDX-License-Identifier: MPL-2.0
-- From version 4 to version 5: messages come as deleg.message, no longer as JSON.

insert into deleg.schema_version (version) values (5);

alter type deleg.message add attribute quarantine bigint, add attribute named inet, add attribute after cidr, add attribute "limit" integer,
    add attribute kind text, add attribute reason text, add attribute detail jsonb;
drop function if exists deleg._apply_one(jsonb, boolean);
drop function if exists deleg._offer(integer, bytea, jsonb, boolean);
drop function if exists deleg._offered_simply(integer, bigint, bigint, integer[], integer, bigint, bigint, inet, bigint);
drop function if exists deleg._renew_first(integer, bigint, jsonb);
drop function if exists deleg.upstream_acknowledged(integer, inet, bigint, bigint, bigint, cidr[], boolean[], bytea);
drop function if exists deleg._offer_many(integer[], deleg.message[], boolean);
drop function if exists deleg._accept_many(integer[], deleg.message[]);
drop function if exists deleg._renew_many(integer[], deleg.message[]);

-- What is used of a block is never more than it has.
delete from deleg.tallies where what = 'used';
insert into deleg.tallies (space, pool, what, length, process, amount)
select space, 0, 'used', 0, pg_backend_pid(),
       sum(case coalesce(in_use, high_water, 0) when 65534 then 1::bigint << (32 - masklen(prefix))
           else least(coalesce(in_use, high_water, 0), 1::bigint << (32 - masklen(prefix))) end)
  from deleg.usage where lessee is not null group by space;

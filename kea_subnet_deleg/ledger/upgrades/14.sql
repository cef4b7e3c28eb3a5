-- SPDX-License-Identifier: MPL-2.0
-- From version 13 to version 14: for how long an upstream would have us lease addresses of its space (RFC 6656 3.4); a pool's
-- terms may be changed, and selectors of spaces removed; what upstream refuses, or a relay releases, is nobody's before it was told to end.

insert into deleg.schema_version (version) values (14);

alter table deleg.origins add column if not exists host_lease_time bigint check (host_lease_time between 1 and 4294967295);

drop function if exists deleg.upstream_acknowledged(integer, inet, bigint, bigint, bigint, cidr[], boolean[], bytea, boolean);
drop function if exists deleg._keep(integer, cidr, inet, bigint, bigint, bigint, boolean);
drop function if exists deleg._quarantine(integer, cidr, bigint, text);
drop function if exists deleg._quarantine_rows(tid[], bigint, text);
drop function if exists deleg._obtain(integer, cidr, inet, bigint, bigint, bigint, boolean);

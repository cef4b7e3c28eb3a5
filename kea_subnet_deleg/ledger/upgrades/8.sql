-- SPDX-License-Identifier: MPL-2.0
-- From version 7 to version 8: who was told to be silent has others speak for it; functions that answer otherwise than before.

insert into deleg.schema_version (version) values (8);

drop function if exists deleg.server_seen(inet, text, text);

alter table deleg.servers add column silent boolean not null default false;

alter table deleg.takebacks add column server inet;
update deleg.takebacks t set server = (select b.server from deleg.blocks b where b.space = t.space and b.prefix = t.prefix);
create index takebacks_server on deleg.takebacks (server, next_at);

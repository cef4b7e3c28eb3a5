-- SPDX-License-Identifier: MPL-2.0
-- From version 4 to version 5: messages come as deleg.message, no longer as JSON.

insert into deleg.schema_version (version) values (5);

alter type deleg.message add attribute quarantine bigint, add attribute named inet, add attribute after cidr, add attribute "limit" integer,
    add attribute kind text, add attribute reason text, add attribute detail jsonb;
drop function if exists deleg._apply_one(jsonb, boolean);
drop function if exists deleg._offer_many(integer[], deleg.message[], boolean);
drop function if exists deleg._accept_many(integer[], deleg.message[]);
drop function if exists deleg._renew_many(integer[], deleg.message[]);

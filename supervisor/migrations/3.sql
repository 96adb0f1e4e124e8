-- Version 2 to 3: jobs that are put off stand out of the way; what evergreens and schedules make has needs and an origin.

alter table job add column later integer not null default 0 check (later in (0, 1));
update job set later = 1 where state = 'queued' and available_at > cast(strftime('%s', 'now') as integer);
drop index job_due;
create index job_due on job (lane, priority desc, id) where state = 'queued' and blockers = 0 and later = 0;
create index job_put_off on job (available_at) where later = 1;

alter table standing add column needs_vram_mib integer check (needs_vram_mib >= 0);
alter table standing add column stall_s real check (stall_s > 0);
alter table standing add column origin text not null default '{}' check (json_valid(origin));

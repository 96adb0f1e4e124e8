-- Version 1 to 2: evergreen jobs and schedules, VRAM, stalls, tags, notices, where a job came from.

-- What gives work by itself: an evergreen job when the GPU lane would idle, a schedule when its time comes.
create table standing (
    id integer primary key autoincrement,
    what text not null check (what in ('evergreen', 'schedule')),
    name text not null unique,
    kind text not null,
    args text not null check (json_valid(args)),
    lane text not null check (lane in ('gpu', 'cpu')),
    priority integer not null default 0,
    preemptible integer not null default 1 check (preemptible in (0, 1)),
    max_failures integer not null check (max_failures >= 1),
    enabled integer not null default 1 check (enabled in (0, 1)),
    weight real not null default 1 check (weight > 0), -- of an evergreen: its share of the idle lane
    pass real not null default 0, -- stride scheduling: who has the smallest is next; grows by seconds run / weight
    cron text, -- of a schedule: five fields
    timezone text,
    next_at real, -- of a schedule: when it fires; of an evergreen: not before
    last_at real, -- of a schedule: the time it fired for last
    job_id integer references job (id) on delete set null, -- its newest job; null: none, or forgotten
    made integer not null default 0, -- jobs so far
    why text not null default '', -- why it is disabled
    created_at real not null,
    check ((what = 'schedule') = (cron is not null and timezone is not null))
) strict;

create table tag (
    name text not null,
    job_id integer not null references job (id) on delete cascade,
    primary key (name, job_id)
) strict, without rowid;

create index tag_of on tag (job_id);

-- What a person should hear of. It leaves by itself, also after a crash: done_at is null until it has.
create table notice (
    id integer primary key,
    at real not null,
    what text not null, -- failed, held, gpu, disk, empty, weekly ...
    job_id integer references job (id) on delete set null,
    text text not null,
    told text not null default '[]' check (json_valid(told)), -- the ways on which it has gone: command, webhook, mail
    tries integer not null default 0,
    next_try_at real not null,
    done_at real
) strict;

create index notice_due on notice (next_try_at) where done_at is null;

-- Written with the change it tells of: whoever made the change, and whatever dies next.
create trigger event_told after insert on event when new.what in ('failed', 'held') begin
    insert into notice (at, what, job_id, text, next_try_at) values (new.at, new.what, new.job_id, new.detail, new.at);
end;

-- What was learned on this machine. recipe: the kind and the args that decide how much memory it takes.
create table vram_peak (
    recipe text not null,
    card text not null,
    peak_mib integer not null,
    at real not null,
    primary key (recipe, card)
) strict, without rowid;

create table fit (
    recipe text not null,
    card text not null,
    free_mib integer not null, -- what there was when it was found
    micro_batch integer not null,
    grad_accum integer not null,
    at real not null,
    primary key (recipe, card, free_mib)
) strict, without rowid;

-- By the driver's own samples: how long kernels ran, of the time it sampled. hour: Unix time / 3600.
create table gpu_use (
    hour integer primary key,
    busy_s real not null,
    known_s real not null
) strict;

alter table job add column needs_vram_mib integer check (needs_vram_mib >= 0);
alter table job add column peak_vram_mib integer check (peak_vram_mib >= 0);
alter table job add column stall_s real check (stall_s > 0);
alter table job add column cause text not null default '';
alter table job add column memo text not null default '';
alter table job add column evergreen_id integer references standing (id) on delete set null;
create index job_of_evergreen on job (evergreen_id) where evergreen_id is not null;

alter table span add column why text not null default '';
create index span_seen on span (seen_at);
alter table job add column env_id integer references shared (id);
alter table job add column origin_id integer references shared (id);
alter table job add column ran_s real not null default 0;
drop index job_live; -- job_touched does its work
alter table job add column outgrowths integer not null default 0;

-- Long texts that many jobs have in common, kept once: environments, origins.
create table shared (
    id integer primary key,
    digest text not null unique, -- sha256 of the text
    text text not null check (json_valid(text))
) strict;

-- Jobs whose rows are gone, and whose folders in runs/ are not yet: left by a prune that was killed, the next one goes on.
create table pruned (
    job_id integer primary key
) strict;

-- `list`: the newest of each state and kind come first.
create index job_touched on job (state, kind, coalesce(finished_at, started_at, created_at), id);
-- How long its like took: for the ETA.
create index job_history on job (kind, name, finished_at) where state = 'succeeded';
-- What a prune takes first.
create index job_over on job (finished_at, id) where finished_at is not null;
create index job_blocked on job (id) where state = 'queued' and blockers > 0;
-- Who refers to a row that a prune deletes: SQLite looks, and must not read the whole table for it.
create index job_child on job (parent_id) where parent_id is not null;
create index job_env on job (env_id) where env_id is not null;
create index job_origin on job (origin_id) where origin_id is not null;
create index span_of on span (job_id) where job_id is not null;
create index notice_of on notice (job_id) where job_id is not null;

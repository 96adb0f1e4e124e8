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
    max_failures integer not null check (max_failures >= 1),
    enabled integer not null default 1 check (enabled in (0, 1)),
    weight real not null default 1 check (weight > 0), -- of an evergreen: its share of the idle lane
    pass real not null default 0, -- stride scheduling: who has the smallest is next; grows by seconds run / weight
    cron text, -- of a schedule: five fields
    timezone text,
    next_at real, -- of a schedule
    made integer not null default 0, -- jobs so far
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
    tries integer not null default 0,
    next_try_at real not null,
    done_at real
) strict;

create index notice_due on notice (next_try_at) where done_at is null;

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

alter table job add column needs_vram_mib integer check (needs_vram_mib >= 0);
alter table job add column peak_vram_mib integer check (peak_vram_mib >= 0);
alter table job add column stall_s real check (stall_s > 0);
alter table job add column cause text not null default '';
alter table job add column memo text not null default '';
alter table job add column standing_id integer references standing (id);
alter table job add column origin text not null default '{}' check (json_valid(origin));

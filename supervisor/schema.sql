-- The queue. The CHECKs are the laws of a job's life; queue.py holds its arrows.
-- Times are Unix seconds. JSON is text. Booleans are 0 and 1.
-- This is the newest version; migrations/ leads older ones here (a test compares the two). A new column goes at a
-- table's end: that is where `alter table` puts it.

create table meta (
    key text primary key,
    value text not null
) strict, without rowid;

create table job (
    id integer primary key autoincrement, -- never used twice, not even after a prune
    key text unique, -- planned or submitted once, however often it is said
    kind text not null,
    name text not null,
    args text not null check (json_valid(args)),
    lane text not null check (lane in ('gpu', 'cpu')),
    priority integer not null default 0,
    preemptible integer not null default 1 check (preemptible in (0, 1)),
    state text not null default 'queued'
        check (state in ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
    wish text check (wish in ('pause', 'cancel')), -- asked of a running job; jobd carries it out
    blockers integer not null default 0 check (blockers >= 0), -- jobs it needs that have not succeeded yet
    available_at real not null, -- not before
    attempt integer not null default 0 check (attempt >= 0), -- only grows: the fence
    failures integer not null default 0 check (failures >= 0), -- blamed attempts since the last progress
    max_failures integer not null check (max_failures >= 1),
    losses integer not null default 0, -- attempts that took the machine down, since the last progress
    idle_releases integer not null default 0, -- times it left unfinished, since the last progress
    done real not null default 0, -- of the newest attempt, as it says
    total real not null default 0,
    unit text not null default '',
    metrics text not null default '{}' check (json_valid(metrics)),
    best_done real not null default 0, -- progress is what goes beyond this
    eta_at real,
    note text,
    error text,
    parent_id integer references job (id), -- the running job that submitted it
    created_at real not null,
    started_at real, -- of the newest attempt
    finished_at real,
    -- version 2
    needs_vram_mib integer check (needs_vram_mib >= 0), -- as its user said
    peak_vram_mib integer check (peak_vram_mib >= 0), -- the most it was seen to hold
    stall_s real check (stall_s > 0), -- without progress for so long, it is stuck; null: learned from its own pace
    cause text not null default '', -- of the newest failure: failed, out of memory, stalled, killed, bad args, in circles
    memo text not null default '', -- its user's own words
    evergreen_id integer references standing (id) on delete set null, -- what made it: claimed in turn, after all others
    env_id integer references shared (id), -- a command's environment; args hold all else
    origin_id integer references shared (id), -- where and from which code it was added
    ran_s real not null default 0, -- seconds of all its attempts that are over
    outgrowths integer not null default 0, -- times it left because it outgrew its VRAM, since the last progress
    -- version 3
    later integer not null default 0 check (later in (0, 1)), -- put off, and not put in line again since: never claimed
    check ((state in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null)),
    check (wish is null or state = 'running'),
    check (state <> 'running' or (attempt > 0 and started_at is not null and blockers = 0))
) strict;

create index job_due on job (lane, priority desc, id) where state = 'queued' and blockers = 0 and later = 0;
create index job_later on job (available_at) where state = 'queued' and blockers = 0;

create table need (
    job_id integer not null references job (id),
    needs_id integer not null references job (id),
    primary key (job_id, needs_id),
    check (needs_id < job_id) -- so there are no circles
) strict, without rowid;

create index need_of on need (needs_id);

-- What happened to a job, for `jobctl show`. Append only.
create table event (
    id integer primary key,
    job_id integer not null references job (id),
    attempt integer not null,
    at real not null,
    what text not null,
    detail text not null default ''
) strict;

create index event_of on event (job_id, id);

-- Where the GPU lane's time went. The newest row is open: its end is when jobd was last seen.
create table span (
    id integer primary key,
    class text not null,
    kind text not null default '',
    job_id integer references job (id),
    began_at real not null,
    seen_at real not null,
    closed integer not null default 0 check (closed in (0, 1)),
    why text not null default '', -- version 2
    check (seen_at >= began_at)
) strict;

create unique index span_open on span (closed) where closed = 0;
create index span_seen on span (seen_at);

-- ── version 2 ─────────────────────────────────────────────────────────────────────────────────────────────────────

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
    -- version 3: as in job
    needs_vram_mib integer check (needs_vram_mib >= 0),
    stall_s real check (stall_s > 0),
    origin text not null default '{}' check (json_valid(origin)), -- who said `add`, where, from which code
    check ((what = 'schedule') = (cron is not null and timezone is not null))
) strict;

create index job_of_evergreen on job (evergreen_id) where evergreen_id is not null;

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

-- ── version 3 ─────────────────────────────────────────────────────────────────────────────────────────────────────

-- Jobs that were put off until a time: out of the way of those that are due.
create index job_put_off on job (available_at) where later = 1;

"""A queue.db that is damaged: put aside whole, never written over; the newest sound backup takes its place.

jobd looks before it opens the queue, holding the home's lock. Nothing is dropped between two of these steps, and a
supervisor that dies at one of them goes on from there:

    queue.db.restoring-TIME   made from the backup, on the disk: from here on it will be the queue
    queue.db.damaged-TIME     what there was, with its -wal and -shm: for `sqlite3 FILE .recover`
    queue.db                  replaced by the first, in one step

The queue goes back in time by that, the folders of jobs do not. So no number may be given twice: ids go on above the
highest folder in runs/, and attempts above any that the lost hours can have seen.
"""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from supervisor import db as database
from supervisor import meta, queue
from supervisor.db import transaction
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.house import backup
from supervisor.notify import say
from supervisor.outside import notices

LOST_ATTEMPTS = 1000  # more than a job can have begun between two backups
NAMED = 20  # ids in a sentence


def mend(home: Home) -> None:
    """Before the queue is opened: see that it is sound; else put it aside and go on from the newest sound backup.

    Raises Refused when there is no sound one: then everything stays as it is.
    """
    made = next(iter(sorted(home.path.glob("queue.db.restoring-*"))), None)
    if made is None:
        if (why := damage(home.queue_db)) is None:
            return
        if not home.queue_db.exists() and not backup.newest_first(home):
            begin_anew(home, why)
            return
        made = restore(home, why)
    swap(home, made)
    with closing(home.connect()) as db:
        say(f"ALARM: {meta.read(db, 'restored')}")


def damage(path: Path) -> str | None:
    """What is wrong with a queue's file; None when it is sound, or when that can't be told now, or in a new home."""
    if not path.exists():
        home = Home(path.parent)
        return "it is gone" if backup.newest_first(home) or ids_of_folders(home) or database.log_of(path) else None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            if db.execute("pragma user_version").fetchone()[0] == 0:
                return "it is empty" if backup.newest_first(Home(path.parent)) else None
            found = [row[0] for row in db.execute("pragma quick_check(3)")]
    except sqlite3.OperationalError:
        return None  # no room, no right, somebody's lock: whoever opens it says so
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == ["ok"] else "; ".join(found)


def restore(home: Home, why: str) -> Path:
    """A queue from the newest sound backup, beside the damaged one: whole, on the disk, and knowing what it is."""
    source = next((path for path in backup.newest_first(home) if is_sound(path)), None)
    if source is None:
        raise Refused(
            f"{home.queue_db} can't be read as a database ({why}), and {backup.folder(home)} holds no sound backup. It "
            "was left as it is: copy it aside, then see what `sqlite3 FILE .recover` still finds; or take another home"
        )
    now, at = time.time(), source.stat().st_mtime
    beside = home.path / ".queue.db.restored"
    beside.unlink(missing_ok=True)
    shutil.copyfile(source, beside)
    beside.chmod(0o600)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    with closing(database.connect(beside)) as db:
        with transaction(db):
            text = f"{told(home, why, stamp)}. {account(db, home, at)}"
            meta.write(db, "restored", text)
            notices.add(db, "queue", text, now=now)
            leave_room(db, home)
        db.execute("pragma wal_checkpoint(truncate)")  # closed, it is one file; who opens it next need not change it
    made = home.path / f"queue.db.restoring-{stamp}"
    database.sync(beside)
    os.replace(beside, made)
    database.sync(home.path)
    return made


def told(home: Home, why: str, stamp: str) -> str:
    """What became of the queue that was here, in a sentence."""
    if not home.queue_db.exists():
        return f"{home.queue_db} is gone"
    return f"queue.db was damaged ({why}): it lies whole in queue.db.damaged-{stamp}"


def begin(home: Home) -> None:
    """A queue for a home that has none, asked for by a person. Raises Refused where there was one."""
    if not home.queue_db.exists() and (copies := backup.newest_first(home)):
        raise Refused(
            f"{home.queue_db} is gone, but {copies[0].parent} holds its copies. Start `jobd -C {home.path}`: it goes "
            "on from the newest one. To begin with an empty queue instead, first move that folder away"
        )
    database.create(home.queue_db, last_id=max(ids_of_folders(home), default=0))


def begin_anew(home: Home, why: str) -> None:
    """A queue that is gone, and no copy of it anywhere: an empty one, whose jobs get none of the numbers in runs/."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    put_log_aside(home, f"queue.db.damaged-{stamp}")
    database.create(home.queue_db, last_id=max(ids_of_folders(home), default=0))
    say(f"ALARM: {home.queue_db}: {why}, and there is no backup: an empty queue takes its place, runs/ is as it was")


def is_sound(path: Path) -> bool:
    """Whether a backup is a queue of ours without a fault."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as db:
            version = db.execute("pragma user_version").fetchone()[0]
            sound = db.execute("pragma integrity_check").fetchone()[0] == "ok"
            return bool(sound and 0 < version <= database.VERSION)
    except sqlite3.DatabaseError:
        return False


def account(db: sqlite3.Connection, home: Home, at: float) -> str:
    """What this queue can't know, in sentences. at: when its backup was made."""
    last = db.execute("select coalesce(max(id), 0) from job").fetchone()[0]
    folders = ids_of_folders(home)
    gone = [job_id for job_id in folders if job_id > last]
    over = {row["id"] for row in db.execute(f"select id from job where state in {queue.OVER}")}
    later = [job_id for job_id in folders if job_id <= last and job_id not in over and touched_at(home, job_id) > at]
    when = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at))
    return (
        f"The queue is that of {when}, from its backup. Gone from it are jobs added after that: those that had begun "
        f"left their folder in runs/ ({named(gone)}), others left nothing. And it does not know what happened after "
        f"that: jobs that worked on ({named(later)}) go on from what they saved"
    )


def leave_room(db: sqlite3.Connection, home: Home) -> None:
    """No id and no attempt of the hours that are lost may ever come back: their folders are still there."""
    last = max(ids_of_folders(home), default=0)
    db.execute("update sqlite_sequence set seq = max(seq, ?) where name = 'job'", (last,))
    if not db.execute("select 1 from sqlite_sequence where name = 'job'").fetchone():
        db.execute("insert into sqlite_sequence values ('job', ?)", (last,))
    db.execute(f"update job set attempt = attempt + ? where state not in {queue.OVER}", (LOST_ATTEMPTS,))


def swap(home: Home, made: Path) -> None:
    """Put what there is aside, whole, and the restored queue in its place. Begun before: what is done is not redone."""
    damaged = f"queue.db.damaged-{made.name.rpartition('-')[2]}"
    put_log_aside(home, damaged)
    if home.queue_db.exists() and not (home.path / damaged).exists():
        os.link(home.queue_db, home.path / damaged)
    database.sync(home.path)
    os.replace(made, home.queue_db)
    database.sync(home.path)


def put_log_aside(home: Home, damaged: str) -> None:
    """The log of a queue that is no more must not meet another one: SQLite would write its pages into it."""
    for part in database.log_of(home.queue_db):
        os.rename(part, free(home.path / part.name.replace("queue.db", damaged)))
    database.sync(home.path)


def free(path: Path) -> Path:
    """This path, or the first one after it that nobody has."""
    while path.exists():
        path = path.with_name(f"{path.name}+")
    return path


def ids_of_folders(home: Home) -> list[int]:
    """The jobs that have a folder in runs/: those that were ever started."""
    try:
        return sorted(int(name) for name in os.listdir(home.path / "runs") if name.isdigit())
    except FileNotFoundError:
        return []


def touched_at(home: Home, job_id: int) -> float:
    """When anything in a job's folder last changed, Unix seconds."""
    return max((path.stat().st_mtime for path in [home.workdir(job_id), *home.workdir(job_id).iterdir()]), default=0.0)


def named(ids: list[int]) -> str:
    """'jobs 3, 5 and 2 more', or 'none'."""
    if not ids:
        return "none"
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return f"job{'s' if ids[1:] else ''} {', '.join(map(str, ids[:NAMED]))}{more}"

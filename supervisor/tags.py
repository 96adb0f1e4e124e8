"""A user's tags on jobs: many on one, one on many."""

import re
import sqlite3
from collections.abc import Iterable, Sequence

from supervisor.db import transaction
from supervisor.errors import Refused

NAME = re.compile(r"\w[\w.:/-]{0,39}")


def check(names: Iterable[object]) -> None:
    """Raises Refused for what is no tag."""
    for name in names:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise Refused(f"{name!r} is no tag: it takes letters, digits, and _ . : / - after the first, 40 at most")


def change(db: sqlite3.Connection, job_ids: Sequence[int], add: Iterable[str], drop: Iterable[str] = ()) -> None:
    """Tags onto and off jobs that there are. Raises Refused for a name that is none."""
    add, drop = list(add), list(drop)
    check([*add, *drop])
    with transaction(db):
        for name in add:
            db.executemany("insert or ignore into tag values (?, ?)", [(name, job_id) for job_id in job_ids])
        for name in drop:
            db.executemany("delete from tag where name = ? and job_id = ?", [(name, job_id) for job_id in job_ids])


def of(db: sqlite3.Connection, job_id: int) -> list[str]:
    return [row["name"] for row in db.execute("select name from tag where job_id = ? order by name", (job_id,))]

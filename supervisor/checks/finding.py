"""What a check finds, and the two questions that several of them ask."""

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import Any

from supervisor import settings
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.screen import view


@dataclass(frozen=True)
class Finding:
    """mark: ok; warn: jobs run, but not as well or as safely as they could; bad: jobs can't run, or will be lost."""

    mark: str
    what: str
    finding: str
    todo: str = ""

    def line(self) -> str:
        return view.safe(f"{self.mark:4}  {self.what}: {self.finding}." + (f" {self.todo}." if self.todo else ""))


def settings_of(home: Home) -> settings.Settings:
    try:
        return settings.read(home.path)
    except Refused:
        return settings.Settings()  # place.settings_toml tells


def asked(home: Home, question: str) -> Any:
    """The queue's answer; None when it has none, or can't be read (place.queue_db tells)."""
    try:
        with contextlib.closing(home.connect()) as db:
            row = db.execute(question).fetchone()
    except (Refused, sqlite3.DatabaseError):
        return None
    return row[0] if row else None

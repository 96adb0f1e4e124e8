"""The house around the jobs, looked after once a second: its disk, their logs, who asks how we are, what a person
should hear of, backups, what is forgotten."""

import selectors
import sqlite3
import time
from collections.abc import Collection

from supervisor.home import Home
from supervisor.house.backup import Backups
from supervisor.house.prune import History
from supervisor.house.space import Space
from supervisor.outside.local_socket import LocalSocket
from supervisor.outside.notices import Outbox
from supervisor.settings import Settings

LOOK_EVERY_S = 1.0


class Keeper:
    """All that needs a look now and then, and nothing that a job waits for."""

    def __init__(self, home: Home, db: sqlite3.Connection, options: Settings, selector: selectors.BaseSelector) -> None:
        self._db = db
        self.space = Space(home, options)
        self.socket = LocalSocket(home, db, selector)
        self._outbox = Outbox(db, home, options)
        self._backups = Backups(db, home)
        self._history = History(home, db, options)
        self.due_at = 0.0  # monotonic

    def look(self, running: Collection[int]) -> bool:
        """When it is time to. running: the jobs that do. Whether the disk got low, or has room again."""
        now = time.monotonic()
        if now < self.due_at:
            return False
        self.due_at = now + LOOK_EVERY_S
        changed = self.space.look()
        self.space.cap_logs(running)
        self.space.write_down(self._db)
        self.socket.look()
        self._outbox.look()
        self._backups.look()
        self._history.look()
        return changed

    def wait_to_forget(self) -> None:
        """The calendar was set: it may be wrong."""
        self._history.wait()

    def read_settings(self, options: Settings) -> None:
        self.space.options = self._outbox.options = self._history.options = options

    def leave(self) -> None:
        """jobd leaves."""
        self.socket.close()
        self._outbox.leave()

"""The home: the folder that holds queue.db and everything jobs make."""

import fcntl
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from supervisor import db
from supervisor.errors import Refused

LOCK_WAIT_S = 0.5  # jobctl looks at the home's lock for a moment: that is no other jobd


@dataclass(frozen=True)
class Home:
    path: Path

    @property
    def queue_db(self) -> Path:
        return self.path / "queue.db"

    @property
    def doorbell(self) -> Path:
        """A named pipe: a byte in it tells jobd that the queue changed. Losing one costs seconds, nothing else."""
        return self.path / "jobd.bell"

    def workdir(self, job_id: int) -> Path:
        return self.path / "runs" / str(job_id)

    def log(self, job_id: int) -> Path:
        return self.workdir(job_id) / "log"

    def lane_lock(self, lane: str) -> Path:
        return self.path / "lanes" / f"{lane}0.lock"

    def connect(self) -> sqlite3.Connection:
        """The queue. Raises Refused when it can't be used, also when an older jobd serves it that does not know our
        tables."""
        return db.connect(self.queue_db, before_migration=self._require_no_other)

    def _require_no_other(self) -> None:
        if (pid := self.served_by()) not in (None, str(os.getpid())):
            raise Refused(
                f"an older jobd (pid {pid}) still serves {self.path}, and this jobctl is newer. Start it again first: "
                "`sudo systemctl restart neverrest`, or stop it and start it by hand"
            )

    def served_by(self) -> str | None:
        """The pid of the jobd that holds this home's lock; None when there is none."""
        try:
            descriptor = os.open(self.path / "jobd.lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.pread(descriptor, 32, 0).decode().strip()
        finally:
            os.close(descriptor)
        return None

    def hold(self) -> int:
        """jobd's lock on this home, held as long as the descriptor lives. Raises Refused when another jobd has it."""
        lock = self.path / "jobd.lock"
        db.require_access(lock if lock.exists() else self.path)
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        give_up = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > give_up:
                    other = os.pread(descriptor, 32, 0).decode().strip()
                    os.close(descriptor)
                    raise Refused(f"another jobd (pid {other}) already serves {self.path}: one is enough") from error
                time.sleep(0.02)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return descriptor

    def ring(self) -> None:
        """Tell jobd that the queue changed. Never waits; a jobd that is not there reads the queue when it starts."""
        try:
            bell = os.open(self.doorbell, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return
        try:
            os.write(bell, b"!")
        except BlockingIOError:
            pass  # it is ringing already
        finally:
            os.close(bell)


def find(told: str | None) -> Home:
    """-C, else $NEVERREST_HOME, else the working directory when it holds queue.db. Raises Refused otherwise."""
    chosen = told or os.environ.get("NEVERREST_HOME")
    if chosen:
        path = Path(chosen).expanduser().absolute()
        if not path.is_dir():
            raise Refused(f"the home {path} is not a folder: make it, or take another with -C or NEVERREST_HOME")
        return Home(path)
    here = Path.cwd()
    if (here / "queue.db").exists():
        return Home(here)
    raise Refused(
        f"no home: {here} holds no queue.db. Go to the folder that does, or name it with -C FOLDER or NEVERREST_HOME; "
        "`jobctl -C FOLDER init` makes a new one"
    )

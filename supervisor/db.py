"""queue.db: opened, versioned, one transaction at a time. Knows nothing of jobs.

What a commit promises: with durable=True (synchronous=FULL) it is on the disk when the call returns, power cut or
not. With durable=False (NORMAL) it survives any crash of ours, and a power cut may take the newest ones back.
"""

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from supervisor.errors import Refused

VERSION = 3
BUSY_TIMEOUT_S = 10.0
LOG_PAGES = 256  # of the write-ahead log, before jobd brings it into the database


def connect(
    path: Path, *, durable: bool = True, before_migration: Callable[[], None] = lambda: None
) -> sqlite3.Connection:
    """Open an existing queue.db, led to this version. Raises Refused with a sentence when it can't be used as it is."""
    require_access(path.parent)
    if not path.exists():
        raise Refused(f"there is no queue at {path}: start `jobd -C {path.parent}` or `jobctl -C {path.parent} init`")
    require_access(path)
    try:
        version = _version(path)  # before anything is written, a newer queue's journal included
        if 0 < version < VERSION:
            before_migration()
            migrate(path)
            version = _version(path)
        if version == VERSION:
            return _open(path, durable)
    except sqlite3.OperationalError as error:
        raise Refused(f"{path} can't be opened now ({error}): see that its disk has room, then try again") from error
    except sqlite3.DatabaseError as error:
        raise Refused(
            f"{path} can't be read as a database ({error}). It was left as it is: start jobd, which puts it "
            "aside whole and goes on from the newest backup"
        ) from error
    if version > VERSION:
        raise Refused(
            f"{path} was made by a newer Neverrest (version {version}; this one knows {VERSION}). "
            "It was left as it is: update Neverrest, or use another home"
        )
    raise Refused(f"{path} is no queue of Neverrest's. It was left as it is: take another home with -C")


def require_access(path: Path) -> None:
    """Raises Refused when we may not read and write a home, or a file in it: most likely it is another account's."""
    if os.access(path, os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)):
        return
    import pwd

    def name(uid: int) -> str:
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"uid {uid}"

    me, owner = os.geteuid(), os.stat(path).st_uid
    todo = f"be {name(owner)}, or chown the home" if me != owner else "see its modes, and how its disk is mounted"
    raise Refused(f"{path} belongs to {name(owner)}; you are {name(me)}, who may not read and write it: {todo}")


def create(path: Path, *, last_id: int = 0) -> None:
    """Make queue.db, whole or not at all; an existing one stays. last_id: the ids of jobs begin above it.

    Raises Refused when it can't be made, or when the log of another queue lies there: SQLite would mix the two.
    """
    if path.exists():
        return
    if (left := log_of(path)) and not path.exists():
        raise Refused(
            f"{path} is gone, and {left[0].name} is still there. Start `jobd -C {path.parent}`: it puts that aside, "
            "and goes on from the newest backup if there is one"
        )
    try:
        beside = path.with_name(f".{path.name}.{os.getpid()}.new")
        beside.unlink(missing_ok=True)
        os.close(os.open(beside, os.O_CREAT | os.O_WRONLY, 0o600))  # it holds environments: nobody else's business
        db = _open(beside, durable=True)
        with transaction(db):
            for statement in _statements(Path(__file__).with_name("schema.sql").read_text()):
                db.execute(statement)
            db.execute("insert into meta values ('home_id', ?)", (os.urandom(8).hex(),))
            if last_id:
                db.execute("insert into sqlite_sequence values ('job', ?)", (last_id,))
            db.execute(f"pragma user_version = {VERSION}")
        db.execute("pragma wal_checkpoint(truncate)")
        db.close()
        try:
            os.link(beside, path)  # unlike a rename, this never replaces a queue somebody made meanwhile
        except FileExistsError:
            pass
        finally:
            beside.unlink()
    except OSError as error:
        raise Refused(f"no queue could be made at {path}: {error.strerror}. Take another home with -C") from error


def log_of(path: Path) -> list[Path]:
    """The files of SQLite's beside a database: its write-ahead log, and the index of that."""
    return [beside for end in ("-wal", "-shm") if (beside := path.with_name(path.name + end)).exists()]


def migrate(path: Path) -> None:
    """Lead an older queue.db to this version, all or nothing; as it was, it stays in backups/ beside it."""
    with closing(_open(path, durable=True)) as db, transaction(db):
        before = int(db.execute("pragma user_version").fetchone()[0])  # another one may have been quicker
        kept = path.parent / "backups" / f"{path.stem}-v{before}.db"
        if before < VERSION and not kept.exists():
            kept.parent.mkdir(mode=0o700, exist_ok=True)
            with closing(_open(path, durable=True)) as reader:  # it sees what nobody can change meanwhile
                back_up(reader, kept)
        for version in range(before + 1, VERSION + 1):
            script = Path(__file__).with_name("migrations") / f"{version}.sql"
            for statement in _statements(script.read_text()):
                db.execute(statement)
            db.execute(f"pragma user_version = {version}")


def back_up(db: sqlite3.Connection, to: Path) -> None:
    """A copy of the database as it is now, 0600, whole or not there at all, while others write to it.

    It is looked through before it counts. Raises DatabaseError when the database turns out to be damaged.
    """
    descriptor, beside = tempfile.mkstemp(prefix=f".{to.name}.", dir=to.parent)  # 0600: it holds environments
    os.close(descriptor)
    try:
        with closing(sqlite3.connect(beside)) as copy:
            db.backup(copy)
            copy.execute("pragma journal_mode = delete")
            if (found := copy.execute("pragma integrity_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(found)
        sync(Path(beside))
        os.replace(beside, to)
        sync(to.parent)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """A file's bytes, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE ... COMMIT. Inside another one it is part of that one: the outermost commits."""
    if db.in_transaction:
        yield
        return
    db.execute("begin immediate")  # a deferred one can fail half way, whatever the busy timeout
    try:
        yield
        db.execute("commit")
    except BaseException:
        db.rollback()  # nothing to do when SQLite rolled back by itself, as it does on a full disk
        raise


@contextmanager
def deferred(db: sqlite3.Connection) -> Iterator[None]:
    """BEGIN DEFERRED ... COMMIT: what is read is of one moment, and what is temporary is written, without any lock."""
    if db.in_transaction:
        yield
        return
    db.execute("begin deferred")
    try:
        yield
        db.execute("commit")
    except BaseException:
        db.rollback()
        raise


def make_room(db: sqlite3.Connection, soft_db: sqlite3.Connection) -> None:
    """Let the write-ahead log have its full length before it is needed, and leave checkpoints to soft_db's commits.

    A commit that makes a file longer waits for the file system's journal, and for whatever else is in it: that would
    fall between two jobs. The log starts at its beginning after each checkpoint, so that once is enough.
    """
    db.execute("pragma wal_autocheckpoint = 0")
    soft_db.execute(f"pragma wal_autocheckpoint = {LOG_PAGES}")
    page_bytes = db.execute("pragma page_size").fetchone()[0]
    db.execute("drop table if exists ballast")  # of one who died right here
    with transaction(db):
        db.execute("create table ballast (weight blob) strict")
        db.execute("insert into ballast values (zeroblob(?))", (LOG_PAGES * page_bytes,))
    db.execute("drop table ballast")
    db.execute("pragma busy_timeout = 0")  # it keeps writers out while it waits for readers, who may wait to write
    db.execute("pragma wal_checkpoint(restart)")
    db.execute(f"pragma busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")


def _version(path: Path) -> int:
    """The user_version of a database, read without changing a byte of it."""
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        return int(db.execute("pragma user_version").fetchone()[0])
    finally:
        db.close()


def _open(path: Path, durable: bool) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    db.row_factory = sqlite3.Row
    db.execute("pragma journal_mode = wal")
    db.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
    db.execute("pragma foreign_keys = on")
    return db


def _statements(script: str) -> Iterator[str]:
    """A script's statements one by one: executescript would commit behind our back."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""

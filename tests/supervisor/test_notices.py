"""What a person hears of: written with the change itself, told once the way is clear, never lost."""

import http.server
import json
import os
import sqlite3
import threading
import time
from datetime import datetime

import pytest
from tower import until

from supervisor import db as database
from supervisor import ledger, meta, queue
from supervisor.errors import StaleAttempt
from supervisor.home import Home
from supervisor.job import NewJob
from supervisor.ledger import Entry, Moment
from supervisor.outside import delivery, notices
from supervisor.outside.notices import Outbox
from supervisor.settings import OCCASIONS, Notify, Settings

MONDAY_8 = datetime(2026, 11, 23, 8, 0).timestamp()


@pytest.fixture
def home(tmp_path):
    database.create(tmp_path / "queue.db")
    return Home(tmp_path)


@pytest.fixture
def db(home):
    connection = home.connect()
    yield connection
    connection.close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Looks and deliveries follow each other without a rest."""
    for name in ("LOOK_EVERY_S", "GAP_S", "BACKOFF_S"):
        monkeypatch.setattr(notices, name, 0.0)


def outbox(db, home, **notify) -> Outbox:
    return Outbox(db, home, Settings(notify=Notify(**notify)))


def told_by_command(home):
    """A way that appends each message to a file; and the messages it has brought."""
    path = home.path / "told"
    command = ("/bin/sh", "-c", f'cat >> "{path}"')
    return command, lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def failed_job(db, why="exit code 3: oh no", name=None):
    job_id = queue.add(db, NewJob("sleep", {}, "gpu", name=name, max_failures=1), now=time.time())
    job = queue.claim(db, "gpu", now=time.time())
    queue.retry(db, job.id, job.attempt, why, now=time.time())
    return job_id


def rows(db):
    return [dict(row) for row in db.execute("select * from notice order by id")]


def look_until(box, fact, what):
    def looked():
        box.look()
        return fact()

    return until(looked, what)


# ── into the outbox ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_that_fails_is_a_notice_in_the_same_transaction(db):
    job_id = failed_job(db)
    [row] = rows(db)
    assert (row["what"], row["job_id"], row["text"], row["done_at"]) == ("failed", job_id, "exit code 3: oh no", None)
    with pytest.raises(StaleAttempt):
        queue.fail(db, job_id, 1, "late", now=time.time())
    assert len(rows(db)) == 1, "a change that was not made is no notice"


def test_a_retry_and_an_end_are_no_notices(db):
    queue.add(db, NewJob("sleep", {}, "gpu"), now=1.0)
    job = queue.claim(db, "gpu", now=1.0)
    queue.retry(db, job.id, job.attempt, "once", now=1.0)
    queue.again(db, job.id, now=2.0)
    job = queue.claim(db, "gpu", now=3.0)
    queue.succeed(db, job.id, job.attempt, now=4.0)
    assert rows(db) == []


def test_a_job_that_took_the_machine_down_three_times_is_held_and_told(db):
    queue.add(db, NewJob("sleep", {}, "gpu"), now=1.0)
    for now in range(1, 4):
        job = queue.claim(db, "gpu", now=float(now))
        queue.lose(db, job.id, job.attempt, now=float(now))
    [row] = rows(db)
    assert (row["what"], row["text"].split(":")[0]) == (
        "held", "the machine went down 3 times under this job without progress"
    )  # fmt: skip


def test_a_lane_that_closes_and_opens_is_told_once_each_also_over_a_restart(db, home):
    command, _ = told_by_command(home)
    for closed in ("a card that fell off the bus", "a card that fell off the bus", "", ""):
        meta.write(db, "lane_closed", closed)
        outbox(db, home, command=command)._notice(time.time())
    assert [(row["what"], row["text"]) for row in rows(db)] == [
        ("gpu", "the GPU lane is closed: a card that fell off the bus"), ("gpu", "the GPU lane is open again"),
    ]  # fmt: skip


def test_a_disk_that_gets_low_is_told(db, home):
    meta.write(db, "disk_low", "9 MiB are free")
    outbox(db, home, mail="me")._notice(time.time())
    assert [(row["what"], row["text"]) for row in rows(db)] == [("disk", "the disk is nearly full: 9 MiB are free")]


def test_a_gpu_without_work_is_told_once_for_each_time_it_rests(db):
    def look(now):
        notices.notice_empty(db, 600.0, now=now)
        return len(rows(db))

    assert look(0.0) == 0, "nobody has said how the lane is"
    ledger.enter(db, Entry("empty"), now=1000.0)
    assert look(1599.0) == 0
    assert look(1600.0) == 1
    assert look(9999.0) == 1
    ledger.enter(db, Entry("paused"), now=10_000.0)
    assert look(20_000.0) == 1, "who paused it knows"
    ledger.enter(db, Entry("empty"), now=20_000.0)
    assert look(20_601.0) == 2


def test_each_monday_the_week_is_told_once_however_late_the_machine_comes_back(db):
    ledger.enter(db, Entry("running", "train"), now=MONDAY_8 - 7 * 86400)
    notices.notice_week(db, now=MONDAY_8 - 3 * 86400)
    assert rows(db) == [], "the first week is not over"
    ledger.enter(db, Entry("empty"), now=MONDAY_8 - 7 * 8640)
    ledger.touch(db, Moment(MONDAY_8, "boot", 9.0))
    for late_s in (-1, 5, 3600, 86400):
        notices.notice_week(db, now=MONDAY_8 + late_s)
    [row] = rows(db)
    assert row["what"] == "weekly"
    assert row["text"] == "the last 7 days of the GPU lane: busy 90.0 %, idle 17 h: 17 queue empty"
    notices.notice_week(db, now=MONDAY_8 + 30 * 86400)
    assert len(rows(db)) <= 2


@pytest.mark.parametrize("days", range(8))
def test_the_next_monday_is_a_monday_ahead_at_eight(days):
    now = MONDAY_8 + days * 86400
    monday = datetime.fromtimestamp(notices.next_monday(now))
    assert (monday.weekday(), monday.hour, monday.minute) == (0, 8, 0)
    assert now < monday.timestamp() <= now + 7 * 86400 + 3600  # a clock that is set forward or back in between


# ── out of it ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_with_nobody_to_tell_notices_are_kept_and_a_way_that_is_set_later_does_not_bring_old_ones(db, home):
    failed_job(db)
    meta.write(db, "disk_low", "9 MiB are free")
    outbox(db, home).look()
    assert [(row["what"], row["told"], bool(row["done_at"])) for row in rows(db)] == [
        ("failed", "[]", True), ("disk", "[]", True),
    ]  # fmt: skip
    command, messages = told_by_command(home)
    failed_job(db)
    look_until(outbox(db, home, command=command), lambda: all(row["done_at"] for row in rows(db)), "told")
    assert [len(message["notices"]) for message in messages()] == [1]


def test_what_nobody_has_looked_at_is_new_until_somebody_does(db, home):
    assert notices.unseen(db) == 0
    first = failed_job(db)
    notices.add(db, "weekly", "a quiet week", now=2.0)
    assert notices.unseen(db) == 2
    assert [(one["what"], one["new"]) for one in notices.newest(db, 9)] == [("weekly", True), ("failed", True)]
    notices.mark_seen(db)
    notices.add(db, "empty", "nothing to do", now=3.0)
    assert [(one["what"], one["new"]) for one in notices.newest(db, 2)] == [("empty", True), ("weekly", False)]
    assert notices.unseen(db) == 1
    [failed] = notices.newest(db, 9, since=4.0)
    assert failed["job"]["id"] == first


def test_notices_go_after_keep_days_and_the_newest_number_never_comes_again(db, home):
    for text in ("old", "older still, but not told yet"):
        notices.add(db, "weekly", text, now=1.0)
    db.execute("update notice set done_at = 1.0 where text = 'old'")
    notices.forget(db, 2.0, now=1.5 * 86400)
    assert len(rows(db)) == 2
    notices.forget(db, 2.0, now=3 * 86400)
    assert [row["text"] for row in rows(db)] == ["older still, but not told yet"]
    notices.close_all(db, now=3 * 86400)
    notices.mark_seen(db)
    notices.forget(db, 2.0, now=9 * 86400)
    notices.add(db, "weekly", "new", now=9 * 86400)
    assert notices.unseen(db) == 1


def test_what_nobody_wants_to_hear_of_is_done_with_unsaid(db, home):
    command, messages = told_by_command(home)
    failed_job(db)
    notices.add(db, "weekly", "a quiet week", now=time.time())
    box = outbox(db, home, command=command, on=("weekly",))
    look_until(box, lambda: all(row["done_at"] for row in rows(db)), "done with")
    assert [one["text"] for one in messages()] == ["a quiet week"]


def test_many_notices_are_one_message(db, home):
    command, messages = told_by_command(home)
    for number in range(100):
        failed_job(db, name=f"job-{number}")
    box = outbox(db, home, command=command)
    look_until(box, lambda: all(row["done_at"] for row in rows(db)), "told")
    [message] = messages()
    assert len(message["notices"]) == 100
    lines = message["text"].splitlines()
    assert lines[0] == "failed: job 1 job-0: exit code 3: oh no"
    assert lines[-1] == "... and 60 more: `jobctl list --state failed`"
    assert message["content"] == message["text"], "what some chat services call it"


def test_a_jobs_own_words_reach_no_shell_no_header_and_no_terminal(db, home, tmp_path, monkeypatch):
    evil = "$(touch pwned)`touch pwned`;touch pwned\n.\nBcc: you@example.org\x1b[2J"
    sendmail = tmp_path / "bin" / "sendmail"
    sendmail.parent.mkdir()
    sendmail.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{tmp_path}/words"\ncat > "{tmp_path}/mail"\n')
    sendmail.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sendmail.parent}:{os.environ['PATH']}")
    failed_job(db, why=evil, name=evil)
    command, messages = told_by_command(home)
    look_until(
        outbox(db, home, command=command, mail="me@example.org"),
        lambda: all(row["done_at"] for row in rows(db)), "told both ways",
    )  # fmt: skip
    assert not list(tmp_path.rglob("pwned"))
    assert (tmp_path / "words").read_text() == "-i\n--\nme@example.org\n"
    head, _, body = (tmp_path / "mail").read_text().partition("\n\n")
    assert [line.split(":")[0] for line in head.splitlines() if line[0] not in " \t"].count("Bcc") == 0
    assert "Subject: Neverrest on " in head
    assert "\x1b" not in (tmp_path / "mail").read_text()
    assert "Bcc" in body
    [message] = messages()
    assert message["text"].isprintable()


class Web:
    """A web server on this machine that answers with the codes it is told, one after another."""

    def __init__(self, *codes: int) -> None:
        self.said: list[dict] = []
        codes_left = list(codes)
        heard = self.said

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(codes_left.pop(0) if codes_left else 204)
                self.end_headers()

            def log_message(self, *words):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def web():
    server = Web(500, 404)
    yield server
    server.close()


def test_a_webhook_that_refuses_is_asked_again_and_who_was_told_is_not_told_twice(db, home, web, capfd):
    command, messages = told_by_command(home)
    failed_job(db)
    box = outbox(db, home, command=command, webhook=web.address)
    look_until(box, lambda: all(row["done_at"] for row in rows(db)), "told by both ways")
    assert [one["text"] for one in web.said] == ["failed: job 1 sleep: exit code 3: oh no"] * 3
    assert len(messages()) == 1
    assert rows(db)[0]["tries"] == 2
    said = capfd.readouterr().err
    assert "a notice did not get out by webhook: HTTPError: HTTP Error 500" in said
    assert web.address not in said, "an address is a secret"


@pytest.mark.parametrize(
    ("notify", "words"),
    [
        ({"command": ("/no/such/program",)}, "/no/such/program can't be started: No such file"),
        ({"command": ("/bin/sh", "-c", "echo no luck >&2; exit 4")}, "ended with 4: no luck"),
        ({"webhook": "http://127.0.0.1:1/"}, "Connection refused"),
        ({"mail": "me"}, "there is no sendmail"),
    ],
)
def test_a_way_that_does_not_work_says_why_and_the_notice_stays(db, home, capfd, monkeypatch, notify, words):
    monkeypatch.setattr(notices, "BACKOFF_S", 100.0)
    monkeypatch.setenv("PATH", "/nowhere")
    failed_job(db)
    box = outbox(db, home, **notify)
    if notify.get("mail") and any(os.path.exists(f"{folder}/sendmail") for folder in ("/usr/sbin", "/usr/lib")):
        pytest.skip("this machine has a sendmail of its own")
    look_until(box, lambda: rows(db)[0]["tries"], "tried")
    [row] = rows(db)
    assert (row["done_at"], row["told"]) == (None, "[]")
    assert 90 < row["next_try_at"] - time.time() <= 100
    assert words in capfd.readouterr().err


def test_a_delivery_that_hangs_is_ended_and_tried_again(db, home, monkeypatch, capfd):
    monkeypatch.setattr(delivery, "DEADLINE_S", 0.5)
    monkeypatch.setattr(notices, "BACKOFF_S", 100.0)
    failed_job(db)
    began = home.path / "began"
    box = outbox(db, home, command=("/bin/sh", "-c", f'echo $$ > "{began}"; exec sleep 1000'))
    look_until(box, lambda: rows(db)[0]["tries"], "given up for now")
    assert "by command: no answer in time" in capfd.readouterr().err
    if began.exists():
        until(lambda: not os.path.exists(f"/proc/{began.read_text().strip()}/exe"), "and its program with it")


def test_what_could_not_be_told_for_a_week_is_given_up(db, home, monkeypatch):
    failed_job(db)
    db.execute("update notice set at = ?", (time.time() - notices.GIVE_UP_S - 1,))
    look_until(outbox(db, home, command=("/bin/false",)), lambda: rows(db)[0]["done_at"], "old news help nobody")
    assert rows(db)[0]["told"] == "[]"


def test_the_wait_between_tries_grows_and_has_an_end(db, monkeypatch):
    monkeypatch.setattr(notices, "BACKOFF_S", 30.0)
    failed_job(db)
    waits = []
    for _ in range(30):
        now = time.time()
        notices._settle(db, 1, ("mail",), now)
        waits.append(rows(db)[0]["next_try_at"] - now)
    assert waits[:3] == pytest.approx([30, 120, 480])
    assert max(waits) == pytest.approx(notices.MAX_BACKOFF_S)


def test_a_jobd_that_leaves_sends_what_is_due_first(db, home):
    command, messages = told_by_command(home)
    failed_job(db)
    outbox(db, home, command=command).leave()
    assert len(messages()) == 1
    assert rows(db)[0]["done_at"]


def test_a_delivery_that_cannot_be_written_down_is_written_down_later_and_not_made_again(db, home, monkeypatch, capfd):
    command, messages = told_by_command(home)
    failed_job(db)
    box = outbox(db, home, command=command)
    full = [True]
    real = notices._settle

    def settle(*words):
        if full[0]:
            raise sqlite3.OperationalError("database or disk is full")
        real(*words)

    monkeypatch.setattr(notices, "_settle", settle)

    def failed():
        try:
            box.look()
        except sqlite3.OperationalError:
            return True
        return False

    until(failed, "the disk is full")
    assert failed(), "it is tried at each look"
    box.leave()
    assert "the next jobd tells it" in capfd.readouterr().err
    full[0] = False
    box.look()
    assert rows(db)[0]["done_at"]
    assert len(messages()) == 1


def test_every_occasion_is_one_that_something_writes(db, home):
    failed_job(db)
    queue.add(db, NewJob("sleep", {}, "gpu"), now=1.0)
    for now in range(1, 4):
        job = queue.claim(db, "gpu", now=time.time())
        queue.lose(db, job.id, job.attempt, now=float(now))
    for key in ("lane_closed", "disk_low"):
        meta.write(db, key, "bad")
    ledger.enter(db, Entry("empty"), now=1.0)
    ledger.touch(db, Moment(time.time(), "boot", 9.0))
    meta.write(db, "weekly_at", "1.0")
    outbox(db, home, mail="me")._notice(time.time())
    assert {row["what"] for row in rows(db)} == set(OCCASIONS) - {"queue"}  # a damaged queue.db: recovery's to say


def test_a_text_that_is_no_json_list_of_ways_is_refused_by_the_table(db):
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("insert into notice (at, what, text, told, next_try_at) values (1, 'x', 'y', 'no', 1)")

"""Which folder is the home, its bell, and how queue.db comes to be."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from supervisor import db as database
from supervisor import home as homes
from supervisor import jobctl
from supervisor.errors import Refused
from supervisor.home import Home


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.delenv("NEVERREST_HOME", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_told_home_goes_over_the_environment_and_that_over_here(tmp_path, monkeypatch):
    told, said = tmp_path / "told", tmp_path / "said"
    told.mkdir(), said.mkdir()
    (tmp_path / "queue.db").touch()
    assert homes.find(None).path == tmp_path
    monkeypatch.setenv("NEVERREST_HOME", str(said))
    assert homes.find(None).path == said
    assert homes.find("told").path == told


def test_without_a_home_a_sentence_says_what_to_do(tmp_path):
    with pytest.raises(Refused, match="jobctl -C FOLDER init"):
        homes.find(None)
    with pytest.raises(Refused, match=f"the home {tmp_path}/nowhere is not a folder"):
        homes.find("nowhere")


AS_NOBODY = """
import os, sys
from supervisor import daemon, jobctl  # before: the checkout may be closed to others
from supervisor.house import damage
from supervisor.screen import watch
who, words = sys.argv[1], sys.argv[2:]
os.setgroups([]), os.setgid(65534), os.setuid(65534)
sys.exit({"jobctl": jobctl.main, "jobd": daemon.main}[who](words))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("closed", [".", "queue.db", "jobd.lock"])
@pytest.mark.parametrize("words", [("jobctl", "list"), ("jobctl", "init"), ("jobd",)])
def test_a_home_of_another_account_is_refused_and_says_whose_it_is(words, closed):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        path = Path(folder)
        database.create(path / "queue.db")
        (path / "jobd.lock").touch()
        for each in (path, path / "queue.db", path / "jobd.lock"):
            each.chmod(0o777)
        (path / closed).chmod(0o700)
        asked = [sys.executable, "-c", AS_NOBODY, *words, "-C", folder]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    if (words[-1], closed) in (("list", "jobd.lock"), ("init", "queue.db"), ("init", "jobd.lock")):
        assert done.returncode == 0
    else:
        assert done.returncode == 1
        assert "belongs to root; you are nobody, who may not read and write it: be root" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_of_a_recipe_that_is_not_there_makes_no_home(tmp_path, capsys):
    assert jobctl.main(["run", "typo.toml"]) == 1
    assert "there is no recipe at typo.toml" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_home_without_a_queue_says_how_to_make_one(tmp_path):
    with pytest.raises(Refused, match="start `jobd -C"):
        Home(tmp_path).connect()


def test_a_queue_is_made_once_and_an_existing_one_stays(tmp_path):
    database.create(tmp_path / "queue.db")
    before = (tmp_path / "queue.db").read_bytes()
    database.create(tmp_path / "queue.db")
    assert (tmp_path / "queue.db").read_bytes() == before
    assert os.listdir(tmp_path) == ["queue.db"]
    assert (tmp_path / "queue.db").stat().st_mode & 0o777 == 0o600


def test_a_queue_made_by_somebody_else_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    path, real = tmp_path / "queue.db", os.link

    def link(beside, wanted):
        path.write_bytes(b"theirs")
        real(beside, wanted)

    monkeypatch.setattr(os, "link", link)
    database.create(path)
    assert path.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["queue.db"]


def test_a_folder_that_cannot_be_written_gets_a_sentence(tmp_path):
    with pytest.raises(Refused, match="no queue could be made"):
        database.create(tmp_path / "absent" / "queue.db")


def test_a_connection_keeps_its_promises(tmp_path):
    database.create(tmp_path / "queue.db")
    for durable, level in ((True, 2), (False, 1)):
        db = database.connect(tmp_path / "queue.db", durable=durable)
        assert db.execute("pragma journal_mode").fetchone()[0] == "wal"
        assert db.execute("pragma synchronous").fetchone()[0] == level
        assert db.execute("pragma foreign_keys").fetchone()[0] == 1
        db.close()


def test_ringing_never_waits(tmp_path):
    home = Home(tmp_path)
    home.ring()  # nobody has made the bell
    os.mkfifo(home.doorbell)
    home.ring()  # nobody listens
    listener = os.open(home.doorbell, os.O_RDWR | os.O_NONBLOCK)
    for _ in range(100_000):  # more than a pipe holds: it is ringing already
        home.ring()
    assert os.read(listener, 1) == b"!"
    os.close(listener)

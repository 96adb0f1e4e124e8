"""A real jobd tells a person: at once, and after a crash what it had not told yet."""

import json
import signal

from tower import until


def notify(tower, **table):
    """Add [notify] to settings.toml."""
    with open(tower.path / "settings.toml", "a") as file:
        file.write("[notify]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items()))


def messages(tower):
    path = tower.path / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_job_that_fails_is_told_with_its_last_words(tower):
    notify(tower, command=["/bin/sh", "-c", f"cat >> {tower.path / 'told'}"])
    tower.start()
    job = tower.sh("echo the disk ate it; exit 3", "--max-failures", 1)
    until(lambda: messages(tower), "told")
    [message] = messages(tower)
    assert message["text"] == f"failed: job {job} command: exit code 3: the disk ate it"
    [notice] = message["notices"]
    assert (notice["what"], notice["job"]["state"]) == ("failed", "failed")
    until(lambda: tower.db.execute("select done_at from notice").fetchone()[0], "and done with")


def test_what_a_killed_jobd_had_not_told_the_next_one_tells(tower):
    open_ = tower.path / "open"
    tell = f"[ -e {open_} ] || exec sleep 1000; cat >> {tower.path / 'told'}"
    notify(tower, command=["/bin/sh", "-c", f"echo $$ >> {tower.path / 'tried'}; {tell}"])
    tower.start()
    job = tower.sh("exit 3", "--max-failures", 1)
    until(lambda: (tower.path / "tried").exists(), "it is on its way")
    tower.kill_jobd()
    assert messages(tower) == []
    open_.touch()
    tower.start()
    until(lambda: messages(tower), "told by the next one")
    assert messages(tower)[0]["notices"][0]["job"]["id"] == job


def test_a_jobd_that_is_stopped_says_first_what_there_is_to_say(tower):
    notify(tower, command=["/bin/sh", "-c", f"cat >> {tower.path / 'told'}"])
    tower.sh("exit 3", "--max-failures", 1)
    tower.serve()
    assert len(messages(tower)) == 1


def test_a_gpu_that_has_nothing_to_do_is_told(tower):
    notify(tower, command=["/bin/sh", "-c", f"cat >> {tower.path / 'told'}"], empty_after_min=0.001, on=["empty"])
    tower.start()
    until(lambda: messages(tower), "told")
    assert "nothing to do for the GPU since " in messages(tower)[0]["text"]


def test_a_jobd_told_to_read_its_settings_again_tells_from_now_on_and_minds_the_new_floor(tower):
    tower.start()
    job = tower.add("sleep", seconds=60)
    until(lambda: tower.job(job).done > 0, "it works")
    tower.set(disk_floor_mib=1 << 40)
    notify(tower, command=["/bin/sh", "-c", f"cat >> {tower.path / 'told'}"], on=["disk"])
    tower.jobd.send_signal(signal.SIGHUP)
    until(lambda: messages(tower), "told")
    assert "the disk is nearly full: " in messages(tower)[0]["text"]
    until(lambda: tower.job(job).state == "queued", "nobody works")

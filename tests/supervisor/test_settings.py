"""settings.toml: every setting has a default, and a wrong one gets a sentence."""

import dataclasses

import pytest

from supervisor import settings
from supervisor.errors import Refused
from supervisor.settings import Notify, Settings


def test_without_a_file_all_settings_have_their_defaults(tmp_path):
    assert settings.read(tmp_path) == Settings()


def test_every_setting_can_be_set(tmp_path):
    notify = Notify(
        command=("tell", "--me"), webhook="https://hooks.example.org/T0", mail="me@example.org", on=("held", "gpu"),
        empty_after_min=1.5,
    )  # fmt: skip
    default = Settings()
    simple = [field.name for field in dataclasses.fields(Settings) if field.name != "notify"]
    wanted = Settings(**{name: another(getattr(default, name)) for name in simple}, notify=notify)
    told = dataclasses.asdict(wanted)
    assert all(told[name] != value for name, value in dataclasses.asdict(Settings()).items())
    (tmp_path / "settings.toml").write_text("".join(f"{k} = {toml(v)}\n" for k, v in told.items()))
    assert settings.read(tmp_path) == wanted


def another(value: object) -> object:
    """A value that is not this one."""
    return not value if isinstance(value, bool) else "cuda:1" if isinstance(value, str) else value + 7


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, tuple):
        return repr(list(value))
    return str(value).lower() if isinstance(value, bool) else repr(value)


def test_a_whole_number_will_do_for_seconds(tmp_path):
    (tmp_path / "settings.toml").write_text("grace_s = 30")
    assert settings.read(tmp_path).grace_s == 30


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("grace = 1", "there is no setting 'grace'; there are cgroups,"),
        ("grace_s = 'x'", "grace_s = 'x', but it takes something like 60.0"),
        ("grace_s = true", "grace_s = True, but it takes something like"),
        ("standby = 1", "standby = 1, but it takes something like True"),
        ("device = 0", "device = 0, but it takes something like 'auto'"),
        ("cpu_slots = 1.5", "cpu_slots = 1.5, but it takes"),
        ("grace_s = -1", "grace_s = -1, but it takes a number that is not below 0"),
        ("grace_s = nan", "grace_s = nan"),
        ("reclaim_s = inf", "reclaim_s = inf"),
        ("cpu_slots = 0", "cpu_slots = 0 would never run anything"),
        ("log_mib = 0", "log_mib = 0 would keep nothing of what jobs print"),
        ("notify = 'me'", "notify = 'me', but it takes a table: [notify], then command, webhook"),
        ("[notify]\nmial = 'x'", "[notify] has no setting 'mial'; there are command, webhook, mail"),
        ("[notify]\ncommand = 'mail me'", "command = 'mail me', but it takes a list of words, the program first"),
        ("[notify]\ncommand = []", "command = [], but it takes a list of words"),
        ("[notify]\nwebhook = 'file:///etc/passwd'", "but it takes an http or https address"),
        ("[notify]\nwebhook = 'http://[::1'", "but it takes an http or https address"),
        ("[notify]\nmail = '-bs'", "mail = '-bs', but it takes an address without spaces"),
        ('[notify]\nmail = "a@b\\nBcc: c@d"', "but it takes an address without spaces"),
        ("[notify]\non = ['crash']", "on = ['crash'], but it takes a list of failed, held, gpu"),
        ("[notify]\nempty_after_min = 0", "empty_after_min = 0, but it takes a number above 0"),
        ("grace_s = ", "is not TOML"),
        ("\xff", "is not TOML"),
    ],
)
def test_a_wrong_setting_gets_a_sentence(tmp_path, text, sentence):
    (tmp_path / "settings.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(Refused) as refused:
        settings.read(tmp_path)
    assert sentence in str(refused.value)
    assert str(tmp_path / "settings.toml") in str(refused.value)


def test_a_reload_takes_what_can_count_at_once_and_names_what_can_not(tmp_path):
    (tmp_path / "settings.toml").write_text('grace_s = 5\ndevice = "cpu"\n')
    after, said = settings.read_again(tmp_path, Settings())
    assert (after.grace_s, after.device) == (5, "auto")
    assert said == "settings read again: grace_s = 5, device counts from jobd's next start"
    assert settings.read_again(tmp_path, dataclasses.replace(after, device="cpu"))[1].endswith("nothing changed")


def test_what_a_reload_says_of_notify_tells_no_address(tmp_path):
    (tmp_path / "settings.toml").write_text("log_mib = 3\n[notify]\nwebhook = 'https://secret.example.org'\n")
    after, said = settings.read_again(tmp_path, Settings())
    assert after.notify.webhook == "https://secret.example.org"
    assert said == "settings read again: log_mib = 3, notify"


def test_settings_that_cannot_be_read_are_a_sentence_and_a_reload_keeps_the_old_ones(tmp_path):
    (tmp_path / "settings.toml").mkdir()
    with pytest.raises(Refused, match=r"settings\.toml can't be read \(Is a directory\)"):
        settings.read(tmp_path)
    now = Settings(grace_s=7)
    assert settings.read_again(tmp_path, now)[0] == now


def test_a_reload_of_wrong_settings_keeps_the_old_ones_and_says_why(tmp_path):
    (tmp_path / "settings.toml").write_text("grace_s = 'long'\n")
    after, said = settings.read_again(tmp_path, Settings(grace_s=7.0))
    assert after == Settings(grace_s=7.0)
    assert said.startswith("the settings stay as they were: ")
    assert "grace_s = 'long', but it takes something like 60.0" in said

"""Whether a person will hear of what happens: the ways in [notify] of settings.toml, tried as far as nobody is told."""

import shutil
import stat

from supervisor.checks.finding import Finding, asked, settings_of
from supervisor.home import Home
from supervisor.outside import deliver

STUCK = "select count(*) from notice where done_at is null and tries > 0"


def notices(home: Home) -> Finding:
    notify = settings_of(home).notify
    if not notify.ways:
        todo = "A table [notify] in settings.toml says who is, and how; till then look at `jobctl notices`"
        return Finding("warn", "notices", "nobody is told", todo)
    found = f"by {' and '.join(notify.ways)}, on {', '.join(notify.on)}"
    if notify.command and shutil.which(notify.command[0]) is None:
        return Finding("bad", "notices", f"there is no program {notify.command[0]!r}", "Mend [notify] command")
    if notify.mail and shutil.which("sendmail", path=deliver.SENDMAIL_PATH) is None:
        return Finding("bad", "notices", "there is no sendmail", "Install a mail transfer agent, or take another way")
    if stuck := asked(home, STUCK):
        todo = "jobd says why, and tries again: journalctl -u neverrest"
        return Finding("bad", "notices", f"{stuck} could not be told", todo)
    if notify.webhook and (home.path / "settings.toml").stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        todo = f"Its address is a secret: chmod 600 {home.path / 'settings.toml'}"
        return Finding("warn", "notices", f"{found}; others may read the webhook", todo)
    return Finding("ok", "notices", found)

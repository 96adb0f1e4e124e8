"""When a cron line comes round next. APScheduler knows the calendar; where crontab(5) says it otherwise stands here:
0 and 7 are Sunday, a day of the month and a weekday together mean either, and an hour that the clock shows twice
(summer time ends) counts once for a line that names its hour.
"""

import datetime
from typing import Any

from supervisor.errors import Refused

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
TAKES = "five fields: minute, hour, day of the month, month, weekday, as in '30 3 * * 1-5'"


def next_after(cron: str, timezone: str, after: float) -> float:
    """The first time later than `after` that a cron line names, in Unix seconds. Raises Refused when there is none."""
    fields = cron.split()
    if len(fields) != 5:
        raise Refused(f"--cron takes {TAKES}, not {cron!r}")
    minute, hour, day, month, weekday = fields
    ways = [(day, weekday)] if day.startswith("*") or weekday.startswith("*") else [(day, "*"), ("*", weekday)]
    try:
        found = [
            _first(_trigger(timezone, minute, hour, one_day, month, _named(one_weekday)), "*" not in hour, after)
            for one_day, one_weekday in ways
        ]
    except (ValueError, OverflowError) as error:
        raise Refused(f"--cron {cron!r} can't be read ({error}): it takes {TAKES}") from error
    times = [at for at in found if at is not None]
    if not times:
        raise Refused(f"--cron {cron!r} never comes: no calendar has such a day")
    return min(times)


def local_zone() -> str:
    """The name of this machine's time zone."""
    import tzlocal

    return str(tzlocal.get_localzone_name() or "UTC")


def _trigger(timezone: str, minute: str, hour: str, day: str, month: str, weekday: str) -> Any:
    import zoneinfo

    from apscheduler.triggers.cron import CronTrigger

    try:
        zone = zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Refused(f"there is no time zone {timezone!r}: take a name like Europe/Berlin or UTC") from error
    return CronTrigger(minute=minute, hour=hour, day=day, month=month, day_of_week=weekday, timezone=zone)


def _first(trigger: Any, once: bool, after: float) -> float | None:
    """once: pass over the second of two hours with the same name."""
    moment = datetime.timedelta(microseconds=1)
    at = datetime.datetime.fromtimestamp(after, datetime.UTC) + moment
    while (found := trigger.get_next_fire_time(None, at.astimezone(trigger.timezone))) is not None:
        if not (once and found.fold):
            return float(found.timestamp())
        at = found.astimezone(datetime.UTC) + moment
    return None


def _named(weekday: str) -> str:
    """A weekday field with its days spelt out: APScheduler counts from Monday, and takes no range over the Sunday."""
    if weekday == "*":
        return weekday
    days: list[str] = []
    for part in weekday.lower().split(","):
        span, _, step = part.partition("/")
        first, _, last = ("0-6" if span == "*" else span).partition("-")
        begin = _number(first)
        end = _number(last) if last else 6 if step else begin
        if not 0 <= begin <= end <= 7 or (step and int(step) < 1):
            raise ValueError(f"{part!r} is no weekday: 0-7, or sun to sat")
        days += WEEKDAYS[begin : end + 1 : int(step or 1)]
    return ",".join(dict.fromkeys(days))


def _number(day: str) -> int:
    return WEEKDAYS.index(day) if day in WEEKDAYS else int(day)

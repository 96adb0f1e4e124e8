"""Bring a message to a person, in a process of its own: a program, a web address, sendmail.

`python -m supervisor.outside.deliver` reads one JSON object on its stdin: {"notify": [notify] of settings.toml, "home":
the folder, "messages": {way: message}}. It prints one JSON line for each way: {"way": ..., "error": null or why not}.
No shell sees a word of a message, and no header of a mail takes more than one line of it.
"""

import json
import os
import shutil
import subprocess
import sys
from typing import Any

DEADLINE_S = 20.0  # for each way
SENDMAIL_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/lib"))
SUBJECT_CHARS = 120
ANSWER_BYTES = 1 << 16


class NotDelivered(Exception):
    """Why a message did not get out."""


def by_command(notify: dict[str, Any], home: str, message: dict[str, Any]) -> None:
    """Run the user's program with the message on its stdin. What it prints goes nowhere; its exit code counts."""
    _run(notify["command"], json.dumps(message).encode() + b"\n", home)


def by_webhook(notify: dict[str, Any], home: str, message: dict[str, Any]) -> None:
    """POST the message as JSON. Any answer of the 200s is a yes."""
    import http.client
    import urllib.request

    request = urllib.request.Request(
        notify["webhook"],
        data=json.dumps(message).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "neverrest"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            answer.read(ANSWER_BYTES)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NotDelivered(f"{type(error).__name__}: {error}") from error


def by_mail(notify: dict[str, Any], home: str, message: dict[str, Any]) -> None:
    """Hand it to the machine's own sendmail, which keeps it until it is through."""
    from email.message import EmailMessage
    from email.utils import formatdate, make_msgid

    sendmail = shutil.which("sendmail", path=SENDMAIL_PATH)
    if sendmail is None:
        raise NotDelivered("there is no sendmail: install a mail transfer agent, or take another way")
    mail = EmailMessage()
    first = message["text"].splitlines()[0]
    mail["To"], mail["Subject"] = notify["mail"], f"Neverrest on {message['host']}: {first}"[:SUBJECT_CHARS]
    mail["Date"], mail["Message-ID"], mail["Auto-Submitted"] = formatdate(), make_msgid(), "auto-generated"
    mail.set_content(message["text"])
    _run([sendmail, "-i", "--", notify["mail"]], mail.as_bytes(), home)


WAYS = {"command": by_command, "webhook": by_webhook, "mail": by_mail}


def _run(argv: list[str], given: bytes, folder: str) -> None:
    try:
        done = subprocess.run(
            argv, input=given, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=DEADLINE_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise NotDelivered(f"{argv[0]} did not end within {DEADLINE_S:.0f} s") from error
    except OSError as error:
        raise NotDelivered(f"{argv[0]} can't be started: {error.strerror}") from error
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise NotDelivered(f"{argv[0]} ended with {done.returncode}: {words[-1] if words else 'no word'}")


def main() -> None:
    told = json.load(sys.stdin)
    for way, message in told["messages"].items():
        error = None
        try:
            WAYS[way](told["notify"], told["home"], message)
        except NotDelivered as why:
            error = str(why)
        print(json.dumps({"way": way, "error": error}), flush=True)


if __name__ == "__main__":
    main()

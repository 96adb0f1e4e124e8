"""What the supervisor says: lines for a person, and to systemd how it is (sd_notify)."""

import os
import socket


def say(text: str) -> None:
    """One line to stderr: the journal, under systemd. A full disk under it must not stop us."""
    try:
        os.write(2, f"jobd: {text}\n".encode(errors="replace"))
    except OSError:
        pass


def is_service() -> bool:
    """Whether a service manager runs us: it clears up after us, too."""
    return "NOTIFY_SOCKET" in os.environ


def systemd(message: str) -> None:
    """Send 'READY=1', 'WATCHDOG=1', 'STOPPING=1' or 'STATUS=...' to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        try:
            out.sendto(message.encode(), address)
        except OSError:
            pass  # a manager that is restarting itself: it will ask again by its watchdog

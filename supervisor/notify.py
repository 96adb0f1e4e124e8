"""Tell systemd how we are (sd_notify). Silent where nobody listens."""

import os
import socket


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


def watchdog_s() -> float | None:
    """Half the time after which systemd takes us for dead: how often to send WATCHDOG=1. None when it does not watch."""
    usec = os.environ.get("WATCHDOG_USEC")
    meant_for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(usec) / 2e6 if usec and meant_for_us else None

"""One thread for every test of this room: tiny matrices on more threads only wait for each other."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)

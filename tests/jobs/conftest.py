"""What the tests of this room share: a small home, made once, and a copy of it for each test."""

import shutil
from pathlib import Path

import pytest

from tests.jobs.small_home import make_home


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be copied, never changed."""
    return make_home(tmp_path_factory.mktemp("made"))


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home"))

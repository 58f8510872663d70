"""What all tests share: the folder of real scans, where there is one."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as processors: a thread each, in what they start too
    os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).parents[1]
REAL_DATA = Path(os.environ.get("VDT3D_REAL_DATA", ROOT / "../shared/data")).resolve()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets (never committed); a test that asks for it is skipped where there is none."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; VDT3D_REAL_DATA names the folder")
    return REAL_DATA

"""Random valid and broken inputs for every reader, judged by independent readings (``random_judges``).

A valid input must be read as the judge reads it. A broken one must be refused with an error for the user, or be read
as the judge reads it; where the judge refuses it too, only the unspoilt content is right. A traceback, a hang and any
other content are faults. As a script it makes many of them and prints a line for each fault and a table of counts:

    python tests/random_inputs.py --count 25 --seed 0
"""

import argparse
import contextlib
import io
import os
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from random_files import Input, dicom, metaimage, nifti, nrrd, numpy_file, slices
from random_judges import Content
from random_tables import labels_table, override, run_lengths

from vdt3d.cli import message_of

HANG = 60  # seconds

KINDS: dict[str, Callable[[Path, np.random.Generator], Input]] = {
    "nifti": nifti,
    "nrrd": nrrd,
    "metaimage": metaimage,
    "numpy": numpy_file,
    "slices": slices,
    "dicom": dicom,
    "labels table": labels_table,
    "run lengths": run_lengths,
    "overrides": override,
}


# ---- verdicts ----


@contextlib.contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    """Raise TimeoutError for what takes longer, where the system has alarms."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def equal(one: Content, other: Content) -> bool:
    """Whether both hold the same, up to float32: voxels to 1e-4, places to 1e-4 of a voxel."""
    for name, part in one.items():
        wanted = other[name]
        if isinstance(part, list):
            if part != wanted:
                return False
            continue
        finest = np.linalg.norm(wanted[:3, :3], axis=0).min() if name == "affine" else 1.0
        if np.shape(part) != np.shape(wanted) or not np.allclose(part, wanted, rtol=1e-5, atol=1e-4 * finest):
            return False
    return True


def try_input(kind: str, seed: int, *, broken: bool) -> tuple[str, str, str]:
    """Make one input and read it.

    Returns:
        its damage, the verdict ("read", "refused" or "FAULT") and what was seen.
    """
    rng = np.random.default_rng([seed, sum(kind.encode()), broken])
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        item = KINDS[kind](Path(name), rng)
        original, damage = item.judge(), "none"
        if broken:
            damages = list(item.damages)
            half = [one for one in damages if one.startswith("header flip")]
            damage = str(rng.choice(half if half and rng.random() < 0.5 else damages))
            item.damages[damage]()
        try:
            with no_longer_than(HANG):
                found = item.read()
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            if isinstance(error, TimeoutError) or message_of(error) is None or not broken:
                return damage, "FAULT", message
            return damage, "refused", message
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                wanted = item.judge()
        except Exception as error:
            right = equal(found, original)
            return damage, "read" if right else "FAULT", f"the judge refuses it: {type(error).__name__}: {error}"
        return damage, "read" if equal(found, wanted) else "FAULT", f"read {summary(found)}, right {summary(wanted)}"


def summary(content: Content) -> str:
    shown = (
        f"{name} {np.shape(part)} ... {np.ravel(np.asarray(part))[-16:].tolist()}" for name, part in content.items()
    )
    return "; ".join(shown)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=25, help="valid and as many broken inputs for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    args = parser.parse_args()
    counts: Counter[tuple[str, str, str]] = Counter()
    for kind in args.kinds:
        for number in range(args.seed, args.seed + args.count):
            for broken in (False, True):
                damage, verdict, seen = try_input(kind, number, broken=broken)
                counts[kind, "broken" if broken else "valid", verdict] += 1
                if verdict == "FAULT":
                    print(f"FAULT {kind} seed {number} damage {damage}: {seen}"[:600])
    print(pd.Series(counts).rename_axis(["reader", "inputs", "verdict"]).unstack(fill_value=0).to_string())
    return int(any(verdict == "FAULT" for _, _, verdict in counts))


if __name__ == "__main__":
    os.environ.setdefault("ITK_GLOBAL_WARNING_DISPLAY", "0")
    sys.exit(main())

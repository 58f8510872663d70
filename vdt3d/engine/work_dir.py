"""Work directories: one run at a time holds one, and no run is overwritten unless the user asks for it."""

import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process

LOCK = "run.lock"
WANDB_RUN = "wandb_run"  # file with the id of the run at Weights & Biases
CHECKPOINT = re.compile(r"((epoch|iter)_\d+|preempted|best_.+)\.pth")
RECORDS = ("last_checkpoint", "scores.jsonl", "record.json", WANDB_RUN)
REPORT = ("report.html", "test/cases", "test/cases.json", "test/froc.json")
EMPTY_LOCK_S = 1.0  # a lock is created first and filled right after


class WorkDirError(ValueError):
    """A work directory is in use, or contains a run that would be overwritten."""


# ---- which runs a directory contains ---------------------------------------------------------------------------------


def checkpoints(work_dir: Path) -> list[Path]:
    """Return the checkpoints of runs in a directory, those of the most epochs or iterations last.

    Copies under other names belong to the user.
    """
    found = [path for path in work_dir.glob("*.pth") if CHECKPOINT.fullmatch(path.name)]
    return sorted(found, key=lambda path: (int(re.search(r"\d*$", path.stem)[0] or -1), path.name))


def latest_checkpoint(work_dir: Path) -> Path | None:
    """Return the checkpoint that ``last_checkpoint`` names, or the only one; None in a directory without checkpoints.

    Raises:
        FileNotFoundError: there are several, but no ``last_checkpoint``, or the one that it names is missing.
    """
    pointer, found = work_dir / "last_checkpoint", checkpoints(work_dir)
    last = work_dir / pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else None
    if last is not None and last.is_file():
        return last
    if last is None and len(found) < 2:  # one, where a process was killed before it could name its first
        return found[0] if found else None
    missing = "last_checkpoint" if last is None else last.name
    remedy = f"name the one to resume, such as --resume {found[-1]}" if found else "delete it, or use --overwrite"
    raise FileNotFoundError(f"{work_dir}: {missing} is missing, so the last checkpoint is unknown; {remedy}")


def results_of_runs(work_dir: Path) -> list[str]:
    """Return the names of files that hold results of a training: checkpoints, validation scores, its record."""
    found = [path.name for path in checkpoints(work_dir)]
    for name, used in (("scores.jsonl", _validated), ("record.json", _recorded)):
        if used(work_dir / name):
            found.append(name)
    return found


def _validated(scores: Path) -> bool:
    return scores.is_file() and '"split": "val"' in scores.read_text(encoding="utf-8")


def _recorded(record: Path) -> bool:
    """Whether a record contains a training that finished or was validated; one that failed before that lost nothing."""
    if not record.is_file():
        return False
    try:
        training = json.loads(record.read_text(encoding="utf-8")).get("train", {})
        return bool(training.get("finished") or training.get("results"))
    except (ValueError, AttributeError):  # unreadable, so it may be anything
        return True


def remove_run(work_dir: Path) -> None:
    """Delete what runs wrote into a directory: checkpoints, scores, record, test report. Logs and other files stay.

    The best checkpoints are recognised by the names of the scores in ``scores.jsonl``, so that copies stay.
    """
    best = "|".join(re.escape(name) for name in _score_names(work_dir / "scores.jsonl")) or "(?!)"
    own = re.compile(rf"((epoch|iter)_\d+|preempted|best_({best})(_(epoch|iter)_\d+)?)\.pth")
    written = [path for path in checkpoints(work_dir) if own.fullmatch(path.name)]
    for path in (*written, *(work_dir / name for name in (*RECORDS, *REPORT))):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _score_names(scores: Path) -> set[str]:
    lines = scores.read_text(encoding="utf-8").splitlines(keepends=True) if scores.is_file() else []
    whole = [json.loads(line) for line in lines if line.endswith("\n")]  # a full disk cuts the last one
    return {name.replace("/", "_") for line in whole for name in line}


def require_free(work_dir: Path, *, resume: bool | str = False, overwrite: bool = False) -> None:
    """Check that a training may write into a directory, without holding it.

    Args:
        resume: True to resume the last checkpoint of the directory, or the path of a checkpoint.
        overwrite: delete the runs that the directory contains.

    Raises:
        WorkDirError: another run holds the directory; or it contains a run, and the training neither resumes nor
            overwrites that; or both are asked for.
        FileNotFoundError: which checkpoint to resume is unknown.
    """
    holder = _read_lock(work_dir / LOCK)
    if holder is not None and not _is_stale(holder):
        raise WorkDirError(_in_use(work_dir, holder))
    _require_unused(work_dir, resume, overwrite)


def _require_unused(work_dir: Path, resume: bool | str, overwrite: bool) -> None:
    if resume and overwrite:
        raise WorkDirError("--resume and --overwrite exclude each other; give one of them")
    if overwrite:
        return
    if resume is True:
        latest_checkpoint(work_dir)
    found = results_of_runs(work_dir)
    if not found:
        return
    listed = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
    used = f"{work_dir} already contains a run ({listed})"
    if not resume:
        raise WorkDirError(
            f"{used}; continue it with --resume, delete it with --overwrite, or choose another --work-dir"
        )
    if isinstance(resume, str) and Path(resume).resolve().parent != work_dir.resolve():
        raise WorkDirError(f"{used}, but --resume {resume} belongs to another one; choose another --work-dir")


# ---- the lock --------------------------------------------------------------------------------------------------------


@contextmanager
def claim(work_dir: Path, *, resume: bool | str = False, overwrite: bool = False) -> Iterator[None]:
    """Hold a directory for one training; with ``overwrite``, first delete the runs that it contains.

    The lock is a file with host, process and time. A lock whose process is gone is replaced. A process on another host
    cannot be looked up, so its lock stays until the user deletes it.

    Raises:
        WorkDirError, FileNotFoundError: as ``require_free``.
        OSError: the directory is not writable.
    """
    lock, own = work_dir / LOCK, _this_process()
    _remove_stale(lock)
    try:
        with lock.open("x", encoding="utf-8") as file:
            json.dump(own, file)
    except FileExistsError:
        raise WorkDirError(_in_use(work_dir, _read_lock(lock) or {})) from None
    try:
        _require_unused(work_dir, resume, overwrite)
        if overwrite:
            remove_run(work_dir)
        yield
    finally:
        if _read_lock(lock) == own:
            lock.unlink()


@contextmanager
def claim_together(work_dir: Path, log_dir: Path, *, resume: bool | str, overwrite: bool) -> Iterator[None]:
    """Let the main process of a run ``claim`` a directory; every process raises if that is refused.

    Args:
        log_dir: folder of the run's log, which a refused run leaves no trace of.

    Raises:
        WorkDirError, OSError: as ``claim``.
    """
    with ExitStack() as held:
        refusals: list[Exception | None] = [None]
        if is_main_process():
            try:
                held.enter_context(claim(work_dir, resume=resume, overwrite=overwrite))
            except (ValueError, OSError) as error:
                refusals = [error]
                shutil.rmtree(log_dir, ignore_errors=True)
        broadcast_object_list(refusals)
        if refusals[0] is not None:
            raise refusals[0]
        yield


def make_log_dir(work_dir: Path, name: str, numbers: Iterable[int]) -> str:
    """Make a folder ``name``, or ``name-N`` if other runs have that, and return its name; the same on all processes.

    Args:
        numbers: what N may be, in order; 0 for the name itself.
    """
    names = [name]
    if is_main_process():
        for number in numbers:
            names = [f"{name}-{number}" if number else name]
            try:
                (work_dir / names[0]).mkdir(parents=True)
                break
            except FileExistsError:
                continue
    broadcast_object_list(names)
    return names[0]


def _this_process() -> dict[str, Any]:
    """Return what identifies this process: where it runs, its id, and when it started, since ids are used again."""
    namespace = Path("/proc/self/ns/pid")  # containers of one host name may count their processes separately
    return {
        "host": socket.gethostname(),
        "namespace": str(namespace.readlink()) if namespace.is_symlink() else "",
        "pid": os.getpid(),
        "started": _start_of(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "job": os.environ.get("SLURM_JOB_ID", ""),
        "restarts": int(os.environ.get("SLURM_RESTART_COUNT", 0)),
    }


def _start_of(pid: int) -> str | None:
    """Return when a process of this host started, in clock ticks since boot; None if it is gone, "" if unknown."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # the process of another user
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:  # not Linux
        return ""
    state, start = fields[0], fields[19]
    return None if state in "ZX" else start  # a zombie runs no more


def _is_stale(holder: Mapping[str, Any]) -> bool:
    """Whether the process that wrote a lock is known to be gone."""
    here = _this_process()
    if here["job"] and holder.get("job") == here["job"] and holder.get("restarts", 0) < here["restarts"]:
        return True  # Slurm starts a job again only after its last process ended
    if any(holder.get(name) != here[name] for name in ("host", "namespace")):
        return False
    start = _start_of(holder["pid"])
    return start is None or start != holder["started"]


def _read_lock(lock: Path) -> dict[str, Any] | None:
    """Return the content of a lock file; None without one, an empty dictionary if it cannot be read."""
    deadline = time.monotonic() + EMPTY_LOCK_S
    while True:
        try:
            return json.loads(lock.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            if time.monotonic() > deadline:
                return {}
            time.sleep(0.05)


def _remove_stale(lock: Path) -> None:
    holder = _read_lock(lock)
    if holder is None or not _is_stale(holder):
        return
    aside = lock.with_name(f"{lock.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        lock.rename(aside)
    except FileNotFoundError:  # another process removed it
        return
    if _read_lock(aside) == holder:
        aside.unlink()
    else:  # in between another process replaced the stale lock by its own
        aside.rename(lock)


def _in_use(work_dir: Path, holder: Mapping[str, Any]) -> str:
    if not holder:
        return f"{work_dir} is in use: {LOCK} cannot be read; if no run writes there, delete {work_dir / LOCK}"
    text = (
        f"{work_dir} is in use by process {holder['pid']} on {holder['host']} since {holder['since']}; wait until it "
        "ends, or choose another --work-dir"
    )
    here = _this_process()
    if any(holder[name] != here[name] for name in ("host", "namespace")):
        text += f"; if that process is gone, delete {work_dir / LOCK}"
    return text

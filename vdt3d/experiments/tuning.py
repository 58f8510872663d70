"""Search of settings with Optuna: trials that several processes share, go on after a kill, and are given up early."""

import copy
import gc
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from filelock import FileLock, Timeout
from mmengine.config import Config
from mmengine.hooks import Hook
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from vdt3d.engine.hooks.checkpoint import best_scores
from vdt3d.engine.runner import Runner
from vdt3d.engine.score_rules import validation_metrics
from vdt3d.engine.work_dir import LOCK
from vdt3d.evaluation.directions import direction_of
from vdt3d.utils.files import write_json
from vdt3d.visualization.grid import save
from vdt3d.visualization.tuning import search_figure

JOURNAL = "study.journal"
RETRIES = 3  # of a trial whose process was killed
HOPELESS = 3  # trials that fail before any succeeds: the mistake is not in the settings
Tell = Callable[[int, float], None]
Train = Callable[[dict[str, Any], Path, Tell], float]


class Space:
    """What may be chosen: setting (dots go deeper) to its range or choices.

    A range is ``{low, high}`` with ``log: true`` or ``step``, of whole numbers where both ends are; choices are a list,
    of lists and mappings too.

    Raises:
        ValueError: something else, or nothing at all.
    """

    def __init__(self, content: Mapping[str, Any]):
        if not isinstance(content, Mapping) or not content:
            raise ValueError("a search space is a mapping from settings, such as optim_wrapper.optimizer.lr, to ranges")
        self.distributions = {str(name): _distribution(name, entry) for name, entry in content.items()}

    @classmethod
    def read(cls, path: Path) -> "Space":
        """From a yaml file.

        Raises:
            ValueError: also a file that is no yaml; the message names the file.
            OSError: there is no such file.
        """
        try:
            return cls(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (ValueError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: {error}") from error

    def check(self, config: Config) -> None:
        """Raise ValueError for a setting whose place does not exist in the config: it would change nothing."""
        for name in self.distributions:
            part: Any = config.to_dict()
            *parents, last = name.split(".")
            for key in parents:
                part = _within(part, key, name)
            if not isinstance(part, Mapping):  # what a mapping lacks may be a setting that is at its default
                _within(part, last, name)

    def settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a trial as the config wants them."""
        encoded = {name for name, one in self.distributions.items() if isinstance(one, CategoricalDistribution)}
        return {name: json.loads(value) if name in encoded else value for name, value in params.items()}


def _within(part: Any, key: str, name: str) -> Any:
    if isinstance(part, Mapping) and key in part:
        return part[key]
    if isinstance(part, list | tuple) and key.isdigit() and int(key) < len(part):
        return part[int(key)]
    raise ValueError(f"{name} is no setting of the config: there is no '{key}'")


def _distribution(name: str, entry: Any) -> BaseDistribution:
    if isinstance(entry, list) and entry:
        return CategoricalDistribution([json.dumps(choice) for choice in entry])  # lists would not be compared
    if not isinstance(entry, Mapping) or not {"low", "high"} <= entry.keys() <= {"low", "high", "log", "step"}:
        raise ValueError(f"{name}: wanted a list of choices or {{low, high}}, perhaps with log or step; got {entry!r}")
    try:
        # To yaml, 1e-5 is a word.
        low, high = (end if isinstance(end, int) else float(end) for end in (entry["low"], entry["high"]))
        log, step = bool(entry.get("log", False)), entry.get("step")
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log, step=1 if step is None else step)
        return FloatDistribution(float(low), float(high), log=log, step=step)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def search(
    folder: Path,
    space: Space,
    train: Train,
    *,
    trials: int,
    greater: bool = True,
    seed: int = 0,
    identity: Mapping[str, str] | None = None,
) -> optuna.Study:
    """Do trials until there are ``trials`` of them, by all processes that share ``folder`` together.

    The study is a journal file, which needs no server and no locks of a data base: SQLite's are unsafe on network file
    systems. While a trial runs, its process holds a lock of the operating system on a file in its folder, which is free
    as soon as the process is gone, however it went; whoever finds it free tries the settings again, in the same folder,
    where ``train`` may go on. Settings are proposed by TPE, whose chance follows from the seed and the trial's number;
    a trial is given up at a score below the median of the others at the same step, of which it takes five.

    Args:
        folder: of the journal and, in trials/N, of the trials.
        train: called with settings, a folder and a function to tell (step, score) of validations, it returns the score.
        greater: whether greater scores are better.
        identity: what else identifies the search, such as its score and digests of config and data, by name.

    Returns:
        The study, with other processes' trials.

    Raises:
        ValueError: fewer than one trial, or a study of another space, direction, seed or identity is in the folder.
        Exception: the error of a trial, if it is about files; or if no trial has succeeded yet, and either the error is
            about values or several trials failed.
    """
    if trials < 1:
        raise ValueError(f"it takes one trial at least, got {trials}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    study = open_study(folder, space, greater=greater, seed=seed, identity=identity or {})
    while True:
        with FileLock(folder / "claim.lock"):
            alive = _reclaim(study, folder)
            claimed = alive < trials or any(trial.state == TrialState.WAITING for trial in study.trials)
            if not claimed:
                return study
            # Two processes must not draw alike, and a search that was interrupted draws as one that was not.
            number = len(study.get_trials(deepcopy=False))
            chance = np.random.SeedSequence((seed, number)).generate_state(1).item()
            study.sampler = optuna.samplers.TPESampler(seed=chance)
            trial = study.ask(fixed_distributions=space.distributions)
            home = trial.user_attrs.get("folder", f"trials/{trial.number}")
            trial.set_user_attr("folder", home)
            (folder / home).mkdir(parents=True, exist_ok=True)
            running = FileLock(folder / home / "running.lock")
            running.acquire()
            # Whoever holds this file may train there, so a lock in the folder is of a process that is gone, perhaps on
            # another host, where it cannot be looked up.
            (folder / home / LOCK).unlink(missing_ok=True)
        try:
            _perform(study, trial, space, train, folder / home)
        finally:
            running.release()


def open_study(folder: Path, space: Space, *, greater: bool, seed: int, identity: Mapping[str, str]) -> optuna.Study:
    """Return the study in a folder, made if there is none.

    Raises:
        ValueError: it has another space, direction, seed or identity.
    """
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL), JournalFileOpenLock(str(folder / JOURNAL))))
    told = {name: distribution_to_json(one) for name, one in space.distributions.items()}
    wanted = {"space": told, "greater": greater, "seed": seed, **identity}
    with FileLock(folder / "claim.lock"):
        study = optuna.create_study(
            study_name="tune",
            storage=storage,
            direction="maximize" if greater else "minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
            load_if_exists=True,
        )
        found = study.user_attrs.get("told")
        if found is None:
            study.set_user_attr("told", wanted)
        elif differing := [name for name in wanted if found.get(name) != wanted[name]]:
            raise ValueError(
                f"{folder} contains a search that differs in {', '.join(differing)}; choose another --work-dir"
            )
    return study


def _reclaim(study: optuna.Study, folder: Path) -> int:
    """Have trials tried again whose processes are gone; returns how many trials are done, running or waiting."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        home = trial.user_attrs.get("folder")
        try:
            if home is not None:  # else it was killed before it began
                FileLock(folder / home / "running.lock").acquire(timeout=0).lock.release()
        except Timeout:
            continue
        study.tell(trial.number, state=TrialState.FAIL)
        tries = trial.user_attrs.get("tries", 1)
        if tries <= RETRIES:
            study.enqueue_trial(trial.params, user_attrs={**trial.user_attrs, "tries": tries + 1})
    return sum(_counts(trial) for trial in study.get_trials(deepcopy=False))


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of those asked for; one that was killed is not, the one in its place is."""
    return trial.state != TrialState.FAIL or "error" in trial.user_attrs


def _perform(study: optuna.Study, trial: optuna.Trial, space: Space, train: Train, home: Path) -> None:
    def tell(step: int, score: float) -> None:
        if math.isfinite(score):
            trial.report(score, step)
            if trial.should_prune():
                raise optuna.TrialPruned

    try:
        score = train(space.settings(trial.params), home, tell)
        if not math.isfinite(score):
            raise ArithmeticError(f"the score is {score}")
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except (KeyboardInterrupt, SystemExit):  # asked to stop: to be gone on with, however often
        study.tell(trial, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
        raise
    except Exception as error:
        trial.set_user_attr("error", f"{type(error).__name__}: {error}")
        study.tell(trial, state=TrialState.FAIL)
        others = study.get_trials(deepcopy=False)
        several = sum("error" in one.user_attrs for one in others) >= HOPELESS
        bad_input = isinstance(error, ValueError) or several
        if isinstance(error, OSError) or (bad_input and not _finished(study)):
            raise
    else:
        study.tell(trial, score)


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def trainer(config: Config, score: str) -> Train:
    """Trains ``config`` with the settings of a trial, from its last checkpoint if there is one.

    The score of a trial is the best of its validations, which is where ``best_SCORE.pth`` is from.
    """

    def train(settings: dict[str, Any], folder: Path, tell: Tell) -> float:
        one = copy.deepcopy(config)
        one.merge_from_dict(
            {
                **settings,
                "work_dir": str(folder),
                "resume": True,
                "default_hooks.checkpoint.save_best": score,
                "default_hooks.checkpoint.rule": "greater" if greater_is_better(score, config) else "less",
                "default_hooks.checkpoint.max_keep_ckpts": 1,
            }
        )
        runner = Runner.from_cfg(one)
        runner.register_hook(_Teller(tell, score), priority="LOWEST")
        try:
            runner.train()
            return best_scores(runner, score).get(score, math.nan)
        finally:
            del runner
            gc.collect()  # a runner and its hooks refer to each other; its model should not stand beside the next one

    return train


def greater_is_better(score: str, config: Config) -> bool:
    """Return whether greater values of a validation score are better, as the config or the metric declares.

    Raises:
        ValueError: neither declares it.
    """
    checkpoint = config.get("default_hooks", {}).get("checkpoint", {})
    rule = checkpoint.get("rule") if checkpoint.get("save_best") == score else None
    return (rule or direction_of(score, validation_metrics(config.get("val_evaluator")), "score")) == "greater"


class _Teller(Hook):
    """Tells every validation's score, by epochs or iterations done."""

    def __init__(self, tell: Tell, score: str):
        self.tell, self.score = tell, score

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.tell(runner.iter if runner.by_iterations else runner.epoch, metrics[self.score])


def summarise(study: optuna.Study, space: Space, folder: Path, score: str) -> dict[str, Any]:
    """Write tune.json and tune.png, and return what the json holds.

    Returns:
        ``score``, ``greater``; ``best``, a trial, or None; ``importances``, setting to its share of what told good
        trials from others (PED-ANOVA, Watanabe et al. 2023), of four finished trials or more; ``trials``, each with
        ``number``, ``state``, ``value``, ``settings``, ``folder`` and, where it failed, ``error``.
    """
    finished = _finished(study)
    greater = study.direction == optuna.study.StudyDirection.MAXIMIZE
    told = [trial for trial in study.get_trials(deepcopy=False) if _counts(trial)]
    best = max(finished, key=lambda trial: trial.value if greater else -trial.value, default=None)
    importances = {}
    if len({trial.value for trial in finished}) > 1 and len(finished) >= 4:
        importances = optuna.importance.get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    report = {
        "score": score,
        "greater": greater,
        "best": None if best is None else _told(best, space),
        "importances": importances,
        "trials": [_told(trial, space) for trial in told],
    }
    write_json(folder / "tune.json", report)
    values = {trial.number: trial.value for trial in finished}
    pruned = [trial.number for trial in told if trial.state == TrialState.PRUNED]
    save(search_figure(values, pruned, importances, score=score, greater=greater), folder / "tune.png")
    return report


def _told(trial: FrozenTrial, space: Space) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value,
        "settings": space.settings(trial.params),
        **{name: trial.user_attrs[name] for name in ("folder", "error") if name in trial.user_attrs},
    }


def as_options(settings: Mapping[str, Any]) -> Sequence[str]:
    """Settings as words behind ``--cfg-options``."""
    return [f"{name}={value}".replace(" ", "") for name, value in settings.items()]

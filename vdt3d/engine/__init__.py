"""The engine: runner, loops, loaders, hooks; it knows the whole and nothing knows it but the command line."""

from vdt3d.engine.amp import AmpOptimWrapper
from vdt3d.engine.data import BalancedSampler, DefaultSampler, KeyedDataset
from vdt3d.engine.distributed import distributed_left_after
from vdt3d.engine.hooks.case_table import CaseTableHook
from vdt3d.engine.hooks.checkpoint import CheckpointHook, Preempted, PreemptionHook, ScoresHook
from vdt3d.engine.hooks.early_stop import EarlyStopHook
from vdt3d.engine.hooks.ensemble import EnsembleHook
from vdt3d.engine.hooks.non_finite import NonFiniteHook
from vdt3d.engine.hooks.pictures import PicturesHook
from vdt3d.engine.hooks.predictions import PredictionsHook
from vdt3d.engine.hooks.progress import ProgressHook
from vdt3d.engine.hooks.regularise import InsertHook, PenaltyHook
from vdt3d.engine.hooks.report import ReportHook
from vdt3d.engine.hooks.run_record import RunRecordHook
from vdt3d.engine.hooks.swa import SWAHook
from vdt3d.engine.hooks.test_notes import TestNotesHook
from vdt3d.engine.hooks.unfreeze import UnfreezeHook
from vdt3d.engine.hooks.watch import WatchHook
from vdt3d.engine.layer_decay import LayerDecayConstructor
from vdt3d.engine.loops import EpochBasedTrainLoop, IterBasedTrainLoop, ValLoop
from vdt3d.engine.optimizer_groups import DefaultOptimWrapperConstructor
from vdt3d.engine.runner import Runner
from vdt3d.engine.schedules import LinearWarmupLR

__all__ = [
    "AmpOptimWrapper",
    "BalancedSampler",
    "CaseTableHook",
    "CheckpointHook",
    "DefaultOptimWrapperConstructor",
    "DefaultSampler",
    "EarlyStopHook",
    "EnsembleHook",
    "EpochBasedTrainLoop",
    "InsertHook",
    "IterBasedTrainLoop",
    "KeyedDataset",
    "LayerDecayConstructor",
    "LinearWarmupLR",
    "NonFiniteHook",
    "PenaltyHook",
    "PicturesHook",
    "PredictionsHook",
    "Preempted",
    "PreemptionHook",
    "ProgressHook",
    "ReportHook",
    "RunRecordHook",
    "Runner",
    "SWAHook",
    "ScoresHook",
    "TestNotesHook",
    "UnfreezeHook",
    "ValLoop",
    "WatchHook",
    "distributed_left_after",
]

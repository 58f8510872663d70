"""The engine: runner, loops, loaders, hooks; it knows the whole and nothing knows it but the command line."""

from vdt3d.engine.amp import AmpOptimWrapper
from vdt3d.engine.case_table_hook import CaseTableHook
from vdt3d.engine.checkpoint_hook import CheckpointHook, Preempted, PreemptionHook, ScoresHook
from vdt3d.engine.data import BalancedSampler, DefaultSampler, KeyedDataset
from vdt3d.engine.distributed import distributed_left_after
from vdt3d.engine.loops import EpochBasedTrainLoop, IterBasedTrainLoop, ValLoop
from vdt3d.engine.predictions_hook import PredictionsHook
from vdt3d.engine.progress import ProgressHook
from vdt3d.engine.runner import Runner

__all__ = [
    "AmpOptimWrapper",
    "BalancedSampler",
    "CaseTableHook",
    "CheckpointHook",
    "DefaultSampler",
    "EpochBasedTrainLoop",
    "IterBasedTrainLoop",
    "KeyedDataset",
    "PredictionsHook",
    "Preempted",
    "PreemptionHook",
    "ProgressHook",
    "Runner",
    "ScoresHook",
    "ValLoop",
    "distributed_left_after",
]

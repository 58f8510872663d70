"""The engine: runner, loops, loaders, hooks; it knows the whole and nothing knows it but the command line."""

from vdt3d.engine.amp import AmpOptimWrapper
from vdt3d.engine.case_table_hook import CaseTableHook
from vdt3d.engine.checkpoint_hook import CheckpointHook, Preempted, PreemptionHook, ScoresHook
from vdt3d.engine.data import BalancedSampler, DefaultSampler, KeyedDataset
from vdt3d.engine.distributed import distributed_left_after
from vdt3d.engine.early_stop_hook import EarlyStopHook
from vdt3d.engine.ensemble import EnsembleHook
from vdt3d.engine.layer_decay import LayerDecayConstructor
from vdt3d.engine.loops import EpochBasedTrainLoop, IterBasedTrainLoop, ValLoop
from vdt3d.engine.non_finite_hook import NonFiniteHook
from vdt3d.engine.pictures_hook import PicturesHook
from vdt3d.engine.predictions_hook import PredictionsHook
from vdt3d.engine.progress import ProgressHook
from vdt3d.engine.regularise_hooks import InsertHook, PenaltyHook
from vdt3d.engine.report_hook import ReportHook
from vdt3d.engine.run_record import RunRecordHook
from vdt3d.engine.runner import Runner
from vdt3d.engine.schedules import LinearWarmupLR
from vdt3d.engine.swa_hook import SWAHook
from vdt3d.engine.unfreeze_hook import UnfreezeHook
from vdt3d.engine.watch_hook import WatchHook

__all__ = [
    "AmpOptimWrapper",
    "BalancedSampler",
    "CaseTableHook",
    "CheckpointHook",
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
    "UnfreezeHook",
    "ValLoop",
    "WatchHook",
    "distributed_left_after",
]

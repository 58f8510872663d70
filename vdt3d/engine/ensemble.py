"""Several checkpoints, or several draws of dropout, that answer as one model, in prediction and in a test."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample
from torch import Tensor

from vdt3d.engine.runner import Runner, to_channels_last
from vdt3d.inference import CaseInferer, Ensemble, Inferer, dropout_passes
from vdt3d.models import VolumeClassifier, WindowDetector
from vdt3d.models.layers.insertion import insert_layers
from vdt3d.registry import HOOKS, MODELS
from vdt3d.structures import LabelMap, SegmentationSample
from vdt3d.utils.checkpoint import load_weights, read_any, state_dict_of


def loaded(config: Config, path: str, device: torch.device, content: dict | None = None) -> BaseModel:
    """The model of a config with the weights of a checkpoint, for evaluation.

    Args:
        content: of the checkpoint, where it is read already.

    Raises:
        CheckpointError: it does not fill the whole model.
    """
    with DefaultScope.overwrite_default_scope("vdt3d"):
        model = MODELS.build({"data_preprocessor": config.get("data_preprocessor")} | config.model)
    state = state_dict_of(read_any(path) if content is None else content, path)
    load_weights(model, state, min_matched=1.0, heads=True, name=path)
    model = revert_sync_batchnorm(model)
    for hook in config.get("custom_hooks", []):
        if hook["type"] == "InsertHook":  # its dropout is what MC dropout draws from
            insert_layers(model, hook["layers"])
    if config.get("channels_last"):
        to_channels_last(model)
    return model.to(device).eval()


def join(models: Sequence[BaseModel], *, mc_dropout: int = 0, uncertainty: bool = False) -> None:
    """Make the first of the models answer for all of them, by the mean of their probabilities.

    Args:
        mc_dropout: draws of dropout for each model; 0 leaves it off.
        uncertainty: a segmentor also answers how sure it is, see ``Inferer.assess``; a classifier always does.

    Raises:
        ValueError: detectors, or models without inferer; or see ``dropout_passes``.
    """
    first, *_ = models
    if isinstance(first, WindowDetector):
        raise ValueError("a detector answers by itself, not in an ensemble: give one checkpoint, and no dropout")
    if isinstance(first, VolumeClassifier) and first.inferer is None:
        first.inferer = CaseInferer()
    if getattr(first, "inferer", None) is None:
        raise ValueError("an ensemble wants a model with an inferer: test_cfg=dict(inferer=dict(type=...))")
    networks = [view for model in models for view in (dropout_passes(model, mc_dropout) if mc_dropout else [model])]
    first.inferer = _Joined(first.inferer, networks, uncertainty)


class _Joined:
    """An inferer that asks all of ``networks`` and not the one it is handed."""

    def __init__(self, inferer: Inferer | CaseInferer, networks: Sequence, uncertainty: bool):
        self.inferer, self.networks, self.uncertainty = inferer, networks, uncertainty

    def segment(self, network, image_CDHW: Tensor, sample: SegmentationSample, decide=None) -> LabelMap:
        everyone = Ensemble(self.networks, regions=decide is not None)
        if not self.uncertainty:
            return self.inferer.segment(everyone, image_CDHW, sample, decide)
        assessed = self.inferer.assess(everyone, image_CDHW, sample, decide)
        sample.assessed = assessed
        return assessed.labels

    def classify(self, network, batch: Tensor, samples: Sequence[DataSample]) -> Sequence[DataSample]:
        return self.inferer.classify(Ensemble(self.networks), batch, samples)


@HOOKS.register_module()
class EnsembleHook(Hook):
    """Tests with further checkpoints beside the one the runner loads, with draws of dropout, or both.

    Args:
        checkpoints: paths, http(s):// addresses or torchvision:// names.
        mc_dropout: as ``join``'s.
    """

    def __init__(self, checkpoints: Sequence[str | Path] = (), mc_dropout: int = 0):
        self.checkpoints, self.mc_dropout = [str(path) for path in checkpoints], mc_dropout

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = runner.bare_model
        device = next(model.parameters()).device
        others = [loaded(runner.cfg, path, device) for path in self.checkpoints]
        join([model, *others], mc_dropout=self.mc_dropout)

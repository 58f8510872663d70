"""Models from their weights: of a checkpoint or an exported network, or of several that answer as one model."""

from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample
from torch import Tensor

from vdt3d.engine.onnx_network import OnnxNetwork, is_exported
from vdt3d.inference import CaseInferer, Ensemble, Inferer, dropout_passes
from vdt3d.inference.ensemble import Network
from vdt3d.models import VolumeClassifier, WindowDetector
from vdt3d.models.layers.insertion import insert_layers
from vdt3d.models.weights.files import local_copy, read_any, state_dict_of
from vdt3d.models.weights.load import load_pretrained
from vdt3d.registry import MODELS
from vdt3d.structures import LabelMap, SegmentationSample
from vdt3d.utils.memory_format import to_channels_last


def content_of(path: str, device: torch.device) -> dict:
    """What a checkpoint holds; of an exported network (``.onnx``) ``meta`` and, as ``network``, what answers on the
    device.

    Raises:
        CheckpointError, FileNotFoundError: it cannot be read.
        ValueError: an exported network, and what it is computed with is not installed, or not made for the device.
    """
    if not is_exported(path):
        return read_any(path)
    network = OnnxNetwork(local_copy(path), device)
    return {"meta": network.meta, "network": network}


def loaded(config: Config, path: str, device: torch.device, content: dict | None = None) -> BaseModel:
    """The model of a config with the weights of a checkpoint, or with an exported network in place of its own, for
    evaluation.

    Args:
        content: of the checkpoint (``content_of``), where it is read already.

    Raises:
        CheckpointError: it does not fill the whole model, or was exported from another.
    """
    content = content_of(path, device) if content is None else content
    with DefaultScope.overwrite_default_scope("vdt3d"):
        model = MODELS.build({"data_preprocessor": config.get("data_preprocessor")} | config.model)
    if isinstance(network := content.get("network"), OnnxNetwork):
        network.check_origin(model)
        for part in model.children():
            if part is model.data_preprocessor:
                part.to(device)
            else:
                part.to("meta")  # without content, since it must not answer
        let_answer(model, network)
        return model.eval()
    load_pretrained(model, state_dict_of(content, path), heads=True, name=path)
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
        ValueError: detectors, or models without inferer; draws of dropout of an exported network; or see
            ``dropout_passes``.
    """
    inferer, networks = _inferer(models[0]), []
    for model in models:
        current = getattr(model, "inferer", None)
        answering = current.networks if isinstance(current, _Joined) else [model]
        if mc_dropout and answering != [model]:
            raise ValueError("an exported network has no dropout to leave on: give the checkpoint it was made of")
        networks += dropout_passes(model, mc_dropout) if mc_dropout else answering
    models[0].inferer = _Joined(inferer, networks, uncertainty)


def let_answer(model: BaseModel, network: Network) -> None:
    """Have ``network``, from batches (B, C, D, H, W) to the scores of mode 'tensor', answer in place of a model's own.

    Raises:
        ValueError: a detector, or a model without inferer.
    """
    model.inferer = _Joined(_inferer(model), [network], False)


def _inferer(model: BaseModel) -> Inferer | CaseInferer:
    """What asks the network of a model; of a classifier, one is made where there is none."""
    if isinstance(model, WindowDetector):
        raise ValueError("a detector answers by itself, not in an ensemble: give one checkpoint, and no dropout")
    inferer = getattr(model, "inferer", None)
    if inferer is None and not isinstance(model, VolumeClassifier):
        raise ValueError(
            "an ensemble or an exported network wants a model with an inferer: test_cfg=dict(inferer=dict(type=...))"
        )
    inferer = CaseInferer() if inferer is None else inferer
    return inferer.inferer if isinstance(inferer, _Joined) else inferer


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

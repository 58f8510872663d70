"""mmpretrain's image classifier over volumes."""

from mmengine.registry import DefaultScope
from mmpretrain.models import ImageClassifier
from torch import nn

from vdt3d.registry import MODELS


@MODELS.register_module()
class VolumeClassifier(ImageClassifier):
    """Backbone, neck and head over volumes (N, C, D, H, W); names are looked up in vdt3d first, then in mmpretrain.

    It differs from ``ImageClassifier`` in how it is built: a head without ``in_channels`` is given those that the
    backbone announces last, the data preprocessor is ``VolumeDataPreprocessor`` unless it names another type, and
    there is no ``train_cfg``, as batch augmentations know pictures only.

    Args:
        backbone: the network, or its config.
        neck: what pools the features, for instance ``dict(type='GlobalAveragePooling', dim=3)``.
        head: what classifies them, for instance ``dict(type='LinearClsHead', num_classes=2)``.
        pretrained: a checkpoint to start the whole classifier from.
        data_preprocessor: what batches and normalises the volumes.
        init_cfg: how to initialise the whole classifier.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        neck: dict | nn.Module | None = None,
        head: dict | nn.Module | None = None,
        pretrained: str | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ):
        # Within this scope mmpretrain's parts, too, look up what they build (a head its loss) in our registry first.
        with DefaultScope.overwrite_default_scope("vdt3d"):
            if not isinstance(backbone, nn.Module):
                backbone = MODELS.build(backbone)
            if isinstance(head, dict) and hasattr(backbone, "feature_info"):
                head = {"in_channels": backbone.feature_info[-1].channels, **head}
            if not isinstance(data_preprocessor, nn.Module):
                data_preprocessor = MODELS.build({"type": "VolumeDataPreprocessor", **(data_preprocessor or {})})
            super().__init__(backbone, neck, head, pretrained, data_preprocessor=data_preprocessor, init_cfg=init_cfg)

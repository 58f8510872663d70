"""What a model says of the cases of a test, before it becomes probabilities, beside the truth, to calibrate it by."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from mmengine.config import Config
from mmengine.dist import all_gather_object
from mmpretrain.structures import DataSample
from torch import Tensor

from vdt3d.engine.runner import Runner
from vdt3d.inference import CaseInferer
from vdt3d.models import VolumeClassifier
from vdt3d.structures import IGNORED, LabelMap, SegmentationSample

VOXELS = 20_000  # of each scan


class Answers(NamedTuple):
    """Logits (n, K), the right classes (n,), and how many cases they are of."""

    logits: np.ndarray
    truth: np.ndarray
    cases: int


def gather_answers(config: Config) -> Answers:
    """All answers to the test cases of a config, which loads its weights by ``load_from``.

    Of a classifier an answer is that of a case; of a segmentor, that of one of some ``VOXELS`` voxels of every scan,
    drawn by its name; of regions, each region's in each of these, against none. They are those of the mean over
    mirrorings and checkpoints, before any temperature.

    Raises:
        ValueError: the model does not answer by classes, a case has no truth or no name of its own.
    """
    config.test_evaluator = []
    # Nothing is scored, so the run's records of scores stay as they are.
    hooks = config.get("default_hooks", {})
    config.default_hooks = {name: hook for name, hook in hooks.items() if name not in ("scores", "record")}
    runner = Runner.from_cfg(config)
    model = runner.bare_model
    if isinstance(model, VolumeClassifier):
        survey = _Survey(model.inferer or CaseInferer())
    elif getattr(model, "inferer", None) is not None and getattr(model, "labels", None) is not None:
        survey = _Survey(model.inferer, model.labels)
    else:
        raise ValueError(
            f"{type(model).__name__} cannot be calibrated by a temperature; wanted is a VolumeClassifier, or a "
            "segmentor with test_cfg=dict(inferer=dict(type=...))"
        )
    model.inferer = survey
    runner.test()
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for of_process in all_gather_object(survey.answers):
        found |= of_process
    if len(found) < (cases := len(runner.test_dataloader.dataset)):
        raise ValueError(f"{cases} cases have only {len(found)} names among them; each needs its own")
    logits, truth = (np.concatenate(parts) for parts in zip(*(found[name] for name in sorted(found)), strict=True))
    return Answers(logits, truth, len(found))


class _Survey:
    """An inferer around another one that keeps what the model says, and answers nothing.

    Args:
        labels: the ``LabelScheme`` of a segmentor.
    """

    def __init__(self, inferer: Any, labels: Any = None):
        self.inferer, self.labels = inferer, labels
        self.answers: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def classify(self, network: Any, batch: Tensor, samples: Sequence[DataSample]) -> Sequence[DataSample]:
        logits, _ = self.inferer.logits(network, batch)
        for sample, of_case in zip(samples, logits.float().cpu().numpy(), strict=True):
            name = sample.get("sample_name") or sample.get("img_path", "")
            if "gt_label" not in sample:
                raise ValueError(f"case '{name}' has no label (gt_label) to be calibrated by")
            self.answers[name] = of_case[None], sample.gt_label.cpu().numpy()
        return samples

    def segment(self, network: Any, image_CDHW: Tensor, sample: SegmentationSample, decide: Any = None) -> LabelMap:
        name, reference = sample.sample_name, sample.get("reference")
        if reference is None:
            raise ValueError(f"case '{name}' has no reference to be calibrated by; give its data set whole_scans=True")
        true_DHW = np.asarray(reference.array)[0]
        how = dict(share=min(1.0, VOXELS / true_DHW.size), seed=crc32(name.encode()), regions=decide is not None)
        places, drawn = self.inferer.draw_scores(network, image_CDHW, sample, **how)
        number_DHW = places.array[0]
        true = self.labels.table.cpu().numpy()[true_DHW[number_DHW > 0]]
        logits = drawn.float().numpy()[number_DHW[number_DHW > 0] - 1]
        logits, true = logits[true != IGNORED], true[true != IGNORED]
        if decide is not None:  # of every region two classes: in it or not
            inside = [np.isin(true, region) for region in self.labels.regions.values()]
            true = np.stack(inside, axis=1).ravel().astype(int)
            logits = np.stack([np.zeros(logits.size, logits.dtype), logits.ravel()], axis=1)
        self.answers[name] = logits, true.astype(int)
        return places

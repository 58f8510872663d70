"""Explainer: what in a scan an answer of a trained model rests on, on the scan's own grid."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cc3d
import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from vdt3d.apis.predictor import Predictor
from vdt3d.engine.onnx_network import is_exported
from vdt3d.explain import (
    ConceptReport,
    Score,
    areas,
    attention_rollout,
    class_score,
    concept_tests,
    elsewhere,
    finding_score,
    grad_cam,
    integrated_gradients,
    last_maps,
    likeness,
    occlusion,
    randomised,
    region_score,
    saliency,
)
from vdt3d.inference.way_back import carried
from vdt3d.inference.window_sweep import as_shown
from vdt3d.structures import LabelMap, Sample, SegmentationSample, SliceWindow, Volume
from vdt3d.transforms import CutWindow
from vdt3d.transforms.grid import cut, trilinear
from vdt3d.utils.memory_format import to_channels_last

INPUT_METHODS = {"saliency": saliency, "integrated-gradients": integrated_gradients, "occlusion": occlusion}
METHODS = ("gradcam", *INPUT_METHODS, "attention")
MEASURES = {  # what the numbers of a map are, ``{score}`` being what is explained
    "gradcam": "gradient of the {score} times map of the layer",
    "saliency": "steepness of the {score}, up or down",
    "integrated-gradients": "part in the {score}",
    "occlusion": "{score} lost when painted over",
    "attention": "attention that arrives",
}
CHANCES = 3  # random networks, and random places, that a map is compared with


class Question(NamedTuple):
    """What is asked about a scan.

    Fields:
        ask: from a model to the score that is explained.
        image: (C, D, H, W), what the network is fed, on its device.
        affine: (4, 4) of the image, as ``Volume``'s.
        target: the class, region or finding.
        about: the same in words.
    """

    ask: Callable[[nn.Module], Score]
    image: Tensor
    affine: np.ndarray
    target: int
    about: str


class Explanation(NamedTuple):
    """A map of evidence.

    Fields:
        heat: on the scan's grid, 0 where the network did not look.
        own: (d, h, w) over the extent of ``question.image``, at the resolution of the method.
        score: what is explained: log odds; of a detector, score times overlap.
        question: what was asked.
        measure: what the numbers of the map are, in words.
        method, layer, options: how the map was made; the layer is empty where the method looks at the input.
    """

    heat: Volume
    own: Tensor
    score: float
    question: Question
    measure: str
    method: str
    layer: str
    options: dict[str, Any]


class Explainer(Predictor):
    """Explains answers of classifiers, of models that label voxels, and of detectors.

    A classifier is asked about a class. A model that labels voxels is asked about a class in a region, which it sees as
    its inferer shows it: in one window (``SlidingWindow``, ``SliceWindowInferer``) about the region, or with all the
    scan; without flips. A detector is asked about a finding, in the window about its best slice.

    Args:
        config, checkpoint, device: as ``Predictor``'s.

    Raises:
        CheckpointError, ValueError: as ``Predictor``.
    """

    def __init__(self, config: Config | str | Path, checkpoint: str | Path, *, device: str | None = None):
        if is_exported(checkpoint):
            raise ValueError(f"{checkpoint}: is an exported network, without layers to look at; give its checkpoint")
        super().__init__(config, checkpoint, device=device)
        to_channels_last(self.model)  # occlusion asks about many windows at once, which are done sooner

    def explain(
        self,
        volume: Volume,
        method: str = "gradcam",
        *,
        target: int | None = None,
        region: Sequence[int] | None = None,
        layer: str | None = None,
        name: str = "",
        **options,
    ) -> Explanation:
        """A map of what speaks for an answer.

        Args:
            method: one of ``METHODS``.
            target: a class, by default the one the model answers; of voxels, by default the one of most voxels, and
                where regions overlap, a region, counted from 1; of a detector the rank of a finding, by default 1.
            region: where a class of voxels is asked about, in voxels of the scan: one, (d, h, w), or those of a box
                (d, h, w, d, h, w), its end left out. Default: the largest connected part of what is labelled so.
            layer: that Grad-CAM looks at, by its name in the model. Default: the last one of the backbone with maps of
                more than one voxel.
            name: how messages call the case.
            options: of the method's function in ``vdt3d.explain``.

        Raises:
            ValueError: an unknown method, target or layer; a region that is not in the scan, or too small for the
                network's grid; nothing is labelled or found of what is asked about.
        """
        if method not in METHODS:
            raise ValueError(f"method '{method}' is unknown; choose of {', '.join(METHODS)}")
        if layer is not None and method != "gradcam":
            raise ValueError(f"layer '{layer}': {method} looks at the input; leave it out")
        question = self._question(volume, target, region, name)
        if method == "gradcam":
            layer = self._known_layer(layer, question)
        own = _map(self.model, question, method, layer, options)
        with torch.no_grad():
            score = float(question.ask(self.model)(question.image[None]))
        heat = carried(_placed(own, question), volume)
        measure = MEASURES[method].format(score="score times overlap" if self.detects else "log odds")
        return Explanation(heat, own, score, question, measure, method, layer or "", options)

    def check(self, explanation: Explanation, *, seed: int = 0) -> dict[str, float]:
        """Whether the map tells anything.

        ``deletion`` and ``insertion`` are the areas of ``vdt3d.explain.areas``, of probabilities (of a detector, of its
        score); ``..._elsewhere`` their means for the same map in three wrong places. ``likeness_random`` is the mean
        rank correlation of the map with those of three networks whose weights are drawn anew: near 0 where it shows
        what was learnt.
        """
        question, method, layer = explanation.question, explanation.method, explanation.layer
        ask, image, rng = question.ask(self.model), question.image, np.random.default_rng(seed)
        score = ask if self.detects else lambda batch: ask(batch).sigmoid()
        resized = trilinear(explanation.own[None].cpu().numpy(), image.shape[1:])
        heat = torch.from_numpy(resized)[0]
        away = [areas(score, image, elsewhere(heat, rng)) for _ in range(CHANCES)]
        networks = [randomised(self.model, seed + number) for number in range(CHANCES)]
        untaught = [_map(network, question, method, layer, explanation.options) for network in networks]
        return {
            **areas(score, image, heat),
            **{f"{name}_elsewhere": float(np.mean([each[name] for each in away])) for name in away[0]},
            "likeness_random": float(np.mean([likeness(explanation.own, other) for other in untaught])),
        }

    def test_concepts(
        self,
        volumes: Sequence[Volume],
        concepts: Mapping[str, Sequence[Volume]],
        counterexamples: Sequence[Volume],
        *,
        target: int | None = None,
        layer: str | None = None,
        **options,
    ) -> dict[str, ConceptReport]:
        """Whether concepts move a classifier's answer, see ``vdt3d.explain.concept_tests``.

        Args:
            volumes: scans of the class in question.
            concepts: scans or crops that show a concept, by its name; they go through the test pipeline.
            counterexamples: the same, chosen by chance.
            target: the class. Default: what is answered to the first scan.
            layer: as ``explain``'s.
            options: further ones of ``concept_tests``.

        Raises:
            ValueError: the model is no classifier, there are no scans, or as ``concept_tests``.
        """
        if not volumes:
            raise ValueError("concepts are tested on scans of the class in question: give some")
        if self.detects or not self._classifies(self._sample(volumes[0], "")):
            raise ValueError("concepts are asked of classifiers; this model is none")
        question = self._question(volumes[0], target, None, "")
        layer = self.model.get_submodule(self._known_layer(layer, question))
        shown = {name: [self._fed(self._sample(each, name)) for each in some] for name, some in concepts.items()}
        images, against = ([self._fed(self._sample(each, "")) for each in some] for some in (volumes, counterexamples))
        return concept_tests(question.ask(self.model), layer, images, shown, against, **options)

    def _question(self, volume: Volume, target: int | None, region: Sequence[int] | None, name: str) -> Question:
        if self.detects or self._classifies(sample := self._sample(volume, name)):
            if region is not None:
                raise ValueError("a region is for models that label voxels: leave it out")
            return self._of_finding(volume, target, name) if self.detects else self._of_class(sample, target)
        return self._of_region(volume, target, region, name)

    def _of_class(self, sample: Sample, target: int | None) -> Question:
        image = self._fed(sample)
        if target is None:
            with torch.no_grad():
                logits = self.model(image[None], mode="tensor")[0]
            target = int(logits.argmax()) if len(logits) > 1 else int(logits > 0)
        about = f"class {target}" + (f", {self.classes[target]}" if 0 <= target < len(self.classes) else "")
        return Question(
            lambda model: class_score(partial(model, mode="tensor"), target), image, sample.image.affine, target, about
        )

    def _of_region(self, volume: Volume, target: int | None, region: Sequence[int] | None, name: str) -> Question:
        regions = self.model.labels.regions
        kinds = dict(enumerate(regions.values(), start=1))  # the labels that each target stands for
        if not regions:
            kinds = {label: (label,) for label in range(self.model.labels.num_classes)}
        if target is not None and target not in kinds:
            raise ValueError(f"target {target} is unknown: there are {min(kinds)} to {max(kinds)}")
        if target is None or region is None:
            labels = self(volume, name=name).array[0]
            counts = {kind: np.isin(labels, members) for kind, members in kinds.items() if kind}
            target = max(counts, key=lambda kind: counts[kind].sum()) if target is None else target
        inside = _largest(np.isin(labels, kinds[target])) if region is None else _box(region, volume.shape)
        if not inside.any():
            raise ValueError(f"case '{name}': nothing is labelled {target}; give the region to be asked about")
        sample = self._sample(volume, name, LabelMap(inside[None].astype(np.uint8), volume.affine))
        if not np.any(sample.label_map.array):
            raise ValueError(f"case '{name}': the region vanishes on the network's grid; give a larger one")
        sample, answered = _shown(sample, self.model.inferer)
        inside = torch.from_numpy(np.array(sample.label_map.array[0])[answered] == 1).to(self.device)
        names = list(regions) or self.classes
        place = target - 1 if regions else target
        about = f"label {target}" + (f", {names[place]}" if place < len(names) else "")
        options = {"overlapping": bool(regions)}
        return Question(
            lambda model: region_score(partial(model, mode="tensor"), place, inside, **options),
            self._fed(sample),
            sample.image.affine,
            target,
            about,
        )

    def _of_finding(self, volume: Volume, rank: int | None, name: str) -> Question:
        rank = 1 if rank is None else rank
        findings = self.find(volume, name=name, top=rank)
        if len(findings.boxes) < rank:
            raise ValueError(f"case '{name}' has {len(findings.boxes)} findings; there is no number {rank}")
        shown = as_shown(self._prepared(volume, name))
        findings = findings.on(shown.image.affine)
        sample = CutWindow(self.model.window).at(shown, int(findings.slices[rank - 1]))
        for transform in self.pipeline[:-1]:
            sample = transform(sample)
        box = torch.from_numpy(findings.boxes.on(sample.image.affine).corners[rank - 1, [2, 1, 5, 4]])
        label, size = int(findings.boxes.labels[rank - 1]), sample.image.shape[1:]

        def ask(model: nn.Module) -> Score:
            def detect(batch: Tensor) -> Sequence[Mapping[str, Tensor]]:
                return model.detections(ImageList(batch, [size] * len(batch)), model.extract_feat(batch))

            return finding_score(detect, box, label)

        return Question(ask, self._fed(sample), sample.image.affine, rank, f"finding {rank}")

    def _sample(self, volume: Volume, name: str, label_map: LabelMap | None = None) -> Sample:
        """The scan as the last transform of the pipeline gets it, a region along with it."""
        sample = Sample(image=volume, label_map=label_map, statistics=self.statistics, name=name)
        for transform in (*self.preparation, *self.pipeline[:-1]):
            sample = transform(sample)
        return sample

    def _classifies(self, sample: Sample) -> bool:
        """Whether the model is a classifier.

        Raises:
            ValueError: it is nothing that can be asked.
        """
        kind = type(self.pipeline[-1](sample)["data_samples"])
        if kind not in (DataSample, SegmentationSample):
            raise ValueError("the test pipeline of the config ends in none of PackVolume, PackSegmentation")
        return kind is DataSample

    def _fed(self, sample: Sample) -> Tensor:
        """(C, D, H, W), what the network is fed of a sample."""
        packed = self.pipeline[-1](sample)
        return self.model.data_preprocessor({key: [value] for key, value in packed.items()})["inputs"][0]

    def _known_layer(self, layer: str | None, question: Question) -> str:
        if layer is None:
            return f"backbone.{last_maps(question.ask(self.model), question.image, self.model.backbone)}"
        names = [name for name, _ in self.model.named_modules()]
        if layer not in names:
            near = ", ".join(get_close_matches(layer, names)) or ", ".join(
                name for name in names if name.count(".") == 1
            )
            raise ValueError(f"the model has no layer '{layer}'; it has {near}")
        return layer


def _map(network: nn.Module, question: Question, method: str, layer: str | None, options: Mapping[str, Any]) -> Tensor:
    score, image = question.ask(network), question.image
    if method == "gradcam":
        return grad_cam(score, image, network.get_submodule(layer))
    if method == "attention":
        return attention_rollout(score, image, network)
    return INPUT_METHODS[method](score, image, **options)


def _placed(own: Tensor, question: Question) -> Volume:
    """A map, with the affine of its cells, which fill the image's extent."""
    step = np.divide(question.image.shape[1:], own.shape)
    to_image = np.diag([*step, 1.0])
    to_image[:3, 3] = (step - 1) / 2
    return Volume(own[None].cpu().numpy(), question.affine @ to_image)


def _shown(sample: Sample, inferer: Any) -> tuple[Sample, slice]:
    """What the network sees at once of a region and what is about it, and the slices that it answers."""
    places = np.argwhere(sample.label_map.array[0])
    window = getattr(inferer, "window", None)
    if isinstance(window, SliceWindow):
        axis = inferer.outer
        position = int(np.bincount(places[:, axis]).argmax())
        answered = slice(window.answered.start, window.answered.stop)
        return CutWindow(window, "DHW"[axis]).at(sample, position), answered
    shape = sample.image.shape
    size = inferer.padded_shape(shape) if window is None else window
    centre = (places.min(0) + places.max(0) + 1) // 2
    corner = [
        -((now - have) // 2) if now > have else min(max(int(at) - now // 2, 0), have - now)
        for have, now, at in zip(shape, size, centre, strict=True)
    ]
    image, label_map = (cut(each, corner, size) for each in (sample.image, sample.label_map))
    return sample.replace(image=image, label_map=label_map), slice(None)


def _box(region: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    """(D, H, W) bool."""
    if len(region) not in (3, 6):
        raise ValueError(f"a region is a voxel (d, h, w) or a box (d, h, w, d, h, w), got {tuple(region)}")
    low, high = region[:3], region[3:] or [place + 1 for place in region]
    if not all(0 <= first < last <= side for first, last, side in zip(low, high, shape, strict=True)):
        raise ValueError(f"the region {tuple(region)} does not lie in the scan's voxels, {shape}")
    inside = np.zeros(shape, bool)
    inside[tuple(map(slice, low, high))] = True
    return inside


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part; nothing of nothing."""
    parts = cc3d.connected_components(mask.view(np.uint8), connectivity=26)
    counts = np.bincount(parts.ravel())
    counts[0] = 0
    return (parts == counts.argmax()) & mask

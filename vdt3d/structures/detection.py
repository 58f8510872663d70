"""DetectionSample: what a detector is given of a window beside the image, and what it answers."""

from mmengine.structures import BaseDataElement


class DetectionSample(BaseDataElement):
    """One window in mmengine's hands.

    Fields:
        gt_boxes: float tensor (N, 4), left, upper, right and lower end (x1, y1, x2, y2) in pixels of the network's
            input, where pixel i reaches from i to i + 1.
        gt_labels: (N,) int64, 0 for the first class.
        pred_boxes: the ``Boxes`` the model answers, the best first, on the grid of ``reference`` where there is one,
            else on that of the network's input.
        pred_scores: (M,) their scores, NumPy float.

    Metainfo:
        sample_name, group: as ``Sample``'s.
        grid: ``(shape, affine)`` of the network's input: (D, H, W) and the (4, 4) affine of ``Volume``.
        reference: the true ``Boxes`` on the grid of the window before the pipeline, or None.
        losses: loss terms of the window, where validation reports them.
    """

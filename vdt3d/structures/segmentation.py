"""SegmentationSample: what a segmentation model is given of a case beside the image, and what it answers."""

from mmengine.structures import BaseDataElement


class SegmentationSample(BaseDataElement):
    """One case in mmengine's hands.

    Fields:
        gt_labels: integer tensor (D, H, W) on the grid of the network's input; absent where nothing is known.
        pred_labels: the ``LabelMap`` the model answers, on the scan's own grid.

    Metainfo:
        sample_name, group: as ``Sample``'s.
        grid: ``(shape, affine)`` of the network's input: (D, H, W) and the (4, 4) affine of ``Volume``.
        stored: geometry of the scan's file, as ``Volume``'s.
        history: as ``Sample``'s; walked backwards it leads from that grid to the scan's own.
        reference: the true ``LabelMap`` on the scan's own grid, or None.
        losses: mean loss terms over the windows of the scan, where validation reports them.
    """

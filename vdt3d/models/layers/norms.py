"""Norm layers of volumes, by the short names that configs use."""

VOLUME_NORMS = {"BN": "BN3d", "IN": "IN3d"}  # mmcv reads the short names as the norms of images


def volume_norm(norm_cfg: dict | None) -> dict:
    """Return the config of a norm for volumes (N, C, D, H, W) from its own or its short name; BN3d when left out."""
    norm_cfg = dict(norm_cfg or {"type": "BN3d"})
    return norm_cfg | {"type": VOLUME_NORMS.get(norm_cfg["type"], norm_cfg["type"])}

"""Memory and time of full-size training steps of TransSeg on a CPU: BEiT-B/16 and UPerNet on windows of 5 x 512 x 512.

Each arm is a fresh process that takes ``--steps`` steps on made-up windows; the first allocates the optimiser's state.

    python benchmarks/transseg_step.py --batch 2 --steps 2
"""

import argparse
import json
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from mmengine.registry import DefaultScope
from torch.nn.utils import clip_grad_norm_

CONFIG = Path(__file__).parents[1] / "configs/transseg/bcv_beit-b16_upernet.py"
ARMS = {"plain": {}, "with_cp": {"with_cp": True}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    args = parser.parse_args()
    for arm in ARMS:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            seconds, peak = pool.submit(measured, arm, args.batch, args.steps).result()
        print(json.dumps({"arm": arm, "batch": args.batch, "seconds": round(seconds, 1), "peak_gib": round(peak, 2)}))


def measured(arm: str, batch: int, steps: int) -> tuple[float, float]:
    """Seconds of the last step, and the most GiB the process ever held, libraries included."""
    from mmengine.model import revert_sync_batchnorm

    from vdt3d.engine.config import read_config
    from vdt3d.registry import MODELS

    config = read_config(CONFIG)
    with DefaultScope.overwrite_default_scope("vdt3d"):
        config.model.backbone.update(ARMS[arm])
        model = revert_sync_batchnorm(MODELS.build(config.model)).train()
    optimizer = torch.optim.AdamW(model.parameters(), config.optim_wrapper.optimizer.lr)
    windows, labels = torch.randn(batch, 1, 5, 512, 512), torch.randint(0, 14, (batch, 1, 512, 512))
    for _ in range(steps):
        start = time.perf_counter()
        loss = sum(model.loss_decode.parts(model.encode_decode(windows), labels).values())
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), config.optim_wrapper.clip_grad.max_norm)
        optimizer.step()
        seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()

"""ScoreLogProcessor: log lines in which a validation or test score is the one just computed, whatever its name."""

import re

from mmengine.runner import LogProcessor

TIMES = r"(^|/)(data_)?time$"


class ScoreLogProcessor(LogProcessor):
    """mmengine's LogProcessor without smoothing over validations.

    mmengine averages what has "loss" or "time" in its name over the last ``window_size`` values. That suits the loss
    of training steps, but it would print a validation loss that is a mean over earlier validations.
    """

    def _collect_scalars(self, custom_cfg: list[dict], runner, mode: str, reserve_prefix: bool = False) -> dict:
        smoothed, self.mean_pattern = self.mean_pattern, self.mean_pattern if mode == "train" else re.compile(TIMES)
        try:
            return super()._collect_scalars(custom_cfg, runner, mode, reserve_prefix)
        finally:
            self.mean_pattern = smoothed

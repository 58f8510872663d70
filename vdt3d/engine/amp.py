"""Mixed precision on whatever device there is: bf16 on the CPU, bf16 or fp16 on the GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from vdt3d.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(OptimWrapper):
    """An optimizer whose forward passes run under autocast; fp16 gradients are scaled against underflow.

    Args:
        dtype: ``'bfloat16'``, ``'float16'`` (GPU only), or None: bf16 where the device computes in it, else fp16.
        loss_scale: initial scale of fp16 gradients; it adapts from there.

    Raises:
        ValueError: a type the device has no autocast for.
    """

    def __init__(self, dtype: str | None = None, loss_scale: float = 512.0, **kwargs):
        super().__init__(**kwargs)
        self.device_type = get_device().partition(":")[0]
        if dtype is None:
            dtype = "bfloat16" if self.device_type == "cpu" or torch.cuda.is_bf16_supported() else "float16"
        if dtype not in ("bfloat16", "float16") or (dtype, self.device_type) == ("float16", "cpu"):
            raise ValueError(f"dtype='{dtype}' cannot train on {self.device_type}; take 'bfloat16', or fp16 on a GPU")
        self.dtype = getattr(torch, dtype)
        self.scaler = torch.amp.GradScaler(
            self.device_type, init_scale=loss_scale, enabled=self.dtype is torch.float16
        )  # switched off, a scaler hands everything through

    def backward(self, loss: Tensor, **kwargs) -> None:
        self.scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs) -> None:
        if self.clip_grad_kwargs:
            self.scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update()

    def state_dict(self) -> dict:
        return {**super().state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        state_dict = dict(state_dict)
        if scaler := state_dict.pop("scaler", None):  # of bf16 it is empty
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast(self.device_type, self.dtype):
            yield

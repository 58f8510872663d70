"""Mixed precision, synchronised norms, clipping and accumulation on a CPU."""

import pytest
import tiny
import torch
from torch import nn

from vdt3d.engine import AmpOptimWrapper, Runner
from vdt3d.utils.memory_format import to_channels_last

BF16 = dict(type="AmpOptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9))


def test_bf16_trains_and_resumes_exactly(tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    settings = dict(ema=True, epochs=3, optim_wrapper=dict(BF16, accumulative_counts=2, clip_grad=dict(max_norm=0.5)))
    runner = tiny.train(tiny.config(whole, **settings))
    assert runner.optim_wrapper.dtype is torch.bfloat16
    with pytest.raises(SystemExit):
        tiny.train(tiny.config(tmp_path, hooks=(dict(type="SignalHook", at=6, name="SIGTERM"),), **settings))
    tiny.train(tiny.config(tmp_path, **settings), resume=True)
    assert tiny.same_run(whole / "epoch_3.pth", tmp_path / "epoch_3.pth") == []
    plain = tiny.train(tiny.config(tmp_path / "plain", epochs=3, optim_wrapper=dict(BF16, type="OptimWrapper")))
    assert tiny.differences(plain.model.state_dict(), runner.model.state_dict())  # bf16 did something


def test_layers_compute_in_bf16_and_keep_float32_weights():
    layer = nn.Linear(3, 2)
    wrapper = AmpOptimWrapper(optimizer=torch.optim.SGD(layer.parameters(), lr=0.1))
    with wrapper.optim_context(layer):
        assert layer(torch.ones(1, 3)).dtype is torch.bfloat16
    assert layer.weight.dtype is torch.float32


def test_a_run_in_bf16_goes_on_in_fp16_with_a_scale_of_its_own():
    wrapper = AmpOptimWrapper(optimizer=torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))
    state = wrapper.state_dict()  # bf16 has no scale
    wrapper.scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    wrapper.load_state_dict(state)
    assert wrapper.scaler.get_scale() == 512.0


@pytest.mark.parametrize("dtype", ["float16", "float8"])
def test_what_a_cpu_cannot_train_in_is_refused_with_the_remedy(dtype):
    with pytest.raises(ValueError, match=f"dtype='{dtype}' cannot train on cpu; take 'bfloat16'"):
        AmpOptimWrapper(dtype=dtype, optimizer=torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))


def test_clipping_and_accumulation_by_hand():
    weight = nn.Parameter(torch.zeros(1))
    wrapper = AmpOptimWrapper(
        optimizer=torch.optim.SGD([weight], lr=1.0), accumulative_counts=2, clip_grad=dict(max_norm=1.5)
    )
    wrapper.initialize_count_status(nn.Linear(1, 1), 0, 4)
    wrapper.update_params((2 * weight).sum())  # half of this pair's gradient: 2 / 2
    assert weight.item() == 0
    wrapper.update_params((4 * weight).sum())  # 1 + 4 / 2 = 3, clipped to 1.5
    assert weight.item() == pytest.approx(-1.5, abs=1e-5)
    assert weight.grad is None


def test_synchronised_norms_become_plain_ones_and_weights_channels_last(tmp_path):
    runner = Runner.from_cfg(tiny.config(tmp_path, norm="SyncBN", channels_last=True))
    assert isinstance(runner.model.backbone.norm, nn.Module)
    assert not [part for part in runner.model.modules() if isinstance(part, nn.SyncBatchNorm)]
    assert runner.model.backbone.conv.weight.is_contiguous(memory_format=torch.channels_last_3d)
    point = torch.nn.Conv3d(4, 2, 1)
    before = point.weight.clone()
    to_channels_last(point)
    assert point.weight.stride() == (4, 1, 4, 4, 4)  # or DistributedDataParallel warns of its gradients
    assert torch.equal(point.weight, before)
    runner.train()  # batch statistics of one process


def test_one_line_compiles_the_backbone(tmp_path):
    plain = tiny.train(tiny.config(tmp_path / "plain", epochs=1)).model
    compiled = tiny.train(tiny.config(tmp_path / "compiled", epochs=1, compile=dict(backend="aot_eager"))).model
    assert compiled.backbone._compiled_call_impl is not None
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value, rtol=1e-4, atol=1e-6)

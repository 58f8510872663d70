# Of a pre-trained backbone each part learns at 0.7 times the rate of the one behind it.
_base_ = "../debug/resnet3d_scratch_15e_nodules.py"
init = "vdt"
optim_wrapper = dict(constructor="LayerDecayConstructor", paramwise_cfg=dict(layer_decay=0.7))

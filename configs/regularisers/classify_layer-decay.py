# Of a pre-trained backbone each part learns at 0.7 times the rate of the one behind it.
_base_ = "../debug/resnet3d_vdt_15e_nodules.py"
optim_wrapper = dict(constructor="LayerDecayConstructor", paramwise_cfg=dict(layer_decay=0.7))

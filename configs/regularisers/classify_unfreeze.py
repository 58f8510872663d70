# Of a pre-trained backbone a part more learns every two epochs, the last one first.
_base_ = "../debug/resnet3d_vdt_15e_nodules.py"
custom_hooks = [dict(type="UnfreezeHook", every=2)]

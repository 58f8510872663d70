# Of a pre-trained backbone a part more learns every two epochs, the last one first.
_base_ = "../debug/resnet3d_scratch_15e_nodules.py"
init = "vdt"
custom_hooks = [dict(type="UnfreezeHook", every=2)]

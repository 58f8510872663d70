# A pre-trained backbone stays as it is and the head alone learns.
_base_ = "../debug/resnet3d_scratch_15e_nodules.py"
init = "vdt"
custom_hooks = [dict(type="UnfreezeHook", every=None)]

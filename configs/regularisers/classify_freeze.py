# A pre-trained backbone stays as it is and the head alone learns.
_base_ = "../debug/resnet3d_vdt_15e_nodules.py"
custom_hooks = [dict(type="UnfreezeHook", every=None)]

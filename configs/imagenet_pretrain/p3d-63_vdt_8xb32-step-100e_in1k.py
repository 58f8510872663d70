# VDT pre-training of P3D-63 by the plain recipe, for P3D and MP3D in configs/deeplesion; not run here.
# Three slices are too few to pool along depth, and the classifier pools volumes itself.
_base_ = "resnet3d-18_vdt_8xb32-step-100e_in1k.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="P3D",
        depth=63,
        window=dict(slices=3),
        depth_pooling=False,
        conversion="keep3d",
        out_indices=(3,),
    )
)

# Liver and tumour as overlapping regions (sigmoid): the tumour is part of the liver, not a class beside it.
_base_ = "resnet3d-18-unet_vdt_8xb2-poly-3k_lits.py"
labels = dict(
    num_classes=3, label_map=None, regions=dict(liver=(1, 2), tumour=(2,)), loss_decode=dict(type="DiceCELoss3D")
)
model = dict(
    decode_head=labels,
    test_cfg=dict(inferer=dict(post_process=[dict(type="keep_largest", groups=[(1, 2)])])),
)
val_evaluator = test_evaluator = dict(labels=dict(liver=[1, 2], tumour=2))
inits = dict(genesis=dict(model=dict(backbone=dict(num_classes=2), decode_head=labels)))

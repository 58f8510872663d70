# Livers of LiTS slice by slice, tumours counted as liver: a 2D ResNet-34 U-Net that sees 5 neighbouring slices.
_base_ = [
    "../_base_/models/resnet34-unet-windows.py",
    "../_base_/datasets/lits.py",
    "../_base_/schedules/windows_cos_40k.py",
    "../_base_/default_runtime.py",
]
window = dict(slices=5)
train_pipeline = [
    dict(type="RandomPatch3D", size=(None, 320, 320), foreground=0.5),
    *_base_.normalize,
    dict(type="RandomSpatial3D", in_slices=True, rotate_prob=0.3, scale_prob=0.3),
    dict(type="RandomFlip3D", axes="W"),
    dict(type="PackSegmentation"),
]
model = dict(label_map={2: 1})
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        _delete_=True,
        type="SliceWindows",
        dataset=dict(**_base_.dataset, split="train"),
        pipeline=train_pipeline,
    ),
)
val_evaluator = test_evaluator = dict(labels=dict(liver=[1, 2]))
load_from = "torchvision://resnet34"
default_hooks = dict(checkpoint=dict(interval=4000, save_best="dice"), logger=dict(interval=100))

# ACDC in TransSeg's windows: slices of any size and shape become 512 x 512, as published; each case has its own scale.
_base_ = "./transseg.py"
# Published was the window of CT, in which much of an MRI saturates.
scale = [dict(type="Percentile3D"), dict(type="Resize3D", size=(None, 512, 512))]
train_pipeline = [*scale, *_base_.augment]
published_train_pipeline = [scale[1], *_base_.published_zoom, scale[0], *_base_.published_rest]
test_pipeline = [*scale, _base_.pack]
data = dict(type="ACDC", data_root="data/acdc/", split_file="data/splits/acdc.json")
train_dataloader = dict(dataset=dict(dataset=data, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**data, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(**data, pipeline=test_pipeline))

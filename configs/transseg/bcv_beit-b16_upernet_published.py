# TransSeg to the letter: augmentation reaches across slices, norms decay, and the model is chosen on the reported cases.
_base_ = "./bcv_beit-b16_upernet.py"
train_dataloader = dict(dataset=dict(pipeline=_base_.published_train_pipeline))
optim_wrapper = dict(paramwise_cfg=dict(_delete_=True, **_base_.published_groups))

# TransSeg's augmentation, which reaches across slices, and its weight decay, which norms are subject to, to the letter.
_base_ = "./bcv_beit-b16_upernet.py"
train_dataloader = dict(dataset=dict(pipeline=_base_.published_train_pipeline))
optim_wrapper = dict(paramwise_cfg=dict(_delete_=True, **_base_.published_groups))

# TransSeg without depth on cine MRI of the heart (ACDC).
_base_ = "./acdc_beit-b16_upernet.py"
window = dict(slices=1)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
inflate = None

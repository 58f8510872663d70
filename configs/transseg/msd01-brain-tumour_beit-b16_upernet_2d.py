# TransSeg without depth on tumours of the brain in four sequences of MRI (Decathlon, task 1).
_base_ = "./msd01-brain-tumour_beit-b16_upernet.py"
window = dict(slices=1)
model = dict(window=window)
train_dataloader = dict(dataset=dict(window=window))
inflate = None

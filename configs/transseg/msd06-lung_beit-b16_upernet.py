# TransSeg on tumours of the lung in CT (Decathlon, task 6).
_base_ = "./msd03-liver_beit-b16_upernet.py"
model = dict(num_classes=2)
data = dict(task=6, data_root="data/msd/Task06_Lung/", split_file="data/splits/msd06_transseg.json")
train_dataloader = dict(dataset=dict(dataset=data))
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)

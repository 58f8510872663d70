# TransSeg on tumours of the colon in CT (Decathlon, task 10).
_base_ = "./msd03-liver_beit-b16_upernet.py"
model = dict(num_classes=2)
data = dict(task=10, data_root="data/msd/Task10_Colon/", split_file="data/splits/msd10_transseg.json")
train_dataloader = dict(dataset=dict(dataset=data))
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)

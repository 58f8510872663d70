# TransSeg on spleens in CT (Decathlon, task 9).
_base_ = "./msd03-liver_beit-b16_upernet.py"
model = dict(num_classes=2)
data = dict(task=9, data_root="data/msd/Task09_Spleen/", split_file="data/splits/msd09_transseg.json")
train_dataloader = dict(dataset=dict(dataset=data))
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)

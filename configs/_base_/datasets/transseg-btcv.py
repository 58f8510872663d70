# The 13 organs of BTCV in TransSeg's windows, TransUNet's split 18/12; models are chosen on cases out of the 18.
_base_ = "./transseg.py"
data = dict(type="BTCV", data_root="data/btcv/", split_file="data/splits/btcv_transunet.json")
train_dataloader = dict(dataset=dict(dataset=data))
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
# What TransUNet and others report is the mean over these.
subsets = {
    "8_organs": [
        *("aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach"),
    ]
}
val_evaluator = dict(subsets=subsets)
test_evaluator = dict(subsets=subsets)

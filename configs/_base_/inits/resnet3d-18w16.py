# Initialisations of a ResNet3D-18 of width 16. There are no published weights: these are runs of imagenet_pretrain.
picture_weights = "work_dirs/resnet-18w16_1xb64-cos-48e_cifar10/epoch_48.pth"
inits = {
    "scratch": dict(load_from=None),
    "vdt": dict(load_from="work_dirs/resnet3d-18w16_vdt_1xb64-cos-48e_cifar10/epoch_48.pth"),
    "i3d": dict(load_from=picture_weights, inflate="i3d"),
    "centre": dict(load_from=picture_weights, inflate="centre"),
    "acs": dict(load_from=picture_weights, model=dict(backbone=dict(conv="acs"))),
    "2.5d": dict(load_from=picture_weights, model=dict(backbone=dict(conv="2.5d"))),
}
init = "scratch"

# Initialisations of a ResNet3D-18 of the usual width; the first convolution of colours becomes one of one channel.
inits = {
    "scratch": dict(load_from=None),  # Kaiming's draws
    # 3D weights learnt on photographs: the released file, or a checkpoint of configs/imagenet_pretrain.
    "vdt": dict(load_from="zoo:vdt-resnet3d-18"),
    # The 2D ResNet-18 of ImageNet, its kernels repeated along depth,
    "i3d": dict(load_from="torchvision://resnet18", inflate="i3d"),
    # in the middle slice with zeros around them,
    "centre": dict(load_from="torchvision://resnet18", inflate="centre"),
    # in the planes of all three axes,
    "acs": dict(load_from="torchvision://resnet18", model=dict(backbone=dict(conv="acs"))),
    # and flat, so that no convolution reads along depth.
    "2.5d": dict(load_from="torchvision://resnet18", model=dict(backbone=dict(conv="2.5d"))),
    # Videos (Kinetics-700 and Moments in Time); colours are summed.
    "kinetics": dict(load_from="zoo:kinetics-r3d-18-km"),
    # 23 medical data sets; the shortcuts have no parameters.
    "medicalnet": dict(load_from="zoo:medicalnet-resnet-18", model=dict(backbone=dict(shortcut_type="A"))),
}
init = "scratch"

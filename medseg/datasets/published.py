"""Data sets of published comparisons, converted to the one layout by tools/dataset/prepare.py: BTCV, LiTS, ACDC."""

from medseg.datasets.base import VolumeSegmentation
from vdt3d.registry import DATASETS


@DATASETS.register_module()
class BTCV(VolumeSegmentation):
    """Abdominal CT with 13 organs, "Beyond the Cranial Vault" (Landman et al. 2015), also called BCV or Synapse.

    https://www.synapse.org/Synapse:syn3193805, cases img0001 to img0010 and img0021 to img0040; ``split_file`` is
    data/splits/btcv_unetr.json or btcv_transunet.json.
    """

    METAINFO = {
        "classes": (
            *("background", "spleen", "right kidney", "left kidney", "gallbladder", "oesophagus", "liver", "stomach"),
            *("aorta", "inferior vena cava", "portal and splenic veins", "pancreas"),
            *("right adrenal gland", "left adrenal gland"),
        )
    }


@DATASETS.register_module()
class LiTS(VolumeSegmentation):
    """CT of livers with tumours, Liver Tumor Segmentation benchmark (Bilic et al. 2023).

    https://competitions.codalab.org/competitions/17094, cases volume-0 to volume-130; ``split_file`` is
    data/splits/lits.json. For the liver alone, tumour included, merge the labels in the model: ``label_map={2: 1}``.
    """

    METAINFO = {"classes": ("background", "liver", "tumour")}


@DATASETS.register_module()
class ACDC(VolumeSegmentation):
    """Cine MRI of the heart at end diastole and end systole, two cases a patient (Bernard et al. 2018).

    https://www.creatis.insa-lyon.fr/Challenge/acdc, cases patient001_frame01 and so on; ``split_file`` is
    data/splits/acdc.json.
    """

    METAINFO = {"classes": ("background", "right ventricle", "myocardium", "left ventricle")}
    group = r"(patient\d+)_"

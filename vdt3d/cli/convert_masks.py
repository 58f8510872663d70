"""Convert masks of slices between four forms: csv of run lengths, NIfTI, label PNG, npy.

A csv is in the layout of train.csv or sample_submission.csv of the UW-Madison GI Tract challenge. A folder holds
case123_day20.nii.gz, with the scan's spacing, or case123_day20/slice_0001.png, or case123_day20/slice_0001.npy. NIfTI
and PNG have labels that are sums of bits: 1 for the first organ, 2 for the second, 4 for the third. An npy is (H, W,
organs), of 0 and 1.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

EXAMPLE = """vdt3d convert-masks train.csv masks --to nifti --scans data/gi_tract
vdt3d convert-masks masks submission.csv"""
FORMS = ("nifti", "png", "npy")  # of folders


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("src", type=Path, help="csv, or folder of masks, whose form is recognised")
    parser.add_argument("dst", type=Path, help="csv or folder to make")
    parser.add_argument("--to", choices=FORMS, help="what the folder is to hold; a csv goes by its name")
    parser.add_argument(
        "--scans",
        type=Path,
        metavar="ROOT",
        help="folder of train/case123/case123_day20/scans: tells the sizes that masks of a csv, and the spacings that "
        "those of PNG and npy have",
    )
    parser.add_argument(
        "--organs",
        nargs="+",
        default=["large_bowel", "small_bowel", "stomach"],
        metavar="NAME",
        help="in the order of their bits (default: large_bowel small_bowel stomach)",
    )
    parser.add_argument(
        "--template", type=Path, metavar="CSV", help="sample_submission.csv: write its rows, in its order and layout"
    )


def run(args: Namespace) -> None:
    from rich.console import Console
    from rich.progress import track

    from medseg.io import read_masks
    from medseg.io.masks import find_masks, find_scans, write_mask_folder, write_mask_table

    check_target(args)
    template = None if args.template is None else read_masks(args.template, args.organs)
    form, cases = find_masks(args.src, args.organs, None if args.scans is None else find_scans(args.scans))
    if args.to == "nifti" and form != "nifti" and args.scans is None:
        raise ValueError(f"{args.src}: {form} does not tell the spacing that NIfTI has; name the scans with --scans")
    console = Console(highlight=False)
    slices = []

    def label_maps() -> Iterator[tuple]:
        bar = track(cases.items(), "converting", console=console, disable=not console.is_terminal, transient=True)
        for case, read in bar:
            label_map = read()
            slices.append(label_map.shape[0])
            yield case, label_map

    if args.to is None:
        write_mask_table(args.dst, label_maps(), args.organs, template)
    else:
        write_mask_folder(args.dst, label_maps(), args.organs, args.to)
    console.print(f"{len(slices)} case-days, {sum(slices)} slices: {args.dst}", soft_wrap=True, markup=False)


def check_target(args: Namespace) -> None:
    """Refuse what cannot be written.

    Raises:
        ValueError: no form is asked for, or two are, or the target is there already.
    """
    is_csv = args.dst.suffix.lower() == ".csv"
    if is_csv == (args.to is not None):
        raise ValueError(f"{args.dst}: give the name of a .csv, or a folder and --to {', '.join(FORMS)}")
    if args.template is not None and not is_csv:
        raise ValueError(f"--template is for a csv, not for {args.to}; leave it out")
    if args.dst.exists():
        raise ValueError(f"{args.dst} is there already; choose another name, or remove it first")

"""``python -m vdt3d``: the ``vdt3d`` command where it is not on the path."""

from vdt3d.cli import main

if __name__ == "__main__":
    main()

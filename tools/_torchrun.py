"""torchrun without its own traceback: the processes have said what went wrong, and their exit code is passed on."""

import os
import sys
from tempfile import TemporaryDirectory

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

if __name__ == "__main__":
    try:
        with TemporaryDirectory(prefix="vdt3d-") as folder:
            os.environ["VDT3D_MESSAGES"] = folder  # so that an error that all processes share is printed once
            run(parse_args(sys.argv[1:]))
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        sys.exit(first.exitcode if first.exitcode > 0 else 128 - first.exitcode)  # of a signal, as shells tell it
    except SignalException as stop:
        sys.exit(128 + stop.sigval)

"""Runs a module as a process of `serve`: `python -m crossgrade.serve._process MODULE ARGUMENT…`.

A tenth of a start is spent looking for garbage among what is being imported, where there is none.
"""

import gc
import runpy
import sys

if __name__ == "__main__":
    gc.set_threshold(50_000)
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

"""Start the emulator with the additions of the local plane.

Run with MiniStack's interpreter as ``python -P launch.py``: ``-P`` keeps this folder off
``sys.path``, so that its module names cannot hide others. The package is loaded by its path, under
a name of its own.
"""

import importlib
import importlib.util
import pathlib
import sys

PACKAGE = "media_platform_emulator"


def main() -> None:
    """Load the package that this file belongs to and run its program."""
    folder = pathlib.Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise RuntimeError(f"cannot load the emulator's additions from {folder}")
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    importlib.import_module(f"{PACKAGE}.program").main()


if __name__ == "__main__":
    main()

"""What the program ``mediactl`` starts; it imports nothing first, so that Ctrl-C finds it."""

import sys


def main() -> None:
    """Run ``mediactl``, and end quietly at Ctrl-C, also while it is still being imported."""
    try:
        from mediactl.main import main as run  # noqa: PLC0415 - takes a tenth of a second

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()

"""Says in one line each what `make setup` needs and this machine lacks. Runs on any Python 3."""

import shutil
import subprocess
import sys

problems = []
if sys.version_info < (3, 11):
    problems.append(
        "Python %d.%d is too old: install Python 3.11 or newer, or name one: make PYTHON=python3.12"
        % sys.version_info[:2]
    )
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    problems.append("this Python cannot make virtual environments: install its venv package")
if shutil.which("npm") is None or shutil.which("node") is None:
    problems.append("Node.js is missing: install Node 20 or newer, with npm (https://nodejs.org)")
else:
    version = subprocess.check_output(["node", "--version"]).decode().strip()
    major = int(version.lstrip("v").split(".")[0])
    if major < 20:
        problems.append("Node %s is too old: install Node 22 or newer" % version)
    elif major < 22:
        sys.stderr.write("note: Node %s works, but gets no more fixes; 22 and 24 do\n" % version)

for problem in problems:
    sys.stderr.write("error: %s\n" % problem)
sys.exit(bool(problems))

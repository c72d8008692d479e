"""Where the process runner writes its address, known to it and to the plane."""

RUNNER_FILE = "runner.json"

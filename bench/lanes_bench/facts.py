"""What numbers depend on: the machine and the versions."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

_VERSIONS = """
import json, platform
from importlib.metadata import version, PackageNotFoundError
found = {"python": platform.python_version()}
for name in ("pellucid", "torch", "keras", "tensorflow", "tensorflow-cpu", "jax", "numpy"):
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def machine(threads: int) -> dict[str, Any]:
    """Processor, cores, threads, system, date."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        facts = dict([part.strip() for part in line.split(":", 1)] for line in lines if ":" in line)
        family = ", ".join(f"{key} {facts[key]}" for key in ("cpu family", "model") if key in facts)
        model = f"{facts.get('model name', model)} ({family})"
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def load() -> float | None:
    """Processes that wanted a core during the last minute, where the system says."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def versions(python: Path | str) -> dict[str, str]:
    """Of what an interpreter has."""
    done = subprocess.run([str(python), "-c", _VERSIONS], capture_output=True, text=True, check=False)
    found: dict[str, str] = json.loads(done.stdout) if not done.returncode else {}
    return found

"""The wall clock of one server process, which a test sets while it runs."""

import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "faults/clock.c"


class Clock:
    """The server's wall clock. Its monotonic clock is the host's."""

    def __init__(self, folder: Path) -> None:
        library, self.file = folder / "clock.so", folder / "clock-offset"
        built = subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, SOURCE],
                               capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
        self.set(0)
        self.environment = {"LD_PRELOAD": str(library), "ROOKERY_CLOCK_OFFSET": str(self.file)}

    def set(self, offset: int) -> None:
        """So many seconds off from now on."""
        # In place: the server has the file mapped.
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("=q", offset))

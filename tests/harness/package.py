"""The Debian package on this host: made, installed, removed. As root."""

import configparser
import ctypes
import grp
import os
import pwd
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from .server import die_with_parent

ROOT = Path(__file__).parents[2]
XTASK = os.environ.get("ROOKERY_XTASK", str(ROOT / "target/release/xtask"))

UNIT = Path("/usr/lib/systemd/system/rookery.service")
CONFIG = Path("/etc/rookery/rookery.toml")
DATA = Path("/var/lib/rookery")
BINARY = Path("/usr/bin/rookery")

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS = 0x20000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000


def run(*command: str | Path) -> subprocess.CompletedProcess:
    """Runs it to its end, without a question to anybody."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=600,
                          stdin=subprocess.DEVNULL, env=environment)


def done(*command: str | Path) -> str:
    """The same; it must succeed. What it said on stdout."""
    ended = run(*command)
    assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
    return ended.stdout


def make(folder: Path, version: str) -> Path:
    """A package of the server that is built already."""
    done(XTASK, "package", "--profile", "release", "--no-build", "--deb-version", version)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    made, = (target / "package").glob("*.deb")
    return Path(shutil.move(made, folder))


def is_known() -> bool:
    """Whether dpkg knows of it, also where only its configuration is left."""
    return run("dpkg-query", "--show", "rookery").returncode == 0


def forget() -> None:
    """Takes away all that it, its user and its server leave."""
    run("dpkg", "--purge", "rookery")
    shutil.rmtree(DATA, ignore_errors=True)
    run("userdel", "rookery")


def owner(path: Path) -> tuple[str, str, str]:
    """User, group, and mode."""
    status = path.stat()
    return pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name, f"{status.st_mode & 0o7777:o}"


def unit() -> configparser.SectionProxy:
    """The [Service] section of the installed unit."""
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str
    parser.read(UNIT)
    return parser["Service"]


def _must(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def read_only_but(*writable: Path) -> None:
    """In the child: ProtectSystem=strict, near enough: of the root's own file system nothing else can be written."""
    _must(_LIBC.unshare(_CLONE_NEWNS))
    _must(_LIBC.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
    for path in (str(path).encode() for path in writable):
        _must(_LIBC.mount(path, path, None, ctypes.c_ulong(_MS_BIND), None))
    _must(_LIBC.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REMOUNT | _MS_BIND | _MS_RDONLY), None))


def limits(service: configparser.SectionProxy) -> None:
    """In the child: what the unit says of them, or, where this host's root may not raise them, what there is."""
    for kind, setting in ((resource.RLIMIT_NOFILE, "LimitNOFILE"), (resource.RLIMIT_MEMLOCK, "LimitMEMLOCK")):
        wanted = resource.RLIM_INFINITY if service[setting] == "infinity" else int(service[setting])
        try:
            resource.setrlimit(kind, (wanted, wanted))
        except ValueError:
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (hard, hard))


def as_service(command: list[str], environment: dict[str, str], prepare: Callable[[], None], log: Path,
               capability: str = "") -> subprocess.Popen:
    """Starts a command as the user of the service, in an environment of its own, with one capability or none."""
    become = ["setpriv", "--reuid=rookery", "--regid=rookery", "--init-groups", "--no-new-privs",
              f"--inh-caps=-all{capability and f',+{capability}'}",
              f"--ambient-caps=-all{capability and f',+{capability}'}",
              f"--bounding-set=-all{capability and f',+{capability}'}"]

    def child() -> None:
        die_with_parent()
        prepare()

    with log.open("wb") as output:
        return subprocess.Popen([*become, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/",
                                preexec_fn=child, env={"PATH": "/usr/bin:/bin", **environment})

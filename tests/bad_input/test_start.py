"""Starts that the host or the files refuse: a sentence each, with the file, and none of the program's insides."""

import os
import re
import resource
import shutil
import subprocess

import pytest

from harness.server import BINARY, Server

# What an error looks like when its Rust is printed in the place of a sentence.
RUST = re.compile(r"\bOs \{|code: \d|kind: [A-Z]|[A-Z][a-zA-Z]*Error\b|\b[A-Z][a-z]+\([A-Z]|panicked|RUST_BACKTRACE")

CONFIG = "[router]\nlog_segment_bytes = 4194304\nspace_reserve_bytes = 0\n"

# For whoever starts it outside of a `Server`.
ENVIRONMENT = os.environ | {"ROOKERY_ROUTER_LOG_SEGMENT_BYTES": "4194304", "ROOKERY_ROUTER_SPACE_RESERVE_BYTES": "0"}


def starts(data, **options) -> str | None:
    """Starts a server on a data directory: nothing where it serves (and is stopped), or its refusal in words."""
    command = [options.pop("binary", BINARY), "serve", "--data", str(data), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
                          **options) as process:
        ready = any(line.strip() == "ready" for line in process.stdout)
        if ready:
            process.terminate()
        said = process.stderr.read()
    assert "panicked" not in said, said
    if ready:
        return None
    assert process.returncode in (1, 2), (process.returncode, said)
    # From the verdict on: the engine lists what it lacks in lines of its own.
    refusal = said[re.search("^error: ", said, re.MULTILINE).start():]
    assert not RUST.search(refusal), said
    return refusal


def refused(data, **options) -> str:
    """The refusal of a start that must be one."""
    said = starts(data, **options)
    assert said and str(data) in said, said
    return said


@pytest.fixture
def small_disk(folder):
    """A file system of the size that a test chooses. (The store's journal has 64 MiB from the start.)"""
    path = folder / "small"
    path.mkdir(exist_ok=True)
    mounted = []

    def mount(size: str):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "rookery-test", str(path)], check=True)
        mounted.append(path)
        return path

    yield mount
    for each in mounted:
        subprocess.run(["umount", "--lazy", str(each)], check=True)


@pytest.fixture(scope="module")
def used(folder):
    """A data directory that a server has used and left in order."""
    server = Server(folder / "used", config=CONFIG).start()
    assert server.stop() == 0
    return server.data


@pytest.fixture
def data(used, folder):
    """A copy of it."""
    copy = folder / "copy"
    shutil.copytree(used, copy)
    yield copy
    shutil.rmtree(copy, ignore_errors=True)


@pytest.mark.parametrize("kib", [4, 8, 16, 64, 1024, 4096])
def test_a_first_start_without_room(small_disk, kib):
    said = refused(small_disk(f"{kib}k") / "data")
    assert "No space left on device" in said, said


def test_a_start_without_room_for_the_store(small_disk, used, cases):
    """The log is there and the store is to be made anew: its journal, its tables and their lists want room."""
    path = small_disk("256m")
    shutil.copytree(used, path / "data")
    refusals = set()
    for left in (0, 4096, 8192, 16384, 32768, 65536, 262144):
        shutil.rmtree(path / "data/store", ignore_errors=True)
        with (path / "ballast").open("wb") as ballast:
            status = os.statvfs(path)
            ballast.write(bytes(status.f_bavail * status.f_frsize - left))
        said = starts(path / "data")
        assert said is None or "No space left on device" in said, said
        refusals.add(said)
        (path / "ballast").unlink()
    refusals.discard(None)
    cases.note(f"no room at a start: {len(refusals)} different refusals")
    assert any("store" in said for said in refusals), refusals


def test_a_disk_that_is_read_only(small_disk, used):
    path = small_disk("256m")
    shutil.copytree(used, path / "data")
    subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)
    assert "Read-only file system" in refused(path / "data")


@pytest.mark.parametrize("part", ["log", "store", "auth", "tls", "lock"])
def test_files_of_another_user(data, folder, part):
    binary = folder / "rookery"
    shutil.copy(BINARY, binary)
    folder.chmod(0o755)
    for path in (data, *data.rglob("*")):
        os.chown(path, 65534, 65534)
    for path in (data / part, *(data / part).rglob("*")):
        os.chown(path, 0, 0)
        path.chmod(0o700 if path.is_dir() else 0o600)
    said = refused(data, binary=binary, user=65534, group=65534, extra_groups=[])
    assert "Permission denied" in said, said


@pytest.mark.parametrize("part", ["log", "store", "auth", "tls"])
def test_a_file_where_a_directory_should_be(data, part):
    shutil.rmtree(data / part)
    (data / part).write_text("not a directory", encoding="utf-8")
    said = refused(data)
    assert "Not a directory" in said or "File exists" in said, said


def test_too_few_open_files(data, cases):
    """Every place where the next file is one too many, up to a start that finds enough."""
    refusals = set()
    for limit in range(8, 80, 4):
        said = starts(data, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
        if said is None:
            break
        assert "open files" in said, said
        refusals.add(said)
    cases.note(f"too few open files: {len(refusals)} different refusals")
    assert refusals


def test_a_damaged_store(data):
    """Each of its files cut, emptied and overwritten: it starts, or it refuses in words."""
    files = [path for path in (data / "store").rglob("*") if path.is_file() and path.stat().st_size]
    assert files
    refusals = 0
    for file in files:
        good = file.read_bytes()
        for bad in (b"", good[:len(good) // 2], b"\xa5" * len(good)):
            file.write_bytes(bad)
            said = starts(data)
            if said:
                assert str(data) in said, (file, said)
                refusals += 1
            shutil.rmtree(data)
            shutil.copytree(data.parent / "used", data)
    assert refusals

"""100,000 TLS connections, logged in as 100,000 users, messages flowing: the memory that each costs.

`rookery flock` holds the client ends on this machine too and measures; here its report is held
against the budget. The kernel parameters were set by `cargo xtask test` from `sysctl/`.
"""

import json

from harness.server import rookery

CONNECTIONS = 100_000

# Bytes per connection: what is reached, and a margin for the allocator.
USER_TLS, USER_PLAIN, KERNEL_PAIR = 280, 170, 8_300

REPORTED = {"established", "failed", "connect_seconds", "rate_asked", "rate_done", "rtt_p50_us", "rtt_p99_us",
            "rtt_max_us", "server_user_bytes_per_connection", "kernel_bytes_per_pair"}
PARTS = {"user_bytes_per_connection_after_traffic", "user_bytes_per_connection_given_back",
         "kernel_bytes_per_pair_after_traffic",
         "client_user_bytes_per_connection", "kernel_slab_pages_bytes_per_pair"}

# Everything else, heartbeats too, is as it ships.
CONFIG = f"""
[limits]
connections_max = {CONNECTIONS + 5_000}
"""

# Messages per second, and for how long. How fast they were is told, not judged: the host has other work.
RATE, SECONDS = 1_000, 20

# Once around the longest of the router's queues, so that what they take is there before the connections.
WARM_UP = 80_000


def flock(server, folder, url: str, *options: str) -> dict:
    """Runs the load generator; its report."""
    report = folder / "flock.json"
    ran = rookery("flock", url, "--connections", str(CONNECTIONS), "--rate", str(RATE),
                  "--duration", f"{SECONDS}s", "--json", str(report),
                  "--warm-up-messages", str(WARM_UP), "--data", str(server.data), *options, timeout=600)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told.keys() >= REPORTED, sorted(told)
    return told


def show(cases, label: str, told: dict) -> None:
    cases.note(f"{label}: " + ", ".join(f"{name} {told[name]}" for name in sorted(REPORTED | PARTS)))


def judge(cases, told: dict, user_bytes: int) -> None:
    """One case for each gate."""
    gates = {
        f"{CONNECTIONS} established": told["established"] == CONNECTIONS,
        "none failed": told["failed"] == 0,
        "all messages arrived": told["delivered"] == SECONDS * RATE,
        f"user space at most {user_bytes} B": told["server_user_bytes_per_connection"] <= user_bytes,
        # What has come with the messages and goes with the connections is theirs; the store's own is not.
        f"user space that goes with the connections at most {user_bytes} B":
            told["user_bytes_per_connection_given_back"] <= user_bytes,
        f"kernel at most {KERNEL_PAIR} B for the pair": told["kernel_bytes_per_pair"] <= KERNEL_PAIR,
        f"kernel at most {KERNEL_PAIR} B after traffic": told["kernel_bytes_per_pair_after_traffic"] <= KERNEL_PAIR,
    }
    for gate, held in gates.items():
        if held:
            cases.passes()
        else:
            cases.fails(f"{gate}: {told}")
    cases.settle()


def test_tls(servers, folder, cases):
    server = servers.start(config=CONFIG, address="0.0.0.0")
    told = flock(server, folder, f"wss://127.0.0.1:{server.tls_port}")
    show(cases, "TLS", told)
    judge(cases, told, USER_TLS)
    server.wait_connections(0)


def test_plain(servers, folder, cases):
    server = servers.start(config=CONFIG, address="0.0.0.0")
    told = flock(server, folder, f"ws://127.0.0.1:{server.plain_port}")
    show(cases, "plain", told)
    judge(cases, told, USER_PLAIN)
    server.wait_connections(0)

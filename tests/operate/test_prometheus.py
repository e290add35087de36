"""Prometheus itself scrapes a server, and whatever the dashboard draws and the alerts watch is there."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from harness.chatter import Chatter
from harness.server import Port, die_with_parent

PACKAGING = Path(__file__).parents[2] / "packaging"
KEY = b"a key of thirty-two bytes, or more"

# A hang, not a slow machine, should meet it.
PATIENCE_SECONDS = 120


class Prometheus:
    """A running Prometheus of Debian that scrapes one server, by the configuration that we ship."""

    def __init__(self, folder: Path, port: int, token: Path) -> None:
        self.port = Port()
        scrape = (PACKAGING / "prometheus/scrape.yml").read_text(encoding="utf-8")
        scrape = scrape.replace("127.0.0.1:9180", f"127.0.0.1:{port}").replace("/var/lib/rookery/admin.token", str(token))
        config = folder / "prometheus.yml"
        alerts = PACKAGING / "prometheus/alerts.yml"
        config.write_text(f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{alerts}]\n"
                          f"scrape_configs:\n{scrape}", encoding="utf-8")
        self.log = folder / "prometheus.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [shutil.which("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
                 f"--web.listen-address=127.0.0.1:{self.port.number}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)

    def ask(self, path: str, **parameters: str):
        url = f"http://127.0.0.1:{self.port.number}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list:
        return self.ask("query", query=expression)["result"]

    def wait_until(self, check, what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                if check():
                    return
            except OSError:
                pass
            story = self.log.read_text(encoding="utf-8", errors="replace")[-3_000:]
            assert time.monotonic() < deadline, f"never: {what}\n{story}"
            assert self.process.poll() is None, story
            time.sleep(0.5)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(60)


@pytest.fixture(scope="module")
def prometheus(servers, folder):
    port = Port()
    server = servers.start(key=KEY, config=f'[admin]\nlisten = ["127.0.0.1:{port.number}"]\n')
    started = Prometheus(folder, port.number, server.data / "admin.token")
    try:
        with Chatter(server) as chatter:
            started.wait_until(lambda: started.query('up{job="rookery"} == 1'), "scraped")
            # Rates are of several scrapes.
            started.wait_until(lambda: started.query("rate(rookery_router_acked_total[10s]) > 0"), "rates")
            chatter.check()
            yield started
    finally:
        started.end()


def dashboard() -> list[tuple[str, str]]:
    """Each panel's title with an expression of it."""
    panels = json.loads((PACKAGING / "grafana/rookery.json").read_text(encoding="utf-8"))["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", [])]


def test_it_scrapes_without_a_complaint(prometheus):
    targets = prometheus.ask("targets")["activeTargets"]
    assert [(it["health"], it["lastError"]) for it in targets] == [("up", "")], targets
    assert prometheus.query("scrape_samples_scraped")[0]["value"][1] != "0"


@pytest.mark.parametrize(("title", "expression"), dashboard())
def test_what_the_dashboard_draws_is_there(prometheus, title, expression):
    for variable, value in (("$job", ".*"), ("$instance", ".*"), ("$__rate_interval", "30s")):
        expression = expression.replace(variable, value)
    # What is only drawn where it is not 0 must be there all the same.
    expression = re.sub(r" > 0$", "", expression)
    assert prometheus.query(expression), f"{title}: {expression}"


def test_the_alerts_are_rules_of_series_that_are_there(prometheus):
    checked = subprocess.run(["promtool", "check", "rules", str(PACKAGING / "prometheus/alerts.yml")],
                             capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    groups = prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) >= 10
    for rule in rules:
        assert rule["health"] in ("ok", "unknown"), rule
        for series in re.findall(r"(?:rookery_\w+|up)(?:\{[^}]*\})?", rule["query"]):
            assert prometheus.query(series), f"{rule['name']}: {series}"
    assert not [rule["name"] for rule in rules if rule["state"] == "firing"]

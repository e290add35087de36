"""The cases that hold for every client, docs/protocol-timeline.json, against `Timeline`."""

import json
import pathlib
import unittest

from rookery_timeline import Timeline

PATH = pathlib.Path(__file__).resolve().parents[2] / "docs" / "protocol-timeline.json"


class Client:
    """What a client does around a timeline: it follows from the first ConversationOpened on, and asks while
    it is connected."""

    def __init__(self):
        # Whole milliseconds, so that the sums are exact.
        self.now_ms = 0
        self.timeline = None
        self.open = False
        self.request_id = 0

    def step(self, event, value):
        asks, shows = [], []
        for seq in range(value[0], value[1] + 1) if event == "Deliver" else [None]:
            shows += self.take(event, seq if seq is not None else value)
            if self.open:
                have_seq = self.timeline.poll_sync(self.now_ms / 1000, self.request_id + 1)
                if have_seq is not None:
                    self.request_id += 1
                    asks.append(have_seq)
        return asks, shows

    def take(self, event, value):
        timeline = self.timeline
        if event == "ConversationOpened":
            self.open = True
            if timeline is None:
                self.timeline = Timeline(value, unsure=True)
            else:
                timeline.on_head(value)
        elif event == "wait_ms":
            self.now_ms += value
            due = timeline.poll_timeout()
            assert due is None or due * 1000 >= self.now_ms, "it wants to be woken before the time"
        elif event == "lost":
            self.open = False
            timeline.on_lost()
        elif event == "Deliver" and timeline is not None:
            return [message["seq"] for message in timeline.on_deliver({"seq": value})]
        elif event == "Lagged":
            timeline.on_lagged()
        elif event == "SyncEnd":
            end = {"request_id": self.request_id, "last_seq": value[0], "head_seq": value[1]}
            timeline.on_sync_end(end, self.now_ms / 1000)
        elif event == "Error":
            assert timeline.is_asked(self.request_id)
            timeline.on_refused(value / 1000, self.now_ms / 1000)
        return []


class Cases(unittest.TestCase):
    def test_it_stays_complete_as_the_document_says(self):
        cases = json.loads(PATH.read_text())["cases"]
        self.assertGreaterEqual(len(cases), 20)
        for case in cases:
            client = Client()
            for index, step in enumerate(case["steps"]):
                with self.subTest(case["name"], step=index, **step):
                    asks = [step["asks"]] if "asks" in step else []
                    shows = step.get("shows", [1, 0])
                    (event,) = step.keys() - {"asks", "shows"}
                    expected = (asks, list(range(shows[0], shows[1] + 1)))
                    self.assertEqual(client.step(event, step[event]), expected)


if __name__ == "__main__":
    unittest.main()

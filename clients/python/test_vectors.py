"""The golden vectors, read both ways: `python3 -m unittest test_vectors` in this folder."""

import json
import pathlib
import unittest

from rookery_protocol import KINDS, FrameError, decode, encode

PATH = pathlib.Path(__file__).resolve().parents[2] / "docs" / "protocol-vectors.json"


def from_json_bytes(value):
    if isinstance(value, str):
        return bytes.fromhex(value)
    parts = (
        bytes.fromhex(part) if isinstance(part, str) else bytes.fromhex(part[0]) * part[1]
        for part in value
    )
    return b"".join(parts)


def from_json(struct_type, fields):
    """Typed fields of the file's strings."""
    typed = {}
    for name, type_ in struct_type:
        value = fields[name]
        if type_ in ("u8[16]", "u8[36]"):
            typed[name] = from_json_bytes(value)
        elif isinstance(type_, str):
            typed[name] = int(value)
        elif type_[1] == "u8":
            typed[name] = from_json_bytes(value)
        elif isinstance(type_[1], str):
            typed[name] = [int(element) for element in value]
        else:
            typed[name] = [from_json(type_[1], element) for element in value]
    return typed


class Vectors(unittest.TestCase):
    def setUp(self):
        self.file = json.loads(PATH.read_text())

    def test_accepted(self):
        kinds = set()
        for vector in self.file["accepted"]:
            with self.subTest(vector["name"]):
                kind, frame = vector["kind"], from_json_bytes(vector["frame"])
                fields = from_json(KINDS[kind][1], vector["fields"])
                self.assertEqual(decode(frame), (kind, fields))
                self.assertEqual(encode(kind, fields), frame)
                kinds.add(kind)
        self.assertEqual(kinds, set(KINDS))
        self.assertEqual(len(self.file["accepted"]), 57)

    def test_refused(self):
        for vector in self.file["refused"]:
            with self.subTest(vector["name"]):
                with self.assertRaises(FrameError) as caught:
                    decode(from_json_bytes(vector["frame"]))
                self.assertEqual(caught.exception.name, vector["error"])
        self.assertEqual(len(self.file["refused"]), 28)


if __name__ == "__main__":
    unittest.main()

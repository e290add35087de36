//! `docs/protocol-vectors.json`, read both ways. The Python client's tests read the same file.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod vectors;

use rookery_wire::proto::{FrameError, Kind};
use serde_json::Value;
use vectors::json::{bytes_from_json, decode_json, encode_json};

fn file() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol-vectors.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_file_is_what_the_code_writes() {
    assert!(
        file() == vectors::document(),
        "run the example and look at the difference"
    );
}

#[test]
fn each_accepted_frame_is_read_and_written() {
    let file = file();
    let mut kinds = Vec::new();
    for vector in file["accepted"].as_array().unwrap() {
        let name = vector["name"].as_str().unwrap();
        let frame = bytes_from_json(&vector["frame"]);
        let (kind, fields) = decode_json(&frame).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(kind.name(), vector["kind"], "{name}");
        assert!(fields == vector["fields"], "{name}: {fields}");
        assert!(encode_json(kind, &fields) == frame, "{name}");
        kinds.push(kind);
    }
    assert_eq!(kinds.len(), 57);
    assert!(
        Kind::ALL.iter().all(|kind| kinds.contains(kind)),
        "a kind has no vector"
    );
}

#[test]
fn each_refused_frame_has_its_error() {
    let file = file();
    let refused = file["refused"].as_array().unwrap();
    for vector in refused {
        let name = vector["name"].as_str().unwrap();
        let error = decode_json(&bytes_from_json(&vector["frame"])).expect_err(name);
        let variant = match error {
            FrameError::Empty => "Empty",
            FrameError::Version { .. } => "Version",
            FrameError::Kind { .. } => "Kind",
            FrameError::Invalid { .. } => "Invalid",
            FrameError::TooLong { .. } => "TooLong",
        };
        assert_eq!(variant, vector["error"], "{name}: {error}");
    }
    assert_eq!(refused.len(), 28);
}

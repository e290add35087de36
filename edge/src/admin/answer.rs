//! What a request is answered with.

use std::convert::Infallible;

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::CONTENT_TYPE;
use hyper::{Response, StatusCode};
use serde::Serialize;

/// An answer's body.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Why a request has no better answer: a status, and a sentence for the operator.
pub(super) struct Refused(pub(super) StatusCode, pub(super) String);

/// A shard gave no answer.
pub(super) fn busy() -> Refused {
    let why = "a shard does not answer: try again, and look at /healthz\n";
    Refused(StatusCode::SERVICE_UNAVAILABLE, why.into())
}

pub(super) fn bad(why: String) -> Refused {
    Refused(StatusCode::BAD_REQUEST, format!("{why}\n"))
}

pub(super) fn text(status: StatusCode, text: String) -> Response<Body> {
    full(status, "text/plain; charset=utf-8", text.into())
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    full(status, "application/json", text.into())
}

/// One JSON object a line, as they come.
pub(super) fn lines(lines: impl stream::Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    use futures_util::StreamExt as _;
    let frames = lines.map(|line| Ok::<_, Infallible>(Frame::data(line)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let kind = hyper::header::HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

pub(super) fn full(status: StatusCode, kind: &'static str, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes).boxed_unsync());
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

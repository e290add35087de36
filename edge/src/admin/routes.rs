//! From a request to its answer.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{Semaphore, oneshot};

use super::answer::{Body, Refused, bad, full, json, text};
use super::deadline::Deadline;
use super::health::{self, Health};
use super::query::Query;
use super::token::Token;
use super::view::{Command, Outcome, View};
use super::{connections, metrics, revoke, status, trace};
use crate::pulse::Pulse;
use crate::serve::DrainError;

/// So long is a metrics page given again: a thousand scrapes at once cost one.
const PAGE_LASTS: Duration = Duration::from_millis(250);

/// By which way a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The socket, which only the server's user and root can open.
    Socket,
    /// Loopback, where anybody on the host can connect.
    Loopback,
}

/// See the module.
pub(super) struct Routes {
    view: Arc<View>,
    token: Option<Token>,
    pulse: Mutex<Pulse>,
    page: Mutex<Option<(Instant, Bytes)>>,
    traces: Arc<Semaphore>,
}

impl Routes {
    pub(super) fn new(view: Arc<View>, token: Option<Token>) -> Self {
        Self {
            view,
            token,
            pulse: Mutex::default(),
            page: Mutex::new(None),
            traces: Arc::new(Semaphore::new(trace::TRACES_MAX)),
        }
    }

    /// Looks at the shards, also where nobody asks.
    pub(super) fn look(&self) {
        self.health();
    }

    fn health(&self) -> Health {
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        health::judge(&self.view, &mut pulse, Instant::now())
    }

    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        way: Way,
        until: &Deadline,
    ) -> Result<Response<Body>, Infallible> {
        let answered = match self.may(&request, way) {
            Ok(()) => self.route(&request, until).await,
            Err(refused) => Err(refused),
        };
        Ok(answered.unwrap_or_else(|Refused(status, why)| text(status, why)))
    }

    /// Whether the request may be answered.
    fn may(&self, request: &Request<Incoming>, way: Way) -> Result<(), Refused> {
        if request.headers().contains_key(ORIGIN) {
            let why = "requests of web pages are not answered\n";
            return Err(Refused(StatusCode::FORBIDDEN, why.into()));
        }
        let is_open = matches!(request.uri().path(), "/healthz" | "/readyz");
        if way == Way::Socket || is_open {
            return Ok(());
        }
        let given = request.headers().get(AUTHORIZATION);
        let is_proven = self
            .token
            .as_ref()
            .is_some_and(|token| given.is_some_and(|given| token.is_proven_by(given.as_bytes())));
        if is_proven {
            return Ok(());
        }
        let why = "the header `Authorization: Bearer TOKEN` is missing or wrong: the token is in the file that \
                   admin.token_file names, or in admin.token in the data directory\n";
        Err(Refused(StatusCode::UNAUTHORIZED, why.into()))
    }

    async fn route(
        &self,
        request: &Request<Incoming>,
        until: &Deadline,
    ) -> Result<Response<Body>, Refused> {
        let query = Query::of(request.uri().query().unwrap_or_default());
        let path: Vec<&str> = request.uri().path().split('/').skip(1).collect();
        let (get, post) = (
            request.method() == Method::GET,
            request.method() == Method::POST,
        );
        match path[..] {
            ["healthz"] if get => {
                let health = self.health();
                Ok(judged(health.is_live(), &health))
            }
            ["readyz"] if get => {
                let health = self.health();
                Ok(judged(health.is_ready(), &health))
            }
            ["metrics"] if get => self.metrics(),
            ["status"] if get => {
                let health = self.health();
                Ok(json(StatusCode::OK, &status::status(&self.view, &health)))
            }
            ["drain"] if get => Ok(json(StatusCode::OK, &self.view.drain.status())),
            ["drain"] if post => {
                let window = match query.get("window_ms") {
                    None => None,
                    Some(_) => Some(query.number("window_ms", 0, 3_600_000)?),
                };
                let begun = self.view.drain.start(window.map(Duration::from_millis));
                self.drained(begun)
            }
            ["drain"] if request.method() == Method::DELETE => self.drained(self.view.drain.stop()),
            ["connections"] if get => connections::top(&self.view, &query).await,
            ["closed"] if get => connections::closed(&self.view, &query).await,
            ["users", user] if get => connections::user(&self.view, number(user)?).await,
            ["users", user, "kick"] if post => {
                connections::kick(&self.view, number(user)?, &query).await
            }
            ["users", user, "revoke"] if post => {
                revoke::revoke(&self.view, number(user)?, &query).await
            }
            ["revocations"] if get => revoke::all(&self.view).await,
            ["users", user, "trace"] if get => {
                trace::begin(&self.view, &self.traces, number(user)?, &query, until)
            }
            ["reload"] if post => {
                let (answer, answered) = oneshot::channel();
                self.command(Command::Reload(Some(answer)), answered).await
            }
            ["log"] if post => {
                let filter = query.get("filter").unwrap_or_default();
                match self.view.filter.set(filter) {
                    Ok(()) => {
                        tracing::info!(filter, "the log's filter was changed by the admin port");
                        Ok(text(StatusCode::OK, format!("the filter is {filter}\n")))
                    }
                    Err(error) => Err(bad(format!("`filter`: {error}"))),
                }
            }
            _ => Err(Refused(StatusCode::NOT_FOUND, HELP.into())),
        }
    }

    fn drained(&self, done: Result<(), DrainError>) -> Result<Response<Body>, Refused> {
        match done {
            Ok(()) => Ok(json(StatusCode::OK, &self.view.drain.status())),
            Err(error) => Err(Refused(StatusCode::CONFLICT, format!("{error}\n"))),
        }
    }

    fn metrics(&self) -> Result<Response<Body>, Refused> {
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = page
            .as_ref()
            .filter(|(made, _)| made.elapsed() < PAGE_LASTS)
            .map(|(_, bytes)| bytes.clone());
        let bytes = match fresh {
            Some(bytes) => bytes,
            None => {
                let is_ready = self.health().is_ready();
                let made = metrics::page(&self.view, is_ready).map_err(|error| {
                    Refused(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
                })?;
                let bytes = Bytes::from(made);
                *page = Some((Instant::now(), bytes.clone()));
                bytes
            }
        };
        Ok(full(StatusCode::OK, metrics::CONTENT_TYPE, bytes))
    }

    /// Has the main thread do something, and tells what came of it.
    async fn command(
        &self,
        command: Command,
        answered: oneshot::Receiver<Outcome>,
    ) -> Result<Response<Body>, Refused> {
        let stopping = || Refused(StatusCode::SERVICE_UNAVAILABLE, "the server stops\n".into());
        self.view.commands.send(command).map_err(|_| stopping())?;
        match answered.await {
            Ok(Ok(done)) => Ok(text(StatusCode::OK, format!("{done}\n"))),
            Ok(Err(why)) => Err(Refused(StatusCode::CONFLICT, format!("{why}\n"))),
            Err(_) => Err(stopping()),
        }
    }
}

const HELP: &str = "\
GET  /healthz                      200 while the process is well, else 503 and why not
GET  /readyz                       200 while new clients may be sent here, else 503 and why not
GET  /metrics                      for Prometheus
GET  /status                       everything that is counted, as JSON
GET  /connections?sort=queue       those with the longest queue, or `idle` for longest
GET  /closed?limit=100             the connections that ended last
GET  /users/7                      the connections of user 7
POST /users/7/kick?device=1        end them, or one device's
POST /users/7/revoke?device=1      refuse tokens that were issued before now, or `before`, or one: `token_id`
GET  /revocations                  what was revoked
GET  /users/7/trace?seconds=60     headers of the frames of user 7, a JSON object a line
GET  /drain                        how far a drain is
POST /drain?window_ms=30000        tell clients to reconnect elsewhere
DELETE /drain                      call it off
POST /reload                       read the configuration again, as SIGHUP does
POST /log?filter=info              another filter for the log
";

fn number(text: &str) -> Result<u64, Refused> {
    text.parse()
        .map_err(|_| bad(format!("{text} is no user id: those are decimal")))
}

fn judged(is_well: bool, health: &Health) -> Response<Body> {
    let status = if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(status, health)
}

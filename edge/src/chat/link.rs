//! Connections, one after another, under one dialog: login, heartbeats, and coming back.

use std::io;
use std::time::Duration;

use anyhow::{anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use rookery_wire::proto::{self, Advice, CloseCode, Limits, ServerFrame};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use uuid::Uuid;

use super::connect::{Socket, Target};
use super::dialog::{Dialog, Out};
use super::heartbeat::Heartbeat;
use super::leave::Leave;
use super::terminal::{Lines, Printer};
use super::text::Line;
use crate::cli::causes;

const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Until the first Welcome says otherwise.
const JITTER_MS: u32 = 1_000;
const HEARTBEAT_MS: u32 = 30_000;

/// How long a server that seems silent is listened to once more.
const LAST_LOOK: Duration = Duration::from_secs(1);

const HELP: &str =
    "type a line to send it; /history shows older messages, /quit leaves, /help is this";

/// What the link is started with.
pub(super) struct Options {
    pub(super) target: Target,
    pub(super) token: Vec<u8>,
    pub(super) peer_user_id: u64,
    pub(super) linger: Duration,
    pub(super) first_message_id: Uuid,
}

/// How a connection ended.
enum End {
    /// The user left.
    Left,
    /// The server or the network ended it; what to do about it.
    Lost(Advice, String),
    /// It was left because the server had asked for that.
    Told,
}

struct Link {
    options: Options,
    dialog: Dialog,
    printer: Printer,
    resume_token: Vec<u8>,
    jitter_ms: u32,
    heartbeat: Duration,
    welcomed: bool,
    /// The input has ended, or nobody sees what is shown: leave once everything is durable and the linger is
    /// over.
    input_ended: bool,
    /// Why it ended too early.
    broken: Option<anyhow::Error>,
    leave_at: Option<Instant>,
    /// The server wants us to reconnect.
    told: Option<Leave>,
}

/// Runs until the user leaves or the server gives a reason not to come back.
pub(super) async fn run(
    options: Options,
    mut lines: Lines,
    printer: Printer,
) -> anyhow::Result<()> {
    let dialog = Dialog::new(options.peer_user_id, options.first_message_id);
    let mut link = Link {
        options,
        dialog,
        printer,
        resume_token: Vec::new(),
        jitter_ms: JITTER_MS,
        heartbeat: Duration::from_millis(HEARTBEAT_MS.into()),
        welcomed: false,
        input_ended: false,
        broken: None,
        leave_at: None,
        told: None,
    };
    let ended = link.run(&mut lines).await;
    for text in link.dialog.undurable() {
        link.note(&format!("perhaps not sent: {text}"));
    }
    let result = ended.and(link.broken.take().map_or(Ok(()), Err));
    if let Err(error) = &result
        && link.printer.interactive()
    {
        link.note(&format!("{}; press Enter", causes(error)));
    }
    result
}

impl Link {
    async fn run(&mut self, lines: &mut Lines) -> anyhow::Result<()> {
        let mut backoff = BACKOFF_MIN;
        // A server that never welcomed us may not be there at all: the user is told at once.
        let mut known = false;
        loop {
            self.welcomed = false;
            let alternative = self.told.take().and_then(|it| it.alternative);
            let elsewhere = alternative.and_then(|url| self.options.target.elsewhere(&url));
            let target = elsewhere.as_ref().unwrap_or(&self.options.target);
            let end = match target.connect().await {
                Ok(mut socket) => self.serve(&mut socket, lines).await?,
                Err(error) if !known => return Err(error),
                Err(error) => End::Lost(Advice::Backoff, causes(&error)),
            };
            self.dialog.on_lost();
            if self.welcomed {
                known = true;
                backoff = BACKOFF_MIN;
            }
            let wait = match end {
                End::Left => return Ok(()),
                End::Told => {
                    self.note("the server asked to reconnect");
                    continue;
                }
                End::Lost(Advice::Done | Advice::Act, why) => {
                    bail!("the server ended the conversation: {why}")
                }
                End::Lost(Advice::Reconnect, why) => {
                    let wait = jitter(Duration::from_millis(self.jitter_ms.into()))?;
                    self.note(&format!(
                        "{why}; connecting again in {:.1} s",
                        wait.as_secs_f32()
                    ));
                    wait
                }
                End::Lost(Advice::Backoff, why) => {
                    let wait = backoff / 2 + jitter(backoff / 2)?;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                    self.note(&format!(
                        "{why}; trying again in {:.1} s",
                        wait.as_secs_f32()
                    ));
                    wait
                }
            };
            if self.input_ended && self.dialog.is_all_durable() {
                return Ok(());
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// One connection, from the login to its end.
    async fn serve(&mut self, socket: &mut Socket, lines: &mut Lines) -> anyhow::Result<End> {
        let login = proto::Login {
            token: self.options.token.clone(),
            resume_token: self.resume_token.clone(),
        };
        if let Err(end) = self.send(socket, proto::encode(&login)).await {
            return Ok(end);
        }
        let mut heartbeat = Heartbeat::default();
        let mut beat = beats(self.heartbeat);
        loop {
            let mut out = Vec::new();
            let mut read = None;
            tokio::select! {
                message = socket.next() => read = Some(message),
                line = lines.recv(), if self.takes_lines() => match line {
                    Some(Ok(line)) => self.on_line(&line, &mut out),
                    Some(Err(error)) => self.on_broken(error, "cannot read the input"),
                    None => self.input_ended = true,
                },
                () = until(self.dialog.poll_timeout().map(Instant::from_std)) => {
                    self.dialog.retry(Instant::now().into_std(), &mut out);
                }
                () = until(self.told_until()) => {}
                () = until(self.leave_at) => {
                    // The peer's answer to the close is not waited for: there is nothing left to lose.
                    let _ = socket.close(None).await;
                    return Ok(End::Left);
                }
                _ = beat.tick() => if heartbeat.beat() {
                    out.push(Out::Frame(proto::encode(&proto::Ping { nonce: 0 })));
                    self.dialog.resend(&mut out);
                } else {
                    // Both may have stood still: what lies in the socket is read before time is judged.
                    match tokio::time::timeout(LAST_LOOK, socket.next()).await {
                        Ok(message) => read = Some(message),
                        Err(_) => return Ok(End::Lost(Advice::Reconnect, "the server went silent".to_owned())),
                    }
                }
            }
            if let Some(message) = read {
                heartbeat.on_heard();
                let why = match message {
                    Some(Ok(message)) => match self.on_message(message, &mut beat, &mut out)? {
                        Some(end) => return Ok(end),
                        None => None,
                    },
                    Some(Err(error)) => Some(format!("connection lost: {error}")),
                    None => Some("connection lost".to_owned()),
                };
                if let Some(why) = why {
                    return Ok(End::Lost(Advice::Backoff, why));
                }
            }
            if let Err(end) = self.carry_out(socket, out).await {
                return Ok(end);
            }
            let (now, all_durable) = (Instant::now().into_std(), self.dialog.is_all_durable());
            if self
                .told
                .as_ref()
                .is_some_and(|it| it.is_time(now, all_durable))
            {
                // As above.
                let _ = socket.close(None).await;
                return Ok(End::Told);
            }
            if self.input_ended && self.dialog.is_settled() && self.leave_at.is_none() {
                self.leave_at = Some(Instant::now() + self.options.linger);
            }
        }
    }

    /// Whether the user's next line may be sent on this connection.
    fn takes_lines(&self) -> bool {
        let now = Instant::now().into_std();
        let goes = self.told.as_ref().is_some_and(|told| told.is_due(now));
        !self.input_ended && self.dialog.has_room() && !goes
    }

    /// When to look again whether it is time to leave.
    fn told_until(&self) -> Option<Instant> {
        let now = Instant::now().into_std();
        let told = self.told.as_ref()?;
        Some(Instant::from_std(told.poll_timeout(now)))
    }

    fn on_line(&mut self, line: &Line, out: &mut Vec<Out>) {
        match line.command() {
            Some("/history") => self.dialog.history(out),
            Some("/help") => self.note(HELP),
            Some(command) => self.note(&format!("there is no {command}; {HELP}")),
            None if line.is_empty() => {}
            None => {
                if line.first && !line.last {
                    self.note("a long line goes as several messages");
                }
                self.dialog.say(&line.text, out);
            }
        }
    }

    /// The input or the output can no longer be used. What was said still becomes durable.
    fn on_broken(&mut self, error: io::Error, what: &'static str) {
        if self.input_ended && self.printer.interactive() {
            // The editor has gone with the input, and what it prints with it.
            return;
        }
        self.input_ended = true;
        // Who has closed the pipe that it read from has seen enough.
        if error.kind() != io::ErrorKind::BrokenPipe && self.broken.is_none() {
            self.broken = Some(anyhow::Error::new(error).context(what));
        }
    }

    fn show(&mut self, text: &str) {
        if let Err(error) = self.printer.show(text) {
            self.on_broken(error, "cannot write to stdout");
        }
    }

    fn note(&mut self, text: &str) {
        if let Err(error) = self.printer.note(text) {
            self.on_broken(error, "cannot write to the terminal");
        }
    }

    fn on_message(
        &mut self,
        message: Message,
        beat: &mut tokio::time::Interval,
        out: &mut Vec<Out>,
    ) -> anyhow::Result<Option<End>> {
        match message {
            Message::Binary(bytes) => {
                let frame =
                    ServerFrame::parse(&bytes, &Limits::SERVER_FRAMES).map_err(|error| {
                        anyhow!("the server sent what the protocol does not allow: {error}")
                    })?;
                if let ServerFrame::Welcome(welcome) = frame {
                    self.on_welcome(&proto::owned(welcome), beat);
                }
                let now = Instant::now().into_std();
                if let ServerFrame::Reconnect(told) = frame {
                    self.told = Some(Leave::of(&proto::owned(told), now, dice()?));
                }
                self.dialog.on_frame(frame, now, out);
                Ok(None)
            }
            Message::Close(frame) => {
                let code = frame.as_ref().map_or(1005, |frame| u16::from(frame.code));
                let code = CloseCode(code);
                let reason = frame
                    .map(|frame| frame.reason.to_string())
                    .unwrap_or_default();
                if let Some(jitter_ms) = proto::reconnect_jitter_ms(&reason) {
                    self.jitter_ms = jitter_ms;
                }
                let why = if reason.is_empty() {
                    code.meaning().to_owned()
                } else {
                    reason
                };
                Ok(Some(End::Lost(
                    code.advice(),
                    format!("closed with {} ({}): {why}", code.0, code.name()),
                )))
            }
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
        }
    }

    fn on_welcome(&mut self, welcome: &proto::Welcome, beat: &mut tokio::time::Interval) {
        self.welcomed = true;
        self.resume_token.clone_from(&welcome.resume_token);
        self.jitter_ms = welcome.reconnect_jitter_ms;
        self.heartbeat = Duration::from_millis(welcome.heartbeat_interval_ms.max(1_000).into());
        *beat = beats(self.heartbeat);
        self.note(&format!(
            "user {}, device {}, with user {}; {HELP}",
            welcome.user_id, welcome.device_id, self.options.peer_user_id
        ));
    }

    async fn carry_out(&mut self, socket: &mut Socket, out: Vec<Out>) -> Result<(), End> {
        for out in out {
            match out {
                Out::Frame(frame) => self.send(socket, frame).await?,
                Out::Show(text) => self.show(&text),
                Out::Note(text) => self.note(&text),
                Out::Fail(reason) => {
                    let peer = self.options.peer_user_id;
                    let why = format!("it opens none with user {peer}: {reason}");
                    return Err(End::Lost(Advice::Act, why));
                }
            }
        }
        Ok(())
    }

    async fn send(&mut self, socket: &mut Socket, frame: Vec<u8>) -> Result<(), End> {
        socket
            .send(Message::Binary(Bytes::from(frame)))
            .await
            .map_err(|error| End::Lost(Advice::Backoff, format!("connection lost: {error}")))
    }
}

/// Beats from now on. One that comes late, since this process stood still, stands for all that it missed.
fn beats(interval: Duration) -> tokio::time::Interval {
    let period = Heartbeat::period(interval);
    let mut beats = tokio::time::interval_at(Instant::now() + period, period);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

/// Never, where there is no such time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A random time up to `max`.
fn jitter(max: Duration) -> anyhow::Result<Duration> {
    Ok(max.mul_f64(f64::from(dice()? as u32) / f64::from(u32::MAX)))
}

/// Any number.
fn dice() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow!("the system gives no random bytes"))?;
    Ok(u64::from_le_bytes(bytes))
}

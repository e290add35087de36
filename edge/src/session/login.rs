//! From a token to a live session on the shard that owns the user.

use aws_lc_rs::rand;
use rookery_shard::{Close, ConnId, Shard};
use rookery_wire::link::Writer;
use rookery_wire::proto::{self, CloseCode, ErrorCode};

use super::conn::{Conn, Phase};
use super::input::{Next, say_and_end};
use super::{Note, Parcel, Sessions};
use crate::admission::add_one;
use crate::auth::resume::{self, Resume};
use crate::auth::{AuthError, Credential, Login, Proof};

impl Sessions {
    /// The first frame: on success the connection is on its owner's shard, or on its way there.
    pub(super) fn log_in(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        writer: &mut Writer<'_>,
        login: &proto::ArchivedLogin,
    ) -> Next {
        let now_ms = shard.now().unix_ms;
        let who = match self.verifier.verify(&login.token, now_ms) {
            Ok(who) => who,
            Err(AuthError::KeyAwaited) => {
                self.verifier.ask_for_keys();
                let reason = "the login keys are being fetched";
                return self.put_off(shard, conn, writer, ErrorCode::Unavailable, reason);
            }
            Err(error) => return self.refuse(writer, &error),
        };
        let proof = Proof {
            credential: who.credential,
            resumed: self.resumed(&login.resume_token, &who, now_ms),
        };
        if self.gate.is_short_of_memory() {
            add_one(&self.gate.counters().refused_login);
            let reason = "no memory for more connections";
            return self.put_off(shard, conn, writer, ErrorCode::Overloaded, reason);
        }
        let Some(state) = shard.conn(conn) else {
            return Next::End(None);
        };
        self.leave_opening(state.phase);
        state.user_id = who.user_id;
        state.device_id = who.device_id;
        state.expires_s = u32::try_from(who.expires_at_ms / 1_000).unwrap_or(u32::MAX);
        state.phase = Phase::Moving;
        let owner = super::owner(who.user_id, shard.shards());
        if owner != shard.id() {
            // It has said what it had to: the move has a time limit of its own.
            let move_ns = u64::from(self.limits.login_timeout_ms) * 1_000_000;
            shard.set_deadline(conn, Some(shard.running_ns() + move_ns));
            return Next::Move(owner, proof);
        }
        self.let_in(shard, conn, writer, &proof)
    }

    /// Not now: the client comes again later.
    fn put_off(
        &mut self,
        shard: &Shard<Self>,
        conn: ConnId,
        writer: &mut Writer<'_>,
        code: ErrorCode,
        reason: &str,
    ) -> Next {
        let retry_ms = self.retry_after_s(shard, conn).saturating_mul(1_000);
        let later = code.message(0, retry_ms, reason);
        self.say(writer, &Conn::default(), &later);
        say_and_end(writer, CloseCode::TRY_AGAIN_LATER, reason)
    }

    /// Says why, as an Error and as a close code.
    fn refuse(&mut self, writer: &mut Writer<'_>, error: &AuthError) -> Next {
        let (code, close) = match error {
            AuthError::Expired => (ErrorCode::LoginExpired, CloseCode::TOKEN_EXPIRED),
            AuthError::Revoked => (ErrorCode::LoginRevoked, CloseCode::TOKEN_REVOKED),
            _ => (ErrorCode::LoginInvalid, CloseCode::LOGIN_INVALID),
        };
        let reason = error.to_string();
        self.say(writer, &Conn::default(), &code.message(0, 0, &reason));
        say_and_end(writer, close, &reason)
    }

    /// The session that the resume token proves, where it does.
    fn resumed(&self, token: &[u8], who: &Login, now_ms: u64) -> Option<Resume> {
        if token.is_empty() {
            return None;
        }
        let key = &self.settings.resume;
        resume::check(key, token, who.user_id, who.device_id, now_ms)
            .inspect_err(|error| tracing::debug!(user = who.user_id, %error, "a new session"))
            .ok()
    }

    /// The end of a login, on the shard that owns the user and knows what was revoked: one that was is refused,
    /// and a session of one is not resumed.
    fn let_in(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        writer: &mut Writer<'_>,
        proof: &Proof,
    ) -> Next {
        let now_ms = shard.now().unix_ms;
        let Some(state) = shard.conn(conn) else {
            return Next::End(None);
        };
        let (user_id, device_id) = (state.user_id, state.device_id);
        let is_revoked = |credential| {
            let revoked = &self.revoked;
            revoked.hits(user_id, device_id, credential, now_ms)
        };
        if is_revoked(&proof.credential) {
            return self.refuse(writer, &AuthError::Revoked);
        }
        let resumed = proof.resumed.as_ref();
        let session_id = resumed
            .filter(|resumed| !is_revoked(&resumed.credential))
            .map_or_else(|| new_session(now_ms), |resumed| resumed.session_id);
        self.welcome(shard, conn, writer, session_id, proof.credential);
        Next::LoggedIn
    }

    /// A connection came to its owner's shard.
    pub(super) fn arrive(&mut self, shard: &mut Shard<Self>, conn: ConnId, parcel: Parcel) {
        let Parcel {
            conn: mut travelled,
            tls,
            work,
        } = parcel;
        self.store(conn, &mut travelled, tls, work);
        let phase = travelled.phase;
        if let Some(state) = shard.conn(conn) {
            *state = travelled;
        }
        if phase == Phase::Ended {
            return shard.close(conn, Close::Flush);
        }
        if self.is_stopping {
            // The sweep may have passed its slot.
            return self.dismiss(shard, conn);
        }
        if phase.is_opening() {
            return self.arrive_early(shard, conn, &travelled);
        }
        let mut held = self.hold(&travelled);
        let Some(proof) = held.work.proof.take() else {
            // Nobody moves without.
            self.put_back(shard, conn, held);
            return self.end(shard, conn, Close::Now);
        };
        let mut out = shard.spare_buffer();
        let mut writer = Writer::new(held.tls.as_mut(), None, &mut out);
        let next = self.let_in(shard, conn, &mut writer, &proof);
        drop(writer);
        // With it comes what stands behind the login.
        self.settle(shard, conn, held, out, next);
    }

    /// The session is live from here on.
    fn welcome(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        writer: &mut Writer<'_>,
        session_id: u64,
        credential: Credential,
    ) {
        let now_ms = shard.now().unix_ms;
        let Some(state) = shard.conn(conn) else {
            return;
        };
        state.phase = Phase::Live;
        let state = *state;
        self.make_room_for_device(shard, state.user_id, state.device_id);
        self.users.add(state.user_id, conn, shard);
        self.telemetry.counters.logins.add(1);
        self.tell(Note::Login {
            user_id: state.user_id,
            device_id: state.device_id,
        });
        let expires_at_ms = u64::from(state.expires_s) * 1_000;
        let settings = &self.settings;
        let resume_token = resume::issue(
            &settings.resume,
            &Resume {
                user_id: state.user_id,
                device_id: state.device_id,
                session_id,
                expires_at_ms,
                credential,
            },
        );
        let welcome = proto::Welcome {
            user_id: state.user_id,
            device_id: state.device_id,
            session_id,
            resume_token: resume_token.to_vec(),
            server_time_ms: now_ms,
            expires_at_ms,
            heartbeat_interval_ms: settings.heartbeat.stretched(shard.live()).interval_ms,
            reconnect_jitter_ms: self.limits.jitter.ms(self.crowd(shard)),
            payload_bytes_max: settings.frames.payload_bytes_max as u32,
            page_messages_max: settings.page_messages_max,
        };
        self.say(writer, &state, &welcome);
        self.begin_heartbeats(shard, conn);
    }

    /// The same device's older connection goes, and the user's oldest where there are too many. One that was
    /// told to reconnect has been expected to.
    fn make_room_for_device(&mut self, shard: &mut Shard<Self>, user_id: u64, device_id: u32) {
        let others = self.users.connections(user_id, shard).to_vec();
        let (same, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|&other| {
            shard
                .conn(other)
                .is_some_and(|state| state.device_id == device_id)
        });
        let leaves = |shard: &mut Shard<Self>, conn| {
            let state = shard.conn(conn);
            state.is_some_and(|state| state.phase == Phase::Leaving)
        };
        for older in same {
            let code = match leaves(shard, older) {
                true => CloseCode::GOING_AWAY,
                false => CloseCode::DEVICE_REPLACED,
            };
            self.close(shard, older, code);
        }
        let others: Vec<_> = others
            .into_iter()
            .filter(|&other| !leaves(shard, other))
            .collect();
        let too_many = (others.len() + 1).saturating_sub(self.limits.devices_max);
        for &oldest in others.iter().take(too_many) {
            self.close(shard, oldest, CloseCode::TOO_MANY_DEVICES);
        }
    }
}

/// A session's id: an identifier, not a secret. Only a broken host has no randomness.
fn new_session(now_ms: u64) -> u64 {
    let mut id = [0; 8];
    if rand::fill(&mut id).is_err() {
        id = now_ms.to_le_bytes();
    }
    u64::from_le_bytes(id)
}

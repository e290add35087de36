//! The rows of `messages`: reading a page of a partition, one row, or a row's place.

use rookery_wire::proto::Deliver;
use scylla::response::PagingState;

use super::session::Live;
use super::statements::Query;
use super::tail::Part;
use super::{bits, from_bits};
use crate::store::{Numbered, Placed, StoreError};

/// The fewest and most rows that a page asks for; the first page asks for no more than this either.
const PAGE_ROWS: std::ops::RangeInclusive<usize> = 4..=64;

type Row = (i64, i64, i64, i64, i32, i64, Vec<u8>);

fn deliver(conversation_id: u64, row: Row) -> Deliver {
    let (message_id, seq, hlc, sender, device, client_msg_id, payload) = row;
    Deliver {
        conversation_id,
        seq: from_bits(seq),
        message_id: from_bits(message_id),
        sender_user_id: from_bits(sender),
        sender_device_id: device.cast_unsigned(),
        client_msg_id: from_bits(client_msg_id),
        hlc: from_bits(hlc),
        payload,
    }
}

/// Reads the messages of a partition from an id on, upwards or downwards, page by page. A page holds
/// about what is still wanted, by the payloads met so far.
pub(super) struct Scan<'a> {
    live: &'a Live,
    query: &'a Query,
    conversation_id: u64,
    part: Part,
    from: u64,
    state: Option<PagingState>,
    rows: usize,
    bytes: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn up(live: &'a Live, conversation_id: u64, part: Part, from: u64) -> Scan<'a> {
        Scan::new(
            live,
            &live.statements.messages_up,
            conversation_id,
            part,
            from,
        )
    }

    pub(super) fn down(live: &'a Live, conversation_id: u64, part: Part, from: u64) -> Scan<'a> {
        Scan::new(
            live,
            &live.statements.messages_down,
            conversation_id,
            part,
            from,
        )
    }

    fn new(
        live: &'a Live,
        query: &'a Query,
        conversation_id: u64,
        part: Part,
        from: u64,
    ) -> Scan<'a> {
        Scan {
            live,
            query,
            conversation_id,
            part,
            from,
            state: Some(PagingState::start()),
            rows: 0,
            bytes: 0,
        }
    }

    /// The next page, where about `rows` rows or `bytes` of payload are wanted; `None` at the end.
    pub(super) async fn next(
        &mut self,
        rows: usize,
        bytes: usize,
    ) -> Result<Option<Vec<Deliver>>, StoreError> {
        let Some(state) = self.state.take() else {
            return Ok(None);
        };
        let row_bytes = self.bytes.checked_div(self.rows).unwrap_or(0).max(1);
        let rows = rows
            .min(bytes / row_bytes + 1)
            .clamp(*PAGE_ROWS.start(), *PAGE_ROWS.end());
        let (bucket, sub) = self.part.columns();
        let values = (bits(self.conversation_id), bucket, sub, bits(self.from));
        let key = [self.conversation_id];
        let (page, next) = self
            .live
            .page::<Row>(self.query, values, &key, rows, state)
            .await?;
        self.state = next;
        self.rows += page.len();
        self.bytes += page.iter().map(|row| row.6.len()).sum::<usize>();
        let deliver = |row| deliver(self.conversation_id, row);
        Ok(Some(page.into_iter().map(deliver).collect()))
    }
}

/// One message.
pub(super) async fn one(
    live: &Live,
    conversation_id: u64,
    part: Part,
    message_id: u64,
) -> Result<Option<Deliver>, StoreError> {
    let (bucket, sub) = part.columns();
    let values = (bits(conversation_id), bucket, sub, bits(message_id));
    let key = [conversation_id, message_id];
    let row = live
        .row::<Row>(&live.statements.message, values, &key)
        .await?;
    Ok(row.map(|row| deliver(conversation_id, row)))
}

/// Where one message is.
pub(super) async fn placed(
    live: &Live,
    conversation_id: u64,
    part: Part,
    message_id: u64,
) -> Result<Option<Placed>, StoreError> {
    let (bucket, sub) = part.columns();
    let values = (bits(conversation_id), bucket, sub, bits(message_id));
    let key = [conversation_id, message_id];
    let row = live
        .row::<(i64, i64)>(&live.statements.placed, values, &key)
        .await?;
    Ok(row.map(|(seq, log_offset)| Placed {
        seq: from_bits(seq),
        log_offset: from_bits(log_offset),
    }))
}

/// A page of a partition's ids and seqs, the newest first.
pub(super) async fn seqs(
    live: &Live,
    conversation_id: u64,
    part: Part,
    rows: usize,
    state: PagingState,
) -> Result<(Vec<(u64, u64)>, Option<PagingState>), StoreError> {
    let (bucket, sub) = part.columns();
    let values = (bits(conversation_id), bucket, sub);
    let query = &live.statements.seqs;
    let (page, next) = live
        .page::<(i64, i64)>(query, values, &[conversation_id], rows, state)
        .await?;
    let page = page
        .into_iter()
        .map(|(id, seq)| (from_bits(id), from_bits(seq)));
    Ok((page.collect(), next))
}

/// A page of a partition's ids and seqs up to an id, the newest first.
pub(super) async fn numbers(
    live: &Live,
    conversation_id: u64,
    part: Part,
    newest: u64,
    rows: usize,
    state: PagingState,
) -> Result<(Vec<Numbered>, Option<PagingState>), StoreError> {
    let (bucket, sub) = part.columns();
    let values = (bits(conversation_id), bucket, sub, bits(newest));
    let query = &live.statements.numbers_down;
    let (page, next) = live
        .page::<(i64, i64)>(query, values, &[conversation_id], rows, state)
        .await?;
    let page = page.into_iter().map(|(id, seq)| Numbered {
        message_id: from_bits(id),
        seq: from_bits(seq),
    });
    Ok((page.collect(), next))
}

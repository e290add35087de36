//! Conversations and members.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio_postgres::types::ToSql;

use super::{Postgres, error};
use crate::admission::{ConversationLimits, Full, dedup_holds};
use crate::record::{OpenKey, Opened};
use crate::store::{Opening, StoreError};

/// How often an opening looks again when its key changed hands under it. Each time somebody else
/// made progress, so more than one is rare and this many a defect.
const OPEN_TRIES: usize = 8;

/// Who of the members ($7) has as many conversations as there may be: the opener ($6) of those that it opened ($8),
/// the others of all ($9). No more rows are looked at than that.
macro_rules! over {
    () => {
        "SELECT user_id FROM unnest($7::bigint[]) AS member (user_id) WHERE CASE WHEN user_id = $6 \
         THEN $8::bigint > 0 AND EXISTS ( \
             SELECT FROM conversations WHERE opener = $6 OFFSET GREATEST($8::bigint - 1, 0)) \
         ELSE $9::bigint > 0 AND EXISTS ( \
             SELECT FROM members WHERE members.user_id = member.user_id OFFSET GREATEST($9::bigint - 1, 0)) END"
    };
}

/// One statement, thus one transaction: the conversation and its members, or nothing. Where another
/// opening of the key is under way, it waits for that one's end.
const OPEN: &str = concat!(
    "WITH opened AS ( \
        INSERT INTO conversations (id, kind, first, second, hlc, opener) \
        SELECT $1::bigint, $2::smallint, $3::bigint, $4::bigint, $5::bigint, $6::bigint \
        WHERE NOT EXISTS (",
    over!(),
    ") \
        ON CONFLICT (kind, first, second) WHERE key_holds DO NOTHING \
        RETURNING id \
    ) \
    INSERT INTO members (conversation_id, user_id) SELECT id, unnest($7::bigint[]) FROM opened"
);

/// Its parameters are those of the above.
const OVER: &str = concat!(
    "WITH given AS (SELECT $1::bigint, $2::smallint, $3::bigint, $4::bigint, $5::bigint) ",
    over!(),
    " ORDER BY user_id = $6::bigint DESC, user_id LIMIT 1"
);

const MISSING: &str = "\
    SELECT id FROM unnest($1::bigint[]) AS given (id) \
    WHERE NOT EXISTS (SELECT FROM conversations WHERE conversations.id = given.id)";

/// One statement again. A key that another conversation holds by now stays with that one.
const REOPEN: &str = "\
    WITH given AS ( \
        SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) \
        AS given (id, kind, first, second, hlc, opener) \
    ), opened AS ( \
        INSERT INTO conversations (id, kind, first, second, hlc, opener, key_holds) \
        SELECT id, kind, first, second, hlc, opener, NOT EXISTS ( \
            SELECT FROM conversations AS held WHERE held.kind = given.kind AND held.first = given.first \
            AND held.second = given.second AND held.key_holds \
        ) FROM given ON CONFLICT DO NOTHING RETURNING id \
    ) \
    INSERT INTO members (conversation_id, user_id) SELECT id, user_id FROM opened \
    JOIN unnest($7::bigint[], $8::bigint[]) AS member (conversation_id, user_id) ON conversation_id = id";

const EXISTING: &str = "\
    SELECT id, ARRAY(SELECT user_id FROM members WHERE conversation_id = conversations.id ORDER BY user_id) \
    FROM conversations WHERE kind = $1 AND first = $2 AND second = $3 AND key_holds";

const GIVE_WAY: &str = "UPDATE conversations SET key_holds = false WHERE id = $1 AND key_holds";

const BY_KEY: &str = "\
    SELECT id FROM conversations WHERE kind = $1 AND first = $2 AND second = $3 AND key_holds";

const MEMBERS: &str = "SELECT user_id FROM members WHERE conversation_id = $1 ORDER BY user_id";

const MEMBERS_MANY: &str = "\
    SELECT conversation_id, array_agg(user_id ORDER BY user_id) \
    FROM members WHERE conversation_id = ANY($1) GROUP BY conversation_id";

const CONVERSATIONS: &str = "\
    SELECT conversation_id FROM members WHERE user_id = $1 AND conversation_id > $2 \
    ORDER BY conversation_id LIMIT $3";

/// Stops counting a conversation's members where there are enough.
const LARGE: &str = "\
    SELECT conversation_id FROM members AS mine WHERE user_id = $1 AND EXISTS ( \
        SELECT 1 FROM members WHERE conversation_id = mine.conversation_id OFFSET $2 \
    )";

impl Postgres {
    /// Writes a conversation with its members, or tells what exists under its key. The same call
    /// again, after an error, gives the same answer. The key of a created conversation that is older
    /// than deduplication holds gives way. What exists is told, whatever the limits.
    pub async fn open(
        &self,
        opened: &Opened,
        now_ms: u64,
        limits: &ConversationLimits,
    ) -> Result<Opening, StoreError> {
        let (kind, first, second) = key_columns(opened.key);
        let id = opened.conversation_id.cast_signed();
        let hlc = opened.hlc.cast_signed();
        let opener = opened.opener_user_id.cast_signed();
        let members = signed(&opened.members);
        let [opened_max, all_max] = [limits.opened_max, limits.all_max].map(i64::from);
        let row: [&(dyn ToSql + Sync); 9] = [
            &id,
            &kind,
            &first,
            &second,
            &hlc,
            &opener,
            &members,
            &opened_max,
            &all_max,
        ];
        let runs_out = matches!(opened.key, OpenKey::Created { .. });
        let opening = self
            .run("open a conversation", async |client| {
                let open = client.prepare_cached(OPEN).await?;
                let existing = client.prepare_cached(EXISTING).await?;
                let over = client.prepare_cached(OVER).await?;
                for _ in 0..OPEN_TRIES {
                    let written = client.execute(&open, &row).await?;
                    if written > 0 {
                        return Ok(Some(Opening::New));
                    }
                    let key: [&(dyn ToSql + Sync); 3] = [&kind, &first, &second];
                    let Some(row) = client.query_opt(&existing, &key).await? else {
                        let over = client.query_opt(&over, &row).await?;
                        if let Some(over) = over {
                            let user_id: i64 = over.try_get(0)?;
                            let full = full(user_id.cast_unsigned(), opened.opener_user_id);
                            return Ok(Some(Opening::Full(full)));
                        }
                        // The key was taken, and gave way in between.
                        continue;
                    };
                    let found: i64 = row.try_get(0)?;
                    if found == id {
                        return Ok(Some(Opening::New));
                    }
                    if runs_out && !dedup_holds(found.cast_unsigned(), now_ms) {
                        let give_way = client.prepare_cached(GIVE_WAY).await?;
                        client.execute(&give_way, &[&found]).await?;
                        continue;
                    }
                    return Ok(Some(Opening::Exists {
                        conversation_id: found.cast_unsigned(),
                        members: unsigned(row.try_get(1)?),
                    }));
                }
                Ok(None)
            })
            .await?;
        opening.ok_or_else(|| {
            error::away(format!(
                "open a conversation: its key changed hands {OPEN_TRIES} times"
            ))
        })
    }

    /// Writes those of the conversations that are missing, with their members. Mostly none is: this server
    /// took over from one that had them.
    pub async fn reopen(&self, opened: &[Opened]) -> Result<(), StoreError> {
        let ids: Vec<u64> = opened.iter().map(|it| it.conversation_id).collect();
        let ids = signed(&ids);
        let all = self
            .run("write conversations again", async |client| {
                let missing = client.prepare_cached(MISSING).await?;
                // One whose key somebody took at the same moment is still missing, and does not get it.
                for _ in 0..OPEN_TRIES {
                    let rows = client.query(&missing, &[&ids]).await?;
                    if rows.is_empty() {
                        return Ok(true);
                    }
                    let ids = rows.iter().map(|row| row.try_get(0));
                    let ids: HashSet<i64> = ids.collect::<Result<_, _>>()?;
                    let reopen = client.prepare_cached(REOPEN).await?;
                    let rows = Rows::of(opened, &ids);
                    let written = client.execute(&reopen, &rows.columns()).await?;
                    tracing::warn!(
                        conversations = ids.len(),
                        members = written,
                        "postgres lacked conversations that the log has; they are there again"
                    );
                }
                Ok(false)
            })
            .await?;
        match all {
            true => Ok(()),
            false => Err(error::away(format!(
                "write conversations again: some are missing after {OPEN_TRIES} times"
            ))),
        }
    }

    /// The conversation that holds a key. May be one whose time has run out.
    pub async fn opened(&self, key: OpenKey) -> Result<Option<u64>, StoreError> {
        let (kind, first, second) = key_columns(key);
        self.run("look up a key", async |client| {
            let by_key = client.prepare_cached(BY_KEY).await?;
            let row = client.query_opt(&by_key, &[&kind, &first, &second]).await?;
            row.map(|row| row.try_get(0).map(i64::cast_unsigned))
                .transpose()
        })
        .await
    }

    /// A conversation's members, ascending; `None` where there is no such conversation.
    pub async fn members(&self, conversation_id: u64) -> Result<Option<Arc<[u64]>>, StoreError> {
        let id = conversation_id.cast_signed();
        self.run("look up members", async |client| {
            let members = client.prepare_cached(MEMBERS).await?;
            let rows = client.query(&members, &[&id]).await?;
            let members = rows
                .iter()
                .map(|row| row.try_get(0))
                .collect::<Result<Vec<i64>, _>>()?;
            Ok((!members.is_empty()).then(|| unsigned(members)))
        })
        .await
    }

    /// The members of many; without those that do not exist.
    pub async fn members_many(
        &self,
        conversation_ids: &[u64],
    ) -> Result<HashMap<u64, Arc<[u64]>>, StoreError> {
        if conversation_ids.is_empty() {
            return Ok(HashMap::new());
        }
        let ids = signed(conversation_ids);
        self.run("look up members", async |client| {
            let members = client.prepare_cached(MEMBERS_MANY).await?;
            let rows = client.query(&members, &[&ids]).await?;
            rows.iter()
                .map(|row| {
                    let id: i64 = row.try_get(0)?;
                    Ok((id.cast_unsigned(), unsigned(row.try_get(1)?)))
                })
                .collect()
        })
        .await
    }

    /// The conversations of a user with an id above `after`, ascending, and whether there are more.
    pub async fn conversations_of(
        &self,
        user_id: u64,
        after: u64,
        rows_max: usize,
    ) -> Result<(Vec<u64>, bool), StoreError> {
        // Ids have 63 bits, so their order is the order of the stored numbers.
        let Ok(after) = i64::try_from(after) else {
            return Ok((Vec::new(), false));
        };
        let user = user_id.cast_signed();
        let limit = i64::try_from(rows_max)
            .unwrap_or(i64::MAX)
            .saturating_add(1);
        let mut ids: Vec<u64> = self
            .run("list conversations", async |client| {
                let list = client.prepare_cached(CONVERSATIONS).await?;
                let rows = client.query(&list, &[&user, &after, &limit]).await?;
                rows.iter()
                    .map(|row| row.try_get(0).map(i64::cast_unsigned))
                    .collect()
            })
            .await?;
        let more = ids.len() > rows_max;
        ids.truncate(rows_max);
        Ok((ids, more))
    }

    /// The conversations of a user with more than so many members, in no order.
    pub async fn large_conversations_of(
        &self,
        user_id: u64,
        members: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let user = user_id.cast_signed();
        let members = i64::try_from(members).unwrap_or(i64::MAX);
        self.run("list large conversations", async |client| {
            let large = client.prepare_cached(LARGE).await?;
            let rows = client.query(&large, &[&user, &members]).await?;
            rows.iter()
                .map(|row| row.try_get(0).map(i64::cast_unsigned))
                .collect()
        })
        .await
    }
}

/// Conversations and their members by column.
#[derive(Default)]
struct Rows {
    ids: Vec<i64>,
    kinds: Vec<i16>,
    firsts: Vec<i64>,
    seconds: Vec<i64>,
    hlcs: Vec<i64>,
    openers: Vec<i64>,
    conversations: Vec<i64>,
    users: Vec<i64>,
}

impl Rows {
    fn of(opened: &[Opened], ids: &HashSet<i64>) -> Rows {
        let mut rows = Rows::default();
        for opened in opened {
            let id = opened.conversation_id.cast_signed();
            if !ids.contains(&id) || rows.ids.contains(&id) {
                continue;
            }
            let (kind, first, second) = key_columns(opened.key);
            rows.ids.push(id);
            rows.kinds.push(kind);
            rows.firsts.push(first);
            rows.seconds.push(second);
            rows.hlcs.push(opened.hlc.cast_signed());
            rows.openers.push(opened.opener_user_id.cast_signed());
            for user_id in signed(&opened.members) {
                rows.conversations.push(id);
                rows.users.push(user_id);
            }
        }
        rows
    }

    fn columns(&self) -> [&(dyn ToSql + Sync); 8] {
        [
            &self.ids,
            &self.kinds,
            &self.firsts,
            &self.seconds,
            &self.hlcs,
            &self.openers,
            &self.conversations,
            &self.users,
        ]
    }
}

fn full(user_id: u64, opener: u64) -> Full {
    if user_id == opener {
        Full::Opener
    } else {
        Full::Member(user_id)
    }
}

fn key_columns(key: OpenKey) -> (i16, i64, i64) {
    match key {
        OpenKey::Direct { low, high } => (0, low.cast_signed(), high.cast_signed()),
        OpenKey::Created {
            user_id,
            request_id,
        } => (1, user_id.cast_signed(), request_id.cast_signed()),
    }
}

fn signed(ids: &[u64]) -> Vec<i64> {
    ids.iter().map(|id| id.cast_signed()).collect()
}

fn unsigned(ids: Vec<i64>) -> Arc<[u64]> {
    ids.into_iter().map(i64::cast_unsigned).collect()
}

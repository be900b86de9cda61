//! Groups that continue in a copy of their log, where every record has the offset that it had.

use crate::command::with_session;
use crate::groups::refuse_if_held_by;
use crate::{ConnectOptions, Error};

/// What continues in another log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    /// The groups.
    pub groups: Vec<String>,
    /// How many dead letters.
    pub letters: u64,
}

const GROUPS: &str = "\
    SELECT DISTINCT group_name FROM bekk.offsets WHERE log_id::text = $1 AND topic = ANY ($2) ORDER BY group_name";

/// The epoch is raised, so that a sink that holds the partition after all loses it.
const MOVE_OFFSETS: &str = "\
    UPDATE bekk.offsets
       SET log_id = $3::text::uuid, epoch = epoch + 1, owner = NULL, backend_pid = NULL, lease_until = NULL,
           updated_at = clock_timestamp()
     WHERE log_id::text = $1 AND topic = ANY ($2)";

const MOVE_LETTERS: &str = "UPDATE bekk.dead_letters SET log_id = $3::text::uuid WHERE log_id::text = $1 AND topic = ANY ($2)";

/// Lets all groups, and the dead letters, of some topics of one log continue in another, which is its copy.
///
/// # Errors
/// [`Error::GroupInUse`] if a sink of one of the groups runs; others if the server cannot be reached or refuses.
pub fn move_to_log(
    postgres: &ConnectOptions,
    from: &str,
    to: &str,
    topics: &[String],
) -> Result<Moved, Error> {
    with_session(postgres, "bekk-offsets", async |session| {
        crate::letters::bring_up_to_date(session).await?;
        let client = &mut session.client;
        let failed = |error| Error::postgres("let groups continue in another log", &error);
        let transaction = client.transaction().await.map_err(failed)?;
        let found = transaction.query(GROUPS, &[&from, &topics]).await;
        let groups: Vec<String> = found
            .map_err(failed)?
            .iter()
            .map(|row| row.get(0))
            .collect();
        for group in &groups {
            refuse_if_held_by(transaction.client(), group).await?;
        }
        transaction
            .execute(MOVE_OFFSETS, &[&from, &topics, &to])
            .await
            .map_err(failed)?;
        let letters = transaction
            .execute(MOVE_LETTERS, &[&from, &topics, &to])
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(Moved { groups, letters })
    })
}

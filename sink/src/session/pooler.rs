//! Finding out that an address is a pooler's which gives each transaction another session.

use std::collections::HashSet;

use parking_lot::Mutex;
use tokio_postgres::Client;

use super::{ConnectError, connect};
use crate::ConnectOptions;
use crate::offsets::rows;

/// How often the first connection asks which backend serves it: a pool may hand them out in turn.
const ASKED: usize = 4;
const ASK: &str = "SELECT pg_catalog.pg_backend_pid()";

/// Whether two connections to this address share a backend, or one has several in turn. Asked once for each address;
/// changes no setting, because a setting would stay behind in a session that others get.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub(crate) async fn is_transaction_pool(options: &ConnectOptions) -> Result<bool, ConnectError> {
    static ASKED_BEFORE: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let address = options.to_string();
    let known =
        |set: &Option<HashSet<String>>| set.as_ref().is_some_and(|set| set.contains(&address));
    if known(&ASKED_BEFORE.lock()) {
        return Ok(false);
    }
    let first = connect(options, "bekk").await?;
    // Where only one connection may be made, or the server goes away meanwhile, nothing is known; later statements
    // then fail as they do on a pooler.
    let is_pool = share_a_backend(options, &first).await.unwrap_or(false);
    if !is_pool {
        let mut asked = ASKED_BEFORE.lock();
        asked.get_or_insert_default().insert(address);
    }
    Ok(is_pool)
}

async fn share_a_backend(options: &ConnectOptions, first: &Client) -> Option<bool> {
    let backend = backend_of(first, ASK).await?;
    for _ in 1..ASKED {
        if backend_of(first, ASK).await? != backend {
            return Some(true);
        }
    }
    let second = connect(options, "bekk").await.ok()?;
    let other = backend_of(&second, &format!("BEGIN; {ASK}; COMMIT")).await?;
    Some(other == backend)
}

async fn backend_of(client: &Client, ask: &str) -> Option<String> {
    let answer = client.simple_query(ask).await.ok()?;
    let row = rows(&answer).next()?;
    row.get(0).map(str::to_owned)
}

//! A session of a command that ends soon: it waits neither for a server that is away nor long for a lock, and its errors
//! name what a person can change.

use tokio_postgres::Client;

use crate::lock_holder;
use crate::session::Session;
use crate::{ConnectOptions, Error, own_schema};

/// Connects and works. A statement waits ten seconds for a lock; see [`be_impatient`].
///
/// # Errors
/// Those of `work`. If a table or column was not found, and schema `bekk` is not whole, the error names what it lacks. If a
/// wait for a lock ended in vain, the error names who holds the lock.
pub(crate) fn with_session<T>(
    postgres: &ConnectOptions,
    application_name: &str,
    work: impl AsyncFnOnce(&mut Session) -> Result<T, Error>,
) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Io {
            act: "start a runtime",
            source,
        })?;
    runtime.block_on(async {
        let mut session = Session::open(postgres, application_name)
            .await
            .map_err(|error| error.into_error(postgres))?;
        let patient = session.client.batch_execute("SET lock_timeout = '10s'");
        patient
            .await
            .map_err(|error| Error::postgres(application_name, &error))?;
        match work(&mut session).await {
            Err(error) => Err(explain(&session, error).await),
            done => done,
        }
    })
}

/// Makes the session's statements wait only two seconds for a lock, because a reader of the state wants to see the lock.
pub(crate) async fn be_impatient(client: &Client) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("SET lock_timeout = '2s'").await
}

/// Finds the cause of an error. If that fails, the error remains as it is.
async fn explain(session: &Session, error: Error) -> Error {
    if !error.names_what_is_missing() && !error.is_of_a_lock() {
        return error;
    }
    // In a transaction that has failed, the server answers nothing else.
    if session.client.batch_execute("ROLLBACK").await.is_err() {
        return error;
    }
    if error.is_of_a_lock() {
        return match lock_holder::find(&session.client, None).await {
            Ok(Some(holder)) => error.with_lock_holder(&holder),
            Ok(None) | Err(_) => error,
        };
    }
    match own_schema::fault(session).await {
        Ok(Some(fault)) => fault.into_error(),
        Ok(None) | Err(_) => error,
    }
}

//! A stream's table: made where it is missing, checked against the stream where it exists.

mod access;
mod compare;
mod conditions;
mod deletion;
mod plan;
mod renamed;
mod report;
mod trial;
mod types;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use bekk_stream::{Accept, JsonReader, OnConflict, SchemaId, Stream, TableName};
use parking_lot::Mutex;

pub(crate) use self::compare::loose_keys;
pub(crate) use self::deletion::Deletion;
pub(crate) use self::plan::{
    ColumnSet, Plan, RowPlan, Staging, Unfit, compared, is_of_former_columns, operator, same_key,
    staged, staged_key,
};

use self::compare::{Comparison, compare, order, warnings};
pub(crate) use self::trial::Transaction;
use crate::Error;
use crate::catalog::Table;
use crate::ddl::{create_table_only_sql, create_table_sql, quote_table};
use crate::encode::Target;
use crate::migrations::MigrateError;
use crate::session::Session;
use crate::trust::{self, Place};

/// A stream and the table that it fills, found fit for each other.
#[derive(Debug)]
pub(crate) struct StreamTarget {
    pub(crate) stream: Stream,
    pub(crate) table: Table,
    /// How each of the stream's columns is encoded, in their order.
    pub(crate) encodings: Vec<Target>,
    /// The types whose input functions read the texts of some of the stream's columns, by column name.
    pub(crate) inputs: BTreeMap<String, String>,
    pub(crate) order: Order,
    /// Reads records of other producers, where the stream accepts them.
    pub(crate) json: Option<JsonReader>,
    /// How their deletions are written; made when the first one comes.
    deletion: OnceLock<Arc<Deletion>>,
    /// The plans made so far, by the schema they are for.
    pub(crate) plans: Mutex<HashMap<SchemaId, Arc<Plan>>>,
    /// The lists of columns that rows have been written with, each made once.
    pub(crate) column_sets: Mutex<Vec<Arc<ColumnSet>>>,
}

/// In which order, and how many of them, a batch's rows are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The winner of each key, sorted by key.
    Key,
    /// All of them in log order; a batch ends where a key comes again. For tables in which more than the
    /// last record of a key can matter.
    Log,
}

impl StreamTarget {
    /// `refusals` are the statements that PostgreSQL refuses for any row.
    fn new(
        stream: &Stream,
        table: Table,
        place: &Place,
        refusals: Vec<String>,
    ) -> Result<Self, Error> {
        let Comparison {
            encodings,
            inputs,
            mut problems,
        } = compare(stream, &table);
        problems.extend(refusals);
        if !problems.is_empty() {
            return Err(Error::TableMismatch {
                table: table.full_name,
                stream: stream.name.clone(),
                problems,
            });
        }
        let order = order(stream, &table);
        let warnings = warnings(stream, &table).into_iter();
        for warning in warnings.chain(place.warning(&table)) {
            tracing::warn!(stream = stream.name, table = table.full_name, "{warning}");
        }
        let json = json_reader(stream)?;
        let target = Self {
            stream: stream.clone(),
            table,
            encodings,
            inputs,
            order,
            json,
            deletion: OnceLock::new(),
            plans: Mutex::default(),
            column_sets: Mutex::default(),
        };
        if target.json.is_some() {
            // Other producers' records are of it, and no ingest may have written it down.
            let schema = stream.schema();
            let plan = Arc::new(Plan::new(&target, &schema));
            let mut plans = target.plans.lock();
            plans.insert(schema.id(), plan);
        }
        Ok(target)
    }

    /// Whether rows have a key that they can conflict by.
    pub(crate) fn is_keyed(&self) -> bool {
        is_keyed(&self.stream)
    }

    /// How deletions are written.
    pub(crate) fn deletion(&self) -> &Arc<Deletion> {
        self.deletion.get_or_init(|| Arc::new(Deletion::new(self)))
    }

    /// The list of columns with these names, made once.
    pub(crate) fn column_set(&self, names: &[String]) -> Arc<ColumnSet> {
        let mut sets = self.column_sets.lock();
        if let Some(set) = sets.iter().find(|set| set.names == names) {
            return Arc::clone(set);
        }
        let set = Arc::new(ColumnSet::new(self, names, Staging::Rows(sets.len())));
        sets.push(Arc::clone(&set));
        set
    }
}

/// What reads the records of other producers, if the stream accepts them.
pub(crate) fn json_reader(stream: &Stream) -> Result<Option<JsonReader>, Error> {
    match stream.accept {
        Accept::Bekk => Ok(None),
        Accept::Json { .. } => match JsonReader::new(stream) {
            Ok(reader) => Ok(Some(reader)),
            Err(fault) => Err(Error::JsonColumns {
                stream: stream.name.clone(),
                detail: fault.detail,
            }),
        },
    }
}

pub(crate) fn is_keyed(stream: &Stream) -> bool {
    stream.on_conflict != OnConflict::Append && !stream.key.is_empty()
}

/// Makes the stream's table where it does not exist, and checks it where it does. A caller that may have to make it has begun
/// a transaction and holds the set-up lock.
pub(crate) async fn prepare_table(
    session: &Session,
    stream: &Stream,
    transaction: Transaction,
) -> Result<StreamTarget, MigrateError> {
    let client = &session.client;
    let (name, found, mut place) = find_placed(session, stream).await?;
    if let Place::Prepared(why) = place {
        return Err(MigrateError::Stop(Error::PreparedTable(why)));
    }
    let sql_name = quote_table(&name);
    let table = match found {
        Some(table) => table,
        None => {
            let mut named = types::resolved(session, stream).await?;
            named.table = name.clone();
            let create = match &stream.table.schema {
                Some(_) => create_table_sql(&named),
                None => create_table_only_sql(&named),
            };
            client.batch_execute(&create).await?;
            tracing::info!(stream = stream.name, table = %name, "table created");
            // Another role may have been faster.
            place = locate(session, stream).await?.1;
            if let Place::Prepared(why) = place {
                return Err(MigrateError::Stop(Error::PreparedTable(why)));
            }
            let made = Table::find(client, &sql_name).await?;
            made.expect("the transaction that made the table sees it")
        }
    };
    let refusals = trial::refusals(client, stream, &table, transaction).await?;
    StreamTarget::new(stream, table, &place, refusals).map_err(MigrateError::Stop)
}

/// A stream's table with its schema, and who may have put it there.
pub(crate) async fn locate(
    session: &Session,
    stream: &Stream,
) -> Result<(TableName, Place), tokio_postgres::Error> {
    let (client, path) = (&session.client, &session.path);
    let name = path.resolve(client, &stream.table).await?;
    let place = trust::place(client, path, &name, stream.table.schema.is_some()).await?;
    Ok((name, place))
}

/// A stream's table with its schema, its description if it exists, and who may have put it there. The place is judged last:
/// a role that is not trusted may have made the table a moment ago, but cannot replace one of a trusted role.
async fn find_placed(
    session: &Session,
    stream: &Stream,
) -> Result<(TableName, Option<Table>, Place), tokio_postgres::Error> {
    let (client, path) = (&session.client, &session.path);
    let name = path.resolve(client, &stream.table).await?;
    let found = Table::find(client, &quote_table(&name)).await?;
    let place = trust::place(client, path, &name, stream.table.schema.is_some()).await?;
    Ok((name, found, place))
}

pub(crate) use self::conditions::drifted;
pub use self::report::{Misfit, Report, TableReport, check, misfits};

/// Reads the description of a table again that has been altered.
pub(crate) async fn find_again(
    session: &Session,
    known: &StreamTarget,
) -> Result<StreamTarget, MigrateError> {
    let found = Table::find(&session.client, &known.table.sql_name).await?;
    match found {
        Some(table) if table.version.oid == known.table.version.oid => {
            let stream = &known.stream;
            let refusals =
                trial::refusals(&session.client, stream, &table, Transaction::None).await?;
            // Its place was judged when it was found.
            StreamTarget::new(stream, table, &Place::Trusted, refusals).map_err(MigrateError::Stop)
        }
        _ => Err(MigrateError::Stop(Error::TableReplaced {
            table: known.table.full_name.clone(),
            stream: known.stream.name.clone(),
        })),
    }
}

/// Checks the stream's table, which must exist.
pub(crate) async fn find_target(session: &Session, stream: &Stream) -> Result<StreamTarget, Error> {
    let (_, found, place) = find_placed(session, stream)
        .await
        .map_err(|error| Error::postgres("find the table", &error))?;
    if let Place::Prepared(why) = place {
        return Err(Error::PreparedTable(why));
    }
    match found {
        // A command that only reads needs no statement that PostgreSQL might refuse.
        Some(table) => StreamTarget::new(stream, table, &place, Vec::new()),
        None => Err(Error::NoTable {
            table: stream.table.to_string(),
            stream: stream.name.clone(),
        }),
    }
}

/// What is wrong with a table that another stream fills.
pub(crate) fn also_filled_by(stream: &str) -> String {
    format!("stream `{stream}` fills the same table; name the files of both in one stream")
}

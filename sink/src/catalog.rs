//! A table as PostgreSQL's catalog describes it.

mod column;

use std::sync::atomic::{AtomicU64, Ordering};

use bekk_stream::TableName;
use tokio_postgres::{Client, Row, SimpleQueryRow};

pub(crate) use self::column::{TableColumn, has_order_sql};

use crate::ddl::quote_literal;

/// A new name for a prepared statement: an earlier one may exist, of an attempt that was cancelled.
pub(crate) fn statement_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("bekk_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// What it was when this description was read, or before.
    pub(crate) version: TableVersion,
    /// `"schema"."name"`, in quotes.
    pub(crate) sql_name: String,
    /// Its name with its schema, for people.
    pub(crate) full_name: String,
    /// Its kind: `r` an ordinary table, `p` a partitioned one.
    pub(crate) kind: String,
    /// Its columns, in order, without dropped ones.
    pub(crate) columns: Vec<TableColumn>,
    /// Its unique indexes and exclusion constraints.
    pub(crate) unique_indexes: Vec<UniqueIndex>,
    /// Whether it, or a partition of it, has triggers of its own, that may look at each record.
    pub(crate) has_triggers: bool,
    pub(crate) hooks: Hooks,
    pub(crate) access: Access,
}

/// Which table of that name it is, and a hash of everything that a plan is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TableVersion {
    pub(crate) oid: u32,
    pub(crate) hash: i64,
}

impl TableVersion {
    /// The version in a row of the query [`Table::version_sql`].
    pub(crate) fn of(row: &SimpleQueryRow) -> Option<Self> {
        Some(Self {
            oid: row.get(0)?.parse().ok()?,
            hash: row.get(1)?.parse().ok()?,
        })
    }
}

/// What a table and its database let this role do, and promise to keep.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "answers to independent questions"
)]
pub(crate) struct Access {
    /// `p` for a table that survives a crash, `u` for an unlogged one, `t` for a temporary one.
    pub(crate) persistence: String,
    /// Whether it is a partitioned table with an unlogged partition.
    pub(crate) has_unlogged_partition: bool,
    /// Whether it is a partitioned table without a partition.
    pub(crate) lacks_partitions: bool,
    /// The first partition that is a foreign table.
    pub(crate) foreign_partition: Option<String>,
    pub(crate) may_insert: bool,
    pub(crate) may_select: bool,
    pub(crate) may_delete: bool,
    pub(crate) may_make_temporary: bool,
    /// Whether row level security applies to this role.
    pub(crate) row_security: bool,
    /// Whether this role's sessions run as a replica's: no foreign key is checked, and few triggers run.
    pub(crate) is_replica: bool,
    /// Whether a publication needs a replica identity for updates and the table has none.
    pub(crate) refuses_updates: bool,
    /// Whether one needs it for deletions.
    pub(crate) refuses_deletes: bool,
    /// The role, as the server names it.
    pub(crate) role: String,
    /// The database's encoding.
    pub(crate) encoding: String,
}

/// What may make of a row something else than was written.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "answers to independent questions"
)]
pub(crate) struct Hooks {
    /// Whether a trigger runs for each row before it is inserted, and may leave it out.
    pub(crate) before_insert: bool,
    /// Whether a trigger runs for each row before it is updated, and may leave the update out.
    pub(crate) before_update: bool,
    /// Whether a partition has a unique index that the table has not.
    pub(crate) unique_partition: bool,
    /// Whether rules rewrite its INSERT or UPDATE.
    pub(crate) rules: bool,
    /// Whether rules rewrite its DELETE.
    pub(crate) delete_rules: bool,
    /// Whether other tables inherit from it, whose rows are seen in it and not found by its key.
    pub(crate) heirs: bool,
    /// Whether other rows of the table may change with a row that is deleted, or keep it, because of foreign keys.
    pub(crate) deletes_more: bool,
}

/// A unique index, or an exclusion constraint's.
#[derive(Debug, Clone)]
pub(crate) struct UniqueIndex {
    pub(crate) name: String,
    /// Its columns, in order; an expression is left out.
    pub(crate) columns: Vec<String>,
    pub(crate) has_expressions: bool,
    pub(crate) partial: bool,
    pub(crate) deferrable: bool,
    pub(crate) valid: bool,
    pub(crate) exclusion: bool,
    /// Whether it compares by a collation under which texts of different bytes can be equal.
    pub(crate) is_loose: bool,
}

const UNIQUE_INDEXES: &str = "\
    SELECT c.relname::text,
           ARRAY(SELECT a.attname::text
                   FROM generate_series(0, i.indnkeyatts - 1) k
                   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k]
                  ORDER BY k),
           i.indexprs IS NOT NULL, i.indpred IS NOT NULL, NOT i.indimmediate,
           i.indisvalid AND i.indisready, i.indisexclusion,
           EXISTS (SELECT FROM pg_collation l WHERE l.oid = ANY (i.indcollation) AND NOT l.collisdeterministic)
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = $1 AND (i.indisunique OR i.indisexclusion)
     ORDER BY NOT i.indisprimary, c.relname";

/// Bits of `tgtype`: 1 for each row, 2 before, 4 INSERT, 16 UPDATE.
const HOOKS: &str = "\
    SELECT coalesce(bool_or(true), false),
           coalesce(bool_or(g.tgtype & 7 = 7), false), coalesce(bool_or(g.tgtype & 19 = 19), false),
           EXISTS (SELECT FROM pg_index i JOIN pg_partition_tree($1::oid) t ON t.relid = i.indrelid
                    WHERE t.relid <> $1 AND (i.indisunique OR i.indisexclusion)
                      AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)),
           EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = $1 AND r.ev_type IN ('2', '3') AND r.ev_enabled <> 'D'),
           EXISTS (SELECT FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhparent
                    WHERE h.inhparent = $1 AND c.relkind = 'r'),
           EXISTS (SELECT FROM pg_constraint k
                    WHERE k.contype = 'f' AND k.confrelid = $1
                      AND (k.conrelid = $1 OR k.confdeltype IN ('c', 'n', 'd') AND EXISTS (
                           SELECT FROM pg_constraint o WHERE o.contype = 'f' AND o.conrelid = $1))),
           EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = $1 AND r.ev_type = '4' AND r.ev_enabled <> 'D')
      FROM pg_trigger g
     WHERE (g.tgrelid = $1 OR g.tgrelid IN (SELECT relid FROM pg_partition_tree($1::oid)))
       AND NOT g.tgisinternal AND g.tgenabled <> 'D'";

const ACCESS: &str = "\
    SELECT c.relpersistence::text,
           EXISTS (SELECT FROM pg_partition_tree(c.oid) t JOIN pg_class p ON p.oid = t.relid
                    WHERE t.isleaf AND p.relpersistence = 'u'),
           has_table_privilege(c.oid, 'INSERT'), coalesce(has_table_privilege(c.oid, 'SELECT'), false),
           has_database_privilege(current_database(), 'TEMPORARY'), row_security_active(c.oid),
           u.updates AND NOT r.found, current_user::text, current_setting('server_encoding'),
           coalesce(has_table_privilege(c.oid, 'DELETE'), false), u.deletes AND NOT r.found,
           c.relkind = 'p' AND NOT EXISTS (SELECT FROM pg_partition_tree(c.oid) t WHERE t.isleaf),
           (SELECT min(t.relid::regclass::text) FROM pg_partition_tree(c.oid) t JOIN pg_class p ON p.oid = t.relid
             WHERE t.isleaf AND p.relkind = 'f'),
           current_setting('session_replication_role') = 'replica'
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     CROSS JOIN LATERAL (
           SELECT coalesce(bool_or(p.pubupdate), false) AS updates, coalesce(bool_or(p.pubdelete), false) AS deletes
             FROM pg_publication_tables v JOIN pg_publication p ON p.pubname = v.pubname
            WHERE v.schemaname = n.nspname AND v.tablename = c.relname) u
     CROSS JOIN LATERAL (
           SELECT c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid
                  AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident)) AS found) r
     WHERE c.oid = $1";

/// The query for a table's [`TableVersion`]; `table` is an expression for its oid. What its partitions have of their own
/// counts as well, and the files of both: another file may be an empty one. The triggers include those of foreign keys.
fn version_sql(table: &str) -> String {
    format!(
        "SELECT c.oid, hashtextextended(concat_ws(' ', c.oid, c.relkind, c.relpersistence, c.relrowsecurity, \
                c.relforcerowsecurity, c.relhasrules, c.relhassubclass, p.files, \
                (SELECT string_agg(concat_ws(',', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, \
                        a.atthasdef, a.attidentity, a.attgenerated, a.attcollation), ';' ORDER BY a.attnum) \
                   FROM pg_catalog.pg_attribute a \
                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), \
                (SELECT string_agg(concat_ws(',', i.indexrelid, i.indkey, i.indisvalid, i.indisready, \
                        i.indimmediate), ';' ORDER BY i.indexrelid) \
                   FROM pg_catalog.pg_index i \
                  WHERE i.indrelid = ANY (p.relids) AND (i.indisunique OR i.indisexclusion)), \
                (SELECT string_agg(concat_ws(',', g.oid, g.tgenabled), ';' ORDER BY g.oid) \
                   FROM pg_catalog.pg_trigger g WHERE g.tgrelid = ANY (p.relids))), 0) \
           FROM pg_catalog.pg_class c \
          CROSS JOIN LATERAL ( \
                SELECT array_agg(t.relid) AS relids, \
                       string_agg(pg_catalog.pg_relation_filenode(t.relid)::text, ',' ORDER BY t.relid) AS files \
                  FROM (SELECT c.oid AS relid \
                         UNION SELECT d.relid::oid FROM pg_catalog.pg_partition_tree(c.oid) d WHERE c.relkind = 'p') t) p \
          WHERE c.oid = {table}"
    )
}

impl Hooks {
    /// From a row of [`HOOKS`], behind `has_triggers`.
    fn of(row: &Row) -> Self {
        Self {
            before_insert: row.get(1),
            before_update: row.get(2),
            unique_partition: row.get(3),
            rules: row.get(4),
            heirs: row.get(5),
            deletes_more: row.get(6),
            delete_rules: row.get(7),
        }
    }
}

impl Access {
    /// From a row of [`ACCESS`].
    fn of(row: &Row) -> Self {
        Self {
            persistence: row.get(0),
            has_unlogged_partition: row.get(1),
            may_insert: row.get(2),
            may_select: row.get(3),
            may_make_temporary: row.get(4),
            row_security: row.get(5),
            refuses_updates: row.get(6),
            role: row.get(7),
            encoding: row.get(8),
            may_delete: row.get(9),
            refuses_deletes: row.get(10),
            lacks_partitions: row.get(11),
            foreign_partition: row.get(12),
            is_replica: row.get(13),
        }
    }
}

impl Table {
    /// Reads a table's description; `None` if there is no such table. `sql_name` is quoted, with its schema.
    ///
    /// Not by `to_regclass`, which fails where the role has no right to use the schema.
    pub(crate) async fn find(
        client: &Client,
        sql_name: &str,
    ) -> Result<Option<Self>, tokio_postgres::Error> {
        let found = client
            .query_opt(
                "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = (parse_ident($1))[1] AND c.relname = (parse_ident($1))[2]",
                &[&sql_name],
            )
            .await?;
        let Some(found) = found else {
            return Ok(None);
        };
        let oid: u32 = found.get(0);
        let (schema, name): (String, String) = (found.get(1), found.get(2));
        // First: whatever is altered from here on makes a newer version.
        let version = client
            .query_opt(&version_sql(&oid.to_string()), &[])
            .await?;
        let Some(version) = version else {
            return Ok(None);
        };
        let columns = column::read(client, oid).await?;
        let unique_indexes = client.query(UNIQUE_INDEXES, &[&oid]).await?;
        let hooks = client.query_one(HOOKS, &[&oid]).await?;
        let access = client.query_opt(ACCESS, &[&oid]).await?;
        // A table that was dropped meanwhile has no row, or no privileges, which the snapshot does not show.
        let Some(access) = access.filter(|access| access.get::<_, Option<bool>>(2).is_some())
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            version: TableVersion {
                oid: version.get(0),
                hash: version.get(1),
            },
            sql_name: format!(
                "{}.{}",
                crate::ddl::quote(&schema),
                crate::ddl::quote(&name)
            ),
            full_name: TableName::within(&schema, &name).to_string(),
            kind: found.get(3),
            columns,
            unique_indexes: unique_indexes.iter().map(unique_index).collect(),
            has_triggers: hooks.get(0),
            hooks: Hooks::of(&hooks),
            access: Access::of(&access),
        }))
    }

    /// The query for the version of the table that has this one's name.
    pub(crate) fn version_sql(&self) -> String {
        version_sql(&format!("to_regclass({})", quote_literal(&self.sql_name)))
    }

    /// The SQL that takes the lock that writing needs, so that nobody alters the table from here to the end of
    /// the transaction, and then runs `ask`, which asks for its version.
    pub(crate) fn lock_sql(&self, ask: &str) -> String {
        if self.access.may_insert {
            format!(
                "LOCK TABLE ONLY {} IN ROW EXCLUSIVE MODE; {ask}",
                self.sql_name
            )
        } else {
            // LOCK needs a right on the whole table. Preparing an INSERT takes the same lock, and needs none.
            let name = statement_name();
            format!(
                "PREPARE {name} AS INSERT INTO {} DEFAULT VALUES; DEALLOCATE {name}; {ask}",
                self.sql_name
            )
        }
    }

    pub(crate) fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The index that finds rows by this key: unique, whole, immediate, over just these columns.
    pub(crate) fn key_index(&self, key: &[String]) -> Option<&UniqueIndex> {
        self.unique_indexes
            .iter()
            .find(|index| index.covers(key) && index.serves())
    }
}

impl UniqueIndex {
    /// Whether its columns are just these, in any order.
    pub(crate) fn covers(&self, key: &[String]) -> bool {
        !self.has_expressions
            && self.columns.len() == key.len()
            && key.iter().all(|column| self.columns.contains(column))
    }

    /// Whether ON CONFLICT can use it.
    pub(crate) fn serves(&self) -> bool {
        self.valid && !self.partial && !self.deferrable && !self.exclusion
    }
}

fn unique_index(row: &tokio_postgres::Row) -> UniqueIndex {
    UniqueIndex {
        name: row.get(0),
        columns: row.get(1),
        has_expressions: row.get(2),
        partial: row.get(3),
        deferrable: row.get(4),
        valid: row.get(5),
        exclusion: row.get(6),
        is_loose: row.get(7),
    }
}

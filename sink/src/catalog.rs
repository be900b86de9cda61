//! A table as PostgreSQL's catalog describes it.

use tokio_postgres::Client;

/// A table.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// `"schema"."name"`, in quotes.
    pub(crate) sql_name: String,
    /// `schema.name`, for people.
    pub(crate) full_name: String,
    /// Its kind: `r` an ordinary table, `p` a partitioned one.
    pub(crate) kind: String,
    /// Its columns, in order, without dropped ones.
    pub(crate) columns: Vec<TableColumn>,
    /// Its unique indexes and exclusion constraints.
    pub(crate) unique_indexes: Vec<UniqueIndex>,
    /// Whether it has triggers of its own, that may look at each record.
    pub(crate) has_triggers: bool,
}

/// A column of a table.
#[derive(Debug, Clone)]
pub(crate) struct TableColumn {
    pub(crate) name: String,
    /// The type as SQL writes it, such as `numeric(12,2)`.
    pub(crate) type_text: String,
    /// The name of the type, or of a domain's base type: `int4`.
    pub(crate) base_type: String,
    /// Whether that type is an enum.
    pub(crate) is_enum: bool,
    /// The type modifier: the length of a varchar, precision and scale of a numeric. -1 if none.
    pub(crate) type_modifier: i32,
    pub(crate) not_null: bool,
    /// Whether a row gets a value without naming one: default, identity or generated.
    pub(crate) has_default: bool,
    /// Whether a value cannot be given.
    pub(crate) generated: bool,
    /// Whether the default takes a number of a sequence.
    pub(crate) is_serial: bool,
    /// Whether texts of different bytes can be equal: citext, char(n), a nondeterministic collation.
    pub(crate) equal_though_different: bool,
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
}

const COLUMNS: &str = "\
    SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), b.typname::text, b.typtype = 'e',
           b.typmod, a.attnotnull, a.atthasdef OR a.attidentity <> '',
           a.attgenerated <> '' OR a.attidentity = 'a',
           a.attidentity <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid), '') LIKE 'nextval(%',
           b.typname IN ('citext', 'bpchar') OR NOT coalesce(l.collisdeterministic, true)
      FROM pg_attribute a
      LEFT JOIN pg_collation l ON l.oid = a.attcollation
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     CROSS JOIN LATERAL (
           WITH RECURSIVE base (oid, typmod, depth) AS (
                SELECT a.atttypid, a.atttypmod, 0
                 UNION ALL
                SELECT t.typbasetype, t.typtypmod, depth + 1
                  FROM base JOIN pg_type t ON t.oid = base.oid WHERE t.typtype = 'd')
           SELECT t.typname, t.typtype, base.typmod
             FROM base JOIN pg_type t ON t.oid = base.oid ORDER BY depth DESC LIMIT 1) b
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
     ORDER BY a.attnum";

const UNIQUE_INDEXES: &str = "\
    SELECT c.relname::text,
           ARRAY(SELECT a.attname::text
                   FROM generate_series(0, i.indnkeyatts - 1) k
                   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k]
                  ORDER BY k),
           i.indexprs IS NOT NULL, i.indpred IS NOT NULL, NOT i.indimmediate,
           i.indisvalid AND i.indisready, i.indisexclusion
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE i.indrelid = $1 AND (i.indisunique OR i.indisexclusion)
     ORDER BY NOT i.indisprimary, c.relname";

const TRIGGERS: &str = "\
    SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal AND tgenabled <> 'D')";

impl Table {
    /// Reads a table's description; `None` if there is no such table. `sql_name` is quoted.
    pub(crate) async fn find(
        client: &Client,
        sql_name: &str,
    ) -> Result<Option<Self>, tokio_postgres::Error> {
        let found = client
            .query_opt(
                "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.oid = to_regclass($1)",
                &[&sql_name],
            )
            .await?;
        let Some(found) = found else {
            return Ok(None);
        };
        let oid: u32 = found.get(0);
        let (schema, name): (String, String) = (found.get(1), found.get(2));
        let columns = client.query(COLUMNS, &[&oid]).await?;
        let unique_indexes = client.query(UNIQUE_INDEXES, &[&oid]).await?;
        let triggers = client.query_one(TRIGGERS, &[&oid]).await?;
        Ok(Some(Self {
            sql_name: format!(
                "{}.{}",
                crate::ddl::quote(&schema),
                crate::ddl::quote(&name)
            ),
            full_name: format!("{schema}.{name}"),
            kind: found.get(3),
            columns: columns.iter().map(column).collect(),
            unique_indexes: unique_indexes.iter().map(unique_index).collect(),
            has_triggers: triggers.get(0),
        }))
    }

    /// The column of that name.
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

fn column(row: &tokio_postgres::Row) -> TableColumn {
    TableColumn {
        name: row.get(0),
        type_text: row.get(1),
        base_type: row.get(2),
        is_enum: row.get(3),
        type_modifier: row.get(4),
        not_null: row.get(5),
        has_default: row.get(6),
        generated: row.get(7),
        is_serial: row.get(8),
        equal_though_different: row.get(9),
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
    }
}

//! A table's columns and their types.

use bekk_stream::PostgresType;
use tokio_postgres::{Client, Row};

use crate::input::{Guard, Part};

#[derive(Debug, Clone)]
pub(crate) struct TableColumn {
    pub(crate) name: String,
    /// The type as SQL writes it, such as `numeric(12,2)`.
    pub(crate) type_text: String,
    /// The name of the type, or of a domain's base type: `int4`.
    pub(crate) base_type: String,
    /// The type, and those that a domain is based on, down to that one.
    types: Vec<TypeName>,
    /// Refuses texts of which the type's input function would lose or change a part; `None` if it may do so with any text.
    pub(crate) guard: Option<Guard>,
    /// Whether the base type is an enum.
    pub(crate) is_enum: bool,
    /// The base type as SQL writes it, without a modifier.
    pub(crate) base_sql: String,
    /// The type modifier: the length of a varchar, precision and scale of a numeric. -1 if none.
    pub(crate) type_modifier: i32,
    pub(crate) not_null: bool,
    /// Whether a row gets a value without naming one: default, identity or generated.
    pub(crate) has_default: bool,
    /// Whether it is computed, so that a value cannot be given.
    pub(crate) generated: bool,
    /// Whether it is GENERATED ALWAYS AS IDENTITY: INSERT may override it, UPDATE may not.
    pub(crate) identity_always: bool,
    /// Whether the default takes a number of a sequence.
    pub(crate) is_serial: bool,
    /// Whether texts of different bytes can be equal: citext, char(n), jsonb, a nondeterministic collation.
    pub(crate) equal_though_different: bool,
    pub(crate) may_insert: bool,
    pub(crate) may_update: bool,
    /// The schema of the type's comparison operators: `pg_catalog`, or an extension's.
    pub(crate) operator_schema: String,
    /// Whether its values can be compared by `>=`.
    pub(crate) has_order: bool,
}

/// The name of a type; of an array, that of its elements.
#[derive(Debug, Clone)]
struct TypeName {
    schema: String,
    name: String,
    is_array: bool,
}

/// A column that was dropped a moment ago has no privileges: the functions that tell of them do not use the snapshot in which
/// the column is still seen.
const COLUMNS: &str = "\
    SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), b.typname::text, b.typtype = 'e',
           b.typmod, a.attnotnull, a.atthasdef OR a.attidentity <> '',
           a.attgenerated <> '',
           a.attidentity <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid), '') LIKE 'nextval(%',
           b.typname IN ('citext', 'bpchar', 'jsonb') OR NOT coalesce(l.collisdeterministic, true),
           format_type(b.oid, -1), a.attidentity = 'a',
           coalesce(has_column_privilege(a.attrelid, a.attnum, 'INSERT'), false),
           coalesce(has_column_privilege(a.attrelid, a.attnum, 'UPDATE'), false),
           b.operator_schema, b.schemas, b.names, b.arrays, b.inside, b.bounded, b.has_order,
           b.typname = 'money' AND 1.23::numeric::money::text NOT LIKE '%1.23%'
      FROM ({types}) b
     CROSS JOIN LATERAL (
           SELECT * FROM pg_attribute
            WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
              AND atttypid = b.own_oid AND atttypmod = b.own_typmod
           OFFSET 0) a
      LEFT JOIN pg_collation l ON l.oid = a.attcollation
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     ORDER BY a.attnum";

/// What there is to know of the types of a table's columns: once for each type, as a table may have a thousand columns
/// of one. `OFFSET 0`, here and above, keeps the planner from asking for each column.
const TYPES: &str = "\
    SELECT a.atttypid AS own_oid, a.atttypmod AS own_typmod, b.*, i.inside, i.bounded, {has_order} AS has_order,
           coalesce((SELECT n.nspname::text FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
                      WHERE o.oprname = '=' AND o.oprleft = b.oid AND o.oprright = b.oid
                        AND o.oprnamespace = b.typnamespace AND o.oprowner = b.typowner), 'pg_catalog') AS operator_schema
      FROM (SELECT DISTINCT atttypid, atttypmod FROM pg_attribute
             WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped) a
     CROSS JOIN LATERAL (
           WITH RECURSIVE base (oid, typmod, depth) AS (
                SELECT a.atttypid, a.atttypmod, 0
                 UNION ALL
                SELECT t.typbasetype, t.typtypmod, depth + 1
                  FROM base JOIN pg_type t ON t.oid = base.oid WHERE t.typtype = 'd')
           SELECT t.oid, t.typname, t.typtype, t.typnamespace, t.typowner, base.typmod,
                  chain.schemas, chain.names, chain.arrays
             FROM base JOIN pg_type t ON t.oid = base.oid
            CROSS JOIN (
                  SELECT array_agg(n.nspname::text ORDER BY base.depth) AS schemas,
                         array_agg(e.typname::text ORDER BY base.depth) AS names,
                         array_agg(e.oid <> t.oid ORDER BY base.depth) AS arrays
                    FROM base JOIN pg_type t ON t.oid = base.oid
                    JOIN pg_type e ON e.oid = CASE WHEN t.typcategory = 'A' AND t.typtype = 'b' AND t.typelem <> 0
                                                   THEN t.typelem ELSE t.oid END
                    JOIN pg_namespace n ON n.oid = e.typnamespace) chain
            ORDER BY base.depth DESC LIMIT 1) b
     CROSS JOIN LATERAL (
           WITH RECURSIVE inside (oid, typmod) AS (
                SELECT a.atttypid, a.atttypmod
                 UNION
                SELECT x.oid, x.typmod
                  FROM inside JOIN pg_type t ON t.oid = inside.oid
                 CROSS JOIN LATERAL (
                       SELECT t.typbasetype, t.typtypmod WHERE t.typtype = 'd'
                        UNION ALL
                       SELECT t.typelem, inside.typmod WHERE t.typcategory = 'A' AND t.typtype = 'b' AND t.typelem <> 0
                        UNION ALL
                       SELECT r.rngsubtype, -1 FROM pg_range r
                        WHERE t.oid IN (r.rngtypid, (to_jsonb(r) ->> 'rngmultitypid')::oid)
                        UNION ALL
                       SELECT f.atttypid, f.atttypmod FROM pg_attribute f
                        WHERE f.attrelid = t.typrelid AND t.typtype = 'c' AND f.attnum > 0 AND NOT f.attisdropped
                       ) x (oid, typmod))
           SELECT array_agg(t.typname::text) AS inside, array_agg(inside.typmod >= 0) AS bounded
             FROM inside JOIN pg_type t ON t.oid = inside.oid) i
    OFFSET 0";

/// An SQL expression: whether values of a type can be compared by `>=`. Those of an array or a composite type are
/// compared by their parts, which need an order that an index can have; another type may have the operator alone.
/// `type_oid` and `depth` are expressions too: the type, and 1 if an array of it is meant, else 0.
pub(crate) fn has_order_sql(type_oid: &str, depth: &str) -> String {
    format!(
        "NOT EXISTS (
           WITH RECURSIVE part (oid, depth) AS (
                SELECT {type_oid}, {depth}
                 UNION
                SELECT x.oid, x.depth
                  FROM part JOIN pg_type t ON t.oid = part.oid
                 CROSS JOIN LATERAL (
                       SELECT t.typbasetype, part.depth WHERE t.typtype = 'd'
                        UNION ALL
                       SELECT t.typelem, part.depth + 1 WHERE t.typcategory = 'A' AND t.typtype = 'b' AND t.typelem <> 0
                        UNION ALL
                       SELECT f.atttypid, part.depth + 1 FROM pg_attribute f
                        WHERE f.attrelid = t.typrelid AND t.typtype = 'c' AND f.attnum > 0 AND NOT f.attisdropped
                       ) x (oid, depth))
           SELECT FROM part JOIN pg_type t ON t.oid = part.oid
            WHERE t.typtype = 'b' AND t.typcategory <> 'A'
              AND NOT EXISTS (
                  SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod
                   WHERE m.amname = 'btree' AND o.opcdefault AND (o.opcintype = t.oid OR EXISTS (
                         SELECT FROM pg_cast k WHERE k.castsource = t.oid AND k.casttarget = o.opcintype
                            AND k.castmethod = 'b' AND k.castcontext = 'i')))
              AND NOT (part.depth = 0 AND EXISTS (
                  SELECT FROM pg_operator o
                   WHERE o.oprname = '>=' AND o.oprleft = t.oid AND o.oprright = t.oid)))"
    )
}

impl TableColumn {
    /// Whether the column is of a type, or of a domain over it.
    pub(crate) fn is_of(&self, wanted: &PostgresType) -> bool {
        self.types.iter().any(|own| {
            own.name == wanted.name()
                && own.is_array == wanted.is_array()
                && wanted.schema().is_none_or(|schema| own.schema == schema)
        })
    }

    /// A comparison operator of the column's type with its schema, so that no other can be meant.
    pub(crate) fn operator(&self, name: &str) -> String {
        let schema = crate::ddl::quote(&self.operator_schema);
        format!("OPERATOR({schema}.{name})")
    }
}

/// Reads the columns of a table.
pub(super) async fn read(
    client: &Client,
    table_oid: u32,
) -> Result<Vec<TableColumn>, tokio_postgres::Error> {
    let types = TYPES.replace("{has_order}", &has_order_sql("a.atttypid", "0"));
    let sql = COLUMNS.replace("{types}", &types);
    let rows = client.query(&sql, &[&table_oid]).await?;
    Ok(rows.iter().map(column).collect())
}

fn column(row: &Row) -> TableColumn {
    let schemas: Vec<String> = row.get(15);
    let (names, arrays): (Vec<String>, Vec<bool>) = (row.get(16), row.get(17));
    let types = schemas.into_iter().zip(names.into_iter().zip(arrays));
    let (inside, bounded): (Vec<String>, Vec<bool>) = (row.get(18), row.get(19));
    let parts: Vec<Part> = inside
        .into_iter()
        .zip(bounded)
        .map(|(name, is_bounded)| Part { name, is_bounded })
        .collect();
    let base_type: String = row.get(2);
    TableColumn {
        types: types
            .map(|(schema, (name, is_array))| TypeName {
                schema,
                name,
                is_array,
            })
            .collect(),
        // The point may mark thousands under `lc_monetary`, or be refused: a literal '1.23'::money could fail the query.
        guard: Guard::of(&base_type, &parts).filter(|_| !row.get::<_, bool>(21)),
        name: row.get(0),
        type_text: row.get(1),
        base_type,
        is_enum: row.get(3),
        type_modifier: row.get(4),
        not_null: row.get(5),
        has_default: row.get(6),
        generated: row.get(7),
        is_serial: row.get(8),
        equal_though_different: row.get(9),
        base_sql: row.get(10),
        identity_always: row.get(11),
        may_insert: row.get(12),
        may_update: row.get(13),
        operator_schema: row.get(14),
        has_order: row.get(20),
    }
}

//! Whose objects Bekk uses: the owner of a table, a schema or a function decides what runs with Bekk's rights.
//!
//! **Invariant:** schema `bekk`, all in it, and all that its tables run belong to roles that are trusted: Bekk's own, those
//! it is a member of, the database's owner and superusers, who have its rights anyway (CVE-2022-2625). A stream's table may
//! belong to another role, but not if anybody could have put it there.

use bekk_stream::{PostgresType, TableName};
use tokio_postgres::Client;

use crate::Error;
use crate::catalog::{Table, has_order_sql};
use crate::search_path::SearchPath;

/// The roles that are trusted. Membership is looked up, not asked for with `pg_has_role`: a superuser has every role.
const TRUSTED: &str = "\
    WITH RECURSIVE own (role) AS (
         SELECT oid FROM pg_roles WHERE rolname = current_user
          UNION
         SELECT m.roleid FROM pg_auth_members m JOIN own ON m.member = own.role),
    trusted (role) AS (
         SELECT role FROM own
          UNION SELECT datdba FROM pg_database WHERE datname = current_database()
          UNION SELECT oid FROM pg_roles WHERE rolsuper OR rolname = 'pg_database_owner')";

/// Whether a role that is not trusted owns schema `bekk`, or any object of the kinds that [`REACHED`] finds. Where none
/// does, as in most databases, this saves following what each table uses, which takes four times as long.
const ANY_FOREIGN: &str = "\
    SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'bekk'),
           EXISTS (SELECT FROM (
                SELECT nspowner FROM pg_namespace WHERE nspname = 'bekk'
                 UNION ALL SELECT relowner FROM pg_class WHERE oid >= 16384
                 UNION ALL SELECT proowner FROM pg_proc WHERE oid >= 16384
                 UNION ALL SELECT typowner FROM pg_type WHERE oid >= 16384 AND typtype = 'd'
                 UNION ALL SELECT oprowner FROM pg_operator WHERE oid >= 16384) AS objects (owner)
            WHERE owner NOT IN (SELECT role FROM trusted))";

/// Everything that runs when the tables of `{tables}` are read or written: their children and indexes, defaults,
/// constraints, rules, policies and triggers, and the functions, operators and domains that these use. PostgreSQL's own
/// objects have smaller oids. The table that a foreign key refers to is left out: the key's checks have the rights of that
/// table's owner.
const REACHED: &str = "\
    , reached (class, oid) AS (
         SELECT 'pg_class'::regclass::oid, oid FROM pg_class WHERE {tables}
          UNION
         SELECT next.class::oid, next.oid FROM reached r CROSS JOIN LATERAL (
              SELECT 'pg_class'::regclass, inhrelid FROM pg_inherits
               WHERE r.class = 'pg_class'::regclass AND inhparent = r.oid
               UNION ALL
              SELECT 'pg_class'::regclass, indexrelid FROM pg_index
               WHERE r.class = 'pg_class'::regclass AND indrelid = r.oid
               UNION ALL
              SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef
               WHERE r.class = 'pg_class'::regclass AND adrelid = r.oid
               UNION ALL
              SELECT 'pg_constraint'::regclass, oid FROM pg_constraint
               WHERE r.class = 'pg_class'::regclass AND conrelid = r.oid AND contype <> 'f'
               UNION ALL
              SELECT 'pg_constraint'::regclass, oid FROM pg_constraint
               WHERE r.class = 'pg_type'::regclass AND contypid = r.oid
               UNION ALL
              SELECT 'pg_rewrite'::regclass, oid FROM pg_rewrite
               WHERE r.class = 'pg_class'::regclass AND ev_class = r.oid
               UNION ALL
              SELECT 'pg_policy'::regclass, oid FROM pg_policy
               WHERE r.class = 'pg_class'::regclass AND polrelid = r.oid
               UNION ALL
              SELECT 'pg_trigger'::regclass, oid FROM pg_trigger
               WHERE r.class = 'pg_class'::regclass AND tgrelid = r.oid AND NOT tgisinternal
               UNION ALL
              SELECT refclassid::regclass, refobjid FROM pg_depend
               WHERE classid = r.class AND objid = r.oid AND refobjid >= 16384
                 AND refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass,
                                    'pg_operator'::regclass, 'pg_opclass'::regclass)
              ) next (class, oid)),
    used (rank, kind, name, owner, oid) AS (
         SELECT 2, CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
                                WHEN 'f' THEN 'foreign table' ELSE 'table' END,
                quote_ident(nspname) || '.' || quote_ident(relname), relowner, c.oid
           FROM reached r JOIN pg_class c ON c.oid = r.oid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE r.class = 'pg_class'::regclass AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
          UNION ALL
         SELECT 3, 'function', p.oid::regprocedure::text, proowner, p.oid
           FROM reached r JOIN pg_proc p ON p.oid = r.oid WHERE r.class = 'pg_proc'::regclass
          UNION ALL
         SELECT 4, 'domain', format_type(t.oid, NULL), typowner, t.oid
           FROM reached r JOIN pg_type t ON t.oid = r.oid WHERE r.class = 'pg_type'::regclass AND typtype = 'd'
          UNION ALL
         SELECT 5, 'operator', o.oid::regoperator::text, oprowner, o.oid
           FROM reached r JOIN pg_operator o ON o.oid = r.oid WHERE r.class = 'pg_operator'::regclass)";

/// Bekk's own tables, and whatever has the name of one.
const OWN_TABLES: &str = "relnamespace = to_regnamespace('bekk')
           AND (relkind IN ('r', 'p') OR relname IN ('dead_letters', 'groups', 'migrations', 'offsets'))";

/// Whether schema `bekk` exists, and the first object in it, or used by Bekk's tables there, whose owner is not trusted.
const FOREIGN: &str = "\
    SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'bekk'), kind, name, owner, current_user::text
      FROM (SELECT 1) one LEFT JOIN (
    SELECT kind, name, pg_get_userbyid(owner)::text AS owner FROM (
         SELECT 1, 'schema', quote_ident(nspname), nspowner, oid
           FROM pg_namespace WHERE nspname = 'bekk'
          UNION ALL
         SELECT 2, CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
                                WHEN 'f' THEN 'foreign table' ELSE 'table' END,
                'bekk.' || quote_ident(relname), relowner, oid
           FROM pg_class WHERE relnamespace = to_regnamespace('bekk') AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
          UNION ALL
         SELECT 3, 'function', oid::regprocedure::text, proowner, oid
           FROM pg_proc WHERE pronamespace = to_regnamespace('bekk')
          UNION ALL
         SELECT * FROM used
         ) AS objects (rank, kind, name, owner, oid)
     WHERE owner NOT IN (SELECT role FROM trusted)
     ORDER BY rank, oid LIMIT 1) AS first ON true";

/// Whose schema `bekk` is.
pub(crate) enum OwnSchema {
    Missing,
    /// It exists, and only roles that are trusted can change what is in it.
    Trusted,
    /// A role that is not trusted owns a part of it, or of what it runs.
    Foreign(Error),
}

/// What [`ANY_FOREIGN`] finds
struct Glance {
    has_schema: bool,
    any_foreign: bool,
}

impl Glance {
    async fn take(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let row = client
            .query_one(&format!("{TRUSTED} {ANY_FOREIGN}"), &[])
            .await?;
        Ok(Self {
            has_schema: row.get(0),
            any_foreign: row.get(1),
        })
    }
}

/// Finds out whose schema `bekk` is; each answer is of one snapshot. `database` is for the message.
pub(crate) async fn own_schema(
    client: &Client,
    database: &str,
) -> Result<OwnSchema, tokio_postgres::Error> {
    let glance = Glance::take(client).await?;
    if !glance.any_foreign {
        return Ok(match glance.has_schema {
            true => OwnSchema::Trusted,
            false => OwnSchema::Missing,
        });
    }
    let reached = REACHED.replace("{tables}", OWN_TABLES);
    let row = client
        .query_one(&format!("{TRUSTED} {reached} {FOREIGN}"), &[])
        .await?;
    let object: Option<(String, String)> = row.get::<_, Option<String>>(1).zip(row.get(2));
    Ok(match (row.get(0), object) {
        (_, Some((kind, name))) => OwnSchema::Foreign(Error::ForeignObject {
            object: format!("{kind} {name} in {database}"),
            owner: row.get(3),
            role: row.get(4),
        }),
        (true, None) => OwnSchema::Trusted,
        (false, None) => OwnSchema::Missing,
    })
}

/// A stream's table.
const THE_TABLE: &str = "relname = $2::text
           AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1::text)";

const OWNERS: &str = "\
    SELECT pg_get_userbyid(n.nspowner)::text, n.nspowner IN (SELECT role FROM trusted),
           EXISTS (SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
                    WHERE a.grantee = 0 AND a.privilege_type = 'CREATE'),
           pg_get_userbyid(c.relowner)::text, coalesce(c.relowner IN (SELECT role FROM trusted), true),
           {used}
      FROM pg_namespace n
      LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = $2::text
     WHERE n.nspname = $1::text";

/// The first object that a stream's table uses and whose owner is not trusted.
const USED: &str = "\
    (SELECT format('%s %s, which belongs to role `%s`', kind, name, pg_get_userbyid(owner))
       FROM used WHERE owner NOT IN (SELECT role FROM trusted) ORDER BY rank, oid LIMIT 1)";

/// Who may have put a stream's table where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nobody but roles that are trusted, or that a trusted one has allowed it.
    Trusted,
    /// A trusted role owns the table, which uses an object of another role: the object and its owner.
    UsesOfAnother(String),
    /// Another role owns the table, in a place that only who is allowed to may write to, or that is named.
    OfAnother(String),
    /// Anybody may have prepared it; why.
    Prepared(String),
}

impl Place {
    /// What a person should know of an existing table's place.
    pub(crate) fn warning(&self, table: &Table) -> Option<String> {
        match self {
            Self::OfAnother(owner) if table.has_triggers => Some(format!(
                "the table belongs to role `{owner}`, whose triggers run with the rights of Bekk's role"
            )),
            Self::UsesOfAnother(what) => Some(format!(
                "the table uses {what} and whose code runs with the rights of Bekk's role"
            )),
            _ => None,
        }
    }
}

/// Judges where a table is, or would be made. `table` is resolved; `is_named` tells whether bekk.toml named its schema.
pub(crate) async fn place(
    client: &Client,
    path: &SearchPath,
    table: &TableName,
    is_named: bool,
) -> Result<Place, tokio_postgres::Error> {
    let schema = table.schema.as_deref().unwrap_or_default();
    let sql = if Glance::take(client).await?.any_foreign {
        let reached = REACHED.replace("{tables}", THE_TABLE);
        format!("{TRUSTED} {reached} {}", OWNERS.replace("{used}", USED))
    } else {
        format!("{TRUSTED} {}", OWNERS.replace("{used}", "NULL::text"))
    };
    let found = client.query_opt(&sql, &[&schema, &table.name]).await?;
    let Some(row) = found else {
        return Ok(Place::Trusted);
    };
    let (schema_owner, is_schema_trusted): (String, bool) = (row.get(0), row.get(1));
    let all_may_create: bool = row.get(2);
    let (owner, is_trusted): (Option<String>, bool) = (row.get(3), row.get(4));
    let used: Option<String> = row.get(5);
    let name = &table.name;
    let role = &path.role;
    let how = format!(
        "if you trust that role, name the table with its schema in bekk.toml: {}",
        table.as_setting()
    );
    // Nobody chose this schema: it is in the path by its name alone.
    if !is_named && schema == role && !is_schema_trusted {
        return Ok(Place::Prepared(format!(
            "table `{name}` would be looked for in schema `{schema}`, which belongs to role `{schema_owner}` and is in \
             the search path only because it is called like role `{role}`; {how}"
        )));
    }
    Ok(match owner {
        Some(owner) if !is_trusted && all_may_create && !is_named => Place::Prepared(format!(
            "table `{table}` belongs to role `{owner}`, and every role may create tables in schema `{schema}`: its \
             triggers would run with the rights of role `{role}`; {how}"
        )),
        Some(owner) if !is_trusted => Place::OfAnother(owner),
        _ => used.map_or(Place::Trusted, Place::UsesOfAnother),
    })
}

const TYPES: &str = "\
    SELECT n.nspname::text, pg_get_userbyid(t.typowner)::text, t.typowner IN (SELECT role FROM trusted),
           EXISTS (SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
                    WHERE a.grantee = 0 AND a.privilege_type = 'CREATE'),
           $3::bool OR coalesce(b.typtype IN ('e', 'r', 'm', 'c'), false) OR b.typcategory = 'A'
           OR EXISTS (SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod
                       WHERE m.amname = 'btree' AND o.opcdefault AND (o.opcintype = b.oid OR EXISTS (
                             SELECT FROM pg_cast k WHERE k.castsource = b.oid AND k.casttarget = o.opcintype
                                AND k.castmethod = 'b' AND k.castcontext = 'i'))),
           {has_order}
      FROM unnest(ARRAY['pg_catalog'] || $1::text[]) WITH ORDINALITY AS path (name, place)
      JOIN pg_namespace n ON n.nspname = path.name
      JOIN pg_type t ON t.typnamespace = n.oid AND t.typname = $2::text
     CROSS JOIN LATERAL (
           WITH RECURSIVE base (oid, depth) AS (
                SELECT t.oid, 0
                 UNION ALL
                SELECT d.typbasetype, depth + 1 FROM base JOIN pg_type d ON d.oid = base.oid WHERE d.typtype = 'd')
           SELECT d.* FROM base JOIN pg_type d ON d.oid = base.oid ORDER BY depth DESC LIMIT 1) b
     ORDER BY place LIMIT 1";

/// Where a type of the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TypePlace {
    /// In this schema.
    Found {
        schema: String,
        /// Whether an index can order its values.
        is_indexable: bool,
        /// Whether its values can be compared by `>=`.
        has_order: bool,
    },
    /// Nowhere.
    Missing,
    /// Where anybody may have put it.
    Prepared { schema: String, owner: String },
}

/// Finds a type by its name: in its schema if it names one, else in PostgreSQL's own and then the role's search path.
pub(crate) async fn find_type(
    client: &Client,
    path: &SearchPath,
    wanted: &PostgresType,
) -> Result<TypePlace, tokio_postgres::Error> {
    let own = wanted.schema().map(|schema| vec![schema.to_owned()]);
    // The schema that is always looked at first cannot have a name's other meaning.
    let schemas = own.as_ref().unwrap_or(&path.schemas);
    let sql = match &own {
        Some(_) => TYPES.replace("ARRAY['pg_catalog'] || $1::text[]", "$1::text[]"),
        None => TYPES.to_owned(),
    };
    let sql = sql.replace("{has_order}", &has_order_sql("t.oid", "$3::bool::int"));
    let found = client
        .query_opt(
            &format!("{TRUSTED} {sql}"),
            &[schemas, &wanted.name(), &wanted.is_array()],
        )
        .await?;
    let Some(row) = found else {
        return Ok(TypePlace::Missing);
    };
    let (schema, owner): (String, String) = (row.get(0), row.get(1));
    let (is_trusted, all_may_create): (bool, bool) = (row.get(2), row.get(3));
    Ok(if own.is_none() && !is_trusted && all_may_create {
        TypePlace::Prepared { schema, owner }
    } else {
        TypePlace::Found {
            schema,
            is_indexable: row.get(4),
            has_order: row.get(5),
        }
    })
}

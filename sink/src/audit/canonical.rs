//! Rows as hashes: the same for what was sent and for what the table gives back.

use std::hash::{DefaultHasher, Hasher};

use crate::encode::Target;
use crate::target::{StreamTarget, loose_keys};

/// How a column's binary form is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Byte by byte.
    Bytes,
    /// Without its scale and surplus zeros.
    Numeric,
    /// Without the spaces that fill it up.
    Padded,
    /// A float, of which zero has two forms.
    Float,
}

/// A column whose texts only the server can bring into the form that it stores.
#[derive(Debug, Clone)]
pub(super) struct ReadColumn {
    pub(super) name: String,
    /// Where it is among the columns.
    pub(super) at: usize,
    /// The type whose input function reads its texts.
    pub(super) type_sql: String,
    /// Bytes before the text as it is sent.
    pub(super) skip: usize,
    /// Whether it is a key column in which different texts may be equal.
    pub(super) is_loose: bool,
}

/// A list of columns that records have been written with.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    pub(crate) names: Vec<String>,
    forms: Vec<Form>,
    base_types: Vec<String>,
    /// Positions of the key columns; of all columns where rows have no key.
    pub(crate) key: Vec<usize>,
    /// Positions of the columns that a later record of a key changes: of equal keys the first one's text stays.
    values: Vec<usize>,
    /// The columns that the server reads.
    pub(super) read: Vec<ReadColumn>,
}

impl Columns {
    pub(crate) fn new(target: &StreamTarget, names: &[String]) -> Self {
        let (stream, table) = (&target.stream, &target.table);
        let columns = names.iter().filter_map(|name| table.column(name));
        let forms = columns
            .clone()
            .map(|column| match column.base_type.as_str() {
                "numeric" if !target.inputs.contains_key(&column.name) => Form::Numeric,
                "float4" | "float8" if !target.inputs.contains_key(&column.name) => Form::Float,
                "bpchar" => Form::Padded,
                _ => Form::Bytes,
            });
        let key: Vec<usize> = match target.is_keyed() {
            true => stream
                .key
                .iter()
                .filter_map(|key| names.iter().position(|name| name == key))
                .collect(),
            false => (0..names.len()).collect(),
        };
        let is_value = |at: &usize| !target.is_keyed() || !key.contains(at);
        Self {
            names: names.to_vec(),
            values: (0..names.len()).filter(is_value).collect(),
            forms: forms.collect(),
            base_types: columns.map(|column| column.base_type.clone()).collect(),
            key,
            read: read_columns(target, names),
        }
    }

    /// A hash of the fields that are not the key's; a null is `None`.
    pub(crate) fn content_hash(&self, fields: &[Option<&[u8]>]) -> u128 {
        hash_of(self.values.iter().map(|at| (self.forms[*at], fields[*at])))
    }

    /// A hash of the key. `loose` holds, for each column that the server reads, what equal values have in common.
    pub(super) fn key_hash(
        &self,
        fields: &[Option<&[u8]>],
        loose: impl Fn(usize) -> Option<String>,
    ) -> u128 {
        let alike: Vec<Option<String>> = (self.key.iter())
            .map(|at| {
                let read = self.read.iter().position(|read| read.at == *at);
                read.filter(|read| self.read[*read].is_loose)
                    .and_then(&loose)
            })
            .collect();
        let of_key = self.key.iter().zip(&alike);
        hash_of(of_key.map(|(at, alike)| match alike {
            Some(alike) => (Form::Bytes, Some(alike.as_bytes())),
            None => (self.forms[*at], fields[*at]),
        }))
    }

    /// The key's fields, for a person.
    pub(crate) fn key_text(&self, fields: &[Option<&[u8]>]) -> String {
        let shown = self.key.iter().take(4).map(|at| match fields[*at] {
            None => "null".to_owned(),
            Some(bytes) if self.read.iter().any(|read| read.at == *at) => {
                String::from_utf8_lossy(bytes).into_owned()
            }
            Some(bytes) => field_text(&self.base_types[*at], bytes),
        });
        shown.collect::<Vec<_>>().join(",")
    }
}

fn read_columns(target: &StreamTarget, names: &[String]) -> Vec<ReadColumn> {
    let loose = loose_keys(&target.stream, &target.table);
    let read = names.iter().enumerate().filter_map(|(at, name)| {
        let position = target.stream.columns.iter().position(|c| c.name == *name)?;
        let column = target.table.column(name)?;
        let is_loose = target.is_keyed() && loose.contains(&name.as_str());
        let (is_read, skip) = match target.encodings.get(position)? {
            Target::Input(_) => (true, 0),
            // A byte that tells its version.
            Target::Jsonb => (true, 1),
            Target::Text { .. } | Target::Json => (is_loose, 0),
            _ => (false, 0),
        };
        is_read.then(|| ReadColumn {
            name: name.clone(),
            at,
            type_sql: column.base_sql.clone(),
            skip,
            is_loose,
        })
    });
    read.collect()
}

/// Two hashes of 64 bits, of which one alone may meet itself among a billion rows.
fn hash_of<'a>(fields: impl Iterator<Item = (Form, Option<&'a [u8]>)>) -> u128 {
    let (mut left, mut right) = (DefaultHasher::new(), DefaultHasher::new());
    right.write_u8(1);
    for (form, bytes) in fields {
        for hasher in [&mut left, &mut right] {
            match bytes {
                None => hasher.write_u8(0),
                Some(bytes) => hash_field(hasher, form, bytes),
            }
        }
    }
    u128::from(left.finish()) << 64 | u128::from(right.finish())
}

fn hash_field(hasher: &mut DefaultHasher, form: Form, bytes: &[u8]) {
    hasher.write_u8(1);
    let bytes = match form {
        Form::Numeric => return hash_numeric(hasher, bytes),
        Form::Bytes => bytes,
        Form::Padded => {
            let end = bytes.iter().rposition(|byte| *byte != b' ');
            &bytes[..end.map_or(0, |end| end + 1)]
        }
        // PostgreSQL finds minus zero equal, and leaves the row as it is.
        Form::Float if bytes.first() == Some(&0x80) && bytes[1..].iter().all(|byte| *byte == 0) => {
            &[0; 8][..bytes.len().min(8)]
        }
        Form::Float => bytes,
    };
    hasher.write_usize(bytes.len());
    hasher.write(bytes);
}

/// Groups of four digits, of which surplus ones on either side mean nothing.
fn hash_numeric(hasher: &mut DefaultHasher, bytes: &[u8]) {
    let mut words = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let mut word = || words.next().unwrap_or_default();
    let (_count, weight, sign, _scale) = (word(), word().cast_signed(), word(), word());
    let groups: Vec<u16> = words.collect();
    let first = groups.iter().position(|group| *group != 0);
    let last = groups.iter().rposition(|group| *group != 0);
    let (Some(first), Some(last)) = (first, last) else {
        // Zero, or a value without digits: NaN and the infinities have signs of their own.
        hasher.write_u16(if sign == 0x4000 { 0 } else { sign });
        return;
    };
    hasher.write_u16(sign);
    hasher.write_i32(i32::from(weight) - i32::try_from(first).unwrap_or_default());
    for group in &groups[first..=last] {
        hasher.write_u16(*group);
    }
}

fn field_text(base_type: &str, bytes: &[u8]) -> String {
    match (base_type, bytes) {
        ("int2", [a, b]) => i16::from_be_bytes([*a, *b]).to_string(),
        ("int4", [a, b, c, d]) => i32::from_be_bytes([*a, *b, *c, *d]).to_string(),
        ("int8", bytes) if bytes.len() == 8 => {
            let mut all = [0; 8];
            all.copy_from_slice(bytes);
            i64::from_be_bytes(all).to_string()
        }
        ("uuid", bytes) if bytes.len() == 16 => {
            uuid::Uuid::from_slice(bytes).map_or_else(|_| hex(bytes), |uuid| uuid.to_string())
        }
        ("text" | "varchar" | "bpchar" | "citext" | "json", bytes) => {
            String::from_utf8_lossy(bytes).trim_end().to_owned()
        }
        _ => hex(bytes),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    format!("\\x{}", digits.collect::<String>())
}

/// Splits a tuple of binary COPY into its fields; `None` if it is malformed.
pub(crate) fn fields(tuple: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = tuple.split_first_chunk::<2>()?;
    let count = u16::from_be_bytes(*count);
    let mut fields = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        rest = behind;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => fields.push(None),
            Ok(length) => {
                let (bytes, behind) = rest.split_at_checked(length)?;
                fields.push(Some(bytes));
                rest = behind;
            }
        }
    }
    Some(fields)
}

//! Rows as hashes: the same for what was sent and for what the table gives back.

use std::hash::{DefaultHasher, Hasher};

use bekk_stream::Stream;

use crate::catalog::Table;

/// How a column's binary form is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Byte by byte.
    Bytes,
    /// Without its scale and surplus zeros.
    Numeric,
    /// Without the spaces that fill it up.
    Padded,
    /// Only whether it is null: the server writes it in another form than it was sent.
    Null,
}

/// A list of columns that records have been written with.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    pub(crate) names: Vec<String>,
    forms: Vec<Form>,
    base_types: Vec<String>,
    /// Positions of the key columns; of all columns where rows have no key.
    pub(crate) key: Vec<usize>,
}

impl Columns {
    pub(crate) fn new(stream: &Stream, table: &Table, is_keyed: bool, names: &[String]) -> Self {
        let columns = names.iter().filter_map(|name| table.column(name));
        let forms = columns
            .clone()
            .map(|column| match column.base_type.as_str() {
                "bool" | "int2" | "int4" | "int8" | "float4" | "float8" | "uuid" | "date"
                | "time" | "timestamp" | "timestamptz" | "text" | "varchar" | "citext" | "json"
                | "bytea" => Form::Bytes,
                "numeric" => Form::Numeric,
                "bpchar" => Form::Padded,
                _ if column.is_enum => Form::Bytes,
                _ => Form::Null,
            });
        let key = match is_keyed {
            true => stream
                .key
                .iter()
                .filter_map(|key| names.iter().position(|name| name == key))
                .collect(),
            false => (0..names.len()).collect(),
        };
        Self {
            names: names.to_vec(),
            forms: forms.collect(),
            base_types: columns.map(|column| column.base_type.clone()).collect(),
            key,
        }
    }

    /// The columns whose values are not compared.
    pub(crate) fn not_compared(&self) -> Vec<String> {
        let named = self.names.iter().zip(&self.forms);
        let unlike = named.filter(|(_, form)| **form == Form::Null);
        unlike.map(|(name, _)| name.clone()).collect()
    }

    /// A hash of some fields, of which a null is `None`.
    pub(crate) fn hash(
        &self,
        fields: &[Option<&[u8]>],
        which: impl Iterator<Item = usize>,
    ) -> u128 {
        // Two halves of a hash of 64 bits, which alone may meet itself among a billion rows.
        let (mut left, mut right) = (DefaultHasher::new(), DefaultHasher::new());
        right.write_u8(1);
        for at in which {
            for hasher in [&mut left, &mut right] {
                match fields[at] {
                    None => hasher.write_u8(0),
                    Some(bytes) => self.hash_field(hasher, at, bytes),
                }
            }
        }
        u128::from(left.finish()) << 64 | u128::from(right.finish())
    }

    fn hash_field(&self, hasher: &mut DefaultHasher, at: usize, bytes: &[u8]) {
        hasher.write_u8(1);
        match self.forms[at] {
            Form::Null => {}
            Form::Bytes => {
                hasher.write_usize(bytes.len());
                hasher.write(bytes);
            }
            Form::Padded => {
                let end = bytes.iter().rposition(|byte| *byte != b' ');
                let bytes = &bytes[..end.map_or(0, |end| end + 1)];
                hasher.write_usize(bytes.len());
                hasher.write(bytes);
            }
            Form::Numeric => hash_numeric(hasher, bytes),
        }
    }

    /// The key's fields, for a person.
    pub(crate) fn key_text(&self, fields: &[Option<&[u8]>]) -> String {
        let shown = self.key.iter().take(4).map(|at| match fields[*at] {
            None => "null".to_owned(),
            Some(bytes) => field_text(&self.base_types[*at], bytes),
        });
        shown.collect::<Vec<_>>().join(",")
    }
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

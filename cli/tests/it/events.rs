//! Made-up files of the sample stream, with every kind of trouble, and what must become of them.

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

const HEADER: &str =
    "event_id,event_type,user_id,product_id,category,price,quantity,session_id,event_time\n";

/// A file's text and what is in it.
pub(crate) struct EventsFile {
    pub(crate) text: String,
    /// The rows as [`row_text`] has them, in the file's order.
    pub(crate) rows: Vec<String>,
    /// The records that are no rows, as they stand in the file, without their line end.
    pub(crate) rejects: Vec<String>,
}

impl EventsFile {
    /// Makes a file of `records` records: one in a hundred is bad, one in thirty repeats a key of this file.
    pub(crate) fn random(rng: &mut ChaCha8Rng, records: usize) -> Self {
        let mut file = Self {
            text: HEADER.to_owned(),
            rows: Vec::new(),
            rejects: Vec::new(),
        };
        let mut ids: Vec<String> = Vec::new();
        for _ in 0..records {
            let id = match ids.choose(rng) {
                Some(id) if rng.random_ratio(1, 30) => id.clone(),
                _ => uuid_text(rng.random()),
            };
            if rng.random_ratio(1, 100) {
                let bad = bad_record(rng, &id);
                file.text += &bad;
                file.rejects.push(bad);
            } else {
                let fields = good_fields(rng, &id);
                file.text += &fields.iter().map(csv_field).collect::<Vec<_>>().join(",");
                file.rows.push(
                    fields
                        .map(|field| field.unwrap_or_else(|| "∅".into()))
                        .join("|"),
                );
                ids.push(id);
            }
            file.text += if rng.random_ratio(1, 10) {
                "\r\n"
            } else {
                "\n"
            };
        }
        file
    }

    /// How many records it holds.
    pub(crate) fn records(&self) -> usize {
        self.rows.len() + self.rejects.len()
    }
}

/// What the table must hold: of each key the last row.
pub(crate) fn last_of_each_key<'a>(rows: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut last = BTreeMap::new();
    for row in rows {
        last.insert(row.split('|').next().unwrap(), row);
    }
    last.into_values().cloned().collect()
}

/// A query for the table's rows in the same form.
pub(crate) const TABLE_ROWS: &str = "SELECT concat_ws('|', event_id, event_type, coalesce(user_id::text, '∅'), \
    coalesce(product_id::text, '∅'), coalesce(category, '∅'), coalesce(price::text, '∅'), \
    coalesce(quantity::text, '∅'), coalesce(session_id::text, '∅'), \
    to_char(event_time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')) FROM events ORDER BY event_id";

fn good_fields(rng: &mut ChaCha8Rng, id: &str) -> [Option<String>; 9] {
    let mut maybe = |text: String| (!rng.random_ratio(1, 20)).then_some(text);
    let user = maybe(format!(
        "{}",
        id.len() * 1000 + usize::from(id.as_bytes()[3])
    ));
    let product = maybe("77".into());
    let category = *[
        "garden",
        "toys, \"small\"",
        "møbler\nand lamps",
        "",
        "a\r\nb",
        "x",
    ]
    .choose(rng)
    .unwrap();
    let price = format!(
        "{}.{:02}",
        rng.random_range(0..10_000),
        rng.random_range(0..100)
    );
    let time = format!(
        "2026-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        rng.random_range(1..=12),
        rng.random_range(1..=28),
        rng.random_range(0..24),
        rng.random_range(0..60),
        rng.random_range(0..60),
        rng.random_range(0..1_000_000)
    );
    [
        Some(id.to_owned()),
        Some((*["view", "purchase", "add_to_cart"].choose(rng).unwrap()).to_owned()),
        user,
        product,
        Some(category.to_owned()),
        Some(price),
        Some(rng.random_range(1..9).to_string()),
        Some(uuid_text(rng.random())),
        Some(time),
    ]
}

fn bad_record(rng: &mut ChaCha8Rng, id: &str) -> String {
    let mark: u64 = rng.random();
    let bad = [
        format!("{id},view,1,2,too few {mark}"),
        format!("{id},view,1,2,c,abc{mark},1,,2026-01-01T00:00:00Z"),
        format!("{id},view,1,2,c{mark},1.005,1,,2026-01-01T00:00:00Z"),
        format!("{id},view,1,2,c{mark},-1,1,,2026-01-01T00:00:00Z"),
        format!("{id},sell,1,2,c{mark},1,1,,2026-01-01T00:00:00Z"),
        format!(",view,1,2,c{mark},1,1,,2026-01-01T00:00:00Z"),
        format!("{id},view,1,2,c{mark},1,99999999999,,2026-01-01T00:00:00Z"),
        format!("{id},view,1,2,c{mark},1,1,,2026-01-01T00:00:00"),
        format!("{id},view,1,2,c{mark}\0,1,1,,2026-01-01T00:00:00Z"),
    ];
    bad.choose(rng).unwrap().clone()
}

fn csv_field(field: &Option<String>) -> String {
    match field {
        None => String::new(),
        Some(text) if text.is_empty() || text.contains([',', '"', '\n', '\r']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Some(text) => text.clone(),
    }
}

pub(crate) fn uuid_text(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

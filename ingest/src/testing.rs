//! What several tests need.

use bekk_stream::{
    Accept, Column, ColumnType, CsvDialect, Finished, OnConflict, Retention, Stream, TableName,
};

/// A stream with columns `id` (int8, the key), `name` (text, nullable) and `price` (decimal, nullable,
/// called `Price` in files), and no files.
pub(crate) fn stream() -> Stream {
    let mut price = Column::new(
        "price",
        ColumnType::Decimal {
            precision: 12,
            scale: 2,
        },
    )
    .nullable();
    price.header = "Price".to_owned();
    Stream {
        name: "things".to_owned(),
        accept: Accept::default(),
        files: Vec::new(),
        exclude: Vec::new(),
        finished: Finished::Keep,
        table: TableName {
            schema: None,
            name: "things".to_owned(),
        },
        key: vec!["id".to_owned()],
        on_conflict: OnConflict::Update,
        newer_by: None,
        partitions: 4,
        retention: Retention {
            age: None,
            size: None,
        },
        indexes: Vec::new(),
        csv: CsvDialect::default(),
        columns: vec![
            Column::new("id", ColumnType::Int8),
            Column::new("name", ColumnType::Text).nullable(),
            price,
        ],
    }
}

//! Deletions among a batch's records.

use bekk_log::Record;
use bekk_stream::{Value, key_text};

use super::{Builder, Start};
use crate::Error;
use crate::dead_letter::DeadLetter;
use crate::encode::{encode_key, encode_value};
use crate::target::{Deletion, Unfit};

impl Builder<'_> {
    /// Adds a record that deletes the row with these values of the key's columns; false if it has to begin the next
    /// batch.
    pub(super) fn add_deletion(
        &mut self,
        record: &Record<'_>,
        values: &[Value<'_>],
    ) -> Result<bool, Error> {
        let deletion = self.source.target.deletion();
        let offset = record.offset.get();
        let start = Start::of(&self.batch, true);
        let encoded = self.encode_deletion(deletion, values);
        match self.close_row(offset, start, encoded) {
            Ok(true) => {
                let batch = &mut self.batch;
                batch
                    .columns
                    .get_or_insert_with(|| deletion.row_columns.clone());
                batch.deletion.get_or_insert_with(|| deletion.clone());
            }
            Ok(false) => return Ok(false),
            Err(unfit) => {
                let (mut key, indexes) = (Vec::new(), (0..values.len()).collect::<Vec<_>>());
                key_text(&mut key, values, &indexes);
                let letter = DeadLetter::of_deletion(offset, &key, unfit);
                self.push_dead(letter);
            }
        }
        Ok(self.count(record))
    }

    fn encode_deletion(&mut self, deletion: &Deletion, values: &[Value<'_>]) -> Result<(), Unfit> {
        let columns = u16::try_from(values.len()).expect("a key has at most 1,600 columns");
        self.batch.data.extend_from_slice(&columns.to_be_bytes());
        self.version.clear();
        let fields = deletion.columns.names.iter().zip(&deletion.targets);
        for ((name, target), value) in fields.zip(values) {
            encode_value(&mut self.batch.data, value, *target).map_err(|refusal| Unfit {
                reason: refusal.reason,
                column: Some(name.clone()),
                detail: refusal.detail,
            })?;
            encode_key(&mut self.batch.keys, value, *target);
        }
        Ok(())
    }
}

//! Files that someone wants read again from their beginning, under the configuration as it is now.

use std::fs;
use std::path::Path;

use bekk_stream::FileId;

use crate::file::decision::What;
use crate::follow::engine::{Engine, Stopped};
use crate::follow::step::Fresh;
use crate::inbox::Listed;
use crate::ledger::requests::reread_requests;
use crate::source::stat::Stat;

impl Engine<'_> {
    /// Does what was asked with `ingest reread`.
    pub(crate) fn read_again(&mut self) -> Result<(), Stopped> {
        for (request, path) in reread_requests(&self.around.config.state_dir) {
            self.begin_again(&path)?;
            if let Err(error) = fs::remove_file(&request) {
                tracing::warn!(request = %request.display(), %error, "cannot remove the request of a reading that is done");
            }
        }
        Ok(())
    }

    /// Gives a file new ids, one for each stream that it feeds, and forgets the old ones.
    fn begin_again(&mut self, path: &Path) -> Result<(), Stopped> {
        let files = self.catalog.iter();
        let known: Vec<FileId> = files
            .filter(|(_, tracked)| tracked.path == path)
            .map(|(id, _)| id)
            .collect();
        let mut fresh = Vec::new();
        for id in known {
            self.await_appends(id)?;
            let Some(stream) = self.catalog.get(id).map(|tracked| tracked.stream) else {
                continue;
            };
            self.forget(id);
            let Some(stat) = Stat::at(path) else {
                continue;
            };
            fresh.push(Fresh {
                file: Listed {
                    stream,
                    path: path.to_owned(),
                    stat,
                },
                what: What::Restarted,
                why: format!(
                    "a person requested a new reading (`ingest reread`); it was file {id}"
                ),
            });
        }
        if fresh.is_empty() {
            tracing::warn!(path = %path.display(), "a new reading was requested, but no stream has the file");
        }
        self.register(fresh)
    }
}

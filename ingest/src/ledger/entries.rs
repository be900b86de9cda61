//! How a file's entry is written in the checkpoint.

use bekk_stream::{FileId, FirstSeen};

use crate::file::decision::{Decision, FileState, What};
use crate::file::entry::FileEntry;
use crate::ledger::codec::{FieldReader, FieldWriter};
use crate::source::Packing;
use crate::source::fingerprint::Fingerprint;
use crate::text::notice::{Notice, NoticeKind};
use crate::text::ranges::Ranges;

impl FileEntry {
    pub(crate) fn write(&self, out: &mut FieldWriter) {
        out.0.extend_from_slice(self.id.as_bytes());
        out.bytes(self.stream.as_bytes());
        out.bytes(&self.path);
        out.u64(self.device);
        out.u64(self.inode);
        for print in [&self.head, &self.tail] {
            out.u64(print.len);
            out.u128(print.hash);
        }
        for number in [
            self.position,
            self.line,
            self.header_at,
            self.records,
            self.rejects,
            // Lengths are shifted by one: 0 means that there is no receipt.
            self.receipt_bytes.map_or(0, |bytes| bytes + 1),
        ] {
            out.u64(number);
        }
        out.list(&self.offsets, |out, &(partition, first, end)| {
            out.u32(partition);
            out.u64(first);
            out.u64(end);
        });
        out.bytes(self.dialect.as_bytes());
        let known: Vec<(u64, u64)> = self.known.iter().collect();
        out.list(&known, |out, &(start, end)| {
            out.u64(start);
            out.u64(end);
        });
        out.u64(self.crc.map_or(0, |crc| u64::from(crc) + 1));
        out.u8(self.packing.map_or(0, Packing::code));
        out.u8(self.state.code());
        out.bytes(self.why.as_bytes());
        out.u64(self.size);
        out.u64(self.disk.0);
        out.i64(self.disk.1);
        out.list(&self.decisions, |out, decision| {
            out.i64(decision.at_ms);
            out.u8(decision.what.code());
            out.bytes(decision.why.as_bytes());
        });
        out.list(&self.notices, |out, notice| {
            out.u8(notice.kind.code());
            out.bytes(notice.text.as_bytes());
        });
        out.u8(u8::from(self.first.is_some()));
        if let Some(first) = &self.first {
            out.bytes(&first.path);
            out.i64(first.modified_us);
        }
    }

    /// Reads an entry of a checkpoint of that version; `None` if it is damaged.
    pub(crate) fn read(body: &mut FieldReader<'_>, version: u32) -> Option<Self> {
        let mut entry = Self::read_first(body)?;
        if version >= 2 {
            entry.crc = match body.u64()?.checked_sub(1) {
                None => None,
                Some(crc) => Some(u32::try_from(crc).ok()?),
            };
            entry.packing = match body.u8()? {
                0 => None,
                code => Some(Packing::from_code(code)?),
            };
            entry.state = FileState::from_code(body.u8()?)?;
            entry.why = body.text()?;
            entry.size = body.u64()?;
            entry.disk = (body.u64()?, body.i64()?);
            entry.decisions = body.list(|body| {
                Some(Decision {
                    at_ms: body.i64()?,
                    what: What::from_code(body.u8()?)?,
                    why: body.text()?,
                })
            })?;
        }
        if version >= 3 {
            entry.notices = body.list(|body| {
                Some(Notice {
                    kind: NoticeKind::from_code(body.u8()?)?,
                    text: body.text()?,
                })
            })?;
        }
        if version >= 4 && body.u8()? == 1 {
            entry.first = Some(FirstSeen {
                path: body.bytes()?.to_vec(),
                modified_us: body.i64()?,
            });
        }
        Some(entry)
    }

    /// What an entry has had since version 1.
    fn read_first(body: &mut FieldReader<'_>) -> Option<Self> {
        let print = |body: &mut FieldReader<'_>| {
            Some(Fingerprint {
                len: body.u64()?,
                hash: body.u128()?,
            })
        };
        Some(Self {
            id: FileId::from_bytes(*body.chunk()?),
            stream: body.text()?,
            path: body.bytes()?.to_vec(),
            device: body.u64()?,
            inode: body.u64()?,
            head: print(body)?,
            tail: print(body)?,
            crc: None,
            position: body.u64()?,
            line: body.u64()?,
            header_at: body.u64()?,
            records: body.u64()?,
            rejects: body.u64()?,
            receipt_bytes: body.u64()?.checked_sub(1),
            offsets: body.list(|body| Some((body.u32()?, body.u64()?, body.u64()?)))?,
            dialect: body.text()?,
            known: {
                let mut known = Ranges::default();
                for (start, end) in body.list(|body| Some((body.u64()?, body.u64()?)))? {
                    known.insert(start, end);
                }
                known
            },
            packing: None,
            state: FileState::Following,
            why: String::new(),
            size: 0,
            disk: (0, 0),
            decisions: Vec::new(),
            notices: Vec::new(),
            again: None,
            first: None,
        })
    }
}

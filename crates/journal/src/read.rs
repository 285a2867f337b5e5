//! Reading: what is flushed, in order, from the segments; without the writer's lock.

use std::fs::File;
use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::journal::Shared;
use crate::segment::{self, Step, Walk};
use crate::view::Segment;
use crate::{Batch, JournalError, Record, lock, record};

/// Places where readers stopped, so that the next read of each does not walk the segment again.
const CURSORS: usize = 4;

/// A reader has read up to `seq`; what follows lies at `offset` of the segment `first`.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    first: u64,
    seq: u64,
    offset: u64,
}

/// Gathers payloads in one buffer.
struct Gathered {
    room: usize,
    bytes: Vec<u8>,
    records: Vec<(u64, Range<usize>)>,
}

enum Ended {
    Full,
    End,
    Damaged,
}

impl Shared {
    /// See [`crate::Journal::read`].
    pub fn read(&self, after: u64, max_bytes: usize) -> Result<Batch, JournalError> {
        let mut gathered = Gathered { room: max_bytes, bytes: Vec::new(), records: Vec::new() };
        let mut through = after;
        loop {
            let Some((segment, is_last)) = lock(&self.view).after(through) else { break };
            let (ended, reached) = self.read_segment(&segment, through, &mut gathered)?;
            through = reached;
            match ended {
                Ended::Full => break,
                Ended::End => {}
                Ended::Damaged => {
                    if is_last {
                        self.leave_segment(segment.first)?;
                    }
                    tracing::warn!(
                        segment = segment.first,
                        after = reached,
                        "damaged events of the journal are skipped"
                    );
                    lock(&self.view).damaged(segment.first, reached);
                }
            }
            through = through.max(segment.last);
        }
        let bytes = Bytes::from(gathered.bytes);
        let records = gathered.records.into_iter().map(|(seq, at)| Record { seq, payload: bytes.slice(at) }).collect();
        Ok(Batch { records, through })
    }

    /// Reads one segment behind `after`. Returns the last number that was read.
    fn read_segment(
        &self,
        segment: &Segment,
        after: u64,
        gathered: &mut Gathered,
    ) -> Result<(Ended, u64), JournalError> {
        let path = segment::path(&self.dir, segment.first);
        let file = match File::open(&path) {
            Ok(file) => file,
            // Deleted since, at the bound or by someone else.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Ended::Damaged, after)),
            Err(error) => return Err(JournalError::io("open the journal segment", path)(error)),
        };
        let cursor = lock(&self.cursors).iter().find(|c| c.first == segment.first && c.seq == after).copied();
        let (offset, begin) = cursor.map_or((segment::HEADER as u64, segment.first - 1), |c| (c.offset, c.seq));
        let mut walk = Walk::new(&file, offset, segment.len, begin);
        let mut reached = after;
        let ended = loop {
            let offset = walk.offset();
            let step = walk.step().unwrap_or_else(|error| {
                // A reader that waits for a bad sector would never see what follows.
                tracing::error!(path = %path.display(), %error, "a journal segment cannot be read");
                Step::Damaged
            });
            match step {
                Step::Record { seq, .. } if seq <= after => {}
                Step::Record { seq, payload } => {
                    if !gathered.add(seq, payload) {
                        self.remember(Cursor { first: segment.first, seq: reached, offset });
                        break Ended::Full;
                    }
                    reached = seq;
                }
                Step::End => {
                    self.remember(Cursor { first: segment.first, seq: reached, offset });
                    break Ended::End;
                }
                Step::Torn | Step::Damaged => break Ended::Damaged,
            }
        };
        Ok((ended, reached))
    }

    fn remember(&self, cursor: Cursor) {
        let mut cursors = lock(&self.cursors);
        cursors.retain(|c| (c.first, c.seq) != (cursor.first, cursor.seq));
        cursors.push_back(cursor);
        if cursors.len() > CURSORS {
            cursors.pop_front();
        }
    }
}

impl Gathered {
    /// Takes the record, when there is room or it is the first.
    fn add(&mut self, seq: u64, payload: &[u8]) -> bool {
        let size = record::HEADER + payload.len();
        if size > self.room && !self.records.is_empty() {
            return false;
        }
        self.room = self.room.saturating_sub(size);
        let from = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.records.push((seq, from..self.bytes.len()));
        true
    }
}

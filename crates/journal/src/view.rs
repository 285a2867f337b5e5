//! What can be read: the segments, how much of each is on disk, and how far the reader acknowledged.

use std::collections::VecDeque;

use crate::segment;

/// Files at the same time: a reader that lets numbers jump begins one each time, and they may be nearly empty.
const MAX_SEGMENTS: usize = 1024;

/// A file of records.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The first number it may hold; its name.
    pub first: u64,
    /// The last number it may hold; of the one being written, the last that is on disk.
    pub last: u64,
    /// Bytes that are on disk.
    pub len: u64,
    /// Damage was found in it and counted.
    pub damaged: bool,
}

/// The segments, oldest first.
#[derive(Debug, Default)]
pub struct View {
    pub segments: VecDeque<Segment>,
    pub acknowledged: u64,
    pub lost: u64,
}

impl View {
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.len).sum()
    }

    /// The last number that can be read.
    pub fn durable(&self) -> u64 {
        self.segments.back().map_or(0, |s| s.last)
    }

    /// The segment to read after `seq`, and whether it is the last one.
    pub fn after(&self, seq: u64) -> Option<(Segment, bool)> {
        let at = self.segments.partition_point(|s| s.last <= seq);
        self.segments.get(at).map(|s| (*s, at + 1 == self.segments.len()))
    }

    /// The last segment has grown on disk.
    pub fn grown(&mut self, len: u64, last: u64) {
        if let Some(segment) = self.segments.back_mut() {
            (segment.len, segment.last) = (len, last);
        }
    }

    /// Begins a segment that may hold `first` and what follows. Returns those to delete to stay within `bound` bytes when it
    /// is full: unacknowledged events in them are lost.
    pub fn begin(&mut self, first: u64, segment_bytes: u64, bound: u64) -> Vec<u64> {
        let mut gone = Vec::new();
        match self.segments.back_mut() {
            Some(back) if back.len <= segment::HEADER as u64 => {
                gone.extend(Some(back.first).filter(|name| *name != first));
                self.segments.pop_back();
            }
            Some(back) => back.last = first - 1,
            None => {}
        }
        gone.extend(self.forget_acknowledged());
        let len = segment::HEADER as u64;
        self.segments.push_back(Segment { first, last: first - 1, len, damaged: false });
        while self.segments.len() > MAX_SEGMENTS
            || self.segments.len() > 1 && self.bytes() - len + segment_bytes > bound
        {
            let Some(oldest) = self.segments.pop_front() else { break };
            if !oldest.damaged {
                self.lost += oldest.last - self.acknowledged.clamp(oldest.first - 1, oldest.last);
            }
            gone.push(oldest.first);
        }
        gone
    }

    /// Takes out segments whose events were all acknowledged, except the last. Returns those to delete.
    pub fn forget_acknowledged(&mut self) -> Vec<u64> {
        let mut gone = Vec::new();
        while self.segments.len() > 1
            && let Some(oldest) = self.segments.pop_front_if(|s| s.last <= self.acknowledged)
        {
            gone.push(oldest.first);
        }
        gone
    }

    /// The segment `first` cannot be read behind the number `good`. Counted once.
    pub fn damaged(&mut self, first: u64, good: u64) {
        let acknowledged = self.acknowledged;
        if let Some(segment) = self.segments.iter_mut().find(|s| s.first == first && !s.damaged) {
            segment.damaged = true;
            self.lost += segment.last.saturating_sub(good.max(acknowledged).max(first - 1));
        }
    }
}

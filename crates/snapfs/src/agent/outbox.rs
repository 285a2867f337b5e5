//! Replies that a gateway must not miss: how commands ended.
//!
//! A socket takes a message long before anybody has read it, so a reply is kept until the gateway has answered a
//! protocol ping that was sent behind it. What a socket took along when it broke is sent again on the next one: a
//! gateway may see a reply twice, and not once too few.

use std::collections::VecDeque;

/// Replies kept; beyond, the oldest goes.
const KEPT_MAX: usize = 64;
/// A gateway that takes sockets and never answers a ping on one is not told more often.
const SENDS_MAX: u8 = 20;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Reply>,
    /// Grows with every ping.
    pings: u64,
}

#[derive(Debug)]
struct Reply {
    text: String,
    sends: u8,
    /// The ping behind it on this socket.
    covered_by: Option<u64>,
}

impl Outbox {
    /// Keeps a reply until it has arrived.
    pub(super) fn push(&mut self, text: String) {
        if self.waiting.len() >= KEPT_MAX {
            tracing::warn!("the gateway was away for too long: a reply is lost");
            self.waiting.pop_front();
        }
        self.waiting.push_back(Reply { text, sends: 0, covered_by: None });
    }

    /// A new socket: nothing has arrived on it.
    pub(super) fn reconnected(&mut self) {
        self.waiting.retain(|reply| reply.sends < SENDS_MAX);
        self.waiting.iter_mut().for_each(|reply| reply.covered_by = None);
    }

    /// What this socket was not given yet, and the number of the ping that must follow it. They count as given.
    pub(super) fn take(&mut self) -> Option<(Vec<String>, u64)> {
        let number = self.pings + 1;
        let mut texts = Vec::new();
        for reply in self.waiting.iter_mut().filter(|reply| reply.covered_by.is_none()) {
            reply.covered_by = Some(number);
            reply.sends = reply.sends.saturating_add(1);
            texts.push(reply.text.clone());
        }
        if texts.is_empty() {
            return None;
        }
        self.pings = number;
        Some((texts, number))
    }

    /// The gateway answered this ping, so it has read all before it.
    pub(super) fn answered(&mut self, number: u64) {
        self.waiting.retain(|reply| reply.covered_by.is_none_or(|ping| ping > number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(outbox: &mut Outbox) -> Vec<String> {
        outbox.take().map_or_else(Vec::new, |(texts, _)| texts)
    }

    #[test]
    fn a_reply_is_sent_again_until_a_ping_behind_it_is_answered() {
        let mut outbox = Outbox::default();
        assert!(outbox.take().is_none());
        outbox.push("a".into());
        let (_, first) = outbox.take().unwrap();
        assert!(outbox.take().is_none(), "one socket is given it once");
        outbox.push("b".into());
        outbox.answered(first);
        outbox.reconnected();
        let (again, second) = outbox.take().unwrap();
        assert_eq!(again, ["b"]);
        outbox.answered(first);
        outbox.reconnected();
        assert_eq!(texts(&mut outbox), ["b"], "an older answer says nothing of it");
        outbox.answered(second);
        outbox.answered(second + 1);
        outbox.reconnected();
        assert!(outbox.take().is_none());
    }

    #[test]
    fn neither_a_gateway_without_pongs_nor_a_long_absence_fills_it() {
        let mut outbox = Outbox::default();
        outbox.push("a".into());
        for _ in 0..SENDS_MAX {
            outbox.reconnected();
            assert_eq!(texts(&mut outbox), ["a"]);
        }
        outbox.reconnected();
        assert!(outbox.take().is_none());
        (0..=KEPT_MAX).for_each(|i| outbox.push(i.to_string()));
        let kept = texts(&mut outbox);
        assert_eq!((kept.len(), kept[0].as_str()), (KEPT_MAX, "1"));
    }
}

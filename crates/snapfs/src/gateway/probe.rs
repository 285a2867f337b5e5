//! Asking the gateway for hashes it knows.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hostler_model::{Algorithm, ContentHash};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::Gateway;
use super::backoff::Backoff;
use super::call::CallError;

/// Repetitions of a call that was not answered.
const TRIES: u32 = 3;

/// Longest answer, and what each probe adds to it.
const ANSWER: usize = 64 << 10;
const ANSWER_EACH: usize = 1024;

/// Encoded probes.
#[derive(Debug, Default)]
pub struct Probes {
    /// JSON objects with a comma behind each.
    pub json: Vec<u8>,
    /// Where each ends in `json`, behind its comma.
    pub ends: Vec<u32>,
}

impl Probes {
    /// Ends the probe whose object was just written to `json`.
    pub fn end(&mut self) {
        self.json.push(b',');
        // Bounded by what a batch may hold, far below 4 GiB.
        self.ends.push(self.json.len() as u32);
    }

    fn body(&self, from: usize, to: usize) -> Bytes {
        let start = |index: usize| index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let json = &self.json[start(from)..start(to)];
        let mut body = Vec::with_capacity(json.len() + 1);
        body.push(b'[');
        body.extend_from_slice(json.strip_suffix(b",").unwrap_or(json));
        body.push(b']');
        body.into()
    }
}

impl Gateway {
    /// The hashes the gateway knows, one for each probe; `None` for a MISS, which is also what a failure comes to. Only
    /// [`CallError::Unauthorized`] is an error.
    ///
    /// After a gateway could not be asked at all it is left alone for a while, and everything is a MISS.
    pub async fn probe(
        &self,
        probes: &Probes,
        algorithm: Algorithm,
        problem: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<Option<ContentHash>>, CallError> {
        let count = probes.ends.len();
        let mut hashes = vec![None; count];
        if self.rests() {
            return Ok(hashes);
        }
        let mut parts = vec![(0, count)];
        let mut answered = false;
        while let Some((from, to)) = parts.pop() {
            match self.patient_probe(probes, from, to).await {
                Ok(answers) => {
                    answered = true;
                    for (hash, answer) in hashes[from..to].iter_mut().zip(answers) {
                        *hash = answer.hash(algorithm);
                    }
                }
                Err(CallError::Unauthorized(why)) => return Err(CallError::Unauthorized(why)),
                Err(CallError::Broken(_) | CallError::Refused(_)) if to - from > 1 => {
                    let middle = from + (to - from) / 2;
                    parts.push((middle, to));
                    parts.push((from, middle));
                }
                Err(CallError::Broken(why) | CallError::Refused(why)) => {
                    problem(&format!("a file is hashed, because the gateway could not be asked for it: {why}"));
                }
                Err(CallError::Strange(why)) => {
                    answered = true;
                    problem(&format!(
                        "{} files are hashed, because the gateway's answer cannot be used: {why}",
                        to - from
                    ));
                }
                Err(CallError::Away(why)) => {
                    problem(&format!("files are hashed, because the gateway cannot be asked: {why}"));
                    answered = false;
                    break;
                }
            }
        }
        self.rest(!answered && count > 0);
        Ok(hashes)
    }

    /// Repeats what was not answered.
    async fn patient_probe(&self, probes: &Probes, from: usize, to: usize) -> Result<Vec<Known>, CallError> {
        let mut backoff = Backoff::new(&self.settings().waits);
        let mut left = if self.0.probe_failures.load(Relaxed) > 0 { 0 } else { TRIES };
        loop {
            match self.probe_once(probes.body(from, to), to - from).await {
                Err(CallError::Away(_)) if left > 0 => {
                    left -= 1;
                    tokio::time::sleep(backoff.next()).await;
                }
                done => return done,
            }
        }
    }

    async fn probe_once(&self, body: Bytes, count: usize) -> Result<Vec<Known>, CallError> {
        let limit = ANSWER + ANSWER_EACH * count;
        let answer = self.call("/cache/batch", body, self.settings().waits.call, limit).await?;
        let strange =
            |what: String| Err(CallError::Strange(format!("{} answered /cache/batch with {what}", self.shown())));
        match serde_json::from_slice::<Vec<Known>>(&answer) {
            Ok(known) if known.len() == count => Ok(known),
            Ok(known) => strange(format!("{} results for {count} files", known.len())),
            Err(error) => strange(format!("what is no list of results ({error})")),
        }
    }

    /// True while the gateway is not to be asked.
    fn rests(&self) -> bool {
        let until = *self.0.probe_again.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn rest(&self, failed: bool) {
        let mut until = self.0.probe_again.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !failed {
            self.0.probe_failures.store(0, Relaxed);
            *until = None;
            return;
        }
        let failures = self.0.probe_failures.fetch_add(1, Relaxed);
        let waits = &self.settings().waits;
        let pause: Duration = waits.first_retry.saturating_mul(1 << failures.min(16)).min(waits.longest_retry);
        *until = Some(Instant::now() + pause);
    }
}

/// One result, as far as it can be used.
#[derive(Deserialize)]
struct Known {
    status: Word,
    #[serde(default)]
    algo: Word,
    #[serde(default)]
    hash: Word,
}

impl Known {
    /// The hash, when it is a HIT with a whole hash of this algorithm.
    fn hash(&self, algorithm: Algorithm) -> Option<ContentHash> {
        let hash = match (self.status, self.algo, self.hash) {
            (Word::Hit, Word::Algorithm(found), Word::Hash(hash)) if found == algorithm => hash,
            _ => return None,
        };
        (hash.as_bytes().len() == algorithm.digest_len()).then_some(hash)
    }
}

/// A word of an answer without a copy of its text.
#[derive(Clone, Copy, Default)]
enum Word {
    Hit,
    Algorithm(Algorithm),
    Hash(ContentHash),
    #[default]
    Other,
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Word;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or null")
            }
            fn visit_unit<E>(self) -> Result<Word, E> {
                Ok(Word::Other)
            }
            fn visit_str<E>(self, text: &str) -> Result<Word, E> {
                Ok(match text {
                    "HIT" => Word::Hit,
                    "sha1" => Word::Algorithm(Algorithm::Sha1),
                    "sha256" => Word::Algorithm(Algorithm::Sha256),
                    "xxh64" => Word::Algorithm(Algorithm::Xxh64),
                    _ => ContentHash::from_hex(text).map_or(Word::Other, Word::Hash),
                })
            }
        }
        deserializer.deserialize_any(Words)
    }
}

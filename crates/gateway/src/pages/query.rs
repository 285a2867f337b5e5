//! The state of a page is in its query. Values are bytes, as paths are; a query is read once, byte-exact and bounded, and
//! written again with changes for links.

use std::borrow::Cow;

use hostler_model::ByteStr;

/// Pairs read of one query; the rest is ignored.
const MAX_PAIRS: usize = 64;
/// Bytes of the raw query that are read.
const MAX_BYTES: usize = 32 * 1024;
/// Bytes of earlier cursors that a link to the next page carries.
const MAX_BACK_BYTES: usize = 4096;
/// Marks a form field whose value is percent-encoded text, because a form field cannot carry every byte.
pub const ENCODED: &str = ".enc";

/// Ordered pairs of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, ByteStr)>);

impl Query {
    /// Reads a raw query. At most 64 pairs of 32 KiB; keys that are not ASCII words are left out.
    pub fn parse(raw: Option<&str>) -> Self {
        let raw = raw.unwrap_or_default();
        let raw = raw.get(..MAX_BYTES.min(raw.len())).unwrap_or_default();
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            if key.is_empty() || key.len() > 64 || !key.bytes().all(is_word) {
                return None;
            }
            let value = ByteStr::from_query(value);
            Some(match key.strip_suffix(ENCODED) {
                Some(plain) => (plain.to_string(), ByteStr::from_query(&String::from_utf8_lossy(value.as_bytes()))),
                None => (key.to_string(), value),
            })
        };
        Self(raw.split('&').filter_map(pair).take(MAX_PAIRS).collect())
    }

    /// The first value of a key, when it is not empty.
    pub fn get(&self, key: &str) -> Option<&ByteStr> {
        self.0.iter().find(|(k, v)| k == key && !v.is_empty()).map(|(_, v)| v)
    }

    /// All values of a key that are not empty.
    pub fn all(&self, key: &str) -> Vec<ByteStr> {
        self.0.iter().filter(|(k, v)| k == key && !v.is_empty()).map(|(_, v)| v.clone()).collect()
    }

    /// The first value of a key as trimmed text; `None` when it is empty.
    pub fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        let text = String::from_utf8_lossy(self.get(key)?.as_bytes());
        let trimmed = text.trim();
        (!trimmed.is_empty()).then(|| Cow::Owned(trimmed.to_string()))
    }

    /// The value parsed; `None` when it is missing or wrong.
    pub fn parsed<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.text(key)?.parse().ok()
    }

    /// True when the key is there with any value but an empty one.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Adds a pair.
    pub fn push(&mut self, key: &str, value: impl Into<ByteStr>) -> &mut Self {
        self.0.push((key.to_string(), value.into()));
        self
    }

    /// The query without these keys and without empty values.
    pub fn without(&self, keys: &[&str]) -> Self {
        Self(self.0.iter().filter(|(k, v)| !keys.contains(&k.as_str()) && !v.is_empty()).cloned().collect())
    }

    /// The query with one key set to one value.
    pub fn with(&self, key: &str, value: impl Into<ByteStr>) -> Self {
        let mut query = self.without(&[key]);
        query.push(key, value);
        query
    }

    /// The query on its first page.
    pub fn first_page(&self) -> Self {
        self.without(&["cursor", "back", "from"])
    }

    /// The query of the next page. It carries the cursors of the pages before, newest last, as far as 4 KiB go.
    pub fn next_page(&self, cursor: &str, from: u64) -> Self {
        let mut back = self.back();
        back.push(self.get("cursor").cloned().unwrap_or_else(|| ByteStr::from("-")));
        let mut bytes: usize = back.iter().map(|c| c.as_bytes().len()).sum();
        let mut drop = 0;
        while back.len() - drop > 16 || bytes > MAX_BACK_BYTES {
            bytes -= back[drop].as_bytes().len();
            drop += 1;
        }
        let mut query = self.first_page();
        for earlier in back.drain(..).skip(drop) {
            query.push("back", earlier);
        }
        query.push("cursor", cursor).push("from", from.to_string().as_str());
        query
    }

    /// The query of the previous page; `None` on the first.
    pub fn previous_page(&self, rows: u64) -> Option<Self> {
        self.get("cursor")?;
        let mut back = self.back();
        let cursor = back.pop().filter(|c| c.as_bytes() != b"-");
        let mut query = self.first_page();
        if let Some(cursor) = cursor {
            for earlier in back {
                query.push("back", earlier);
            }
            let from = self.parsed::<u64>("from").unwrap_or(0).saturating_sub(rows);
            query.push("cursor", cursor).push("from", from.to_string().as_str());
        }
        Some(query)
    }

    fn back(&self) -> Vec<ByteStr> {
        self.0.iter().filter(|(k, _)| k == "back").map(|(_, v)| v.clone()).collect()
    }

    /// `path?query`, percent-encoded.
    pub fn link(&self, path: &str) -> String {
        let pairs: Vec<String> =
            self.0.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k}={}", v.to_query())).collect();
        if pairs.is_empty() { path.to_string() } else { format!("{path}?{}", pairs.join("&")) }
    }
}

/// `path?host=…&path=…`: where a name on a host is shown.
pub fn place(page: &str, host: hostler_model::HostId, path: &ByteStr) -> String {
    format!("{page}?host={host}&path={}", path.to_query())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_byte_of_a_value() {
        let query = Query::parse(Some("host=a&path=/srv/caf%E9%0a&empty=&q=a+b%26c&bad key=1"));
        assert_eq!(query.get("path").map(ByteStr::as_bytes), Some(&b"/srv/caf\xe9\n"[..]));
        assert_eq!(query.text("q").as_deref(), Some("a b&c"));
        assert!(!query.has("empty") && !query.has("bad key"));
        assert_eq!(query.without(&["host", "q"]).link("/files"), "/files?path=/srv/caf%E9%0A");
        // What a form sends for a name it cannot carry.
        let form = Query::parse(Some("below.enc=%2Fsrv%2Fcaf%25E9"));
        assert_eq!(form.get("below").map(ByteStr::as_bytes), Some(&b"/srv/caf\xe9"[..]));
    }

    #[test]
    fn reads_a_bounded_number_of_pairs() {
        let raw = (0..1000).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join("&");
        assert_eq!(Query::parse(Some(&raw)).0.len(), MAX_PAIRS);
        assert_eq!(Query::parse(None), Query::default());
        // A cut inside a character of more than one byte reads nothing rather than a part.
        let _ = Query::parse(Some(&format!("a={}é", "x".repeat(MAX_BYTES - 3))));
    }

    #[test]
    fn the_way_back_is_the_way_there() {
        let first = Query::parse(Some("host=h&rows=50"));
        assert_eq!(first.previous_page(50), None);
        let second = first.next_page("c2", 50);
        let third = second.next_page("c3", 100);
        assert_eq!(third.parsed::<u64>("from"), Some(100));
        assert_eq!(third.previous_page(50), Some(second.clone()));
        assert_eq!(second.previous_page(50), Some(first));
        let mut far = Query::default();
        for i in 0..100 {
            far = far.next_page(&format!("{i}{}", "x".repeat(500)), i);
        }
        assert!(far.link("/").len() < 6000);
    }
}

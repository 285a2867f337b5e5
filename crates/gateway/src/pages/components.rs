//! The parts of pages, with the markup and the class names of the drawing.

use std::borrow::Cow;

use hostler_model::time::{age, duration};
use hostler_model::{ByteStr, EntryKind, ScanState, Timestamp, size};
use maud::{Markup, html};

use super::query::{ENCODED, Query};
pub use crate::store::LinkState;
use crate::store::{Capability, CapabilityState, Host};

/// An icon of the sprite. Its name must be in the text beside it or in a label.
pub fn icon(name: &'static str) -> Markup {
    icon_as(name, "i")
}

/// An icon with other classes.
pub fn icon_as(name: &'static str, class: &'static str) -> Markup {
    html! { svg class=(class) aria-hidden="true" { use href={ "#i-" (name) } {} } }
}

/// `4 s ago`, counted up by the script; the instant in the title.
pub fn ago(at: Timestamp, now: Timestamp) -> Markup {
    time_as(at, now, "ago")
}

/// `14 min old`.
pub fn old(at: Timestamp, now: Timestamp) -> Markup {
    time_as(at, now, "old")
}

fn time_as(at: Timestamp, now: Timestamp, word: &'static str) -> Markup {
    // A file's time may lie ahead of the clock: then an age would be wrong, the day is right.
    let ahead = at.seconds_since(now) > 60;
    let text = if ahead { at.exact()[..10].to_string() } else { format!("{} {word}", age(now.seconds_since(at))) };
    html! { time datetime=(at) title=(at.exact()) data-age=[(!ahead).then_some(word)] { (text) } }
}

/// A time that may not be known: an em dash then.
pub fn ago_or_dash(at: Option<Timestamp>, now: Timestamp) -> Markup {
    html! { @match at { Some(at) => (ago(at, now)), None => span.muted { "—" } } }
}

/// From one instant to another: `1 min 4 s`.
pub fn span(from: Timestamp, to: Timestamp) -> String {
    duration(to.micros().saturating_sub(from.micros()).max(0).unsigned_abs())
}

/// `1.98 TiB` with the exact bytes in the title.
pub fn bytes(count: u64) -> Markup {
    html! { span.nowrap title={ (size::grouped(count)) " B" } { (size::human(count)) } }
}

/// `1 file`, `412,880 files`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", size::grouped(count), if count == 1 { one } else { many })
}

/// A name or a path from a host: escaped, kept apart from the writing direction around it.
pub fn name(of: &ByteStr) -> Markup {
    html! { bdi { (of.display()) } }
}

/// The last component of a path, as a name.
pub fn file_name(path: &ByteStr) -> ByteStr {
    match path.file_name() {
        [] => path.clone(),
        last => ByteStr::from(last),
    }
}

/// A path in the fixed-width face.
pub fn path(of: &ByteStr) -> Markup {
    html! { bdi.mono.wrap { (of.display()) } (not_utf8(of)) }
}

/// Says that the bytes of a name are no text.
pub fn not_utf8(of: &ByteStr) -> Markup {
    html! { @if !of.is_utf8() { " " span.chip.outline title="The bytes of this name are not valid UTF-8; each such byte is shown as \\x and two digits." { "not UTF-8" } } }
}

/// The icon of a kind of entry.
pub fn kind_icon(kind: EntryKind) -> Markup {
    match kind {
        EntryKind::Dir => icon_as("files", "i dir"),
        EntryKind::File => icon("file"),
        EntryKind::Symlink => icon("link"),
        EntryKind::Other => icon("terminal"),
    }
}

/// The word for people of a kind of entry.
pub fn kind_word(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Dir => "Directory",
        EntryKind::File => "File",
        EntryKind::Symlink => "Symbolic link",
        EntryKind::Other => "FIFO, socket or device",
    }
}

/// A state: a mark of its own shape, and a word. `kind` is `ok`, `warn`, `bad`, `busy` or empty.
pub fn state(kind: &str, word: &str) -> Markup {
    html! { span.state.(kind) { (word) } }
}

/// A chip: an icon and a word.
pub fn chip(kind: &str, icon_name: &'static str, text: &str) -> Markup {
    html! { span.chip.(kind) { (icon(icon_name)) (text) } }
}

/// A host's name as a chip.
pub fn host_chip(host_name: &str) -> Markup {
    html! { span.chip.outline { (icon("hosts")) bdi { (host_name) } } }
}

/// Where a scan is.
pub fn scan_state(of: ScanState) -> Markup {
    match of {
        ScanState::Queued => state("", "Queued"),
        ScanState::Running => state("busy", "Running"),
        ScanState::Completed => state("ok", "Completed"),
        ScanState::Cancelled => state("warn", "Cancelled"),
        ScanState::Failed => state("bad", "Failed"),
    }
}

impl LinkState {
    /// Judges by the link and the age of the last proof; `stale_after` is [`crate::fleet::Fleet::stale_after_seconds`].
    pub fn of(linked: bool, last_proof: Option<Timestamp>, now: Timestamp, stale_after: u64) -> Self {
        match (linked, last_proof) {
            (true, Some(at)) if now.seconds_since(at) <= stale_after => Self::Linked,
            (true, _) => Self::Stale,
            (false, _) => Self::Down,
        }
    }

    /// The class of its mark and its word.
    pub fn mark(self) -> (&'static str, &'static str) {
        match self {
            Self::Linked => ("ok", "Linked"),
            Self::Stale => ("warn", "Stale"),
            Self::Down => ("bad", "Not linked"),
        }
    }
}

/// `proved 4 s ago`, or that it never was.
pub fn proved(at: Option<Timestamp>, now: Timestamp) -> Markup {
    html! { @match at { Some(at) => { "proved " (ago(at, now)) }, None => "never proved" } }
}

/// What is known of a capability, for both its cell in a table and its card.
pub struct Proof {
    /// The class of the cell: empty, `stale`, `failed` or `none`.
    pub class: &'static str,
    /// The class of the chip.
    pub chip: &'static str,
    /// The mark.
    pub icon: &'static str,
    /// In words, before the age.
    pub word: &'static str,
    /// The age counts.
    pub aged: bool,
}

impl Proof {
    /// Judges one capability of a host; an unlinked host's proofs are old whatever their age.
    pub fn of(capability: Option<&Capability>, link: LinkState) -> Self {
        let Some(capability) = capability else {
            return Self { class: "none", chip: "outline", icon: "dash", word: "not known yet", aged: false };
        };
        match capability.state {
            CapabilityState::NotPresent => {
                Self { class: "none", chip: "outline", icon: "dash", word: "not present", aged: false }
            }
            CapabilityState::NotGranted => {
                Self { class: "none", chip: "outline", icon: "lock", word: "not granted", aged: false }
            }
            CapabilityState::Failed => Self { class: "failed", chip: "bad", icon: "x", word: "failed", aged: true },
            // A linked host proves all of its capabilities at once.
            CapabilityState::Proved if link != LinkState::Linked => {
                Self { class: "stale", chip: "warn", icon: "clock", word: "last proved", aged: true }
            }
            CapabilityState::Proved => Self { class: "", chip: "ok", icon: "check", word: "proved", aged: true },
        }
    }
}

/// The capability of this name.
pub fn capability<'a>(host: &'a Host, wanted: &str) -> Option<&'a Capability> {
    host.capabilities.iter().find(|c| c.name == wanted)
}

/// The cell of a capability in the hosts table.
pub fn capability_cell(host: &Host, wanted: &str, link: LinkState, now: Timestamp) -> Markup {
    let found = capability(host, wanted);
    let proof = Proof::of(found, link);
    let detail = found.map(|c| c.detail.as_str()).unwrap_or_default();
    html! {
        a.cap.(proof.class) id={ "host-" (wanted) "-" (host.id) } href={ "/hosts/" (host.id) "#capabilities" }
            title={ (proof.word) @if !detail.is_empty() { ": " (detail) } } {
            (icon(proof.icon)) span.cap-name { "Files " }
            @if let (true, Some(c)) = (proof.aged, found) { span.sr { (proof.word) " " } span.age { (ago(c.proved_at, now)) } }
            @else { span.age { (proof.word) } }
        }
    }
}

/// A button with an icon only, or why it cannot be used.
pub fn disabled_button(class: &str, icon_name: &'static str, label: &str, why: &str) -> Markup {
    html! { button.btn.(class) type="button" aria-disabled="true" title=(why) { (icon(icon_name)) (label) } }
}

/// A copy button. It does nothing without scripts and is hidden then.
pub fn copy_button(text: &str) -> Markup {
    let label: String = text.chars().take(40).collect();
    html! { button.btn.sm.icon type="button" hidden data-copy=(text) title="Copy" aria-label={ "Copy: " (label) } { (icon("copy")) } }
}

/// The word with a capital.
pub fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// A command to copy.
pub fn command(text: &str) -> Markup {
    html! { div.cmd { code { (text) } (copy_button(text)) } }
}

/// A value to copy, without the prompt sign.
pub fn plain_command(text: &str) -> Markup {
    html! { div.cmd.plain { code { (text) } (copy_button(text)) } }
}

/// Nothing is here: what would be, and the one command that brings it.
pub fn empty(icon_name: &'static str, title: &str, text: &str, cmd: Option<&str>) -> Markup {
    html! {
        div.empty { (icon(icon_name)) h2 { (title) } p { (text) } @if let Some(cmd) = cmd { (command(cmd)) } }
    }
}

/// A notice: `ok`, `warn`, `bad` or empty.
pub fn notice(kind: &str, icon_name: &'static str, body: Markup) -> Markup {
    let role = if kind == "bad" { "alert" } else { "status" };
    html! { div.notice.(kind) role=(role) { (icon(icon_name)) div { (body) } } }
}

/// The error below a field; the field names it by `aria-describedby`.
pub fn field_error(id: &str, text: Option<&str>) -> Markup {
    html! { @if let Some(text) = text { span.error id={ (id) "-error" } { (icon("warn")) span { (text) } } } }
}

/// A labelled text field that keeps its value and shows its error.
pub fn text_field(key: &str, label: &str, value: &str, hint: &str, error: Option<&str>) -> Markup {
    let described =
        if error.is_some() { Some(format!("{key}-error")) } else { (!hint.is_empty()).then(|| format!("{key}-hint")) };
    html! {
        div.field {
            label for=(key) { (label) }
            input.input id=(key) name=(key) value=(value) autocomplete="off" spellcheck="false"
                aria-invalid=[error.map(|_| "true")] aria-describedby=[described];
            @if error.is_some() { (field_error(key, error)) } @else if !hint.is_empty() { span.hint id={ (key) "-hint" } { (hint) } }
        }
    }
}

/// True when a form field can carry and show these bytes as they are: text, without line ends, which browsers rewrite, and
/// without what a person could not see.
pub fn is_plain(value: &ByteStr) -> bool {
    matches!(value.display(), Cow::Borrowed(_))
}

/// A hidden field with any bytes; see [`ENCODED`].
pub fn hidden(key: &str, value: &ByteStr) -> Markup {
    html! {
        @if is_plain(value) { input type="hidden" name=(key) value=(String::from_utf8_lossy(value.as_bytes())); }
        @else { input type="hidden" name={ (key) (ENCODED) } value=(value.to_query()); }
    }
}

/// A bar of the percentage `part` of `whole`, and the number.
pub fn share(part: u64, whole: u64) -> Markup {
    let percent = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    let text = match percent {
        _ if part == 0 => "0%".to_string(),
        p if p < 1.0 => "< 1%".to_string(),
        p => format!("{:.0}%", p.min(100.0)),
    };
    html! { div.meter { (bar(percent, "soft")) span.muted.xs { (text) } } }
}

/// A bar.
pub fn bar(percent: f64, class: &str) -> Markup {
    let width = if percent <= 0.0 { 0.0 } else { percent.clamp(0.8, 100.0) };
    html! {
        svg.bar.(class) viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            rect width=(format!("{width:.1}")) height="6" {}
        }
    }
}

/// How a table is sorted, read of its query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sorting<'a> {
    /// The page's own path.
    pub path: &'a str,
    /// Its query.
    pub query: &'a Query,
    /// The sorted column.
    pub key: &'a str,
    /// Greatest first.
    pub descending: bool,
}

impl Sorting<'_> {
    /// A head that sorts by its column; a second click turns the order round. Names begin at A, numbers and times at the greatest.
    pub fn head(&self, key: &str, label: &str, class: &str) -> Markup {
        let sorted = self.key == key;
        let descending = if sorted { !self.descending } else { !matches!(key, "name" | "link" | "system") };
        let order = if descending { "desc" } else { "asc" };
        let href = self.query.first_page().with("sort", key).with("order", order).link(self.path);
        let aria = sorted.then_some(if self.descending { "descending" } else { "ascending" });
        html! {
            th.(class) scope="col" aria-sort=[aria] {
                a href=(href) { (label) @if sorted { (icon(if self.descending { "down" } else { "up" })) } }
            }
        }
    }
}

/// Rows on a page, of the query: 50, 100 or 200.
pub fn rows(query: &Query) -> u32 {
    query.parsed::<u32>("rows").filter(|r| matches!(r, 100 | 200)).unwrap_or(50)
}

/// A way through a long list.
pub struct Pager<'a> {
    /// The page's own path.
    pub path: &'a str,
    /// Its query.
    pub query: &'a Query,
    /// Items on this page.
    pub shown: usize,
    /// Of how many, when that is known.
    pub total: Option<u64>,
    /// `entries`, `groups`, ...
    pub noun: &'a str,
    /// Where the next page starts.
    pub next: Option<&'a str>,
}

impl Pager<'_> {
    /// The bar below a table.
    pub fn draw(&self) -> Markup {
        let rows = rows(self.query);
        let from = self.query.parsed::<u64>("from").filter(|_| self.query.has("cursor")).unwrap_or(0);
        let to = from + self.shown as u64;
        let previous = self.query.previous_page(u64::from(rows));
        let next = self.next.map(|cursor| self.query.next_page(cursor, to));
        html! {
            nav.pager aria-label="Pages" {
                span {
                    @if self.shown == 0 { "No " (self.noun) } @else { (size::grouped(from + 1)) "–" (size::grouped(to)) }
                    @match self.total {
                        Some(total) if self.shown > 0 => { " of " (size::grouped(total)) " " (self.noun) },
                        None if self.shown > 0 => { " " (self.noun) },
                        _ => {},
                    }
                }
                span.sizes {
                    "Rows "
                    @for (i, choice) in [50_u32, 100, 200].into_iter().enumerate() {
                        @if i > 0 { " · " }
                        a href=(self.query.first_page().with("rows", choice.to_string().as_str()).link(self.path))
                            aria-current=[(choice == rows).then_some("true")] { (choice) }
                    }
                }
                span.push.row {
                    @match previous {
                        Some(query) => a.btn.sm rel="prev" href=(query.link(self.path)) { "Previous" },
                        None => button.btn.sm type="button" disabled { "Previous" },
                    }
                    @match next {
                        Some(query) => a.btn.sm rel="next" href=(query.link(self.path)) { "Next" },
                        None => button.btn.sm type="button" disabled { "Next" },
                    }
                }
            }
        }
    }
}

/// A filter that is set and can be taken away.
pub fn pill(text: Markup, label: &str, remove: &str) -> Markup {
    html! { span.pill { span { (text) } a href=(remove) aria-label={ "Remove filter " (label) } { (icon("x")) } } }
}

/// Hidden fields with which a filter keeps how the list is sorted and how long its pages are.
pub fn kept(query: &Query) -> Markup {
    html! { @for key in ["sort", "order", "rows"] { @if let Some(value) = query.get(key) { (hidden(key, value)) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_text() {
        for bytes in [
            &b"<script>alert(1)</script>"[..],
            b"\"><img src=x onerror=1>\n",
            b"caf\xe9&lt;",
            "a\u{202e}gpj.exe".as_bytes(),
        ] {
            let bytes = ByteStr::from(bytes);
            let page = html! { (path(&bytes)) (name(&bytes)) (hidden("root", &bytes)) (copy_button(&bytes.display())) }
                .into_string();
            assert!(!page.contains("<script") && !page.contains("<img") && !page.contains('\u{202e}'), "{page}");
            assert!(!page.contains('\n') && !page.contains("onerror=1>"), "{page}");
        }
        assert!(path(&ByteStr::from(&b"caf\xe9"[..])).into_string().contains("caf\\xe9"));
        assert!(path(&ByteStr::from(&b"caf\xe9"[..])).into_string().contains("not UTF-8"));
    }

    #[test]
    fn a_link_without_proofs_goes_stale() {
        let at = |s: i64| Timestamp::from_micros(s * 1_000_000);
        assert_eq!(LinkState::of(true, Some(at(0)), at(45), 45), LinkState::Linked);
        assert_eq!(LinkState::of(true, Some(at(0)), at(46), 45), LinkState::Stale);
        assert_eq!(LinkState::of(false, Some(at(46)), at(46), 45), LinkState::Down);
    }

    #[test]
    fn shares_never_claim_nothing() {
        assert!(share(1, 1000).into_string().contains("&lt; 1%"));
        assert!(share(0, 0).into_string().contains("0%"));
    }
}

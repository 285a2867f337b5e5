//! The pages of files: browse, search, duplicates, growth, changes, scans.

pub mod browse;
mod chart;
pub mod compare;
pub mod duplicates;
pub mod entry;
pub mod export;
pub mod growth;
mod limits;
pub mod plan;
pub mod scan_form;
pub mod scans;
pub mod schedule_form;
pub mod schedules;
pub mod search;

use hostler_model::{ByteStr, EntryKind};
use maud::{Markup, html};

use super::components::{file_name, kind_icon, name, not_utf8};
use super::query::place;
use crate::store::{IndexedEntry, Root};

/// Where the entry is shown: a directory's entries, or the details of anything else.
pub fn entry_link(entry: &IndexedEntry) -> String {
    let page = if entry.kind == EntryKind::Dir { "/files" } else { "/files/entry" };
    place(page, entry.host, &entry.path)
}

/// The name of an entry with its icon, as a link.
pub fn entry_name(entry: &IndexedEntry) -> Markup {
    let last = file_name(&entry.path);
    html! {
        span.file-name {
            (kind_icon(entry.kind))
            a.strong[entry.kind == EntryKind::Dir] href=(entry_link(entry)) { (name(&last)) }
            (not_utf8(&last))
        }
    }
}

/// The directory of an absolute path.
pub fn parent(path: &ByteStr) -> ByteStr {
    let bytes = path.as_bytes();
    match bytes.iter().rposition(|&b| b == b'/') {
        None | Some(0) => ByteStr::from("/"),
        Some(at) => ByteStr::from(&bytes[..at]),
    }
}

/// The path from a root on; above it nothing is indexed, so nothing is linked. `link` is where a directory's step leads.
pub fn path_crumbs(root: &Root, at: &ByteStr, link: impl Fn(&ByteStr) -> String) -> Markup {
    let full = at.as_bytes();
    let below = full.get(root.path.as_bytes().len()..).unwrap_or_default();
    let mut end = root.path.as_bytes().len();
    let mut steps = vec![(root.path.clone(), root.path.clone())];
    for part in below.split(|&b| b == b'/') {
        if !part.is_empty() {
            // The root may be `/` itself, whose slash is already counted.
            end = full.len().min(end + part.len() + usize::from(full.get(end) == Some(&b'/')));
            steps.push((ByteStr::from(part), ByteStr::from(&full[..end])));
        }
    }
    let last = steps.len() - 1;
    html! {
        nav aria-label="Path" {
            ol.crumbs.path {
                li { a href={ "/files?host=" (root.host) } { bdi { (root.host_name) } } }
                @for (i, (label, to)) in steps.iter().enumerate() {
                    li {
                        @if i == last { span aria-current="page" { (name(label)) } }
                        @else { a href=(link(to)) { (name(label)) } }
                    }
                }
            }
        }
    }
}

/// `rwxr-xr-x` with the set-id and sticky bits, as `ls` writes it.
pub fn mode_words(mode: u32) -> String {
    let triple = |shift: u32, special: bool, letter: char| {
        let bits = mode >> shift;
        let execute = match (bits & 1 != 0, special) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        };
        [if bits & 4 != 0 { 'r' } else { '-' }, if bits & 2 != 0 { 'w' } else { '-' }, execute]
    };
    [triple(6, mode & 0o4000 != 0, 's'), triple(3, mode & 0o2000 != 0, 's'), triple(0, mode & 0o1000 != 0, 't')]
        .concat()
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_as_ls_writes_them() {
        assert_eq!(mode_words(0o755), "rwxr-xr-x");
        assert_eq!(mode_words(0o4644), "rwSr--r--");
        assert_eq!(mode_words(0o1777), "rwxrwxrwt");
    }

    #[test]
    fn hostile_entries_stay_text_and_keep_their_bytes() {
        let entry = |path: &[u8]| IndexedEntry {
            host: hostler_model::HostId::new(),
            host_name: "<b>atlas".into(),
            root: ByteStr::from("/srv"),
            path: ByteStr::from(path),
            kind: EntryKind::File,
            size: 1,
            files: None,
            mtime: hostler_model::Timestamp::from_micros(0),
            owner: "<i>".into(),
            group: String::new(),
            mode: 0o644,
            nlink: 1,
            ino: 1,
            dev: 1,
            hash: None,
            algo: None,
        };
        let page = entry_name(&entry(b"/srv/<script>x\"'&\n")).into_string();
        assert!(page.contains("&lt;script&gt;x&quot;'&amp;\\n"), "{page}");
        assert!(page.contains("path=/srv/%3Cscript%3Ex%22%27%26%0A"), "{page}");
        let page = entry_name(&entry("/srv/a\u{202e}gpj.exe".as_bytes())).into_string();
        assert!(page.contains("a\\u{202e}gpj.exe") && !page.contains('\u{202e}'), "{page}");
        let page = entry_name(&entry(b"/srv/caf\xe9")).into_string();
        assert!(page.contains("path=/srv/caf%E9") && page.contains("not UTF-8"), "{page}");
    }

    #[test]
    fn parents_of_paths() {
        for (path, up) in [("/srv/media", "/srv"), ("/srv", "/"), ("/", "/")] {
            assert_eq!(parent(&ByteStr::from(path)), ByteStr::from(up));
        }
    }
}

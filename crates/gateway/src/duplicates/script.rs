//! A POSIX shell script that does what a plan says, on one host, once a person has read it.
//!
//! It does nothing without `--run`, checks each file again right before it acts, and compares content byte by byte. All its
//! work is in one function that is called on the last line: a script that was cut off is a syntax error, not half a job.

use hostler_model::{HostId, Timestamp, bytestr, size};

use super::plan::{PlannedGroup, PlannedName, Verdict};
use super::rules::{Action, Rules};
use super::{MAX_GROUPS, MAX_NAMES};

/// The part that is the same in each script.
const BODY: &str = include_str!("script.sh");

/// What a script is for.
#[derive(Clone, Debug)]
pub struct Script<'a> {
    /// The host it is for.
    pub host: HostId,
    /// Its name.
    pub host_name: &'a str,
    /// Its kernel's host name, which the script compares; empty when it is not known.
    pub kernel_name: &'a str,
    /// The rules of the plan.
    pub rules: &'a Rules,
    /// When it is made.
    pub at: Timestamp,
}

/// All before the first group.
pub fn head(script: &Script<'_>) -> Vec<u8> {
    let rules = script.rules;
    let host = bytestr::display(script.host_name.as_bytes());
    let mut out = format!(
        "#!/bin/sh\n\
         # Duplicate files on {host}. Made by Hostler on {}.\n\
         #\n\
         # IT DOES NOTHING UNLESS IT IS CALLED WITH --run. Without it, it says what it would do.\n\
         #\n",
        script.at.exact()
    );
    let what = match rules.action {
        Action::Remove => "Copies are removed; one of each group stays.",
        Action::Hardlink => {
            "Copies are replaced by hard links to the one that stays. Owner, mode, times and attributes are then those of\n\
             # the one that stays, and who writes to one name writes to all."
        }
        Action::Reflink => {
            "Copies are replaced by files that share the blocks of the one that stays (btrfs, XFS and others; needs the cp\n\
             # of GNU coreutils). Owner, mode, times and attributes stay as they are."
        }
    };
    out.push_str(&format!("# {what}\n"));
    out.push_str(&format!("# The one that stays: {}, then the first by path.\n", rules.keep));
    for dir in &rules.prefer {
        out.push_str(&format!("# Preferred, before that rule: below {}\n", dir.display()));
    }
    for dir in &rules.protect {
        out.push_str(&format!("# Never touched: below {}\n", dir.display()));
    }
    out.push_str(match rules.across_hosts {
        false => "# Only copies on this host count. Each is compared with the one that stays, byte by byte, right before.\n",
        true => {
            "# COPIES ON OTHER HOSTS COUNT. They cannot be looked at from here: that one is still there, and is no other path to\n\
             # the same file, as on a shared filesystem, is for you to know.\n"
        }
    });
    out.push_str("# Let nothing write to these files meanwhile.\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(BODY.as_bytes());
    let done = match rules.action {
        Action::Remove => "removed",
        Action::Hardlink => "linked",
        Action::Reflink => "shared",
    };
    out.extend_from_slice(format!("action={} action_done={done}\n", rules.action).as_bytes());
    if !script.kernel_name.is_empty() {
        out.extend_from_slice(b"if [ \"$any_host\" = no ] && [ \"$(uname -n)\" != ");
        quote(script.kernel_name.as_bytes(), &mut out);
        out.extend_from_slice(b" ]; then\n  echo \"$0: this is for another host: ");
        out.extend_from_slice(plain(script.kernel_name).as_bytes());
        out.extend_from_slice(b". If it is this one, add --any-host.\" >&2\n  exit 2\nfi\n");
    }
    out.extend_from_slice(b"\nwork() {\n:\n");
    out
}

/// The lines of one group: what goes on the script's host. Nothing when nothing goes there.
pub fn write_group(script: &Script<'_>, group: &PlannedGroup, out: &mut Vec<u8>) {
    let goes = |name: &&PlannedName| name.verdict == Verdict::Goes && name.file.host == script.host;
    if !group.files.iter().any(|name| goes(&name)) {
        return;
    }
    let of = &group.group;
    let line = format!("\n# {} copies of {}, {}:{}\n", of.copies, size::human(of.size), of.algo, of.hash);
    out.extend_from_slice(line.as_bytes());
    let mut current = None;
    // Names go in order of what is kept for them; with links each filesystem has its own.
    let mut going: Vec<&PlannedName> = group.files.iter().filter(goes).collect();
    going.sort_by_key(|name| name.kept);
    for name in going {
        let Some(kept) = name.kept.and_then(|at| group.files.get(at)) else { continue };
        let far = kept.file.host != script.host;
        if !far && current != name.kept {
            current = name.kept;
            call(b"keep", &kept.file.path, &[], out);
        }
        let frees = name.frees.to_string();
        if far {
            let seconds = name.file.mtime.micros().div_euclid(1_000_000).to_string();
            let shown = format!("{} on {}", kept.file.path.display(), bytestr::display(kept.file.host_name.as_bytes()));
            call(b"far", &name.file.path, &[&frees, &of.size.to_string(), &seconds, &shown], out);
        } else {
            call(b"dup", &name.file.path, &[&frees], out);
        }
    }
    for name in group.files.iter().filter(|n| n.file.host == script.host) {
        let why = match name.verdict {
            Verdict::HardLink => "a hard link of the one that stays",
            Verdict::Protected => "protected",
            Verdict::LinkedElsewhere => "its file has another name that stays",
            Verdict::OnlyCopy => "the only copy on its filesystem",
            Verdict::Kept | Verdict::Goes => continue,
        };
        out.extend_from_slice(format!("# stays: {} ({why})\n", name.file.path.display()).as_bytes());
    }
}

/// The end. `more` when there were groups that are not in it.
pub fn tail(more: bool) -> Vec<u8> {
    let mut out = b"}\n\n".to_vec();
    if more {
        let text = format!(
            "There are more duplicates than one script holds ({} groups or {} names, those that free most first): run it, scan \
             again, make another.",
            size::grouped(MAX_GROUPS),
            size::grouped(MAX_NAMES)
        );
        out.extend_from_slice(format!("# {text}\nsay '{text}'\n").as_bytes());
    }
    out.extend_from_slice(b"work\nfinish\n");
    out
}

/// A call with a name, some words, and the name as people read it when that differs.
fn call(function: &[u8], name: &hostler_model::ByteStr, words: &[&str], out: &mut Vec<u8>) {
    out.extend_from_slice(function);
    out.push(b' ');
    quote(name.as_bytes(), out);
    for word in words {
        out.push(b' ');
        quote(word.as_bytes(), out);
    }
    let shown = name.display();
    if shown.as_bytes() != name.as_bytes() {
        out.push(b' ');
        quote(shown.as_bytes(), out);
    }
    out.push(b'\n');
}

/// Any bytes as one word of a shell.
fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    for &byte in bytes {
        match byte {
            b'\'' => out.extend_from_slice(b"'\\''"),
            byte => out.push(byte),
        }
    }
    out.push(b'\'');
}

/// Only what means nothing to a shell.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '?' }).collect()
}

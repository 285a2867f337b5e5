//! Which copy of a group stays, and what becomes of the others.

use std::fmt;
use std::str::FromStr;

use hostler_model::ByteStr;
use serde::{Deserialize, Serialize};

/// Most directories that are preferred, and that are protected.
pub const MAX_DIRS: usize = 32;

/// Which copy stays. Between two that are equal by this, the one whose path comes first in byte order stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The one modified last.
    Newest,
    /// The one modified first.
    #[default]
    Oldest,
    /// The one whose path has the fewest bytes.
    ShortestPath,
    /// The one whose path has the most bytes.
    LongestPath,
    /// The one whose path comes first in byte order.
    First,
}

impl Keep {
    /// All of them, and what they say to a person.
    pub const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Oldest, "oldest", "the oldest"),
        (Self::Newest, "newest", "the newest"),
        (Self::ShortestPath, "shortest-path", "the shortest path"),
        (Self::LongestPath, "longest-path", "the longest path"),
        (Self::First, "first", "the first by path"),
    ];

    /// The word on the command line and in addresses.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(each, ..)| *each == self).map_or("", |(_, word, _)| word)
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Keep {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(_, word, _)| *word == text);
        known
            .map(|(keep, ..)| *keep)
            .ok_or_else(|| format!("{text:?} is not newest, oldest, shortest-path, longest-path or first"))
    }
}

/// What a script does with a copy that does not stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Removes it.
    #[default]
    Remove,
    /// Puts a hard link to the kept copy in its place: one file with several names from then on.
    Hardlink,
    /// Puts a file in its place that shares the kept copy's blocks until one of them is written to.
    Reflink,
}

impl Action {
    /// All of them, and what they say to a person.
    pub const ALL: [(Self, &'static str, &'static str); 3] = [
        (Self::Remove, "remove", "remove them"),
        (Self::Hardlink, "hardlink", "make them hard links of it"),
        (Self::Reflink, "reflink", "let them share its blocks"),
    ];

    /// The word on the command line and in addresses.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(each, ..)| *each == self).map_or("", |(_, word, _)| word)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Action {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(_, word, _)| *word == text);
        known.map(|(action, ..)| *action).ok_or_else(|| format!("{text:?} is not remove, hardlink or reflink"))
    }
}

/// The rules of a plan.
///
/// Copies are compared with each other on one host, and for links on one filesystem (device): each has a copy of its own
/// that stays. Of those, the kept one is chosen among the names below the first of `prefer` that holds one; else among the
/// protected names, as they stay anyway; else among all: by `keep`, then by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Which copy stays.
    pub keep: Keep,
    /// Directories, the most preferred first: a copy below the first that has one stays.
    pub prefer: Vec<ByteStr>,
    /// Directories below which no name is ever touched.
    pub protect: Vec<ByteStr>,
    /// What becomes of the others.
    pub action: Action,
    /// A copy on another host counts as the kept one.
    pub across_hosts: bool,
}

impl Rules {
    /// Says what is wrong with them.
    pub fn check(&self) -> Result<(), String> {
        for (word, dirs) in [("prefer", &self.prefer), ("protect", &self.protect)] {
            if dirs.len() > MAX_DIRS {
                return Err(format!("{word}: more than {MAX_DIRS} directories"));
            }
            if let Some(dir) = dirs.iter().find(|dir| !dir.as_bytes().starts_with(b"/")) {
                return Err(format!("{word}: {dir} is not an absolute path"));
            }
        }
        if self.across_hosts && self.action != Action::Remove {
            return Err(format!(
                "{}: a copy on another host can be neither linked nor shared; leave out across_hosts, or remove copies",
                self.action
            ));
        }
        Ok(())
    }

    /// True for a name that is never touched.
    pub fn protects(&self, path: &ByteStr) -> bool {
        self.protect.iter().any(|dir| is_below(path, dir))
    }
}

/// True for a path below a directory; a directory is not below itself.
pub fn is_below(path: &ByteStr, dir: &ByteStr) -> bool {
    let mut dir = dir.as_bytes();
    while let Some(shorter) = dir.strip_suffix(b"/") {
        dir = shorter;
    }
    path.as_bytes().strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for (keep, word, _) in Keep::ALL {
            assert_eq!((keep.word(), word.parse()), (word, Ok(keep)));
        }
        for (action, word, _) in Action::ALL {
            assert_eq!((action.word(), word.parse()), (word, Ok(action)));
        }
        assert!("all".parse::<Keep>().unwrap_err().contains("shortest-path"));
        assert!("delete".parse::<Action>().unwrap_err().contains("hardlink"));
    }

    #[test]
    fn below_is_by_whole_names() {
        for (path, dir, expected) in [
            ("/srv/a/b", "/srv/a", true),
            ("/srv/a/b", "/srv/a/", true),
            ("/srv/ab", "/srv/a", false),
            ("/srv/a", "/srv/a", false),
            ("/x", "/", true),
        ] {
            assert_eq!(is_below(&path.into(), &dir.into()), expected, "{path} below {dir}");
        }
    }

    #[test]
    fn links_across_hosts_and_relative_directories_are_refused() {
        let rules = Rules { across_hosts: true, action: Action::Hardlink, ..Rules::default() };
        assert!(rules.check().unwrap_err().contains("another host"));
        assert_eq!(Rules { across_hosts: true, ..Rules::default() }.check(), Ok(()));
        let rules = Rules { prefer: vec!["srv".into()], ..Rules::default() };
        assert!(rules.check().unwrap_err().contains("prefer: srv"));
        let rules = Rules { protect: vec!["/a".into(); MAX_DIRS + 1], ..Rules::default() };
        assert!(rules.check().unwrap_err().contains("protect: more than 32"));
    }
}

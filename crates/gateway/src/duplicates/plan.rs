//! What the rules make of a group of equal files.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use hostler_model::HostId;
use serde::Serialize;

use super::rules::{Action, Keep, Rules, is_below};
use crate::store::{DuplicateFile, DuplicateFiles, DuplicateGroup};

/// What becomes of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is the copy that stays.
    Kept,
    /// It is a hard link of a copy that stays, and stays too: to remove it would free nothing.
    HardLink,
    /// It goes: it is removed, or replaced by a link.
    Goes,
    /// It is below a protected directory.
    Protected,
    /// It stays, as its file has another name that stays, protected or outside of the list: nothing would be freed.
    LinkedElsewhere,
    /// It stays, as its host (for links, its filesystem) has no other copy.
    OnlyCopy,
}

/// A name of a group, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PlannedName {
    /// The name.
    #[serde(flatten)]
    pub file: DuplicateFile,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Of a name that goes: the position in `files` of the one that is kept for it.
    pub kept: Option<usize>,
    /// Bytes that are free when it has gone: the file's size at its last name, else 0.
    pub frees: u64,
}

/// A group, and what becomes of its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PlannedGroup {
    /// The group.
    #[serde(flatten)]
    pub group: DuplicateGroup,
    /// Bytes that are free when all has gone that goes.
    pub frees: u64,
    /// Its names by host and path.
    pub files: Vec<PlannedName>,
}

/// Sums of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PlanTotals {
    /// Groups of which something goes.
    pub groups: u64,
    /// Files that go.
    pub files: u64,
    /// Their names.
    pub names: u64,
    /// Bytes that are free then.
    pub frees: u64,
    /// Groups that were looked at.
    pub looked_at: u64,
    /// False when there are more groups or names than are looked at: the sums are of those that could free most.
    pub complete: bool,
}

impl Default for PlanTotals {
    fn default() -> Self {
        Self { groups: 0, files: 0, names: 0, frees: 0, looked_at: 0, complete: true }
    }
}

impl PlanTotals {
    /// Adds what goes of a group, on one host when it is given.
    pub fn add(&mut self, group: &PlannedGroup, host: Option<HostId>) {
        let goes = || {
            let here = group.files.iter().filter(|n| host.is_none_or(|h| n.file.host == h));
            here.filter(|n| n.verdict == Verdict::Goes)
        };
        let names = goes().count() as u64;
        self.groups += u64::from(names > 0);
        self.files += goes().filter(|n| n.frees > 0).count() as u64;
        self.names += names;
        self.frees = goes().fold(self.frees, |sum, name| sum.saturating_add(name.frees));
        self.looked_at += 1;
        self.complete &= group.files.len() as u64 >= group.group.names;
    }
}

/// One file, whatever its names.
type FileKey = (HostId, u64, u64);

fn file_key(file: &DuplicateFile) -> FileKey {
    (file.host, file.dev, file.ino)
}

/// Decides on each name of a group; see [`Rules`] for how.
pub fn plan(found: DuplicateFiles, rules: &Rules) -> PlannedGroup {
    let DuplicateFiles { group, mut files } = found;
    files.sort_by(|a, b| (&a.host_name, a.host, &a.path).cmp(&(&b.host_name, b.host, &b.path)));
    files.dedup_by(|a, b| (a.host, &a.path) == (b.host, &b.path));
    let named = |file| PlannedName { file, verdict: Verdict::OnlyCopy, kept: None, frees: 0 };
    let mut names: Vec<PlannedName> = files.into_iter().map(named).collect();
    // Copies of one scope can stand for each other.
    let mut scopes: BTreeMap<(Option<HostId>, Option<u64>), Vec<usize>> = BTreeMap::new();
    for (i, name) in names.iter().enumerate() {
        let host = (!rules.across_hosts).then_some(name.file.host);
        let dev = (rules.action != Action::Remove).then_some(name.file.dev);
        scopes.entry((host, dev)).or_default().push(i);
    }
    for scope in scopes.into_values() {
        decide(&mut names, &scope, group.size, rules);
    }
    let frees = names.iter().map(|n| n.frees).fold(0, u64::saturating_add);
    PlannedGroup { group, frees, files: names }
}

fn decide(names: &mut [PlannedName], scope: &[usize], size: u64, rules: &Rules) {
    let mut files: BTreeMap<FileKey, Vec<usize>> = BTreeMap::new();
    for &i in scope {
        files.entry(file_key(&names[i].file)).or_default().push(i);
    }
    let kept = match chosen(names, scope, rules) {
        Some(kept) if files.len() > 1 => kept,
        _ => return,
    };
    for (key, of_file) in files {
        if key == file_key(&names[kept].file) {
            for i in of_file {
                names[i].verdict = if i == kept { Verdict::Kept } else { Verdict::HardLink };
            }
            continue;
        }
        let some_stays = of_file.iter().any(|&i| rules.protects(&names[i].file.path));
        let some_unknown = of_file.iter().any(|&i| names[i].file.nlink > of_file.len() as u64);
        for &i in &of_file {
            names[i].verdict = match () {
                () if rules.protects(&names[i].file.path) => Verdict::Protected,
                () if some_stays || some_unknown => Verdict::LinkedElsewhere,
                () => Verdict::Goes,
            };
            names[i].kept = (names[i].verdict == Verdict::Goes).then_some(kept);
        }
        if let (Some(&last), false, false) = (of_file.last(), some_stays, some_unknown) {
            names[last].frees = size;
        }
    }
}

/// The name that stays, of those in the scope. Names are in the order of hosts and paths, which decides between equals.
fn chosen(names: &[PlannedName], scope: &[usize], rules: &Rules) -> Option<usize> {
    let preferred = rules.prefer.iter().map(|dir| {
        let below = |&&i: &&usize| is_below(&names[i].file.path, dir);
        scope.iter().filter(below).copied().collect::<Vec<_>>()
    });
    let protected = scope.iter().filter(|&&i| rules.protects(&names[i].file.path)).copied().collect();
    let candidates = preferred.chain([protected]).find(|found: &Vec<usize>| !found.is_empty());
    let candidates = candidates.unwrap_or_else(|| scope.to_vec());
    let path = |i: usize| names[i].file.path.as_bytes();
    // Across hosts, paths are compared before hosts.
    let tie = |i: usize| (path(i), i);
    match rules.keep {
        Keep::Newest => candidates.into_iter().min_by_key(|&i| (Reverse(names[i].file.mtime), tie(i))),
        Keep::Oldest => candidates.into_iter().min_by_key(|&i| (names[i].file.mtime, tie(i))),
        Keep::ShortestPath => candidates.into_iter().min_by_key(|&i| (path(i).len(), tie(i))),
        Keep::LongestPath => candidates.into_iter().min_by_key(|&i| (Reverse(path(i).len()), tie(i))),
        Keep::First => candidates.into_iter().min_by_key(|&i| tie(i)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use hostler_model::{Algorithm, Timestamp};

    use super::*;

    /// A name: host, path, mtime in seconds, device, inode, links.
    pub type Made<'a> = (HostId, &'a str, i64, u64, u64, u64);

    pub fn group(size: u64, names: &[Made<'_>]) -> DuplicateFiles {
        let files: Vec<DuplicateFile> = names
            .iter()
            .map(|&(host, path, mtime, dev, ino, nlink)| DuplicateFile {
                host,
                host_name: format!("host-{host}"),
                path: path.into(),
                mtime: Timestamp::from_micros(mtime * 1_000_000),
                dev,
                ino,
                nlink,
            })
            .collect();
        let mut inodes: Vec<_> = files.iter().map(file_key).collect();
        inodes.sort_unstable();
        inodes.dedup();
        let copies = inodes.len() as u64;
        let group = DuplicateGroup {
            hash: "ab12".into(),
            algo: Algorithm::Blake3,
            size,
            copies,
            names: files.len() as u64,
            reclaimable: (copies - 1) * size,
        };
        DuplicateFiles { group, files }
    }

    fn verdicts(plan: &PlannedGroup) -> Vec<(String, Verdict)> {
        plan.files.iter().map(|n| (n.file.path.to_string(), n.verdict)).collect()
    }

    fn kept(rules: &Rules, names: &[Made<'_>]) -> Vec<String> {
        let plan = plan(group(10, names), rules);
        plan.files.iter().filter(|n| n.verdict == Verdict::Kept).map(|n| n.file.path.to_string()).collect()
    }

    #[test]
    fn each_rule_keeps_one_and_paths_decide_between_equals() {
        let h = HostId::new();
        let names =
            [(h, "/b", 5, 1, 1, 1), (h, "/long/c", 9, 1, 2, 1), (h, "/a", 5, 1, 3, 1), (h, "/d/long", 9, 1, 4, 1)];
        for (keep, expected) in [
            (Keep::Newest, "/d/long"),
            (Keep::Oldest, "/a"),
            (Keep::ShortestPath, "/a"),
            (Keep::LongestPath, "/d/long"),
            (Keep::First, "/a"),
        ] {
            let rules = Rules { keep, ..Rules::default() };
            assert_eq!(kept(&rules, &names), [expected], "{keep}");
            let turned: Vec<_> = names.iter().rev().copied().collect();
            assert_eq!(kept(&rules, &turned), [expected], "{keep}, turned round");
            let all = plan(group(10, &names), &rules);
            assert_eq!(all.files.iter().filter(|n| n.verdict == Verdict::Goes).count(), 3);
            assert_eq!(all.frees, 30);
        }
    }

    #[test]
    fn preferred_directories_come_before_the_rule_and_protected_names_stay() {
        let h = HostId::new();
        let names = [(h, "/tmp/x", 1, 1, 1, 1), (h, "/srv/a/x", 2, 1, 2, 1), (h, "/srv/b/x", 3, 1, 3, 1)];
        let with = |prefer: &[&str], protect: &[&str]| Rules {
            prefer: prefer.iter().map(|&d| d.into()).collect(),
            protect: protect.iter().map(|&d| d.into()).collect(),
            ..Rules::default()
        };
        assert_eq!(kept(&with(&[], &[]), &names), ["/tmp/x"]);
        assert_eq!(kept(&with(&["/none", "/srv/b", "/srv/a"], &[]), &names), ["/srv/b/x"]);
        assert_eq!(kept(&with(&[], &["/srv"]), &names), ["/srv/a/x"], "what stays anyway is what is kept");
        let both = plan(group(10, &names), &with(&["/srv/b"], &["/srv/a"]));
        assert_eq!(
            verdicts(&both).into_iter().map(|(_, v)| v).collect::<Vec<_>>(),
            [Verdict::Protected, Verdict::Kept, Verdict::Goes]
        );
        assert_eq!(both.frees, 10);
        let all = plan(group(10, &names), &with(&[], &["/"]));
        assert_eq!(all.frees, 0, "nothing goes when all is protected");
    }

    #[test]
    fn hard_links_free_nothing_until_the_last_one_goes() {
        let h = HostId::new();
        // The kept file has two names, one other has two, one has a name outside of the index, one has a protected name.
        let names = [
            (h, "/a1", 1, 1, 1, 2),
            (h, "/a2", 1, 1, 1, 2),
            (h, "/b1", 2, 1, 2, 2),
            (h, "/b2", 2, 1, 2, 2),
            (h, "/c1", 3, 1, 3, 2),
            (h, "/d1", 4, 1, 4, 2),
            (h, "/safe/d2", 4, 1, 4, 2),
        ];
        let rules = Rules { prefer: vec!["/".into()], protect: vec!["/safe".into()], ..Rules::default() };
        let all = plan(group(10, &names), &rules);
        let words: Vec<Verdict> = verdicts(&all).into_iter().map(|(_, v)| v).collect();
        use Verdict::*;
        assert_eq!(words, [Kept, HardLink, Goes, Goes, LinkedElsewhere, LinkedElsewhere, Protected]);
        let mut totals = PlanTotals::default();
        totals.add(&all, None);
        assert_eq!((totals.groups, totals.files, totals.names, totals.frees), (1, 1, 2, 10));
        assert!(all.files.iter().all(|n| n.kept == (n.verdict == Goes).then_some(0)));
    }

    #[test]
    fn copies_on_other_hosts_and_for_links_on_other_devices_do_not_count() {
        let (h, k) = (HostId::new(), HostId::new());
        let names = [(h, "/a", 1, 1, 1, 1), (k, "/a", 2, 1, 1, 1), (k, "/b", 3, 2, 2, 1)];
        let at = |all: &PlannedGroup, host: HostId, path: &str| {
            all.files.iter().find(|n| n.file.host == host && n.file.path == path.into()).unwrap().verdict
        };
        let here = plan(group(10, &names), &Rules::default());
        assert_eq!(at(&here, h, "/a"), Verdict::OnlyCopy);
        assert_eq!((at(&here, k, "/a"), at(&here, k, "/b")), (Verdict::Kept, Verdict::Goes));
        let linked = plan(group(10, &names), &Rules { action: Action::Hardlink, ..Rules::default() });
        assert!(linked.files.iter().all(|n| n.verdict == Verdict::OnlyCopy), "{linked:?}");
        let across = plan(group(10, &names), &Rules { across_hosts: true, ..Rules::default() });
        assert_eq!(at(&across, h, "/a"), Verdict::Kept);
        let mut totals = PlanTotals::default();
        totals.add(&across, Some(k));
        assert_eq!((totals.files, totals.frees), (2, 20));
    }

    #[test]
    fn a_name_that_two_indexes_hold_is_one_name() {
        let h = HostId::new();
        let all =
            plan(group(10, &[(h, "/a", 1, 1, 1, 1), (h, "/a", 1, 1, 1, 1), (h, "/b", 1, 1, 2, 1)]), &Rules::default());
        assert_eq!(verdicts(&all), [("/a".into(), Verdict::Kept), ("/b".into(), Verdict::Goes)]);
    }
}

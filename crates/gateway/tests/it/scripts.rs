//! The script for duplicates, run by real shells on real trees; what counts is what is on the disk afterwards.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hostler_gateway::duplicates::{Action, Keep, Rules, Script, head, plan, tail, write_group};
use hostler_gateway::store::{DuplicateFile, DuplicateFiles, DuplicateGroup};
use hostler_model::{Algorithm, ByteStr, HostId, Timestamp};

/// Shells the script must run under; one that is not installed is left out, but not all of them.
fn shells() -> Vec<Vec<&'static str>> {
    let known = [vec!["dash"], vec!["busybox", "sh"], vec!["bash", "--posix"]];
    let there = |shell: &Vec<&str>| Command::new(shell[0]).args(&shell[1..]).args(["-c", ":"]).output().is_ok();
    let found: Vec<_> = known.into_iter().filter(there).collect();
    assert!(!found.is_empty(), "no shell to run the script with");
    found
}

struct Tree {
    dir: tempfile::TempDir,
    host: HostId,
}

impl Tree {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), host: HostId::new() }
    }

    fn at(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.dir.path().join("tree").join(Path::new(name.as_ref()))
    }

    fn write(&self, name: impl AsRef<OsStr>, content: &[u8], mtime: u64) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(mtime);
        fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        path
    }

    /// What is there: the path below the tree and the content, or what a link says.
    fn state(&self) -> BTreeMap<ByteStr, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.at("")];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                let path = entry.path();
                let kind = entry.file_type().unwrap();
                let name = ByteStr::from(path.strip_prefix(self.at("")).unwrap().as_os_str().as_bytes());
                if kind.is_dir() {
                    open.push(path);
                } else if kind.is_symlink() {
                    found.insert(name, [b"-> ", fs::read_link(&path).unwrap().as_os_str().as_bytes()].concat());
                } else {
                    found.insert(name, fs::read(&path).unwrap());
                }
            }
        }
        found
    }

    fn file(&self, path: &Path) -> DuplicateFile {
        let meta = fs::symlink_metadata(path).unwrap();
        DuplicateFile {
            host: self.host,
            host_name: "atlas".into(),
            path: ByteStr::from(path.as_os_str().as_bytes()),
            mtime: Timestamp::from_micros(meta.mtime() * 1_000_000 + meta.mtime_nsec() / 1000),
            dev: meta.dev(),
            ino: meta.ino(),
            nlink: meta.nlink(),
        }
    }

    /// The group that an index would have of these.
    fn group(&self, paths: &[PathBuf]) -> DuplicateFiles {
        let files: Vec<_> = paths.iter().map(|path| self.file(path)).collect();
        let mut inodes: Vec<_> = files.iter().map(|f| (f.dev, f.ino)).collect();
        inodes.sort_unstable();
        inodes.dedup();
        let (size, copies) = (fs::metadata(&paths[0]).unwrap().len(), inodes.len() as u64);
        let (names, reclaimable) = (files.len() as u64, (copies - 1) * size);
        let group = DuplicateGroup { hash: "ab".into(), algo: Algorithm::Blake3, size, copies, names, reclaimable };
        DuplicateFiles { group, files }
    }

    fn script_for(&self, groups: Vec<DuplicateFiles>, rules: &Rules, kernel_name: &str, more: bool) -> PathBuf {
        let at = Timestamp::from_micros(1_790_000_000_000_000);
        let script = Script { host: self.host, host_name: "atlas\n; rm -rf /", kernel_name, rules, at };
        let mut text = head(&script);
        for group in groups {
            write_group(&script, &plan(group, rules), &mut text);
        }
        text.extend(tail(more));
        let path = self.dir.path().join("dups.sh");
        fs::write(&path, text).unwrap();
        path
    }

    fn script(&self, groups: Vec<DuplicateFiles>, rules: &Rules) -> PathBuf {
        self.script_for(groups, rules, "", false)
    }
}

fn run(shell: &[&str], script: &Path, args: &[&str]) -> Output {
    Command::new(shell[0]).args(&shell[1..]).arg(script).args(args).output().unwrap()
}

/// Runs it with `--run`; the counts of the summary.
fn counts(output: &Output) -> (u64, u64, u64) {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().rev().find(|l| l.contains(" skipped, ")).unwrap_or_else(|| panic!("no summary in {text}"));
    let numbers: Vec<u64> = line.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    (numbers[0], numbers[1], numbers[2])
}

/// Names that are hard to bear, also one with every byte a name may have.
fn names() -> Vec<Vec<u8>> {
    let every: Vec<u8> = (1..=255).filter(|b| *b != b'/').collect();
    let (low, high) = every.split_at(127);
    let mut names: Vec<Vec<u8>> = [
        &b"two\nlines"[..],
        b"ends with a newline\n",
        b"\nbegins with one",
        b"-rf",
        b"--run",
        b"it's",
        b"''",
        b"'; touch pwned; '",
        b"$(touch pwned)",
        b"`touch pwned`",
        b"\"$HOME\" \\ \\n",
        b"a * b ? [c]",
        b"caf\xe9",
        b"\x1b[31mred",
        b" ",
        b"\\",
        b"#",
        b"~",
        "a\u{202e}gpj.exe".as_bytes(),
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    names.extend([low.to_vec(), high.to_vec(), vec![b'x'; 255]]);
    names
}

#[test]
fn every_name_goes_and_the_kept_ones_stay() {
    for shell in shells() {
        let tree = Tree::new();
        let mut groups = Vec::new();
        for (i, name) in names().iter().enumerate() {
            let content = format!("content {i}").into_bytes();
            let name = OsStr::from_bytes(name);
            let kept = tree.write(Path::new("keep").join(name), &content, 1000);
            let goes = tree.write(Path::new("go").join(name), &content, 2000);
            let link = tree.write(Path::new("more").join(name).join("b"), &content, 3000);
            fs::create_dir_all(tree.at("links").join(name)).unwrap();
            fs::hard_link(&link, tree.at("links").join(name).join("c")).unwrap();
            groups.push(tree.group(&[kept, goes, link, tree.at("links").join(name).join("c")]));
        }
        let script = tree.script(groups, &Rules::default());
        let before = tree.state();
        let dry = run(&shell, &script, &[]);
        assert!(dry.status.success(), "{shell:?}: {dry:?}");
        assert_eq!(tree.state(), before, "{shell:?}: without --run nothing is done");
        let text = String::from_utf8(dry.stdout.clone()).expect("what is shown is text");
        assert!(text.contains("two\\nlines") && !text.contains('\x1b') && !text.contains('\u{202e}'), "{text}");
        assert!(text.contains("call it with --run"), "{text}");
        let all = names().len() as u64 * 3;
        assert_eq!(counts(&dry), (all, 0, 0));
        let done = run(&shell, &script, &["--run"]);
        assert!(done.status.success(), "{shell:?}: {done:?}");
        assert_eq!(counts(&done), (all, 0, 0), "{shell:?}");
        let left = tree.state();
        assert!(left.keys().all(|name| name.as_bytes().starts_with(b"keep/")), "{shell:?}: {:?}", left.keys());
        assert_eq!(left.len(), names().len());
        assert!(left.iter().all(|(name, content)| before[name] == *content));
        let again = run(&shell, &script, &["--run"]);
        assert!(again.status.success(), "{shell:?}: {again:?}");
        assert_eq!(
            (counts(&again), tree.state()),
            ((0, all, 0), left),
            "{shell:?}: a second time nothing is left to do"
        );
    }
}

#[test]
fn what_changed_since_the_scan_stays() {
    for shell in shells() {
        let tree = Tree::new();
        let mut groups = Vec::new();
        for i in 0..8 {
            let content = format!("content {i}").into_bytes();
            let kept = tree.write(format!("{i}/kept"), &content, 1000);
            groups.push(tree.group(&[kept, tree.write(format!("{i}/other"), &content, 2000)]));
        }
        let script = tree.script(groups, &Rules::default());
        // The copy changed, and looks as it did.
        tree.write("0/other", b"Content 0", 2000);
        // The kept one changed, is gone, is a link to the other, is a directory.
        tree.write("1/kept", b"content X", 1000);
        fs::remove_file(tree.at("2/kept")).unwrap();
        fs::remove_file(tree.at("3/kept")).unwrap();
        symlink(tree.at("3/other"), tree.at("3/kept")).unwrap();
        fs::remove_file(tree.at("4/kept")).unwrap();
        fs::create_dir(tree.at("4/kept")).unwrap();
        // The copy became a link to the kept one, a hard link of it, is gone.
        fs::remove_file(tree.at("5/other")).unwrap();
        symlink(tree.at("5/kept"), tree.at("5/other")).unwrap();
        fs::remove_file(tree.at("6/other")).unwrap();
        fs::hard_link(tree.at("6/kept"), tree.at("6/other")).unwrap();
        fs::remove_file(tree.at("7/other")).unwrap();
        let before = tree.state();
        let done = run(&shell, &script, &["--run"]);
        assert!(done.status.success(), "{shell:?}: {done:?}");
        assert_eq!((counts(&done), tree.state()), ((0, 8, 0), before), "{shell:?}: {done:?}");
    }
}

#[test]
fn one_file_seen_through_two_directories_is_not_lost() {
    for shell in shells() {
        let tree = Tree::new();
        // A directory became a link to the other one: both names lead to one file, under equal content.
        let kept = tree.write("real/file", b"content", 1000);
        let other = tree.write("copy/file", b"content", 2000);
        let script = tree.script(vec![tree.group(&[kept, other])], &Rules::default());
        fs::remove_dir_all(tree.at("copy")).unwrap();
        symlink(tree.at("real"), tree.at("copy")).unwrap();
        let done = run(&shell, &script, &["--run"]);
        assert_eq!(counts(&done), (0, 1, 0), "{shell:?}: {done:?}");
        assert_eq!(fs::read(tree.at("real/file")).unwrap(), b"content");
    }
}

#[test]
fn copies_become_hard_links_of_the_kept_one() {
    for shell in shells() {
        let tree = Tree::new();
        let kept = tree.write("a/it's", b"content", 1000);
        let others = [tree.write("b/x\ny", b"content", 2000), tree.write("c/z", b"content", 3000)];
        let rules = Rules { action: Action::Hardlink, ..Rules::default() };
        let script = tree.script(vec![tree.group(&[kept.clone(), others[0].clone(), others[1].clone()])], &rules);
        let done = run(&shell, &script, &["--run"]);
        assert!(done.status.success() && counts(&done) == (2, 0, 0), "{shell:?}: {done:?}");
        let inode = |path: &Path| fs::symlink_metadata(path).unwrap().ino();
        assert!(others.iter().all(|other| inode(other) == inode(&kept)));
        assert_eq!(tree.state().len(), 3, "nothing else is left behind: {:?}", tree.state());
        let again = run(&shell, &script, &["--run"]);
        assert_eq!(counts(&again), (0, 2, 0), "{shell:?}: {again:?}");
    }
}

#[test]
fn shared_blocks_keep_owner_and_times_or_nothing_changes() {
    use std::os::unix::fs::PermissionsExt;
    for shell in shells() {
        let tree = Tree::new();
        let kept = tree.write("a", &vec![7; 70_000], 1000);
        let other = tree.write("b", &vec![7; 70_000], 2000);
        fs::set_permissions(&other, fs::Permissions::from_mode(0o640)).unwrap();
        let rules = Rules { action: Action::Reflink, ..Rules::default() };
        let script = tree.script(vec![tree.group(&[kept, other.clone()])], &rules);
        let before = tree.state();
        let done = run(&shell, &script, &["--run"]);
        let meta = fs::metadata(&other).unwrap();
        // Whether the filesystem can share blocks is not for this test to say; a failure must be told and leave all as it was.
        match counts(&done) {
            (1, 0, 0) => assert!(done.status.success()),
            (0, 0, 1) => assert_eq!(done.status.code(), Some(1), "{done:?}"),
            other => panic!("{shell:?}: {other:?} {done:?}"),
        }
        assert_eq!(tree.state(), before, "{shell:?}");
        assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o640, 2000));
    }
}

#[test]
fn what_cannot_be_removed_fails_the_script_and_stays() {
    for shell in shells() {
        let tree = Tree::new();
        let kept = tree.write("a/file", b"content", 1000);
        let other = tree.write("b/file", b"content", 2000);
        let script = tree.script(vec![tree.group(&[kept, other])], &Rules::default());
        // Something is where the script would move the file to: root may do all else.
        let text = fs::read_to_string(&script).unwrap().replace(".hostler-dups.$$", "in-the-way");
        fs::write(&script, text).unwrap();
        tree.write("b/in-the-way", b"other", 1);
        let before = tree.state();
        let done = run(&shell, &script, &["--run"]);
        assert_eq!((done.status.code(), counts(&done)), (Some(1), (0, 0, 1)), "{shell:?}: {done:?}");
        assert_eq!(tree.state(), before);
    }
}

#[test]
fn a_script_that_was_cut_off_does_nothing() {
    for shell in shells() {
        let tree = Tree::new();
        let mut groups = Vec::new();
        for i in 0..20 {
            let content = format!("content {i}").into_bytes();
            let kept = tree.write(format!("{i}/kept"), &content, 1000);
            groups.push(tree.group(&[kept, tree.write(format!("{i}/other"), &content, 2000)]));
        }
        let script = tree.script(groups, &Rules::default());
        let whole = fs::read(&script).unwrap();
        let before = tree.state();
        let from = whole.windows(6).position(|w| w == b"work()").unwrap();
        for cut in (from + 7..whole.len() - "\nwork\nfinish\n".len()).step_by(61) {
            fs::write(&script, &whole[..cut]).unwrap();
            run(&shell, &script, &["--run"]);
            assert_eq!(tree.state(), before, "{shell:?}: cut after {cut} bytes");
        }
    }
}

#[test]
fn it_is_for_one_host_and_knows_its_words() {
    for shell in shells() {
        let tree = Tree::new();
        let kept = tree.write("a", b"content", 1000);
        let other = tree.write("b", b"content", 2000);
        let group = tree.group(&[kept, other]);
        let rules = Rules { keep: Keep::Newest, ..Rules::default() };
        let script = tree.script_for(vec![group.clone()], &rules, "no'such $(host)", true);
        for args in [&["--run"][..], &["--force"], &["--run", "now"]] {
            let refused = run(&shell, &script, args);
            assert_eq!(refused.status.code(), Some(2), "{shell:?} {args:?}: {refused:?}");
        }
        assert_eq!(tree.state().len(), 2);
        let done = run(&shell, &script, &["--run", "--any-host"]);
        assert!(String::from_utf8_lossy(&done.stdout).contains("more duplicates than one script holds"), "{done:?}");
        assert_eq!(tree.state().keys().map(ToString::to_string).collect::<Vec<_>>(), ["b"], "{done:?}");
        // Nothing to do is a script too.
        let nothing = run(&shell, &tree.script(Vec::new(), &rules), &["--run"]);
        assert!(nothing.status.success() && counts(&nothing) == (0, 0, 0), "{nothing:?}");
    }
}

#[test]
fn copies_of_another_hosts_file_go_when_they_are_as_they_were() {
    for shell in shells() {
        let tree = Tree::new();
        let same = tree.write("it's the same", b"content", 2000);
        let touched = tree.write("touched", b"content", 2000);
        let grown = tree.write("grown", b"content", 2000);
        let mut group = tree.group(&[same, touched, grown]);
        let mut far = group.files[0].clone();
        (far.host, far.host_name, far.path) = (HostId::new(), "zeta\n".into(), "/far/away".into());
        far.mtime = Timestamp::from_micros(1);
        group.files.push(far);
        (group.group.copies, group.group.names) = (4, 4);
        let rules = Rules { across_hosts: true, ..Rules::default() };
        let script = tree.script(vec![group], &rules);
        tree.write("touched", b"content", 2001);
        tree.write("grown", b"content and more", 2000);
        let done = run(&shell, &script, &["--run"]);
        assert!(done.status.success() && counts(&done) == (1, 2, 0), "{shell:?}: {done:?}");
        assert_eq!(tree.state().keys().map(ToString::to_string).collect::<Vec<_>>(), ["grown", "touched"]);
    }
}

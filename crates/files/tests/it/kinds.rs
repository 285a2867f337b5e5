//! Odd names and odd things.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use hostler_model::EntryKind;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::support::Fixture;

#[test]
fn names_are_bytes() {
    let mut f = Fixture::new();
    let long = [b'n'; 255];
    let names: [&[u8]; 8] =
        [b"\xff\xfe", b"new\nline", b"\x01\x1b[31m", b"<script>\"&'", b" ", b"-rf", b"\xc3\xa9t\xc3\xa9", &long];
    for name in names {
        let dir = f.path(OsStr::from_bytes(&[b"d-", &name[..name.len().min(253)]].concat()));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let first = f.scan();
    assert_eq!(first.errors, []);
    assert_eq!(first.summary.counters.files, names.len() as u64);
    for name in names {
        let dir = [b"d-", &name[..name.len().min(253)]].concat();
        let entry = f.state.entries[&(dir, name.to_vec())];
        assert_eq!(entry.hash.unwrap().as_bytes(), blake3::hash(name).as_bytes());
    }
    assert_eq!(f.scan().log, Vec::<String>::new());
}

#[test]
fn only_regular_files_are_opened() {
    let mut f = Fixture::new();
    f.write("file", "content");
    symlink("file", f.path("link")).unwrap();
    symlink("loop", f.path("loop")).unwrap();
    symlink("/nowhere/at/all", f.path("dangling")).unwrap();
    symlink(".", f.path("dir-link")).unwrap();
    mknodat(CWD, f.path("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _listener = UnixListener::bind(f.path("socket")).unwrap();
    let device = mknodat(CWD, f.path("zero"), FileType::CharacterDevice, Mode::RUSR, makedev(1, 5));
    if let Err(error) = device {
        println!("the device is not tested, mknod: {error}");
    }
    let first = f.scan();
    assert_eq!(first.errors, []);
    assert_eq!(first.summary.counters.files, 1);
    assert_eq!(first.summary.counters.others, if device.is_ok() { 7 } else { 6 });
    for (name, kind) in [
        ("link", EntryKind::Symlink),
        ("loop", EntryKind::Symlink),
        ("dangling", EntryKind::Symlink),
        ("dir-link", EntryKind::Symlink),
        ("fifo", EntryKind::Other),
        ("socket", EntryKind::Other),
    ] {
        let entry = f.state.entry("", name);
        assert_eq!((entry.kind, entry.hash), (kind, None), "{name}");
    }
    assert_eq!(f.state.entry("", "dangling").size, "/nowhere/at/all".len() as u64);
    assert_eq!(f.scan().log, Vec::<String>::new());
}

#[test]
fn hard_links_have_one_inode_and_one_hash() {
    let mut f = Fixture::new();
    f.write("one", "shared");
    fs::hard_link(f.path("one"), f.path("two")).unwrap();
    f.scan();
    assert_eq!(f.state.entry("", "one"), f.state.entry("", "two"));
    assert_eq!(f.state.entry("", "one").nlink, 2);
}

#[test]
fn empty_and_large_files() {
    let mut f = Fixture::new();
    // Around the read buffer's size, and over many of them.
    for size in [0, 1, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 3 << 20] {
        let content: Vec<u8> = (0..size).map(|i: usize| (i % 251) as u8).collect();
        f.write("file", &content);
        f.scan();
        let entry = f.state.entry("", "file");
        assert_eq!(entry.size, size as u64);
        assert_eq!(entry.hash.unwrap().as_bytes(), blake3::hash(&content).as_bytes(), "{size}");
    }
}

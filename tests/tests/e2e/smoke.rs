//! The thinnest path through everything.

use hostler_testkit::Hostler;

#[test]
fn a_scan_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    std::fs::write(tree.join("sub/a.txt"), "hello").unwrap();
    let hostler = Hostler::start(&dir.path().join("data"), &[&tree]).unwrap();
    hostler.ok(["scan".as_ref(), tree.as_os_str()]);
    let found = hostler.ok(["files", "find", "a.txt", "--json"]).json();
    assert_eq!(found[0]["size"], 5);
    hostler.stop().unwrap();
}

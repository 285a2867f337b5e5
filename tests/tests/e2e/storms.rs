//! Changes, scans, kills and cuts in any order: in the end the index is the tree.

use hostler_testkit::storm::storm;

#[test]
fn after_a_storm_index_and_tree_agree_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let report = storm(&dir.path().canonicalize().unwrap(), 24, 7).unwrap();
    println!("{report:?}");
    let mishaps = report.agent_kills + report.gateway_kills + report.cuts;
    assert!(report.agreements >= 3 && report.changes > 300 && mishaps > 3, "not much of a storm: {report:?}");
}

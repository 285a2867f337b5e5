//! What every store must do about identity: links' assertions, joining, removing, users, keys, sessions.

use std::sync::Arc;

use hostler_gateway::store::{
    ActivityFilter, ApiKey, HostEventRecord, JoinOutcome, JoinTokenRecord, LinkAdmission, SESSION_IDLE_SECONDS,
    Session, Severity, Store, StoreError, User,
};
use hostler_model::{ApiKeyId, HostId, JoinTokenId, Role, ScanId, SessionId, UserId};

use crate::conformance::{at, commit, dir_op, file, file_op, first_page, new_host, running, secret};

/// Runs every check on one store.
pub async fn conformance(shared: &Arc<dyn Store>) {
    let store = shared.as_ref();
    generations_never_go_back(store).await;
    an_assertion_is_accepted_once(store).await;
    a_host_joins_with_a_token_once(store).await;
    tokens_end(store).await;
    of_concurrent_joins_with_one_token_one_wins(shared).await;
    names_that_are_taken_get_numbers(store).await;
    keys_stay_with_their_hosts(store).await;
    a_removed_host_leaves_nothing(store).await;
    users(store).await;
    api_keys(store).await;
    a_sign_in_link_works_once(store).await;
    sessions_end(store).await;
    sessions_follow_their_user(store).await;
}

async fn generations_never_go_back(store: &dyn Store) {
    let id = new_host(store, "generations").await;
    let (mut last, mut time) = (0, 1);
    for agent_knows in [0, 0, 40, 3, 0] {
        time += 1;
        let LinkAdmission::Admitted { generation } = store.admit_link(id, agent_knows, at(time)).await.unwrap() else {
            panic!("not admitted")
        };
        assert!(
            generation > last && generation > agent_knows,
            "{generation} after {last}, the agent knows {agent_knows}"
        );
        last = generation;
    }
    assert_eq!(last, 43, "a generation is not wasted");
    let bad = store.admit_link(id, u64::MAX, at(100)).await.unwrap();
    assert_eq!(bad, LinkAdmission::BadGeneration { stored: 43 });
    assert_eq!(store.host(id).await.unwrap().generation, last);
}

async fn an_assertion_is_accepted_once(store: &dyn Store) {
    let (id, other) = (new_host(store, "asserts").await, new_host(store, "asserts too").await);
    assert!(matches!(store.admit_link(id, 0, at(10)).await.unwrap(), LinkAdmission::Admitted { .. }));
    for again in [10, 9, 1] {
        assert_eq!(store.admit_link(id, 0, at(again)).await.unwrap(), LinkAdmission::Replayed, "at {again}");
    }
    assert_eq!(store.host(id).await.unwrap().generation, 1, "a replayed assertion takes no number");
    assert!(matches!(store.admit_link(id, 0, at(11)).await.unwrap(), LinkAdmission::Admitted { .. }));
    assert!(matches!(store.admit_link(other, 0, at(10)).await.unwrap(), LinkAdmission::Admitted { .. }));
}

fn token(created: i64, expires: i64) -> JoinTokenRecord {
    JoinTokenRecord {
        id: JoinTokenId::new(),
        note: "rack 4".into(),
        created_by: "ada".into(),
        created_at: at(created),
        expires_at: at(expires),
        used_at: None,
        used_by: None,
        revoked_at: None,
    }
}

async fn new_token(store: &dyn Store, expires: i64) -> ([u8; 32], JoinTokenId) {
    let (hash, token) = (secret(), token(1, expires));
    store.create_join_token(token.clone(), hash).await.unwrap();
    (hash, token.id)
}

async fn a_host_joins_with_a_token_once(store: &dyn Store) {
    let (hash, id) = new_token(store, 100).await;
    let (host, key) = (HostId::new(), secret());
    let joined = store.join(hash, host, "joiner", key, at(5)).await.unwrap();
    assert_eq!(joined, JoinOutcome::Joined { name: "joiner".into() });
    assert_eq!(store.host_key(host).await.unwrap(), Some(key));
    let kept = store.join_tokens().await.unwrap().into_iter().find(|t| t.id == id).unwrap();
    assert_eq!(kept, JoinTokenRecord { id, used_at: Some(at(5)), used_by: Some(host), ..token(1, 100) });

    // The same again, as after a crash, even when the token has expired meanwhile.
    let again = store.join(hash, host, "renamed", key, at(500)).await.unwrap();
    assert_eq!(again, JoinOutcome::Again { name: "joiner".into() });
    assert_eq!(store.join(hash, host, "joiner", secret(), at(6)).await.unwrap(), JoinOutcome::Used, "another key");
    assert_eq!(store.join(hash, HostId::new(), "thief", key, at(6)).await.unwrap(), JoinOutcome::Used, "another host");
    let error = store.revoke_join_token(id, at(7)).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "a used token has nothing to revoke: {error}");
    // Once the host was removed, the used token does not bring it back.
    store.remove_host(host).await.unwrap().await.unwrap().unwrap();
    assert_eq!(store.join(hash, host, "joiner", key, at(8)).await.unwrap(), JoinOutcome::Used);
}

async fn tokens_end(store: &dyn Store) {
    let (expiring, _) = new_token(store, 100).await;
    let (revoked, id) = new_token(store, 100).await;
    store.revoke_join_token(id, at(3)).await.unwrap();
    store.revoke_join_token(id, at(4)).await.unwrap();
    let kept = store.join_tokens().await.unwrap().into_iter().find(|t| t.id == id).unwrap();
    assert_eq!(kept.revoked_at, Some(at(3)), "revoked again, it was revoked then");
    for (hash, when, expected) in
        [(secret(), 5, JoinOutcome::Unknown), (expiring, 100, JoinOutcome::Expired), (revoked, 5, JoinOutcome::Revoked)]
    {
        let host = HostId::new();
        assert_eq!(store.join(hash, host, "late", secret(), at(when)).await.unwrap(), expected);
        assert_eq!(store.host_key(host).await.unwrap(), None, "{expected:?}");
    }
    let listed = store.join_tokens().await.unwrap();
    assert!(listed.iter().map(|t| t.created_at).rev().is_sorted(), "newest first");
    // One that expired long ago is forgotten when the next is made.
    let old = token(-10_000_000, -9_000_000);
    store.create_join_token(old.clone(), secret()).await.unwrap();
    new_token(store, 100).await;
    assert!(store.join_tokens().await.unwrap().iter().all(|t| t.id != old.id));
}

async fn of_concurrent_joins_with_one_token_one_wins(shared: &Arc<dyn Store>) {
    let (hash, _) = new_token(shared.as_ref(), 100).await;
    let joins: Vec<_> = (0..32)
        .map(|_| {
            let (store, host) = (shared.clone(), HostId::new());
            tokio::spawn(async move { (host, store.join(hash, host, "racer", secret(), at(5)).await.unwrap()) })
        })
        .collect();
    let mut joined = Vec::new();
    for join in joins {
        match join.await.unwrap() {
            (host, JoinOutcome::Joined { .. }) => joined.push(host),
            (host, outcome) => {
                assert_eq!(outcome, JoinOutcome::Used);
                assert_eq!(shared.host_key(host).await.unwrap(), None);
            }
        }
    }
    assert_eq!(joined.len(), 1, "{joined:?}");
}

async fn names_that_are_taken_get_numbers(store: &dyn Store) {
    for expected in ["twin", "twin-2", "twin-3"] {
        let (hash, _) = new_token(store, 100).await;
        let outcome = store.join(hash, HostId::new(), "twin", secret(), at(5)).await.unwrap();
        assert_eq!(outcome, JoinOutcome::Joined { name: expected.into() });
    }
}

async fn keys_stay_with_their_hosts(store: &dyn Store) {
    let (host, key) = (HostId::new(), secret());
    store.register_host(host, "keyed", key, at(1)).await.unwrap();
    let (hash, _) = new_token(store, 100).await;
    // Neither another key for a known host, nor a known key for another host; and the token is not used up by it.
    assert_eq!(store.join(hash, host, "keyed", secret(), at(5)).await.unwrap(), JoinOutcome::KeyTaken);
    assert_eq!(store.join(hash, HostId::new(), "keyed", key, at(5)).await.unwrap(), JoinOutcome::KeyTaken);
    assert_eq!(store.host_key(host).await.unwrap(), Some(key));
    // A host that joins anew keeps its name.
    let outcome = store.join(hash, host, "other", key, at(6)).await.unwrap();
    assert_eq!(outcome, JoinOutcome::Joined { name: "keyed".into() });
    // After its removal, its id is free for another key.
    store.remove_host(host).await.unwrap().await.unwrap().unwrap();
    let (hash, _) = new_token(store, 100).await;
    let outcome = store.join(hash, host, "keyed", secret(), at(7)).await.unwrap();
    assert_eq!(outcome, JoinOutcome::Joined { name: "keyed".into() });
}

async fn a_removed_host_leaves_nothing(store: &dyn Store) {
    let (host, other) = (new_host(store, "leaves").await, new_host(store, "stays").await);
    for id in [host, other] {
        let scan = running(store, id, "/srv", true).await;
        let mut ops = vec![dir_op("", 1), dir_op("d", 2)];
        // More than one write deletes.
        let many = if id == host { 21_000 } else { 10 };
        ops.extend((0..many).map(|n| file_op("d", &format!("f{n:06}"), file(10 + n, 5, 1))));
        store.stage(scan, ops).await.unwrap();
        store.commit_index(commit(scan, id, "/srv", 1, true)).await.unwrap();
        let record = HostEventRecord {
            seq: 1,
            at: at(1),
            kind: "agent.started".into(),
            severity: Severity::Info,
            subject: String::new(),
            message: "started".into(),
            data: String::new(),
        };
        store.append_host_events(id, [1; 16], vec![record], 1).await.unwrap();
    }
    store.remove_host(host).await.unwrap().await.unwrap().unwrap();
    let error = store.host(host).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "host", .. }), "{error}");
    assert!(store.hosts().await.unwrap().iter().all(|h| h.id != host));
    assert_eq!(store.roots(Some(host)).await.unwrap(), []);
    assert_eq!(store.journal_position(host).await.unwrap(), None);
    let events = |host| ActivityFilter { host: Some(host), ..ActivityFilter::default() };
    assert_eq!(store.activity(events(host), first_page(9)).await.unwrap().items, []);
    let found = store.find(hostler_gateway::store::FindQuery { host: Some(host), ..Default::default() }, first_page(9));
    assert_eq!(found.await.unwrap().items, []);
    // The other has all of its own.
    assert_eq!(store.roots(Some(other)).await.unwrap()[0].files, 10);
    assert_eq!(store.activity(events(other), first_page(9)).await.unwrap().items.len(), 1);
    let listing = store.list_dir(other, &"/srv/d".into(), Default::default(), false, first_page(99)).await.unwrap();
    assert_eq!(listing.total_entries, 10);
    let error = store.remove_host(host).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
}

async fn new_user(store: &dyn Store, name: &str, role: Role) -> User {
    // Names are unique in a store.
    let name = format!("{name} {}", UserId::new());
    let user = User { id: UserId::new(), name, role, created_at: at(1), last_sign_in_at: None };
    store.create_user(user.clone(), format!("hash of {}", user.name)).await.unwrap();
    user
}

async fn users(store: &dyn Store) {
    let user = new_user(store, "Ada", Role::Viewer).await;
    let hash = format!("hash of {}", user.name);
    assert_eq!(store.user_by_name(&user.name).await.unwrap(), Some((user.clone(), hash.clone())));
    let loud = user.name.to_ascii_uppercase();
    assert_eq!(store.user_by_name(&loud).await.unwrap(), Some((user.clone(), hash)), "in either case");
    assert_eq!(store.user_by_name("nobody").await.unwrap(), None);
    let twin = User { id: UserId::new(), name: loud.clone(), ..user.clone() };
    let error = store.create_user(twin, "x".into()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Exists { .. }) && error.to_string().contains(&loud), "{error}");

    store.set_user_role(user.id, Role::Admin).await.unwrap();
    store.set_user_password(user.id, "another".into()).await.unwrap();
    let changed = User { role: Role::Admin, ..user.clone() };
    assert_eq!(store.user_by_name(&user.name).await.unwrap(), Some((changed.clone(), "another".into())));
    assert!(store.users().await.unwrap().contains(&changed));
    store.delete_user(user.id).await.unwrap();
    assert_eq!(store.user_by_name(&user.name).await.unwrap(), None);
    for failed in [
        store.delete_user(user.id).await,
        store.set_user_role(user.id, Role::Viewer).await,
        store.set_user_password(user.id, "x".into()).await,
    ] {
        let error = failed.unwrap_err();
        assert!(matches!(&error, StoreError::NotFound { what: "user", .. }), "{error}");
    }
}

async fn api_keys(store: &dyn Store) {
    let key = ApiKey {
        id: ApiKeyId::new(),
        name: format!("ci {}", ScanId::new()),
        role: Role::Viewer,
        hint: "hst_12ab".into(),
        created_at: at(1),
        last_used_at: None,
        expires_at: None,
    };
    let hash = secret();
    store.create_api_key(key.clone(), hash).await.unwrap();
    let error = store.create_api_key(ApiKey { id: ApiKeyId::new(), ..key.clone() }, secret()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Exists { .. }) && error.to_string().contains(&key.name), "{error}");
    let newer = ApiKey {
        id: ApiKeyId::new(),
        name: format!("newer {}", key.name),
        created_at: at(2),
        expires_at: Some(at(50)),
        ..key.clone()
    };
    let short = secret();
    store.create_api_key(newer.clone(), short).await.unwrap();
    let ours: Vec<ApiKey> =
        store.api_keys().await.unwrap().into_iter().filter(|k| [key.id, newer.id].contains(&k.id)).collect();
    assert_eq!(ours, [newer.clone(), key.clone()], "newest first");

    assert_eq!(store.use_api_key(short, at(49)).await.unwrap().map(|k| k.id), Some(newer.id));
    assert_eq!(store.use_api_key(short, at(50)).await.unwrap(), None, "an expired key does not work");
    assert_eq!(store.use_api_key(secret(), at(3)).await.unwrap(), None);
    assert_eq!(store.use_api_key(hash, at(3)).await.unwrap().map(|k| (k.id, k.role)), Some((key.id, Role::Viewer)));
    let used = |keys: Vec<ApiKey>| keys.into_iter().find(|k| k.id == key.id).and_then(|k| k.last_used_at);
    assert_eq!(used(store.api_keys().await.unwrap()), Some(at(3)));
    store.use_api_key(hash, at(3 + 120)).await.unwrap();
    assert_eq!(used(store.api_keys().await.unwrap()), Some(at(3 + 120)));

    store.revoke_api_key(key.id).await.unwrap();
    assert_eq!(store.use_api_key(hash, at(200)).await.unwrap(), None, "a revoked key is useless at once");
    let error = store.revoke_api_key(key.id).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    // Its name is free again.
    store.create_api_key(ApiKey { id: ApiKeyId::new(), ..key }, secret()).await.unwrap();
}

async fn a_sign_in_link_works_once(store: &dyn Store) {
    let (link, late) = (secret(), secret());
    store.create_sign_in_link(link, Role::Admin, at(100)).await.unwrap();
    store.create_sign_in_link(late, Role::Viewer, at(100)).await.unwrap();
    assert_eq!(store.use_sign_in_link(secret(), at(50)).await.unwrap(), None);
    assert_eq!(store.use_sign_in_link(link, at(99)).await.unwrap(), Some(Role::Admin));
    assert_eq!(store.use_sign_in_link(link, at(99)).await.unwrap(), None, "used twice");
    assert_eq!(store.use_sign_in_link(late, at(100)).await.unwrap(), None, "used when it had expired");
}

fn session(user: Option<&User>, begun: i64, expires: i64) -> Session {
    Session {
        id: SessionId::new(),
        user: user.map(|u| u.id),
        name: user.map_or("admin (web)".into(), |u| u.name.clone()),
        role: user.map_or(Role::Operator, |u| u.role),
        csrf: "c0ffee".into(),
        created_at: at(begun),
        last_seen_at: at(begun),
        expires_at: at(expires),
        address: "192.0.2.7".into(),
        agent: "Firefox".into(),
    }
}

async fn sessions_end(store: &dyn Store) {
    let (token, kept) = (secret(), session(None, 0, 100));
    store.create_session(token, kept.clone()).await.unwrap();
    assert_eq!(store.session(token, at(59)).await.unwrap(), Some(kept.clone()));
    assert_eq!(store.session(token, at(100)).await.unwrap(), None, "it has expired");
    assert_eq!(store.session(secret(), at(1)).await.unwrap(), None);
    let (other, idle) = (secret(), session(None, 0, 3 * SESSION_IDLE_SECONDS));
    store.create_session(other, idle.clone()).await.unwrap();
    store.end_session(token).await.unwrap();
    assert_eq!(store.session(token, at(1)).await.unwrap(), None, "it was ended");

    // Each use makes it live on; unused for too long, it has ended.
    let week = SESSION_IDLE_SECONDS;
    assert!(store.session(other, at(week - 1)).await.unwrap().is_some());
    let seen = store.session(other, at(2 * week - 2)).await.unwrap().expect("it was used in time");
    assert_eq!(seen.last_seen_at, at(week - 1));
    assert_eq!(store.session(other, at(3 * week - 1)).await.unwrap(), None, "unused for a week");
    let listed = store.sessions(at(2 * week)).await.unwrap();
    assert!(listed.iter().any(|s| s.id == idle.id) && listed.iter().all(|s| s.id != kept.id));
    assert!(listed.iter().map(|s| s.last_seen_at).rev().is_sorted(), "the last used first");
    store.end_session_by_id(idle.id).await.unwrap();
    let error = store.end_session_by_id(idle.id).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "session", .. }), "{error}");
}

async fn sessions_follow_their_user(store: &dyn Store) {
    let (user, other) = (new_user(store, "bob", Role::Viewer).await, new_user(store, "eve", Role::Viewer).await);
    let tokens = [secret(), secret(), secret()];
    let kept: Vec<Session> = [&user, &user, &other].map(|u| session(Some(u), 7, 1000)).to_vec();
    for (token, session) in tokens.iter().zip(&kept) {
        store.create_session(*token, session.clone()).await.unwrap();
    }
    let signed_in = store.user_by_name(&user.name).await.unwrap().unwrap().0;
    assert_eq!(signed_in.last_sign_in_at, Some(at(7)));
    store.set_user_role(user.id, Role::Admin).await.unwrap();
    assert_eq!(store.session(tokens[0], at(8)).await.unwrap().unwrap().role, Role::Admin, "the user's present role");
    assert_eq!(store.end_sessions_of(user.id, Some(kept[0].id)).await.unwrap(), 1);
    assert!(store.session(tokens[0], at(8)).await.unwrap().is_some(), "the one that was excepted");
    assert_eq!(store.session(tokens[1], at(8)).await.unwrap(), None);
    store.delete_user(user.id).await.unwrap();
    assert_eq!(store.session(tokens[0], at(8)).await.unwrap(), None, "a deleted user's session ends with it");
    assert!(store.session(tokens[2], at(8)).await.unwrap().is_some(), "another's goes on");
}

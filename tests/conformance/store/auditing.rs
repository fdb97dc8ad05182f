//! Who did what, when.

use longshore::store::{
    Action, AuditFilter, Deed, Edit, NewKey, NewOperation, OperationCommand, Scopes,
};
use serde_json::json;

use super::world::{World, die, new_job, new_operation, queue};

async fn deeds(world: &World, filter: &AuditFilter) -> Vec<(Deed, String)> {
    let entries = world.store.audit(filter, 100, None).await.unwrap();
    let deed = |entry: longshore::store::AuditEntry| (entry.deed, entry.target);
    entries.into_iter().map(deed).collect()
}

/// What was sent back is not what was dead: that much is known when the job itself is long gone.
pub(crate) async fn an_edit_is_on_record(world: &World) {
    let id = world.ended(new_job(), die("refused")).await;
    let edit = Edit {
        payload: b"{}".to_vec(),
    };
    world.store.requeue(id, Some(&edit), "ada").await.unwrap();
    let entries = world.store.audit(&AuditFilter::default(), 1, None).await;
    assert_eq!(entries.unwrap()[0].detail["edited"], true);
}

pub(crate) async fn every_deed_is_on_record_with_its_doer(world: &World) {
    let store = &world.store;
    let dead = world.ended(new_job(), die("refused")).await;
    let waiting = world.queued().await;
    let email = queue("email");
    assert!(store.pause(&email, "ada").await.unwrap());
    assert!(!store.pause(&email, "bob").await.unwrap(), "no deed");
    assert!(store.resume(&email, "bob").await.unwrap());
    store.cancel(waiting, "ada").await.unwrap();
    store.requeue(dead, None, "ada").await.unwrap();
    let key = NewKey {
        name: "shop".to_owned(),
        prefix: "lsk_12345678".to_owned(),
        digest: [7; 32],
        scopes: "read".parse::<Scopes>().unwrap(),
        rate: None,
    };
    let made = store.create_key(&key, "root").await.unwrap().unwrap();
    let twice = store.create_key(&key, "eve").await.unwrap();
    assert!(twice.is_none(), "no deed");
    store.revoke_key(made.id, "root").await.unwrap();
    let operation = NewOperation {
        limit: Some(3),
        created_by: "ada".to_owned(),
        ..new_operation(Action::Purge)
    };
    store.begin(&operation).await.unwrap();
    store.begin(&operation).await.unwrap();
    let stop = OperationCommand::Cancel;
    store.command(operation.id, stop, "bob").await.unwrap();

    let expected = [
        (Deed::CancelOperation, "bob", operation.id.to_string()),
        (Deed::Purge, "ada", operation.id.to_string()),
        (Deed::RevokeKey, "root", "shop".to_owned()),
        (Deed::CreateKey, "root", "shop".to_owned()),
        (Deed::Requeue, "ada", dead.to_string()),
        (Deed::Cancel, "ada", waiting.to_string()),
        (Deed::ResumeQueue, "bob", "email".to_owned()),
        (Deed::PauseQueue, "ada", "email".to_owned()),
    ];
    let entries = store
        .audit(&AuditFilter::default(), 100, None)
        .await
        .unwrap();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.deed, &entry.by[..], entry.target.clone()))
        .collect();
    assert_eq!(told, expected);
    assert_eq!(entries[1].detail["limit"], json!(3));
    assert_eq!(entries[1].detail["matched"], json!(0));
    let secret = serde_json::to_string(&entries).unwrap();
    assert!(!secret.contains("0707"), "digests are not for the record");
}

pub(crate) async fn the_record_is_read_in_pages_by_doer_and_deed(world: &World) {
    for n in 0..5 {
        let name = queue(&format!("q{n}"));
        let by = if n % 2 == 0 { "ada" } else { "bob" };
        world.store.pause(&name, by).await.unwrap();
    }
    world.store.resume(&queue("q0"), "bob").await.unwrap();
    let first = world
        .store
        .audit(&AuditFilter::default(), 4, None)
        .await
        .unwrap();
    let last = first.last().map(|entry| entry.id);
    let rest = world
        .store
        .audit(&AuditFilter::default(), 4, last)
        .await
        .unwrap();
    assert_eq!((first.len(), rest.len()), (4, 2));
    assert!(first.iter().all(|entry| entry.id > rest[0].id));
    let by = |by: &str| AuditFilter {
        by: Some(by.to_owned()),
        ..AuditFilter::default()
    };
    assert_eq!(deeds(world, &by("ada")).await.len(), 3);
    assert_eq!(deeds(world, &by("eve")).await.len(), 0);
    let resumed = AuditFilter {
        deed: Some(Deed::ResumeQueue),
        ..by("bob")
    };
    let expected = [(Deed::ResumeQueue, "q0".to_owned())];
    assert_eq!(deeds(world, &resumed).await, expected);
}

pub(crate) async fn the_record_is_kept_for_a_time(world: &World) {
    world.store.pause(&queue("email"), "ada").await.unwrap();
    world.store.pause(&queue("payment"), "ada").await.unwrap();
    world
        .tamper(
            "UPDATE longshore.audit SET at = now() - interval '401 days' WHERE target = 'email'",
            "UPDATE audit SET at = at - 401 * 86400000000 WHERE target = 'email'",
        )
        .await;
    world.prune_all().await;
    let expected = [(Deed::PauseQueue, "payment".to_owned())];
    assert_eq!(deeds(world, &AuditFilter::default()).await, expected);
}

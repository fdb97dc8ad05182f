use std::num::NonZeroU32;

use longshore::store::{ApiKey, KeyId, NewKey, Scopes, StoreError};

use super::world::{World, at_once, patiently};

fn new_key(name: &str, digest: u8) -> NewKey {
    NewKey {
        name: name.to_owned(),
        prefix: format!("lsk_{digest:08}"),
        digest: [digest; 32],
        scopes: "submit,read".parse().unwrap(),
        rate: None,
    }
}

async fn made(world: &World, name: &str, digest: u8) -> ApiKey {
    let created = world
        .store
        .create_key(&new_key(name, digest), "somebody")
        .await;
    created.unwrap().expect("the name is free")
}

pub(crate) async fn a_key_reads_as_it_was_made(world: &World) {
    assert_eq!(world.store.keys().await.unwrap(), []);
    let rate = NonZeroU32::new(10);
    let new = NewKey {
        rate,
        scopes: Scopes::ALL,
        ..new_key("shop", 1)
    };
    let created = world
        .store
        .create_key(&new, "somebody")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(created.name, "shop");
    assert_eq!((created.digest, created.rate), ([1; 32], rate));
    assert_eq!(
        (created.scopes, created.prefix.as_str()),
        (Scopes::ALL, "lsk_00000001")
    );
    assert_eq!((created.last_used_at, created.revoked_at), (None, None));
    let other = made(world, "desk", 2).await;
    assert_eq!(world.store.keys().await.unwrap(), [created.clone(), other]);
    assert!(created.created_at <= world.store.now().await.unwrap());
}

pub(crate) async fn a_name_belongs_to_one_key_that_is_in_force(world: &World) {
    let first = made(world, "shop", 1).await;
    let again = world
        .store
        .create_key(&new_key("shop", 2), "somebody")
        .await
        .unwrap();
    assert_eq!(again, None);
    assert!(world.store.revoke_key(first.id, "somebody").await.unwrap());
    let second = made(world, "shop", 2).await;
    assert!(second.id > first.id, "a number is never used again");
    let created = at_once(world, 6, |store, n| async move {
        let key = new_key("desk", 10 + u8::try_from(n).unwrap());
        patiently(|| store.create_key(&key, "somebody"))
            .await
            .is_some()
    })
    .await;
    assert_eq!(created.iter().filter(|won| **won).count(), 1, "{created:?}");
}

pub(crate) async fn the_same_key_twice_is_refused(world: &World) {
    made(world, "shop", 1).await;
    let same = world
        .store
        .create_key(&new_key("desk", 1), "somebody")
        .await;
    assert!(matches!(same, Err(StoreError::Data(_))), "{same:?}");
}

pub(crate) async fn a_key_is_revoked_once_and_stays_on_record(world: &World) {
    let (shop, desk) = (made(world, "shop", 1).await, made(world, "desk", 2).await);
    assert!(world.store.revoke_key(shop.id, "somebody").await.unwrap());
    assert!(!world.store.revoke_key(shop.id, "somebody").await.unwrap());
    assert!(
        !world
            .store
            .revoke_key(KeyId(999), "somebody")
            .await
            .unwrap()
    );
    let keys = world.store.keys().await.unwrap();
    assert!(keys[0].revoked_at.is_some());
    assert_eq!(keys[1], desk);
    assert_eq!(keys.len(), 2);
}

pub(crate) async fn the_use_of_a_key_is_remembered_coarsely(world: &World) {
    let (shop, desk) = (made(world, "shop", 1).await, made(world, "desk", 2).await);
    world.store.touch_keys(&[]).await.unwrap();
    world
        .store
        .touch_keys(&[shop.id, KeyId(999)])
        .await
        .unwrap();
    let first = world.store.keys().await.unwrap();
    assert!(first[0].last_used_at.is_some());
    assert_eq!(first[1], desk);
    world.store.touch_keys(&[shop.id]).await.unwrap();
    assert_eq!(
        world.store.keys().await.unwrap(),
        first,
        "within the minute"
    );
}

use longshore::store::Schema;

use super::world::{World, at_once};

pub(crate) async fn an_empty_database_lacks_every_migration(world: &World) {
    let Schema::Behind { applied, known } = world.store.schema().await.unwrap() else {
        panic!("an empty database is behind");
    };
    assert_eq!(applied, 0);
    assert!(known > 0);
    assert_eq!(world.store.migrate().await.unwrap(), known);
    assert_eq!(world.store.schema().await.unwrap(), Schema::Current);
}

pub(crate) async fn migrating_twice_migrates_once(world: &World) {
    assert!(world.store.migrate().await.unwrap() > 0);
    let process = world.register("host/1").await;
    assert_eq!(world.store.migrate().await.unwrap(), 0);
    assert_eq!(world.counter(process).await, 0, "the data is still there");
    assert_eq!(
        world.elsewhere().await.schema().await.unwrap(),
        Schema::Current
    );
}

pub(crate) async fn two_migrators_at_once_are_safe(world: &World) {
    let Schema::Behind { known, .. } = world.store.schema().await.unwrap() else {
        panic!("an empty database is behind");
    };
    let ran = at_once(world, 4, |store, _| async move {
        store.migrate().await.unwrap()
    })
    .await;
    assert_eq!(ran.iter().sum::<usize>(), known, "{ran:?}");
    assert_eq!(world.store.schema().await.unwrap(), Schema::Current);
}

/// An operator's command may ask about a database that is not ours.
pub(crate) async fn asking_creates_nothing(world: &World) {
    let before = world.store.schema().await.unwrap();
    assert_eq!(world.store.schema().await.unwrap(), before);
    let error = world.store.tally().await.unwrap_err();
    assert!(
        matches!(&error, longshore::store::StoreError::Schema(text) if text.contains("longshore migrate")),
        "{error:?}"
    );
    assert!(world.store.migrate().await.unwrap() > 0);
}

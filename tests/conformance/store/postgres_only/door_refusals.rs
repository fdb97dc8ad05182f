//! What the door in SQL refuses.

use super::door::{accepted, door, submit, try_submit};

/// Arguments, and what message and hint must say.
const WRONG: [(&str, &str, &str); 22] = [
    (
        "'email.sned', '{}'",
        "kind: no kind 'email.sned'",
        "email.send",
    ),
    ("NULL, '{}'", "kind: no kind NULL", "Known kinds"),
    (
        "'email.send', NULL",
        "payload: must not be NULL",
        "'{}'::jsonb",
    ),
    (
        "'email.send', to_jsonb(repeat('x', 1048575))",
        "payload: 1048577 bytes",
        "elsewhere",
    ),
    (
        "'email.send', '{}', now(), '1 minute'",
        "delay:",
        "not both",
    ),
    ("'email.send', '{}', 'infinity'", "run_at:", "Leave it out"),
    (
        "'email.send', '{}', delay => '-1 s'",
        "delay: must not be",
        "at once",
    ),
    (
        "'email.send', '{}', delay => '11 years'",
        "delay: must be at most",
        "",
    ),
    (
        "'email.send', '{}', priority => 'low'",
        "priority: no priority 'low'",
        "high",
    ),
    ("'email.send', '{}', priority => NULL", "priority:", "high"),
    (
        "'email.send', '{}', max_attempts => 0",
        "max_attempts: 0",
        "1000",
    ),
    (
        "'email.send', '{}', max_attempts => 1001",
        "max_attempts:",
        "1000",
    ),
    (
        "'email.send', '{}', tags => array_fill('a'::text, ARRAY[21])",
        "tags: 21",
        "",
    ),
    ("'email.send', '{}', tags => ARRAY['']", "tags:", "array"),
    (
        "'email.send', '{}', tags => ARRAY[NULL]::text[]",
        "tags:",
        "array",
    ),
    (
        "'email.send', '{}', tags => ARRAY[ARRAY['a']]",
        "tags:",
        "plain",
    ),
    (
        "'email.send', '{}', idempotency_key => ''",
        "idempotency_key: must be 1 to 255",
        "NULL",
    ),
    (
        "'email.send', '{}', idempotency_key => repeat('k', 256)",
        "idempotency_key: must be 1 to 255",
        "NULL",
    ),
    (
        "'email.send', '{}', idempotency_key => 'é'",
        "printable ASCII",
        "",
    ),
    (
        "'email.send', '{}', idempotency_key => ' k'",
        "idempotency_key:",
        "",
    ),
    (
        "'email.send', '{}', idempotency_key => E'k\\n'",
        "idempotency_key:",
        "",
    ),
    (
        "'email.send', '{}', tags => ARRAY[repeat('é', 101)]",
        "tags: one of them is not 1 to 100 characters",
        "array",
    ),
];

#[tokio::test]
async fn what_is_wrong_is_named_with_its_fix() {
    let (world, mut app) = door().await;
    for (arguments, message, hint) in WRONG {
        let error = try_submit(&mut app, arguments).await.unwrap_err();
        let error = error
            .as_database_error()
            .unwrap()
            .downcast_ref::<sqlx::postgres::PgDatabaseError>();
        assert_eq!(error.code(), "22023", "{arguments}: {error}");
        assert!(error.message().contains(message), "{arguments}: {error}");
        assert!(
            error.hint().unwrap().contains(hint),
            "{arguments}: {error:?}"
        );
    }
    let most = "'email.send', to_jsonb(repeat('x', 1048574)), tags => NULL";
    submit(&mut app, most).await;
    // Counted in characters, and a key of every length and of spaces within.
    let longest = [
        "tags => ARRAY[repeat('é', 100)]",
        "idempotency_key => repeat('k', 255)",
        "idempotency_key => 'k'",
        "idempotency_key => 'a ~!'",
    ];
    for argument in longest {
        submit(&mut app, &format!("'email.send', '{{}}', {argument}")).await;
    }
    assert_eq!(accepted(&world).await, 5);
    world.close().await;
}

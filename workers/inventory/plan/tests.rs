use super::*;

fn line(sku: &str, quantity: i64, state: LineState, overdue: bool) -> Line {
    Line {
        order: "o".to_owned(),
        sku: sku.to_owned(),
        quantity,
        state,
        overdue,
    }
}

fn item(sku: &str, quantity: i64) -> Item {
    Item {
        sku: sku.to_owned(),
        quantity,
    }
}

fn code<T>(answer: Result<T, Refusal>) -> String {
    match answer {
        Ok(_) => "done".to_owned(),
        Err(refusal) => refusal.code(),
    }
}

#[test]
fn what_an_order_may_go_through() {
    use LineState::{Committed, Expired, Open, Released};
    // lines, reserve again (same items), reserve again (other items), commit, release
    let table = [
        (vec![], ["done", "done", "unknown_order", "unknown_order"]),
        (
            vec![(Open, false)],
            ["done", "order_exists", "done", "done"],
        ),
        (
            vec![(Committed, true)],
            ["done", "order_exists", "done", "reservation_committed"],
        ),
        (
            vec![(Released, true)],
            ["done", "done", "reservation_released", "done"],
        ),
        (
            vec![(Expired, true)],
            ["done", "done", "reservation_expired", "done"],
        ),
        (
            vec![(Open, true)],
            ["done", "done", "reservation_expired", "done"],
        ),
        (
            vec![(Open, true), (Expired, true)],
            ["done", "done", "reservation_expired", "done"],
        ),
    ];
    for (states, expected) in table {
        let lines: Vec<Line> = states
            .iter()
            .zip(["a", "b"])
            .map(|((state, overdue), sku)| line(sku, 2, *state, *overdue))
            .collect();
        let same: Vec<Item> = lines.iter().map(|l| item(&l.sku, l.quantity)).collect();
        let found = [
            code(repeated("o", &same, &lines)),
            code(repeated("o", &[item("a", 3)], &lines)),
            code(commit("o", &lines)),
            code(release("o", &lines)),
        ];
        assert_eq!(found, expected, "{states:?}");
    }
}

#[test]
fn all_items_or_none_and_never_below_zero() {
    let level = |on_hand, reserved| Level { on_hand, reserved };
    let levels = Levels::from([("a".to_owned(), level(5, 3)), ("b".to_owned(), level(1, 0))]);
    let refusal = reserve("o", &[item("a", 3), item("b", 2)], &levels).unwrap_err();
    assert_eq!(refusal.code(), "insufficient_stock");
    assert_eq!(
        refusal.to_string(),
        "a: requested 3, available 2, missing 1; b: requested 2, available 1, missing 1"
    );
    let unknown = reserve("o", &[item("a", 1), item("x", 1)], &levels);
    assert_eq!(code(unknown), "unknown_sku");
    assert!(reserve("o", &[item("a", 2), item("b", 1)], &levels).is_ok());
    assert_eq!(
        code(adjust("a", -3, Some(level(5, 3)))),
        "insufficient_stock"
    );
    assert_eq!(code(adjust("a", -2, Some(level(5, 3)))), "done");
    assert_eq!(code(adjust("a", -1, None)), "unknown_sku");
    let full = Some(level(MOST_ON_HAND, 0));
    assert_eq!(code(adjust("a", 1, full)), "stock_overflow");
}

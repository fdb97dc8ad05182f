//! How often each hot part asks the allocator for memory, for one job. The same on every machine,
//! however busy, so that what makes a job dearer is seen where it is made.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "tests")]

#[path = "../benches/hot/parts.rs"]
mod parts;

use allocation_counter::measure;

/// At most so many in one round, as they were found. One that has grown has to be meant; one that
/// has shrunk is to be written down, or it will grow back.
const BOUNDS: &[(&str, u64)] = &[
    ("read a submission", 31),
    ("canonical JSON", 11),
    ("fingerprint of a submission", 12),
    ("answer to a submission", 6),
    ("read a batch: array", 2711),
    ("read a batch: lines", 2907),
    ("group commit", 231),
    ("make a message", 3),
    ("decode a delivery", 1),
    ("embedded broker", 618),
    ("claim table", 0),
    ("table of what runs", 1),
    ("decide: success", 0),
    ("decide: retry", 2),
    ("fingerprint of a failure", 17),
    ("queue of a kind", 0),
    ("handler of a kind", 0),
];

/// Of a later round: the first ones fill what is filled once.
fn allocations(round: &mut dyn FnMut()) -> u64 {
    for _ in 0..3 {
        round();
    }
    measure(round).count_total
}

#[test]
fn no_part_allocates_more_than_it_did() {
    let mut wrong = Vec::new();
    for mut part in parts::all() {
        let found = allocations(&mut *part.round);
        let (name, jobs) = (part.name, part.jobs);
        println!("    (\"{name}\", {found}),");
        match BOUNDS.iter().find(|(bounded, _)| *bounded == name) {
            Some((_, bound)) if found <= *bound => {}
            Some((_, bound)) => wrong.push(format!(
                "{name}: {found} for {jobs}, and were at most {bound}"
            )),
            None => wrong.push(format!("{name}: {found} for {jobs}, and there is no bound")),
        }
    }
    assert!(wrong.is_empty(), "\nallocations\n{}\n", wrong.join("\n"));
}

#[test]
fn every_bound_is_that_of_a_part() {
    let parts = parts::all();
    for (name, _) in BOUNDS {
        assert!(parts.iter().any(|part| part.name == *name), "{name}");
    }
}
